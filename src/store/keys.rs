//! All keys, on one page.
//!
//! Numbers are big-endian, so keys sort like what they hold. Ids are their 16 raw bytes; `|` only separates fields here.
//!
//! ```text
//! 00 | name                                     the store's own marks                               meta
//! A0 | agent | section | tail                   everything an agent owns, one range
//!      00  settings        01  head             02  tombstone
//!      03  | seq8          message
//!      04  | block         link                 05  | sha256 of the label → block
//!      06  | conv          conversation         07  | conv | position8 → seq8       members of a conversation
//!      08  | created8 | conv → nothing         09  | seq8 | conv → nothing          messages lent to a conversation
//!      10  | run           run                  11  | run | seq8 → nothing          messages of a run
//!      12  | created8 | run → nothing           13  | run           inbox
//!      14  | run | number8 step                 15  | created8 | step → run, number
//!      16  | run | number8 frame                17  | sha256 of the request: idempotency
//! B0 | block | section | tail                   everything about a block, one range
//!      00  block           01  version          02  | agent → nothing               reverse links
//! C0 | tool | section                           a tool that a client wrote
//!      00  record          01  name and version
//! E2 | provider                                 a model provider that a client added
//! F0 | list | tail                              lists over all agents (can be rebuilt, but for callbacks)
//!      01  | created8 | agent → nothing         02  | created8 | block → nothing
//!      03  | created8 | run → agent             04  | created8 | step → agent, run, number
//!      05  | agent | run → nothing              active runs
//!      06  | agent | run   callback             07  | agent → nothing               buried agents
//!      08  | sha256 of the name → provider
//!      09  | created8 | conv → agent            0A  | sha256 of the name → tool
//! F1 | kind | id                                where a thing is, by its bare id (can be rebuilt)
//!      01  | message → agent, seq8              02  | run → agent                   03  | step → agent, run, number
//!      04  | conv → agent
//! ```
//!
//! A record of the spaces A0, B0 and C0 that is too long for one value continues under its own key with the top bit of
//! the section set and a piece number (2 bytes) behind (`pieces.rs`): inside its owner's range, met by no scan of records.

use crate::domain::id::{
    AgentId, BlockId, ConversationId, MessageId, ProviderId, RunId, StepId, ToolId,
};
use crate::domain::page::{Order, Stretch};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub(super) type Key = Vec<u8>;

pub(super) const META: u8 = 0x00;
pub(super) const AGENT: u8 = 0xA0;
pub(super) const BLOCK: u8 = 0xB0;
pub(super) const TOOL: u8 = 0xC0;
pub(super) const PROVIDER: u8 = 0xE2;
pub(super) const LIST: u8 = 0xF0;
pub(super) const PLACE: u8 = 0xF1;

/// Sections of an agent's range.
pub(super) mod section {
    pub(in crate::store) const SETTINGS: u8 = 0x00;
    pub(in crate::store) const HEAD: u8 = 0x01;
    pub(in crate::store) const TOMBSTONE: u8 = 0x02;
    pub(in crate::store) const MESSAGE: u8 = 0x03;
    pub(in crate::store) const LINK: u8 = 0x04;
    pub(in crate::store) const LABEL: u8 = 0x05;
    pub(in crate::store) const CONVERSATION: u8 = 0x06;
    pub(in crate::store) const MEMBER: u8 = 0x07;
    pub(in crate::store) const CONVERSATION_BY_TIME: u8 = 0x08;
    pub(in crate::store) const LOAN: u8 = 0x09;
    pub(in crate::store) const RUN: u8 = 0x10;
    pub(in crate::store) const RUN_MESSAGE: u8 = 0x11;
    pub(in crate::store) const RUN_BY_TIME: u8 = 0x12;
    pub(in crate::store) const INBOX: u8 = 0x13;
    pub(in crate::store) const STEP: u8 = 0x14;
    pub(in crate::store) const STEP_BY_TIME: u8 = 0x15;
    pub(in crate::store) const FRAME: u8 = 0x16;
    pub(in crate::store) const IDEMPOTENCY: u8 = 0x17;
    /// Set on the section of a piece.
    pub(in crate::store) const PIECE: u8 = 0x80;
}

/// Sections of a block's range.
pub(super) mod block_section {
    pub(in crate::store) const RECORD: u8 = 0x00;
    pub(in crate::store) const VERSION: u8 = 0x01;
    pub(in crate::store) const AGENT: u8 = 0x02;
}

/// Sections of a tool's range.
pub(super) mod tool_section {
    pub(in crate::store) const RECORD: u8 = 0x00;
    pub(in crate::store) const STAMP: u8 = 0x01;
}

