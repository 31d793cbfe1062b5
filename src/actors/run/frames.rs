//! The frames of one run: one append-only list that all its readers share, each with a position of its own (decisions 31).
//! No reader can slow the run, and none loses a frame.

use crate::domain::id::{AgentId, RunId};
use crate::store::Store;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A rendered frame: the exact bytes of one SSE event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// From 1, without gaps.
    pub number: u64,
    pub bytes: Bytes,
}

/// Why a reader gets no more frames although the list was not closed. The rest has to be looked for elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("the run was interrupted")]
    Interrupted,
    /// A foreground run keeps its newest frames only, and this reader was slower than those.
    #[error("the reader fell behind")]
    Behind,
}

/// Where readers look. Shared by the run, its handle and every reader.
#[derive(Debug)]
pub(crate) struct Frames {
    list: Mutex<List>,
    /// Changes when there is something new to see.
    news: watch::Sender<u64>,
    /// Bytes kept in memory (decisions 31); older frames of background runs are read from the store.
    capacity: usize,
    stored: bool,
}

#[derive(Debug)]
struct List {
    frames: VecDeque<Bytes>,
    /// Number of the first frame that is still in memory.
    first: u64,
    bytes: usize,
    end: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Open,
    Closed,
    Interrupted,
}

impl Frames {
    /// An empty list that continues after frame `last`; `stored`: older frames can be read from the store.
    pub(crate) fn new(last: u64, stored: bool, capacity: usize) -> Self {
        let list = List {
            frames: VecDeque::new(),
            first: last + 1,
            bytes: 0,
            end: Ending::Open,
        };
        Self {
            list: Mutex::new(list),
            news: watch::Sender::new(last),
            capacity,
            stored,
        }
    }

    pub(crate) fn push(&self, frames: impl IntoIterator<Item = Bytes>) {
        let mut list = self.list();
        for frame in frames {
            list.bytes += frame.len();
            list.frames.push_back(frame);
        }
        while list.bytes > self.capacity {
            let Some(oldest) = list.frames.pop_front() else {
                break;
            };
            list.bytes -= oldest.len();
            list.first += 1;
        }
        let last = list.last();
        drop(list);
        self.news.send_replace(last);
    }

    /// No more frames come.
    pub(crate) fn close(&self) {
        self.finish(Ending::Closed);
    }

    /// The run is gone; does nothing when the list was closed.
    pub(crate) fn interrupt(&self) {
        self.finish(Ending::Interrupted);
    }

    fn finish(&self, end: Ending) {
        let mut list = self.list();
        if list.end == Ending::Open {
            list.end = end;
        }
        let last = list.last();
        drop(list);
        self.news.send_replace(last);
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn last(&self) -> u64 {
        self.first + self.frames.len() as u64 - 1
    }
}

/// One reader's position in a run's frames.
pub struct FrameReader {
    source: Source,
    position: u64,
}

enum Source {
    Live {
        frames: Arc<Frames>,
        news: watch::Receiver<u64>,
        store: Store,
        agent: AgentId,
        run: RunId,
    },
    /// A finished background run.
    Stored {
        store: Store,
        agent: AgentId,
        run: RunId,
    },
}

/// Frames read from the store at once.
const PAGE: usize = 512;

enum Seen {
    Here(Vec<Rendered>),
    /// Older than what is in memory.
    InStore,
    /// The same, and not stored.
    Nowhere,
    NotYet,
    End(Ending),
}

impl FrameReader {
    pub(crate) fn live(
        frames: &Arc<Frames>,
        after: u64,
        store: Store,
        agent: AgentId,
        run: RunId,
    ) -> Self {
        let news = frames.news.subscribe();
        Self {
            source: Source::Live {
                frames: frames.clone(),
                news,
                store,
                agent,
                run,
            },
            position: after,
        }
    }

    pub(crate) fn stored(store: Store, agent: AgentId, run: RunId, after: u64) -> Self {
        Self {
            source: Source::Stored { store, agent, run },
            position: after,
        }
    }

