//! Traces: what was sent to a model and what came back, a step. They are large, only looked at when something is
//! wrong, and may be lost (decisions 40): so they are not in the database but in append-only segments beside it.
//!
//! A segment is a file `<number>.trace` of entries `[step, 16 bytes][time, 8][length, 4][record]`; the record carries
//! its own checksum. The index is in memory and read back from the segments at open. One thread writes; who hands a
//! trace in never waits, and when the thread is far behind the trace is dropped.
//!
//! The caps are kept by whole segments: the oldest goes when all together are over the size, or when its newest trace
//! is over the age.

use super::codec::{self, Kind, Stored};
use super::record::record;
use super::{ReadError, Store};
use crate::domain::clock;
use crate::domain::id::StepId;
use crate::domain::model::Trace;
use bincode::{Decode, Encode};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, PoisonError, RwLock};
use tracing::{debug, warn};

/// Bytes after which a new segment begins.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Time after which a new segment begins.
const SEGMENT_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Bytes of all segments together.
const MOST_BYTES: u64 = 256 << 20;
const MOST_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Traces that may wait for the thread.
const MOST_WAITING: usize = 64;
const HEADER: usize = 28;

record! {
    #[derive(Encode, Decode)]
    struct TraceV1 for Trace { request: String, response: String }
}

impl Stored for Trace {
    const KIND: Kind = Kind::Trace;
    const VERSION: u8 = 1;
    type Newest = TraceV1;
}

/// Where a trace is.
#[derive(Debug, Clone, Copy)]
struct Place {
    segment: u64,
    /// Of the record.
    offset: u64,
    length: u32,
    time: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    bytes: u64,
    oldest: Timestamp,
    newest: Timestamp,
}

#[derive(Debug, Default)]
struct Index {
    places: HashMap<StepId, Place>,
    segments: BTreeMap<u64, Segment>,
}

impl Index {
    fn add(&mut self, step: StepId, place: Place) {
        self.places.insert(step, place);
        let end = place.offset + u64::from(place.length);
        let segment = self.segments.entry(place.segment).or_insert(Segment {
            bytes: 0,
            oldest: place.time,
            newest: place.time,
        });
        segment.bytes = end;
        segment.newest = segment.newest.max(place.time);
    }

    fn drop_segment(&mut self, number: u64) {
        self.segments.remove(&number);
        self.places.retain(|_, place| place.segment != number);
    }

    /// The oldest segment, if a cap says that it has to go.
    fn over(&self, now: Timestamp) -> Option<u64> {
        let (number, oldest) = self.segments.first_key_value()?;
        let bytes: u64 = self.segments.values().map(|segment| segment.bytes).sum();
        let over = bytes > MOST_BYTES || now.duration_since(oldest.newest) > MOST_AGE;
        over.then_some(*number)
    }
}

/// The traces of one data folder.
pub(super) struct Traces {
    path: PathBuf,
    index: Arc<RwLock<Index>>,
    sender: SyncSender<Command>,
}

enum Command {
    Put(StepId, Timestamp, Box<Trace>),
    /// Answered when everything before it is written.
    #[cfg(test)]
    Settle(SyncSender<()>),
}

impl Traces {
    /// Opens the folder `path`, makes it if it is missing, and starts the thread. A segment whose end was not written
    /// is read as far as it goes.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let index = read_segments(path)?;
        // A new process begins a new segment: behind a torn end nothing would be found.
        let next = index.segments.keys().last().map_or(1, |last| last + 1);
        let index = Arc::new(RwLock::new(index));
        let (sender, receiver) = std::sync::mpsc::sync_channel(MOST_WAITING);
        let writer = Writer {
            path: path.to_owned(),
            index: Arc::clone(&index),
            next,
            current: None,
        };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || writer.work(&receiver))?;
        Ok(Self {
            path: path.to_owned(),
            index,
            sender,
        })
    }

    fn put(&self, step: StepId, trace: Trace) {
        match self
            .sender
            .try_send(Command::Put(step, clock::now(), Box::new(trace)))
        {
            Ok(()) => (),
            Err(TrySendError::Full(_)) => {
                debug!(%step, "the trace is dropped: too many are waiting")
            }
            Err(TrySendError::Disconnected(_)) => {
                debug!(%step, "the trace is dropped: nobody writes traces any more")
            }
        }
    }

    fn get(&self, step: StepId) -> Result<Option<Trace>, ReadError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = index.places.get(&step).copied() else {
            return Ok(None);
        };
        drop(index);
        if clock::now().duration_since(place.time) > MOST_AGE {
            return Ok(None);
        }
        let mut record = vec![0; place.length as usize];
        let read = File::open(segment_path(&self.path, place.segment))
            .and_then(|file| file.read_exact_at(&mut record, place.offset));
        match read {
            Ok(()) => codec::decode(&record)
                .map(Some)
                .map_err(|error| ReadError::Damaged {
                    agent: None,
                    detail: error.to_string(),
                }),
            // The segment went over a cap just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ReadError::Failed(error.to_string())),
        }
    }
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.trace"))
}

fn read_segments(folder: &Path) -> io::Result<Index> {
    let mut index = Index::default();
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".trace"))
            .and_then(|number| number.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    for number in numbers {
        read_segment(&segment_path(folder, number), number, &mut index)?;
    }
    Ok(index)
}

/// Adds what is whole in a segment to the index. Reads the headers only.
fn read_segment(path: &Path, number: u64, index: &mut Index) -> io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut offset = 0;
    let mut header = [0; HEADER];
    while offset + HEADER as u64 <= length {
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut header)?;
        let (step, place) = read_header(&header, number, offset + HEADER as u64);
        let end = place.offset + u64::from(place.length);
        if end > length {
            break;
        }
        index.add(step, place);
        offset = end;
    }
    Ok(())
}