pub(super) mod list {
    pub(in crate::store) const AGENTS: u8 = 0x01;
    pub(in crate::store) const BLOCKS: u8 = 0x02;
    pub(in crate::store) const RUNS: u8 = 0x03;
    pub(in crate::store) const STEPS: u8 = 0x04;
    pub(in crate::store) const ACTIVE: u8 = 0x05;
    pub(in crate::store) const CALLBACKS: u8 = 0x06;
    pub(in crate::store) const BURIED: u8 = 0x07;
    pub(in crate::store) const PROVIDER_NAMES: u8 = 0x08;
    pub(in crate::store) const CONVERSATIONS: u8 = 0x09;
    pub(in crate::store) const TOOL_NAMES: u8 = 0x0A;
}

pub(super) mod place {
    pub(in crate::store) const MESSAGE: u8 = 0x01;
    pub(in crate::store) const RUN: u8 = 0x02;
    pub(in crate::store) const STEP: u8 = 0x03;
    pub(in crate::store) const CONVERSATION: u8 = 0x04;
}

/// Length of `space | owner`: what stands before the section.
const OWNER: usize = 17;

/// Keys from `from` on, up to and without `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) from: Key,
    pub(super) to: Key,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub(super) fn of(prefix: Key) -> Self {
        let to = successor(prefix.clone());
        Self { from: prefix, to }
    }

    /// Only what stands behind `key`.
    pub(super) fn after(mut self, key: &[u8]) -> Self {
        self.from = [key, &[0]].concat();
        self
    }

    /// Only what stands before `key`.
    pub(super) fn before(mut self, key: &[u8]) -> Self {
        self.to = key.to_vec();
        self
    }

    /// Only the stretch between its ends.
    pub(super) fn stretch(self, stretch: &Stretch<Key>) -> Self {
        let (above, below) = match stretch.order {
            Order::Ascending => (&stretch.past, &stretch.until),
            Order::Descending => (&stretch.until, &stretch.past),
        };
        let range = match above {
            Some(key) => self.after(key),
            None => self,
        };
        match below {
            Some(key) => range.before(key),
            None => range,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// The first key that does not begin with `prefix` and is greater.
fn successor(mut prefix: Key) -> Key {
    while let Some(last) = prefix.pop() {
        if last < 0xFF {
            prefix.push(last + 1);
            return prefix;
        }
    }
    vec![0xFF; 32]
}

fn join(parts: &[&[u8]]) -> Key {
    parts.concat()
}

fn owned(space: u8, owner: &[u8; 16], section: u8, tail: &[&[u8]]) -> Key {
    let mut key = join(&[&[space], owner, &[section]]);
    tail.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// Eight bytes that sort like the time.
fn time(at: Timestamp) -> [u8; 8] {
    (at.as_microsecond().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

pub(super) fn meta(name: &str) -> Key {
    join(&[&[META], name.as_bytes()])
}

// What an agent owns.

pub(super) fn all_of_agent(agent: AgentId) -> KeyRange {
    all_of(AGENT, agent.bytes())
}

/// Everything an owner has in its space.
pub(super) fn all_of(space: u8, owner: &[u8; 16]) -> KeyRange {
    KeyRange::of(join(&[&[space], owner]))
}

/// One section of an agent.
pub(super) fn section(agent: AgentId, section: u8) -> KeyRange {
    KeyRange::of(owned(AGENT, agent.bytes(), section, &[]))
}

/// What one run has in a section whose keys begin with the run.
pub(super) fn section_of_run(agent: AgentId, section: u8, run: RunId) -> KeyRange {
    KeyRange::of(owned(AGENT, agent.bytes(), section, &[run.bytes()]))
}

pub(super) fn settings(agent: AgentId) -> Key {
    owned(AGENT, agent.bytes(), section::SETTINGS, &[])
}

pub(super) fn head(agent: AgentId) -> Key {
    owned(AGENT, agent.bytes(), section::HEAD, &[])
}

pub(super) fn tombstone(agent: AgentId) -> Key {
    owned(AGENT, agent.bytes(), section::TOMBSTONE, &[])
}

pub(super) fn message(agent: AgentId, sequence: u64) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::MESSAGE,
        &[&sequence.to_be_bytes()],
    )
}

pub(super) fn link(agent: AgentId, block: BlockId) -> Key {
    owned(AGENT, agent.bytes(), section::LINK, &[block.bytes()])
}

/// Labels have no longest length, keys should: so the key holds the label's hash.
pub(super) fn label(agent: AgentId, label: &str) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::LABEL,
        &[&Sha256::digest(label)],
    )
}

pub(super) fn conversation(agent: AgentId, conversation: ConversationId) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::CONVERSATION,
        &[conversation.bytes()],
    )
}

pub(super) fn conversation_by_time(
    agent: AgentId,
    created_at: Timestamp,
    conversation: ConversationId,
) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::CONVERSATION_BY_TIME,
        &[&time(created_at), conversation.bytes()],
    )
}

