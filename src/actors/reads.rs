//! The store's reads as domain values, for the facade. Not an actor: what is read needs nobody's mailbox; what may be long
//! runs on the blocking pool.

mod conversations;

pub use self::conversations::{ConversationView, ThreadPage};
use super::directory::Directory;
use super::house::House;
use super::refused::Refused;
use super::run::request;
use super::run::worker::Context;
use crate::domain::agent::{Agent, AgentFilter, AgentOrder, TurnLoop};
use crate::domain::approval::Pending;
use crate::domain::block::{Block, BlockFilter};
use crate::domain::clock;
use crate::domain::history::{Head, Window};
use crate::domain::id::{AgentId, BlockId, ConversationId, MessageId, ProviderId, RunId, StepId};
use crate::domain::message::Message;
use crate::domain::model::ModelRequest;
use crate::domain::model::Trace;
use crate::domain::overview::{self, Counted, Overview};
use crate::domain::page::{Order, Page};
use crate::domain::prompt::{self, PromptInput};
use crate::domain::provider::{Provider, ProviderFilter};
use crate::domain::run::{LaneId, Run, RunFilter, RunStatus, Step, StepFilter};
use crate::domain::tokens::Counter;
use crate::domain::tool::Tool;
use crate::store::{ReadError, Store};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An agent as it is shown. The lists are filled only as far as `Relations` asked for them.
#[derive(Debug, Clone)]
pub struct AgentView {
    pub agent: Arc<Agent>,
    pub head: Head,
    /// In context, the system message first.
    pub message_ids: Vec<MessageId>,
    pub blocks: Vec<Arc<Block>>,
    pub tools: Vec<Arc<Tool>>,
    /// The request at the end of the context that nobody has answered.
    pub pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Relations {
    /// The ids of the messages in context.
    pub messages: bool,
    pub blocks: bool,
    pub tools: bool,
    pub pending: bool,
}

impl Relations {
    pub const ALL: Self = Self {
        messages: true,
        blocks: true,
        tools: true,
        pending: false,
    };
}

/// A page of an agent's messages: always oldest first, cursors by age (decisions 5). `order` picks the end.
#[derive(Debug, Clone)]
pub struct MessagePage {
    /// Only newer ones.
    pub after: Option<MessageId>,
    /// Only older ones.
    pub before: Option<MessageId>,
    pub limit: usize,
    pub order: Order,
    pub group_id: Option<String>,
    pub conversation: ThreadFilter,
    pub include_errors: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadFilter {
    Any,
    /// Only messages in no conversation.
    Default,
    One(ConversationId),
}

/// Runs a read of the store on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let task = tokio::task::spawn_blocking(read).await;
    task.unwrap_or_else(|error| {
        Err(Refused::Internal(format!(
            "a read of the store failed: {error}"
        )))
    })
}

#[derive(Clone)]
pub struct Reads {
    house: Arc<House>,
}

impl Reads {
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self { house }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&House) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let house = self.house.clone();
        blocking(move || read(&house)).await
    }

    /// # Errors
    /// `NoSuchAgent`, `Damaged`.
    pub async fn agent(&self, id: AgentId, relations: Relations) -> Result<AgentView, Refused> {
        self.read(move |house| view(house, id, relations)?.ok_or(Refused::NoSuchAgent(id)))
            .await
    }

    /// Agents whose record cannot be read are left out; the tree and `greenroom check` name them.
    pub async fn agents(
        &self,
        filter: AgentFilter,
        order_by: AgentOrder,
        page: Page<AgentId>,
        relations: Relations,
    ) -> Result<Vec<AgentView>, Refused> {
        self.read(move |house| {
            let ids = if order_by == AgentOrder::CreatedAt {
                by_creation(house, &filter, &page)?
            } else {
                sorted_agents(house, &filter, order_by, &page)?
            };
            let views = ids
                .into_iter()
                .map(|id| Ok(sound(view(house, id, relations))?.flatten()));
            views.filter_map(Result::transpose).collect()
        })
        .await
    }

    pub async fn count_agents(&self, filter: AgentFilter) -> Result<u64, Refused> {
        self.read(move |house| {
            let mut count = 0;
            for id in house.store.agents_by_created(Order::Ascending, None)? {
                let id = id?;
                count += u64::from(sound(matches(house, id, &filter))?.unwrap_or(false));
            }
            Ok(count)
        })
        .await
    }

    /// Distinct tags of agents and blocks, alphabetical; `name` is a substring.
    pub async fn tags(&self, name: Option<String>) -> Result<Vec<String>, Refused> {
        self.read(move |house| {
            let mut tags = BTreeSet::new();
            for id in house.store.agents_by_created(Order::Ascending, None)? {
                let id = id?;
                tags.extend(
                    sound(house.store.agent(id).map_err(Refused::from))?
                        .flatten()
                        .map(|agent| agent.tags)
                        .unwrap_or_default(),
                );
            }
            for block in house.store.blocks_by_created(Order::Ascending, None)? {
                tags.extend(block?.tags);
            }
            Ok(tags
                .into_iter()
                .filter(|tag| name.as_ref().is_none_or(|name| tag.contains(name)))
                .collect())
        })
        .await
    }

    /// # Errors
    /// `NoSuchMessage` when a cursor is not a message of this agent.
    pub async fn messages(
        &self,
        agent: AgentId,
        page: MessagePage,
    ) -> Result<Vec<Message>, Refused> {
        self.fresh(agent).await?;
        self.read(move |house| {
            if !house.store.agent_exists(agent)? {
                return Err(Refused::NoSuchAgent(agent));
            }
            messages(&house.store, agent, &page)
        })
        .await
    }

    /// The messages of a thread's context, the system message first.
    pub async fn context(&self, agent: AgentId, lane: LaneId) -> Result<Vec<Message>, Refused> {
        self.read(move |house| {
            let window = window(&house.store, agent, lane)?;
            let window = window.ok_or(Refused::NoSuchAgent(agent))?;
            Ok(house.store.messages_at(agent, window.spans())?)
        })
        .await
    }

    /// One message of an agent.
    pub async fn message(&self, agent: AgentId, id: MessageId) -> Result<Message, Refused> {
        self.read(move |house| {
            let sequence = sequence_of(&house.store, agent, id)?;
            house
                .store
                .message_at(agent, sequence)?
                .ok_or(Refused::NoSuchMessage(id))
        })
        .await
    }

    /// What the model would be sent in a thread now, counted: by its provider where that counts, else by ourselves. The system message of the default thread is compiled for this
    /// and not stored.
    pub async fn overview(&self, agent: AgentId, lane: LaneId) -> Result<Overview, Refused> {
        let (mut overview, request) = self.read(move |house| overview(house, agent, lane)).await?;
        let providers = &self.house.providers;
        let [system, with_tools] = overview::beginnings(&request, agent);
        let (system, with_tools, all) = tokio::join!(
            providers.count(&system),
            providers.count(&with_tools),
            providers.count(&request)
        );
        if let (Some(system), Some(with_tools), Some(all)) = (system, with_tools, all) {
            overview.settle(&Counted {
                system,
                with_tools,
                all,
            });
        }
        Ok(overview)
    }

    /// How what an agent's runs wrote is read; as the native loop's when the agent is gone.
    pub async fn turn_loop(&self, agent: AgentId) -> Result<TurnLoop, Refused> {
        self.read(move |house| Ok(turn_loop(&house.store, agent)?))
            .await
    }

    /// The system message is compared before it is read (decisions 33); only a stale one needs the agent.
    async fn fresh(&self, id: AgentId) -> Result<(), Refused> {
        let stale = self
            .read(move |house| Ok(is_stale(&house.store, id)?))
            .await?;
        if stale && !self.house.is_draining() {
            Directory::new(self.house.clone())
                .agent(id)
                .await?
                .refresh()
                .await?;
        }
        Ok(())
    }

    pub async fn block(&self, id: BlockId) -> Result<Block, Refused> {
        self.read(move |house| house.store.block(id)?.ok_or(Refused::NoSuchBlock(id)))
            .await
    }

    pub async fn blocks(
        &self,
        filter: BlockFilter,
        page: Page<BlockId>,
    ) -> Result<Vec<Block>, Refused> {
        self.read(move |house| {
            let store = &house.store;
            let blocks = store.blocks_by_created(page.order, start(&page))?;
            let keep = |block: &Block| keeps_block(store, &filter, block);
            walk(blocks.map(own), &page, |block| block.id, keep)
        })
        .await
    }

    /// A provider that a client added.
    pub async fn provider(&self, id: ProviderId) -> Result<Provider, Refused> {
        self.read(move |house| {
            let provider = house.store.provider(id)?;
            provider
                .map(|provider| listed(house, provider))
                .ok_or(Refused::NoSuchProvider(id))
        })
        .await
    }

    /// Those that clients added. What cannot be read is left out; the log names it at the start.
    pub async fn providers(
        &self,
        filter: ProviderFilter,
        page: Page<ProviderId>,
    ) -> Result<Vec<Provider>, Refused> {
        self.read(move |house| {
            let (mut providers, _) = house.store.providers();
            if page.order == Order::Descending {
                providers.reverse();
            }
            providers.retain(|provider| filter.keeps(provider));
            let page = page.cut(providers, |provider| provider.id).into_iter();
            Ok(page.map(|provider| listed(house, provider)).collect())
        })
        .await
    }

    pub async fn count_blocks(&self, filter: BlockFilter) -> Result<u64, Refused> {
        self.read(move |house| {
            let mut count = 0;
            let everything = filter == BlockFilter::default();
            for block in house.store.blocks_by_created(Order::Ascending, None)? {
                let block = block?;
                let shown = BlockFilter {
                    show_hidden: true,
                    ..filter.clone()
                };
                count += u64::from(everything || keeps_block(&house.store, &shown, &block)?);
            }
            Ok(count)
        })
        .await
    }

    pub async fn block_agents(
        &self,
        id: BlockId,
        page: Page<AgentId>,
        relations: Relations,
    ) -> Result<Vec<AgentView>, Refused> {
        self.read(move |house| {
            house.store.block(id)?.ok_or(Refused::NoSuchBlock(id))?;
            let mut views = Vec::new();
            for agent in house.store.block_agents(id)? {
                views.extend(sound(view(house, agent, relations))?.flatten());
            }
            views.sort_by_key(|view| (view.agent.created_at, view.agent.id));
            if page.order == Order::Descending {
                views.reverse();
            }
            Ok(page.cut(views, |view| view.agent.id))
        })
        .await
    }

    /// In order of attachment.
    pub async fn agent_blocks(&self, agent: AgentId) -> Result<Vec<Arc<Block>>, Refused> {
        self.read(move |house| {
            if !house.store.agent_exists(agent)? {
                return Err(Refused::NoSuchAgent(agent));
            }
            attached(&house.store, agent)
        })
        .await
    }

    /// With the live status laid over the stored record.
    pub async fn run(&self, id: RunId) -> Result<Run, Refused> {
        self.read(move |house| {
            house
                .store
                .run(id)?
                .map(|run| overlaid(house, run))
                .ok_or(Refused::NoSuchRun(id))
        })
        .await
    }

    pub async fn runs(&self, filter: RunFilter, page: Page<RunId>) -> Result<Vec<Run>, Refused> {
        self.read(move |house| {
            let one = match filter.agent_ids.as_slice() {
                [agent] => Some(*agent),
                _ => None,
            };
            let runs = house.store.runs(one, page.order, start(&page))?;
            let shown = runs.map(|run| Ok(overlaid(house, run?)));
            walk(
                shown,
                &page,
                |run| run.id,
                |run| Ok(keeps_run(&filter, run)),
            )
        })
        .await
    }

    /// Everything the run stored, inputs included, oldest first.
    pub async fn run_messages(&self, id: RunId) -> Result<Vec<Message>, Refused> {
        self.read(move |house| {
            let run = house.store.run(id)?.ok_or(Refused::NoSuchRun(id))?;
            Ok(house.store.run_messages(run.agent_id, id)?)
        })
        .await
    }

    /// Oldest first.
    pub async fn run_steps(&self, id: RunId) -> Result<Vec<Step>, Refused> {
        self.read(move |house| {
            let run = house.store.run(id)?.ok_or(Refused::NoSuchRun(id))?;
            Ok(house.store.run_steps(run.agent_id, id)?)
        })
        .await
    }

    pub async fn step(&self, id: StepId) -> Result<Step, Refused> {
        self.read(move |house| house.store.step(id)?.ok_or(Refused::NoSuchStep(id)))
            .await
    }

    pub async fn steps(
        &self,
        filter: StepFilter,
        page: Page<StepId>,
    ) -> Result<Vec<Step>, Refused> {
        self.read(move |house| {
            let steps = house
                .store
                .steps(filter.agent_id, page.order, start(&page))?;
            let keep = |step: &Step| Ok(keeps_step(&filter, step));
            walk(steps.map(own), &page, |step| step.id, keep)
        })
        .await
    }

    /// Oldest first.
    pub async fn step_messages(&self, id: StepId) -> Result<Vec<Message>, Refused> {
        self.read(move |house| {
            let step = house.store.step(id)?.ok_or(Refused::NoSuchStep(id))?;
            let Some(run) = step.run_id else {
                return Ok(Vec::new());
            };
            let messages = house.store.run_messages(step.agent_id, run)?;
            Ok(messages
                .into_iter()
                .filter(|message| message.step_id == Some(id))
                .collect())
        })
        .await
    }

    /// `None` when the trace is gone or was never kept.
    pub async fn step_trace(&self, id: StepId) -> Result<Option<Trace>, Refused> {
        self.read(move |house| {
            house.store.step(id)?.ok_or(Refused::NoSuchStep(id))?;
            Ok(house.store.trace(id)?)
        })
        .await
    }
}

