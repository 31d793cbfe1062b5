//! Frames of background runs: the exact bytes of each SSE event, by number (decisions 31).

use super::batch::{Batch, Op};
use super::codec::{Kind, Stored, Unreadable};
use super::keys::{self, section};
use super::record::Record;
use super::{ReadError, Store, bad_entry};
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::Order;
use bincode::{Decode, Encode};
use bytes::Bytes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredFrame(pub(super) Bytes);

#[derive(Encode, Decode)]
pub(super) struct FrameV1 {
    bytes: Vec<u8>,
}

impl Record<StoredFrame> for FrameV1 {
    fn of(value: &StoredFrame) -> Self {
        Self {
            bytes: value.0.to_vec(),
        }
    }

    fn into_domain(self) -> Result<StoredFrame, Unreadable> {
        Ok(StoredFrame(self.bytes.into()))
    }
}

impl Stored for StoredFrame {
    const KIND: Kind = Kind::Frame;
    const VERSION: u8 = 1;
    type Newest = FrameV1;
}

impl Batch {
    /// Writes frames; the first of them has the number `first`.
    pub fn put_frames(&mut self, agent: AgentId, run: RunId, first: u64, frames: &[Bytes]) {
        for (number, frame) in (first..).zip(frames) {
            self.put(keys::frame(agent, run, number), &StoredFrame(frame.clone()));
        }
    }

    /// Removes all frames of a run.
    pub fn delete_frames(&mut self, agent: AgentId, run: RunId) {
        for section in [section::FRAME, section::FRAME | section::PIECE] {
            self.ops
                .push(Op::Clear(keys::section_of_run(agent, section, run)));
        }
    }

    /// Removes the frames of a run that come after the number `after`: a run that is taken up again from its last
    /// commit writes them anew.
    pub fn delete_frames_after(&mut self, agent: AgentId, run: RunId, after: u64) {
        let first = keys::frame(agent, run, after.saturating_add(1));
        let first_piece = keys::piece(&first, 0);
        for (section, from) in [
            (section::FRAME, first),
            (section::FRAME | section::PIECE, first_piece),
        ] {
            let mut range = keys::section_of_run(agent, section, run);
            range.from = from;
            self.ops.push(Op::Clear(range));
        }
    }
}

impl Store {
    /// Up to `most` frames with numbers above `after`, in order.
    pub fn frames(
        &self,
        agent: AgentId,
        run: RunId,
        after: u64,
        most: usize,
    ) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let range =
            keys::section_of_run(agent, section::FRAME, run).after(&keys::frame(agent, run, after));
        let mut frames = Vec::new();
        for pair in self.disk().scan(range, Order::Ascending).take(most) {
            let (key, value) = pair?;
            let number = keys::last_number(&key).ok_or_else(|| bad_entry(&key))?;
            let frame: Option<StoredFrame> = self.disk().assemble(&key, Some(value))?;
            frames.extend(frame.map(|frame| (number, frame.0)));
        }
        Ok(frames)
    }
}