fn read_header(header: &[u8; HEADER], segment: u64, offset: u64) -> (StepId, Place) {
    let (mut step, mut time, mut length) = ([0; 16], [0; 8], [0; 4]);
    step.copy_from_slice(&header[..16]);
    time.copy_from_slice(&header[16..24]);
    length.copy_from_slice(&header[24..]);
    let place = Place {
        segment,
        offset,
        length: u32::from_be_bytes(length),
        time: clock::from_micros(i64::from_be_bytes(time)),
    };
    (StepId::from_bytes(step), place)
}

struct Writer {
    path: PathBuf,
    index: Arc<RwLock<Index>>,
    /// Number of the next segment.
    next: u64,
    current: Option<(u64, File)>,
}

impl Writer {
    fn work(mut self, receiver: &Receiver<Command>) {
        if let Err(error) = self.drop_old(clock::now()) {
            warn!(%error, "old traces could not be removed");
        }
        while let Ok(command) = receiver.recv() {
            match command {
                Command::Put(step, time, trace) => {
                    if let Err(error) = self.put(step, time, &trace) {
                        warn!(%step, %error, "the trace is dropped: it could not be written");
                        self.current = None;
                    }
                }
                #[cfg(test)]
                Command::Settle(done) => done.send(()).unwrap(),
            }
        }
    }

    fn put(&mut self, step: StepId, time: Timestamp, trace: &Trace) -> io::Result<()> {
        let Ok(record) = codec::encode(trace) else {
            debug!(%step, "the trace is dropped: it is too large");
            return Ok(());
        };
        let length = u32::try_from(record.len()).expect("a record has at most 16 MiB");
        let offset = self.roll(time)?;
        let (segment, file) = self.current.as_mut().expect("roll has opened one");
        let mut entry = Vec::with_capacity(HEADER + record.len());
        entry.extend_from_slice(step.bytes());
        entry.extend_from_slice(&time.as_microsecond().to_be_bytes());
        entry.extend_from_slice(&length.to_be_bytes());
        entry.extend_from_slice(&record);
        file.write_all(&entry)?;
        let place = Place {
            segment: *segment,
            offset: offset + HEADER as u64,
            length,
            time,
        };
        self.index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(step, place);
        Ok(())
    }

    /// Sees to it that there is a segment to write to, and gives its length.
    fn roll(&mut self, now: Timestamp) -> io::Result<u64> {
        let known = |number: u64| {
            self.index
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .segments
                .get(&number)
                .copied()
        };
        if let Some((number, _)) = &self.current {
            match known(*number) {
                None => return Ok(0),
                Some(segment)
                    if segment.bytes < SEGMENT_BYTES
                        && now.duration_since(segment.oldest) < SEGMENT_AGE =>
                {
                    return Ok(segment.bytes);
                }
                Some(_) => (),
            }
        }
        self.drop_old(now)?;
        let path = segment_path(&self.path, self.next);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        self.current = Some((self.next, file));
        self.next += 1;
        Ok(0)
    }

    fn drop_old(&mut self, now: Timestamp) -> io::Result<()> {
        let over = || {
            self.index
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .over(now)
        };
        while let Some(number) = over() {
            self.index
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .drop_segment(number);
            std::fs::remove_file(segment_path(&self.path, number))?;
        }
        Ok(())
    }
}

impl Store {
    /// Keeps the trace of a step, for a while. Never waits and never fails.
    pub fn put_trace(&self, step: StepId, trace: &Trace) {
        self.0.traces.put(step, trace.clone());
    }

    /// The trace of a step; `None` when there was none or it is gone.
    pub fn trace(&self, step: StepId) -> Result<Option<Trace>, ReadError> {
        self.0.traces.get(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> Trace {
        Trace {
            request: format!("{{\"q\":\"{text}\"}}"),
            response: "r".repeat(10_000),
        }
    }

    fn settle(traces: &Traces) {
        let (done, settled) = std::sync::mpsc::sync_channel(1);
        traces.sender.send(Command::Settle(done)).unwrap();
        settled.recv().unwrap();
    }

    #[test]
    fn traces_are_found_again_after_a_restart_up_to_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (StepId::new(), StepId::new());
        let traces = Traces::open(dir.path()).unwrap();
        traces.put(first, trace("first"));
        traces.put(second, trace("second"));
        settle(&traces);
        assert_eq!(traces.get(first).unwrap(), Some(trace("first")));
        drop(traces);

        let segment = segment_path(dir.path(), 1);
        let length = std::fs::metadata(&segment).unwrap().len();
        OpenOptions::new()
            .write(true)
            .open(&segment)
            .unwrap()
            .set_len(length - 1)
            .unwrap();
        let traces = Traces::open(dir.path()).unwrap();
        assert_eq!(traces.get(first).unwrap(), Some(trace("first")));
        assert_eq!(traces.get(second).unwrap(), None);
    }

    #[test]
    fn the_oldest_segment_goes_when_a_cap_is_passed() {
        let now = clock::now();
        let mut index = Index::default();
        let place = |segment, time| Place {
            segment,
            offset: 100 << 20,
            length: 50 << 20,
            time,
        };
        index.add(StepId::new(), place(1, now));
        assert_eq!(index.over(now), None);
        assert_eq!(index.over(now + MOST_AGE * 2), Some(1));
        index.add(StepId::new(), place(2, now));
        assert_eq!(index.over(now), Some(1));
        index.drop_segment(1);
        assert_eq!((index.over(now), index.places.len()), (None, 1));
    }
}