    /// Number of the last frame read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next frames, as many as are there, waiting for at least one. Empty: the list is closed and read to its end.
    ///
    /// # Errors
    /// When run or agent died under the reader, or it was too slow for a run whose frames are not stored.
    pub async fn next(&mut self) -> Result<Vec<Rendered>, Lost> {
        loop {
            match self.look() {
                Seen::Here(frames) => return Ok(self.advance(frames)),
                Seen::InStore => {
                    let frames = self.load().await?;
                    if !frames.is_empty() {
                        return Ok(self.advance(frames));
                    }
                    if matches!(self.source, Source::Stored { .. }) {
                        return Ok(Vec::new());
                    }
                    return Err(Lost::Interrupted);
                }
                Seen::Nowhere => return Err(Lost::Behind),
                Seen::End(Ending::Interrupted) => return Err(Lost::Interrupted),
                Seen::End(_) => return Ok(Vec::new()),
                Seen::NotYet => self.wait().await,
            }
        }
    }

    fn look(&mut self) -> Seen {
        let Source::Live { frames, news, .. } = &mut self.source else {
            return Seen::InStore;
        };
        news.borrow_and_update();
        let list = frames.list();
        // A client may name any position.
        let next = self.position.saturating_add(1);
        if next < list.first {
            return if frames.stored {
                Seen::InStore
            } else {
                Seen::Nowhere
            };
        }
        let skipped = usize::try_from(next - list.first).unwrap_or(usize::MAX);
        if skipped >= list.frames.len() {
            return if list.end == Ending::Open {
                Seen::NotYet
            } else {
                Seen::End(list.end)
            };
        }
        let numbered = list.frames.iter().skip(skipped).cloned().zip(next..);
        Seen::Here(
            numbered
                .map(|(bytes, number)| Rendered { number, bytes })
                .collect(),
        )
    }

    async fn wait(&mut self) {
        if let Source::Live { news, .. } = &mut self.source {
            // The sender lives in the list that this reader holds: it cannot be closed.
            let _ = news.changed().await;
        }
    }

    async fn load(&self) -> Result<Vec<Rendered>, Lost> {
        let (Source::Live {
            store, agent, run, ..
        }
        | Source::Stored { store, agent, run }) = &self.source;
        let (store, agent, run, after) = (store.clone(), *agent, *run, self.position);
        let read = tokio::task::spawn_blocking(move || store.frames(agent, run, after, PAGE)).await;
        let frames = read.ok().and_then(Result::ok).ok_or(Lost::Interrupted)?;
        Ok(frames
            .into_iter()
            .map(|(number, bytes)| Rendered { number, bytes })
            .collect())
    }

    fn advance(&mut self, frames: Vec<Rendered>) -> Vec<Rendered> {
        if let Some(last) = frames.last() {
            self.position = last.number;
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(frames: &Arc<Frames>, after: u64) -> FrameReader {
        let store = crate::store::testing::store();
        FrameReader::live(
            frames,
            after,
            Store::clone(&store),
            AgentId::new(),
            RunId::new(),
        )
    }

    #[tokio::test]
    async fn a_run_whose_frames_are_not_stored_keeps_so_many_bytes_of_them() {
        let frames = Arc::new(Frames::new(0, false, 100));
        let (mut quick, mut slow) = (reader(&frames, 0), reader(&frames, 0));
        for number in 1..=50 {
            frames.push([Bytes::from_static(b"ten bytes.")]);
            let seen = quick.next().await.unwrap();
            assert_eq!(seen.last().map(|frame| frame.number), Some(number));
        }
        assert_eq!(frames.list().frames.len(), 10);
        assert_eq!(slow.next().await, Err(Lost::Behind));
        let mut late = reader(&frames, 45);
        assert_eq!(late.next().await.unwrap().len(), 5);
        frames.close();
        assert_eq!(quick.next().await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_position_beyond_all_frames_waits_and_ends_with_them() {
        let frames = Arc::new(Frames::new(0, false, 100));
        let mut beyond = reader(&frames, u64::MAX);
        frames.push([Bytes::from_static(b"frame")]);
        assert!(matches!(beyond.look(), Seen::NotYet));
        frames.close();
        assert_eq!(beyond.next().await, Ok(Vec::new()));
    }
}