pub(super) fn member(agent: AgentId, conversation: ConversationId, position: u64) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::MEMBER,
        &[conversation.bytes(), &position.to_be_bytes()],
    )
}

pub(super) fn members(agent: AgentId, conversation: ConversationId) -> KeyRange {
    KeyRange::of(owned(
        AGENT,
        agent.bytes(),
        section::MEMBER,
        &[conversation.bytes()],
    ))
}

pub(super) fn loan(agent: AgentId, sequence: u64, conversation: ConversationId) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::LOAN,
        &[&sequence.to_be_bytes(), conversation.bytes()],
    )
}

pub(super) fn loans(agent: AgentId, sequence: u64) -> KeyRange {
    KeyRange::of(owned(
        AGENT,
        agent.bytes(),
        section::LOAN,
        &[&sequence.to_be_bytes()],
    ))
}

pub(super) fn run(agent: AgentId, run: RunId) -> Key {
    owned(AGENT, agent.bytes(), section::RUN, &[run.bytes()])
}

pub(super) fn run_message(agent: AgentId, run: RunId, sequence: u64) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::RUN_MESSAGE,
        &[run.bytes(), &sequence.to_be_bytes()],
    )
}

pub(super) fn run_by_time(agent: AgentId, created_at: Timestamp, run: RunId) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::RUN_BY_TIME,
        &[&time(created_at), run.bytes()],
    )
}

pub(super) fn inbox(agent: AgentId, run: RunId) -> Key {
    owned(AGENT, agent.bytes(), section::INBOX, &[run.bytes()])
}

pub(super) fn step(agent: AgentId, run: RunId, number: u64) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::STEP,
        &[run.bytes(), &number.to_be_bytes()],
    )
}

pub(super) fn step_by_time(agent: AgentId, created_at: Timestamp, step: StepId) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::STEP_BY_TIME,
        &[&time(created_at), step.bytes()],
    )
}

pub(super) fn frame(agent: AgentId, run: RunId, number: u64) -> Key {
    owned(
        AGENT,
        agent.bytes(),
        section::FRAME,
        &[run.bytes(), &number.to_be_bytes()],
    )
}

pub(super) fn idempotency(agent: AgentId, request: &[u8; 32]) -> Key {
    owned(AGENT, agent.bytes(), section::IDEMPOTENCY, &[request])
}

// Blocks.

pub(super) fn block(block: BlockId) -> Key {
    owned(BLOCK, block.bytes(), block_section::RECORD, &[])
}

pub(super) fn block_version(block: BlockId) -> Key {
    owned(BLOCK, block.bytes(), block_section::VERSION, &[])
}

pub(super) fn block_agent(block: BlockId, agent: AgentId) -> Key {
    owned(BLOCK, block.bytes(), block_section::AGENT, &[agent.bytes()])
}

pub(super) fn block_agents(block: BlockId) -> KeyRange {
    KeyRange::of(owned(BLOCK, block.bytes(), block_section::AGENT, &[]))
}

// Tools.

pub(super) fn tool(tool: ToolId) -> Key {
    owned(TOOL, tool.bytes(), tool_section::RECORD, &[])
}

pub(super) fn tool_stamp(tool: ToolId) -> Key {
    owned(TOOL, tool.bytes(), tool_section::STAMP, &[])
}

pub(super) fn tools() -> KeyRange {
    KeyRange::of(vec![TOOL])
}

pub(super) fn tool_name(name: &str) -> Key {
    join(&[&[LIST, list::TOOL_NAMES], &Sha256::digest(name)])
}

// Providers.

pub(super) fn provider(provider: ProviderId) -> Key {
    join(&[&[PROVIDER], provider.bytes()])
}

pub(super) fn providers() -> KeyRange {
    KeyRange::of(vec![PROVIDER])
}

pub(super) fn provider_name(name: &str) -> Key {
    join(&[&[LIST, list::PROVIDER_NAMES], &Sha256::digest(name)])
}

// Lists and places.

pub(super) fn whole_list(list: u8) -> KeyRange {
    KeyRange::of(vec![LIST, list])
}

pub(super) fn list_of_agent(list: u8, agent: AgentId) -> KeyRange {
    KeyRange::of(join(&[&[LIST, list], agent.bytes()]))
}

/// An entry of a list that is ordered by time.
pub(super) fn listed(list: u8, created_at: Timestamp, id: &[u8; 16]) -> Key {
    join(&[&[LIST, list], &time(created_at), id])
}

pub(super) fn listed_run(list: u8, agent: AgentId, run: RunId) -> Key {
    join(&[&[LIST, list], agent.bytes(), run.bytes()])
}

pub(super) fn buried(agent: AgentId) -> Key {
    join(&[&[LIST, list::BURIED], agent.bytes()])
}

pub(super) fn message_place(message: MessageId) -> Key {
    join(&[&[PLACE, place::MESSAGE], message.bytes()])
}