// ── pages

/// Where the walk along an index begins: past the cursor, unless the page is counted back from another one.
fn start<Id: Copy>(page: &Page<Id>) -> Option<Id> {
    page.after.filter(|_| page.before.is_none())
}

/// The page of what `keep` keeps, out of items in the requested order from `start` on; reads no further than it must.
fn walk<T, Id: Copy + PartialEq>(
    items: impl Iterator<Item = Result<T, Refused>>,
    page: &Page<Id>,
    id: impl Fn(&T) -> Id,
    keep: impl Fn(&T) -> Result<bool, Refused>,
) -> Result<Vec<T>, Refused> {
    let mut found = Vec::new();
    for item in items {
        let item = item?;
        if keep(&item)? {
            found.push(item);
            if page.before.is_none() && found.len() == page.limit {
                return Ok(found);
            }
        }
    }
    let after = page.after.filter(|_| page.before.is_some());
    Ok(Page {
        after,
        ..page.clone()
    }
    .cut(found, id))
}

fn own<T>(read: Result<T, ReadError>) -> Result<T, Refused> {
    read.map_err(Refused::from)
}

// ── agents

fn view(house: &House, id: AgentId, relations: Relations) -> Result<Option<AgentView>, Refused> {
    let store = &house.store;
    let (Some(agent), Some(head)) = (store.agent(id)?, store.head(id)?) else {
        return Ok(None);
    };
    let message_ids = if relations.messages {
        store.message_ids_at(id, head.default_lane.spans())?
    } else {
        Vec::new()
    };
    let blocks = if relations.blocks {
        attached(store, id)?
    } else {
        Vec::new()
    };
    let known = |tool| {
        house
            .toolbox
            .get(tool)
            .map(|tool| tool.definition().clone())
    };
    let tools = if relations.tools {
        agent.tools.iter().filter_map(|tool| known(*tool)).collect()
    } else {
        Vec::new()
    };
    let pending = if relations.pending {
        pending_at_end(store, id, &head.default_lane)?
    } else {
        None
    };
    Ok(Some(AgentView {
        agent: Arc::new(agent),
        head,
        message_ids,
        blocks,
        tools,
        pending,
    }))
}

