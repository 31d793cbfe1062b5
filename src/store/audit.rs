//! Is what is stored whole? Every record is read, every index compared with what it should say. The same walk serves
//! the check of a folder (`check.rs`) and the rebuilding of the indexes.

use super::agents::Tombstone;
use super::batch::{Batch, Op};
use super::blocks::{BlockVersion, Link};
use super::callbacks::CallbackEntry;
use super::codec::Stored;
use super::disk::{Disk, Scan};
use super::frames::StoredFrame;
use super::idempotency::IdempotencyRecord;
use super::keys::{self, Key, KeyRange, block_section, list, place, section, tool_section};
use super::seal::{Sealed, SealedProvider};
use super::tools::ToolStamp;
use super::{
    Damaged, ReadError, agents, blocks, conversations, messages, pieces, providers, runs, steps,
    tools,
};
use crate::domain::block::Block;
use crate::domain::conversation::Conversation;
use crate::domain::history::{Head, Window};
use crate::domain::id::{AgentId, BlockId, ConversationId, ProviderId, RunId, ToolId};
use crate::domain::message::{Message, Role};
use crate::domain::page::Order;
use crate::domain::run::{Inbox, Run, Step};
use crate::domain::tool::Tool;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub agents: u64,
    pub blocks: u64,
    /// Records that were read, of every kind.
    pub records: u64,
    /// Everything that is wrong, with the agent concerned where there is one. Empty: all is well.
    pub problems: Vec<Damaged>,
}

/// The ids that own something in a space, also past places that cannot be read: there the walk goes on at the next id
/// that the lists know.
pub(super) fn owners(
    disk: &Arc<Disk>,
    space: u8,
    problems: &mut Vec<Damaged>,
) -> BTreeSet<[u8; 16]> {
    let lists: &[u8] = if space == keys::AGENT {
        &[list::AGENTS, list::BURIED]
    } else {
        &[list::BLOCKS]
    };
    let listed = lists
        .iter()
        .flat_map(|list| disk.scan(keys::whole_list(*list), Order::Ascending));
    let mut owners: BTreeSet<[u8; 16]> = BTreeSet::new();
    for entry in listed {
        match entry {
            Ok((key, _)) => owners.extend(keys::last_id(&key)),
            Err(error) => problems.push(error.into()),
        }
    }
    let mut rest = KeyRange::of(vec![space]);
    loop {
        let next = match disk.scan(rest.clone(), Order::Ascending).next() {
            None => return owners,
            Some(Ok((key, _))) => keys::parts(&key).map(|(owner, _, _)| *owner),
            Some(Err(_)) => {
                // The start of the rest, filled up to a whole id.
                let behind = keys::parts(&[rest.from.as_slice(), &[0; 18]].concat())
                    .map(|(owner, _, _)| *owner);
                behind.and_then(|behind| owners.range(behind..).next().copied())
            }
        };
        let Some(owner) = next else { return owners };
        owners.insert(owner);
        rest.from = keys::all_of(space, &owner).to;
    }
}