pub(super) fn run_place(run: RunId) -> Key {
    join(&[&[PLACE, place::RUN], run.bytes()])
}

pub(super) fn step_place(step: StepId) -> Key {
    join(&[&[PLACE, place::STEP], step.bytes()])
}

pub(super) fn conversation_place(conversation: ConversationId) -> Key {
    join(&[&[PLACE, place::CONVERSATION], conversation.bytes()])
}

/// The key of piece `number` (from 1) of the record under `key`.
pub(super) fn piece(key: &[u8], number: u16) -> Key {
    let mut piece = [key, &number.to_be_bytes()].concat();
    piece[OWNER] |= section::PIECE;
    piece
}

/// Whether this is the key of a piece.
pub(super) fn is_piece(key: &[u8]) -> bool {
    matches!(key.first(), Some(&AGENT | &BLOCK | &TOOL))
        && key
            .get(OWNER)
            .is_some_and(|section| section & section::PIECE != 0)
}

/// The record that a piece belongs to, and the piece's number.
pub(super) fn piece_of(key: &[u8]) -> Option<(Key, u16)> {
    let (record, number) = key.split_last_chunk()?;
    let mut record = record.to_vec();
    *record.get_mut(OWNER)? &= !section::PIECE;
    Some((record, u16::from_be_bytes(*number)))
}

// Reading keys and the small fixed values of indexes.

/// An owned key taken apart: owner, section, tail.
pub(super) fn parts(key: &[u8]) -> Option<(&[u8; 16], u8, &[u8])> {
    let owner = key.get(1..OWNER)?.try_into().ok()?;
    Some((owner, *key.get(OWNER)?, &key[OWNER + 1..]))
}

/// The agent in whose range this key lies.
pub(super) fn owner(key: &[u8]) -> Option<AgentId> {
    let bytes: &[u8; 16] = key.get(1..OWNER)?.try_into().ok()?;
    (key.first() == Some(&AGENT)).then(|| AgentId::from_bytes(*bytes))
}

/// The 16 bytes of the id that ends `key`.
pub(super) fn last_id(key: &[u8]) -> Option<[u8; 16]> {
    key.last_chunk().copied()
}

/// The number that ends `key`.
pub(super) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Agent and run at the end of a key of `listed_run`.
pub(super) fn agent_and_run(key: &[u8]) -> Option<(AgentId, RunId)> {
    let (agent, run) = key.get(2..)?.split_first_chunk()?;
    Some((
        AgentId::from_bytes(*agent),
        RunId::from_bytes(run.try_into().ok()?),
    ))
}

/// Where a message is: agent, sequence.
pub(super) fn write_message_place(agent: AgentId, sequence: u64) -> Vec<u8> {
    join(&[agent.bytes(), &sequence.to_be_bytes()])
}

pub(super) fn read_message_place(value: &[u8]) -> Option<(AgentId, u64)> {
    let (agent, sequence) = value.split_first_chunk()?;
    Some((
        AgentId::from_bytes(*agent),
        u64::from_be_bytes(sequence.try_into().ok()?),
    ))
}

/// Where a step is: agent, run, number.
pub(super) fn write_step_place(agent: AgentId, run: RunId, number: u64) -> Vec<u8> {
    join(&[agent.bytes(), run.bytes(), &number.to_be_bytes()])
}

pub(super) fn read_step_place(value: &[u8]) -> Option<(AgentId, RunId, u64)> {
    let (agent, rest) = value.split_first_chunk()?;
    let (run, number) = rest.split_first_chunk()?;
    Some((
        AgentId::from_bytes(*agent),
        RunId::from_bytes(*run),
        u64::from_be_bytes(number.try_into().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_what_they_hold() {
        let (agent, run) = (AgentId::new(), RunId::new());
        assert!(message(agent, 255) < message(agent, 256));
        let [early, late] =
            ["1969-12-31T00:00:00Z", "2026-01-01T00:00:00Z"].map(|text| text.parse().unwrap());
        assert!(run_by_time(agent, early, run) < run_by_time(agent, late, run));
    }

    #[test]
    fn an_agent_is_one_range_and_its_pieces_lie_in_it() {
        let agent = AgentId::from_bytes([0xFF; 16]);
        let range = all_of_agent(agent);
        let key = message(agent, u64::MAX);
        for key in [
            settings(agent),
            key.clone(),
            piece(&key, 7),
            label(agent, "human"),
        ] {
            assert!(range.from <= key && key < range.to);
            assert_eq!(owner(&key), Some(agent));
        }
        let messages = section(agent, section::MESSAGE);
        assert!(is_piece(&piece(&key, 1)) && !is_piece(&key));
        assert!(messages.from <= key && key < messages.to && piece(&key, 1) >= messages.to);
    }
}