/// How what an agent's runs wrote is read; as the native loop's when the agent is gone.
pub(super) fn turn_loop(store: &Store, agent: AgentId) -> Result<TurnLoop, ReadError> {
    let agent = store.agent(agent)?;
    Ok(agent.map_or(TurnLoop::Native, |agent| agent.agent_type.turn_loop()))
}

/// The request at the end of a thread's context that nobody has answered.
pub(super) fn pending(
    store: &Store,
    id: AgentId,
    lane: LaneId,
) -> Result<Option<Pending>, ReadError> {
    let window = window(store, id, lane)?;
    window.map_or(Ok(None), |window| pending_at_end(store, id, &window))
}

/// The context of a thread, if there is one.
fn window(store: &Store, id: AgentId, lane: LaneId) -> Result<Option<Window>, ReadError> {
    Ok(match lane {
        LaneId::Default => store.head(id)?.map(|head| head.default_lane),
        LaneId::Conversation(conversation) => store
            .conversation_of(id, conversation)?
            .map(|conversation| conversation.window),
    })
}

fn pending_at_end(
    store: &Store,
    id: AgentId,
    window: &Window,
) -> Result<Option<Pending>, ReadError> {
    let last = window.last(2);
    let end: Vec<Arc<Message>> = store
        .messages_at(id, last.spans())?
        .into_iter()
        .map(Arc::new)
        .collect();
    Ok(Pending::of(&end))
}