/// Where an entry of an index leads: the key of a record. `None` for what is no entry, or a malformed one.
pub(super) fn target(key: &[u8], value: &[u8]) -> Option<Key> {
    let agent_of_key = || keys::last_id(key).map(AgentId::from_bytes);
    let step =
        || keys::read_step_place(value).map(|(agent, run, number)| keys::step(agent, run, number));
    match key {
        [keys::LIST, list::AGENTS, ..] => agent_of_key().map(keys::settings),
        [keys::LIST, list::BURIED, ..] => agent_of_key().map(keys::tombstone),
        [keys::LIST, list::PROVIDER_NAMES, ..] => {
            keys::last_id(value).map(|id| keys::provider(ProviderId::from_bytes(id)))
        }
        [keys::LIST, list::TOOL_NAMES, ..] => {
            keys::last_id(value).map(|id| keys::tool(ToolId::from_bytes(id)))
        }
        [keys::LIST, list::BLOCKS, ..] => {
            keys::last_id(key).map(|id| keys::block(BlockId::from_bytes(id)))
        }
        [keys::LIST, list::RUNS, ..] | [keys::PLACE, place::RUN, ..] => {
            let agent = AgentId::from_bytes(keys::last_id(value)?);
            Some(keys::run(agent, RunId::from_bytes(keys::last_id(key)?)))
        }
        [keys::LIST, list::CONVERSATIONS, ..] | [keys::PLACE, place::CONVERSATION, ..] => {
            let agent = AgentId::from_bytes(keys::last_id(value)?);
            let id = ConversationId::from_bytes(keys::last_id(key)?);
            Some(keys::conversation(agent, id))
        }
        [keys::LIST, list::ACTIVE | list::CALLBACKS, ..] => {
            keys::agent_and_run(key).map(|(agent, run)| keys::run(agent, run))
        }
        [keys::LIST, list::STEPS, ..] | [keys::PLACE, place::STEP, ..] => step(),
        [keys::PLACE, place::MESSAGE, ..] => {
            keys::read_message_place(value).map(|(agent, sequence)| keys::message(agent, sequence))
        }
        [keys::BLOCK, ..] => {
            let (block, _, _) = keys::parts(key)?;
            Some(keys::link(agent_of_key()?, BlockId::from_bytes(*block)))
        }
        [keys::AGENT, ..] => {
            let agent = keys::owner(key)?;
            match keys::parts(key)?.1 {
                section::LABEL => Some(keys::link(
                    agent,
                    BlockId::from_bytes(keys::last_id(value)?),
                )),
                section::RUN_MESSAGE => Some(keys::message(agent, keys::last_number(key)?)),
                section::MEMBER => Some(keys::message(agent, keys::last_number(value)?)),
                section::CONVERSATION_BY_TIME | section::LOAN => {
                    let id = ConversationId::from_bytes(keys::last_id(key)?);
                    Some(keys::conversation(agent, id))
                }
                section::RUN_BY_TIME => {
                    Some(keys::run(agent, RunId::from_bytes(keys::last_id(key)?)))
                }
                section::STEP_BY_TIME => step(),
                _ => None,
            }
        }
        _ => None,
    }
}

/// One walk over everything.
pub(super) struct Audit {
    disk: Arc<Disk>,
    report: CheckReport,
}

/// What the records of one agent said while they were read.
#[derive(Default)]
struct Seen {
    settings: bool,
    buried: bool,
    head: Option<Head>,
    sequences: HashSet<u64>,
    contexts: Vec<Window>,
    open_calls: HashSet<String>,
    at_work: bool,
}

impl Audit {
    pub(super) fn new(disk: Arc<Disk>) -> Self {
        Self {
            disk,
            report: CheckReport::default(),
        }
    }

    /// Reads everything there is.
    pub(super) fn everything(mut self) -> CheckReport {
        for agent in owners(&self.disk, keys::AGENT, &mut self.report.problems) {
            self.report.agents += 1;
            self.agent(AgentId::from_bytes(agent));
        }
        for block in owners(&self.disk, keys::BLOCK, &mut self.report.problems) {
            self.report.blocks += 1;
            self.block(BlockId::from_bytes(block));
        }
        self.pairs(None, keys::tools(), |audit, key, value| {
            if keys::is_piece(key) {
                return audit.piece(key);
            }
            let mut entries = Batch::shared();
            match keys::parts(key).map(|(_, section, _)| section) {
                Some(tool_section::RECORD) => {
                    if let Some(tool) = audit.read::<Tool>(key, value)? {
                        tools::list(&mut entries, &tool);
                    }
                }
                Some(tool_section::STAMP) => drop(audit.read::<ToolStamp>(key, value)?),
                _ => return audit.entry(key, &value),
            }
            audit.expect(&entries)
        });
        self.pairs(None, keys::providers(), |audit, key, value| {
            let mut entries = Batch::shared();
            if let Some(SealedProvider(provider)) = audit.read(key, value)? {
                providers::list(&mut entries, &provider);
            }
            audit.expect(&entries)
        });
        for space in [keys::LIST, keys::PLACE] {
            self.pairs(None, KeyRange::of(vec![space]), |audit, key, value| {
                audit.outside(key, value)
            });
        }
        self.report
    }

    fn problem(&mut self, agent: Option<AgentId>, detail: impl Into<String>) {
        self.report.problems.push(Damaged {
            agent,
            detail: detail.into(),
        });
    }

    fn pairs(
        &mut self,
        agent: Option<AgentId>,
        range: KeyRange,
        mut each: impl FnMut(&mut Self, &[u8], Vec<u8>) -> Result<(), ReadError>,
    ) {
        let pairs: Scan = self.disk.scan(range, Order::Ascending);
        for pair in pairs {
            if let Err(error) = pair.and_then(|(key, value)| each(self, &key, value)) {
                let problem = Damaged::from(error);
                self.report.problems.push(Damaged {
                    agent: problem.agent.or(agent),
                    ..problem
                });
            }
        }
    }

    fn agent(&mut self, agent: AgentId) {
        let mut seen = Seen {
            buried: self.disk.holds(&keys::tombstone(agent)).unwrap_or(false),
            ..Seen::default()
        };
        self.pairs(
            Some(agent),
            keys::all_of_agent(agent),
            |audit, key, value| audit.owned(&mut seen, key, value),
        );
        if seen.buried {
            return;
        }
        let Some(head) = &seen.head else {
            return self.problem(Some(agent), "the head is missing");
        };
        if !seen.settings {
            self.problem(Some(agent), "the settings are missing");
        }
        let found = seen.sequences.len() as u64;
        if found != head.stored_messages {
            self.problem(
                Some(agent),
                format!(
                    "{found} messages are there, {} should be",
                    head.stored_messages
                ),
            );
        }
        if let Some(missing) = seen
            .contexts
            .iter()
            .chain([&head.default_lane])
            .flat_map(Window::sequences)
            .find(|sequence| !seen.sequences.contains(sequence))
        {
            self.problem(
                Some(agent),
                format!("message {missing} of the context is missing"),
            );
        }
        if !seen.at_work && !seen.open_calls.is_empty() {
            self.problem(
                Some(agent),
                format!("{} calls have no return", seen.open_calls.len()),
            );
        }
    }

    fn read<T: Stored>(&mut self, key: &[u8], value: Vec<u8>) -> Result<Option<T>, ReadError> {
        self.report.records += 1;
        self.disk.assemble(key, Some(value))
    }

    fn owned(&mut self, seen: &mut Seen, key: &[u8], value: Vec<u8>) -> Result<(), ReadError> {
        if keys::is_piece(key) {
            return self.piece(key);
        }
        let mut entries = Batch::shared();
        match keys::parts(key).map(|(_, section, _)| section) {
            Some(section::SETTINGS) => {
                if let Some(Sealed(agent)) = self.read(key, value)? {
                    seen.settings = true;
                    agents::list(&mut entries, &agent);
                }
            }
            Some(section::HEAD) => seen.head = self.read(key, value)?,
            Some(section::TOMBSTONE) => drop(self.read::<Tombstone>(key, value)?),
            Some(section::MESSAGE) => {
                if let Some(message) = self.read(key, value)? {
                    note(seen, &message);
                    messages::list(&mut entries, &message);
                }
            }
            Some(section::CONVERSATION) => {
                if let Some(conversation) = self.read::<Conversation>(key, value)? {
                    conversations::list(&mut entries, &conversation);
                    seen.contexts.push(conversation.window);
                }
            }
            Some(section::LINK) => {
                if let (Some(Link(link)), Some(agent)) = (self.read(key, value)?, keys::owner(key))
                {
                    blocks::list_link(&mut entries, agent, &link);
                }
            }
            Some(section::RUN) => {
                if let Some(run) = self.read::<Run>(key, value)? {
                    runs::list(&mut entries, &run);
                }
            }
            Some(section::INBOX) => {
                seen.at_work = true;
                self.read::<Inbox>(key, value)?;
            }
            Some(section::STEP) => {
                if let Some(step) = self.read::<Step>(key, value)? {
                    steps::list(&mut entries, &step);
                }
            }
            Some(section::FRAME) => drop(self.read::<StoredFrame>(key, value)?),
            Some(section::IDEMPOTENCY) => drop(self.read::<IdempotencyRecord>(key, value)?),
            _ => return self.entry(key, &value),
        }
        if !seen.buried {
            self.expect(&entries)?;
        }
        Ok(())
    }