fn attached(store: &Store, id: AgentId) -> Result<Vec<Arc<Block>>, Refused> {
    let mut blocks = Vec::new();
    for link in store.links(id)? {
        blocks.extend(store.block(link.block_id)?.map(Arc::new));
    }
    Ok(blocks)
}

fn overview(house: &House, id: AgentId, lane: LaneId) -> Result<(Overview, ModelRequest), Refused> {
    let store = &house.store;
    let agent = store.agent(id)?.ok_or(Refused::NoSuchAgent(id))?;
    let damaged = || Refused::Damaged {
        agent: id,
        detail: "its system message is missing".to_owned(),
    };
    let head = store.head(id)?.ok_or_else(damaged)?;
    let conversation = match lane {
        LaneId::Default => None,
        LaneId::Conversation(conversation) => {
            let found = store.conversation_of(id, conversation)?;
            Some(found.ok_or(Refused::NoSuchConversation(conversation))?)
        }
    };
    let window = conversation.as_ref().map(|found| &found.window);
    let window = store.messages_at(id, window.unwrap_or(&head.default_lane).spans())?;
    let mut window = window.into_iter().map(Arc::new);
    let system = window.next().ok_or_else(damaged)?;
    let (config, text) = match &conversation {
        // Its system message is left as it is (decisions 33).
        Some(conversation) => (conversation.config(&agent.llm_config), system.text()),
        None => {
            let compiled = prompt::compile(&PromptInput {
                agent: &agent,
                blocks: &attached(store, id)?,
                conversation_id: None,
                compiled_at: system.created_at,
                recall_messages: head.stored_messages.saturating_sub(head.default_lane.len()),
            });
            (agent.llm_config.clone(), compiled)
        }
    };
    let tools = agent.tools.iter();
    let tools = tools.filter_map(|tool| house.toolbox.get(*tool)).cloned();
    let context = Context {
        tools: tools.collect(),
        config: Arc::new(config),
        compaction: agent.compaction.clone(),
        agent: Arc::new(agent),
        system: text.into(),
        skills: Arc::default(),
        messages: window.collect(),
        client_tools: Arc::default(),
        committed: Vec::new(),
        settling: None,
        unstored: 0,
        version: 0,
        system_overridden: false,
        room: Arc::default(),
        only_compacts: false,
        max_steps: 1,
        committed_steps: 0,
    };
    let request = request::preview(context, false, clock::now());
    let count = |counter: &Counter, message: &Message| house.counts.message(counter, message);
    let overview = Overview::of(&request, &system, head.stored_messages, count);
    Ok((overview, request))
}