    fn block(&mut self, block: BlockId) {
        self.pairs(
            None,
            keys::all_of(keys::BLOCK, block.bytes()),
            |audit, key, value| {
                if keys::is_piece(key) {
                    return audit.piece(key);
                }
                let mut entries = Batch::shared();
                match keys::parts(key).map(|(_, section, _)| section) {
                    Some(block_section::RECORD) => {
                        if let Some(block) = audit.read::<Block>(key, value)? {
                            blocks::list(&mut entries, &block);
                        }
                    }
                    Some(block_section::VERSION) => drop(audit.read::<BlockVersion>(key, value)?),
                    _ => return audit.entry(key, &value),
                }
                audit.expect(&entries)
            },
        );
    }

    /// Entries that a record should have.
    fn expect(&mut self, entries: &Batch) -> Result<(), ReadError> {
        for op in &entries.ops {
            if let Op::Set(key, value) = op
                && self.disk.get(key)?.as_ref() != Some(value)
            {
                let agent = target(key, value).and_then(|target| keys::owner(&target));
                self.problem(
                    agent,
                    format!(
                        "an entry of index {:02x}{:02x} is missing or wrong",
                        key[0], key[1]
                    ),
                );
            }
        }
        Ok(())
    }

    /// A record, or an entry, outside all owners.
    fn outside(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), ReadError> {
        if let [keys::LIST, list::CALLBACKS, ..] = key {
            self.read::<CallbackEntry>(key, value.clone())?;
        }
        self.entry(key, &value)
    }

    /// An entry leads to something.
    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let Some(target) = target(key, value) else {
            self.problem(
                keys::owner(key),
                format!("a key that means nothing: {key:02x?}"),
            );
            return Ok(());
        };
        if !self.disk.holds(&target)? {
            self.problem(
                keys::owner(&target),
                format!(
                    "an entry of index {:02x}{:02x} leads nowhere",
                    key[0], key[1]
                ),
            );
        }
        Ok(())
    }

    /// A piece belongs to a record. (What it says is read with the record.)
    fn piece(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let belongs = match keys::piece_of(key) {
            Some((record, number)) => number < pieces::count(self.disk.get(&record)?.as_deref()),
            None => false,
        };
        if !belongs {
            self.problem(keys::owner(key), "a piece belongs to no record");
        }
        Ok(())
    }
}

fn note(seen: &mut Seen, message: &Message) {
    seen.sequences.insert(message.sequence);
    if message.role == Role::Assistant && !message.is_err {
        seen.open_calls
            .extend(message.tool_calls.iter().map(|call| call.id.clone()));
    }
    message.tool_returns.iter().for_each(|end| {
        seen.open_calls.remove(&end.tool_call_id);
    });
}

impl From<ReadError> for Damaged {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { agent, detail } => Self { agent, detail },
            other => Self {
                agent: None,
                detail: other.to_string(),
            },
        }
    }
}

/// A first look when the last process did not close the store: the list of agents, and what the runs without an end
/// need to be settled.
pub(super) fn first_look(disk: &Arc<Disk>) -> Vec<Damaged> {
    let mut problems = Vec::new();
    for entry in disk.scan(keys::whole_list(list::AGENTS), Order::Ascending) {
        problems.extend(entry.err().map(Damaged::from));
    }
    let mut at_work = BTreeSet::new();
    for entry in disk.scan(keys::whole_list(list::ACTIVE), Order::Ascending) {
        match entry {
            Ok((key, _)) => at_work.extend(keys::agent_and_run(&key).map(|(agent, _)| agent)),
            Err(error) => problems.push(error.into()),
        }
    }
    for agent in at_work {
        problems.extend(
            disk.record::<Head>(&keys::head(agent))
                .err()
                .map(Damaged::from),
        );
        let inbox = disk.records::<Inbox>(keys::section(agent, section::INBOX), Order::Ascending);
        problems.extend(inbox.filter_map(|entry| entry.err().map(Damaged::from)));
    }
    problems
}