/// A damaged agent costs its own place in a list, never the list.
fn sound<T>(read: Result<T, Refused>) -> Result<Option<T>, Refused> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Refused::Damaged { agent, detail }) => {
            tracing::warn!(%agent, detail, "a damaged agent is left out of a list");
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

fn matches(house: &House, id: AgentId, filter: &AgentFilter) -> Result<bool, Refused> {
    if *filter
        == (AgentFilter {
            show_hidden: true,
            ..AgentFilter::default()
        })
    {
        return Ok(house.store.agent_exists(id)?);
    }
    let Some(agent) = house.store.agent(id)? else {
        return Ok(false);
    };
    let wanted = |field: &Option<String>, wish: &Option<String>| wish.is_none() || field == wish;
    let stopped = match filter.last_stop_reason {
        Some(reason) => house
            .store
            .head(id)?
            .is_some_and(|head| head.last_stop_reason == Some(reason)),
        None => true,
    };
    Ok(stopped
        && (filter.show_hidden || agent.hidden != Some(true))
        && filter.name.as_ref().is_none_or(|name| *name == agent.name)
        && filter
            .query_text
            .as_ref()
            .is_none_or(|text| agent.name.to_lowercase().contains(&text.to_lowercase()))
        && tagged(&agent.tags, &filter.tags, filter.match_all_tags)
        && wanted(&agent.project_id, &filter.project_id)
        && wanted(&agent.template_id, &filter.template_id)
        && wanted(&agent.base_template_id, &filter.base_template_id)
        && filter
            .identity_id
            .is_none_or(|identity| agent.identities.contains(&identity))
        && filter.identifier_keys.is_empty()
        && filter
            .created_by
            .is_none_or(|user| agent.created_by == user))
}

fn tagged(tags: &[String], wanted: &[String], all: bool) -> bool {
    if all {
        wanted.iter().all(|tag| tags.contains(tag))
    } else {
        wanted.is_empty() || wanted.iter().any(|tag| tags.contains(tag))
    }
}

fn by_creation(
    house: &House,
    filter: &AgentFilter,
    page: &Page<AgentId>,
) -> Result<Vec<AgentId>, Refused> {
    let ids = house.store.agents_by_created(page.order, start(page))?;
    let keep = |id: &AgentId| Ok(sound(matches(house, *id, filter))?.unwrap_or(false));
    walk(ids.map(own), page, |id| *id, keep)
}

/// Orders that no index keeps: every agent is looked at. Nulls last in both directions, ties by id.
fn sorted_agents(
    house: &House,
    filter: &AgentFilter,
    order_by: AgentOrder,
    page: &Page<AgentId>,
) -> Result<Vec<AgentId>, Refused> {
    let mut found = Vec::new();
    for id in house.store.agents_by_created(Order::Ascending, None)? {
        let id = id?;
        if !sound(matches(house, id, filter))?.unwrap_or(false) {
            continue;
        }
        let time = match order_by {
            AgentOrder::UpdatedAt => house.store.agent(id)?.map(|agent| agent.updated_at),
            AgentOrder::LastRunCompletion | AgentOrder::CreatedAt => house
                .store
                .head(id)?
                .and_then(|head| head.last_run_completion),
        };
        found.push((time, id));
    }
    found.sort();
    if page.order == Order::Descending {
        found.reverse();
    }
    found.sort_by_key(|(time, _)| time.is_none());
    Ok(page
        .cut(found, |(_, id)| *id)
        .into_iter()
        .map(|(_, id)| id)
        .collect())
}

fn is_stale(store: &Store, id: AgentId) -> Result<bool, ReadError> {
    let (Some(agent), Some(head)) = (store.agent(id)?, store.head(id)?) else {
        return Ok(false);
    };
    let mut blocks = Vec::new();
    for link in store.links(id)? {
        blocks.extend(
            store
                .block(link.block_id)?
                .map(|block| (block.id, block.version)),
        );
    }
    Ok(head.compiled.prompt_revision != agent.prompt_revision || head.compiled.blocks != blocks)
}

// ── messages

fn sequence_of(store: &Store, agent: AgentId, id: MessageId) -> Result<u64, Refused> {
    let located = store
        .message_location(id)?
        .filter(|(owner, _)| *owner == agent);
    located
        .map(|(_, sequence)| sequence)
        .ok_or(Refused::NoSuchMessage(id))
}

fn messages(store: &Store, agent: AgentId, page: &MessagePage) -> Result<Vec<Message>, Refused> {
    let after = page
        .after
        .map(|id| sequence_of(store, agent, id))
        .transpose()?;
    let before = page
        .before
        .map(|id| sequence_of(store, agent, id))
        .transpose()?;
    let kept = |message: &Message| {
        (page.include_errors || !message.is_err)
            && page
                .group_id
                .as_ref()
                .is_none_or(|group| message.group_id.as_ref() == Some(group))
            && match page.conversation {
                ThreadFilter::Any => true,
                ThreadFilter::Default => message.conversation_id.is_none(),
                ThreadFilter::One(id) => message.conversation_id == Some(id),
            }
    };
    let mut found = Vec::new();
    if page.order == Order::Descending {
        for message in store.messages_back(agent, before) {
            let message = message?;
            if after.is_some_and(|after| message.sequence <= after) || found.len() == page.limit {
                break;
            }
            if kept(&message) {
                found.push(message);
            }
        }
        found.reverse();
    } else {
        for message in store.messages_forward(agent, after) {
            let message = message?;
            if before.is_some_and(|before| message.sequence >= before) || found.len() == page.limit
            {
                break;
            }
            if kept(&message) {
                found.push(message);
            }
        }
    }
    Ok(found)
}

// ── blocks

fn keeps_block(store: &Store, filter: &BlockFilter, block: &Block) -> Result<bool, Refused> {
    let has = |text: &str, wish: &Option<String>| {
        wish.as_ref()
            .is_none_or(|wish| text.to_lowercase().contains(&wish.to_lowercase()))
    };
    let label = match &filter.label {
        Some(label) => block.label == *label,
        None => has(&block.label, &filter.label_search),
    };
    let plain = label
        && has(
            block.description.as_deref().unwrap_or_default(),
            &filter.description_search,
        )
        && has(&block.value, &filter.value_search)
        && filter
            .template_name
            .as_ref()
            .is_none_or(|name| block.template_name.as_ref() == Some(name))
        && block.is_template == filter.templates_only
        && filter
            .project_id
            .as_ref()
            .is_none_or(|project| block.project_id.as_ref() == Some(project))
        && filter.identity_id.is_none()
        && filter.identifier_keys.is_empty()
        && tagged(&block.tags, &filter.tags, filter.match_all_tags)
        && (filter.show_hidden || block.hidden != Some(true));
    Ok(plain && connected(store, filter, block.id)?)
}

fn connected(store: &Store, filter: &BlockFilter, block: BlockId) -> Result<bool, Refused> {
    let (more, fewer, equal) = (
        filter.connected_to_agents_count_gt,
        filter.connected_to_agents_count_lt,
        &filter.connected_to_agents_count_eq,
    );
    if more.is_none() && fewer.is_none() && equal.is_empty() {
        return Ok(true);
    }
    let count = store.block_agents(block)?.len() as u64;
    // A block on no agent counts only where the filter speaks of zero (memory-and-blocks §4).
    let zero = count > 0 || fewer.is_some() || equal.contains(&0);
    Ok(zero
        && more.is_none_or(|more| count > more)
        && fewer.is_none_or(|fewer| count < fewer)
        && (equal.is_empty() || equal.contains(&count)))
}

// ── providers

/// Lists are read in the background as well, and nothing is written for that.
fn listed(house: &House, provider: Provider) -> Provider {
    let listed_at = house.providers.listed_at(provider.id);
    Provider {
        last_synced: listed_at.max(provider.last_synced),
        ..provider
    }
}

// ── runs and steps

/// A live run is newer than its record.
fn overlaid(house: &House, mut run: Run) -> Run {
    if let Some(live) = house
        .runs
        .get(&run.id)
        .map(|live| live.status())
        .filter(|_| !run.status.is_final())
    {
        run.status = if live.is_final() {
            RunStatus::Running
        } else {
            live
        };
    }
    run
}

fn keeps_run(filter: &RunFilter, run: &Run) -> bool {
    (filter.agent_ids.is_empty() || filter.agent_ids.contains(&run.agent_id))
        && (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
        && filter
            .background
            .is_none_or(|background| run.background == background)
        && filter
            .stop_reason
            .is_none_or(|reason| run.stop_reason == Some(reason))
        && filter
            .conversation_id
            .is_none_or(|conversation| run.conversation_id == Some(conversation))
}

fn keeps_step(filter: &StepFilter, step: &Step) -> bool {
    filter.agent_id.is_none_or(|agent| step.agent_id == agent)
        && filter
            .model
            .as_ref()
            .is_none_or(|model| step.model.as_ref() == Some(model))
        && (filter.trace_ids.is_empty()
            || step
                .trace_id
                .as_ref()
                .is_some_and(|trace| filter.trace_ids.contains(trace)))
        && filter
            .feedback
            .is_none_or(|feedback| step.feedback == Some(feedback))
        && filter
            .has_feedback
            .is_none_or(|has| step.feedback.is_some() == has)
        && filter.tags.iter().all(|tag| step.tags.contains(tag))
        && filter
            .project_id
            .as_ref()
            .is_none_or(|project| step.project_id.as_ref() == Some(project))
        && filter.start.is_none_or(|start| step.created_at >= start)
        && filter.end.is_none_or(|end| step.created_at <= end)
}
