//! Agents, their lists and counts, and the tags.

use super::context::{attached, pending_at_end};
use super::{Reads, sound};
use crate::actors::directory::Directory;
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::domain::agent::{Agent, AgentFilter, AgentOrder, TurnLoop};
use crate::domain::approval::Pending;
use crate::domain::block::Block;
use crate::domain::history::Head;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::page::{Order, Page, Stretch};
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

impl Reads {
    /// # Errors
    /// `NoSuchAgent`, `Damaged`.
    pub async fn agent(&self, id: AgentId, relations: Relations) -> Result<AgentView, Refused> {
        self.read(move |house| view(house, id, relations)?.ok_or(Refused::NoSuchAgent(id)))
            .await
    }

    pub async fn agents(
        &self,
        filter: AgentFilter,
        order_by: AgentOrder,
        page: Page<AgentId>,
        relations: Relations,
    ) -> Result<Vec<AgentView>, Refused> {
        self.read(move |house| {
            let ids = if order_by == AgentOrder::CreatedAt {
                by_creation(&house.store, &filter, page)?
            } else {
                sorted_agents(&house.store, &filter, order_by, &page)?
            };
            let views = ids.into_iter().map(|id| view(house, id, relations));
            let views: Vec<_> = views.filter_map(sound).collect::<Result<_, _>>()?;
            Ok(views.into_iter().flatten().collect())
        })
        .await
    }

    pub async fn count_agents(&self, filter: AgentFilter) -> Result<u64, Refused> {
        self.read(move |house| {
            let ids = matching(&house.store, &filter, Stretch::all(Order::Ascending))?;
            let mut count = 0;
            for id in ids {
                id?;
                count += 1;
            }
            Ok(count)
        })
        .await
    }

    /// Distinct tags of agents and blocks, alphabetical; `name` is a substring.
    pub async fn tags(&self, name: Option<String>) -> Result<Vec<String>, Refused> {
        self.read(move |house| {
            let store = &house.store;
            let mut tags = BTreeSet::new();
            for id in store.agents_by_created(Stretch::all(Order::Ascending))? {
                let agent = sound(id.and_then(|id| store.agent(id))).transpose()?;
                tags.extend(agent.flatten().map(|agent| agent.tags).unwrap_or_default());
            }
            let blocks = store.blocks_by_created(Stretch::all(Order::Ascending))?;
            for block in blocks.filter_map(sound) {
                tags.extend(block?.tags);
            }
            tags.retain(|tag| name.as_ref().is_none_or(|name| tag.contains(name)));
            Ok(tags.into_iter().collect())
        })
        .await
    }

    /// How what an agent's runs wrote is read; as the native loop's when the agent is gone.
    pub async fn turn_loop(&self, agent: AgentId) -> Result<TurnLoop, Refused> {
        self.read(move |house| Ok(turn_loop(&house.store, agent)?))
            .await
    }

    /// The system message is compared before it is read (decisions 33); only a stale one needs the agent.
    pub(super) async fn fresh(&self, id: AgentId) -> Result<(), Refused> {
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
}

pub(super) fn view(
    house: &House,
    id: AgentId,
    relations: Relations,
) -> Result<Option<AgentView>, ReadError> {
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
pub(in crate::actors) fn turn_loop(store: &Store, agent: AgentId) -> Result<TurnLoop, ReadError> {
    let agent = store.agent(agent)?;
    Ok(agent.map_or(TurnLoop::Native, |agent| agent.agent_type.turn_loop()))
}

fn matches(store: &Store, id: AgentId, filter: &AgentFilter) -> Result<bool, ReadError> {
    if *filter
        == (AgentFilter {
            show_hidden: true,
            ..AgentFilter::default()
        })
    {
        return store.agent_exists(id);
    }
    let Some(agent) = store.agent(id)? else {
        return Ok(false);
    };
    let wanted = |field: &Option<String>, wish: &Option<String>| wish.is_none() || field == wish;
    let stopped = match filter.last_stop_reason {
        Some(reason) => store
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

pub(super) fn tagged(tags: &[String], wanted: &[String], all: bool) -> bool {
    if all {
        wanted.iter().all(|tag| tags.contains(tag))
    } else {
        wanted.is_empty() || wanted.iter().any(|tag| tags.contains(tag))
    }
}

/// The agents that a filter keeps, by time of creation.
fn matching<'a>(
    store: &'a Store,
    filter: &'a AgentFilter,
    stretch: Stretch<AgentId>,
) -> Result<impl Iterator<Item = Result<AgentId, ReadError>> + use<'a>, ReadError> {
    let ids = store.agents_by_created(stretch)?.map(move |id| {
        let id = id?;
        Ok(matches(store, id, filter)?.then_some(id))
    });
    Ok(ids.filter_map(sound).filter_map(Result::transpose))
}

fn by_creation(
    store: &Store,
    filter: &AgentFilter,
    page: Page<AgentId>,
) -> Result<Vec<AgentId>, ReadError> {
    let page = page.known(|id| store.agent_exists(id))?;
    page.take(matching(store, filter, page.stretch())?, |_| Ok(true))
}

/// Orders that no index keeps: every agent is looked at. Nulls last in both directions, ties by id.
fn sorted_agents(
    store: &Store,
    filter: &AgentFilter,
    order_by: AgentOrder,
    page: &Page<AgentId>,
) -> Result<Vec<AgentId>, ReadError> {
    let mut found = Vec::new();
    for id in matching(store, filter, Stretch::all(Order::Ascending))? {
        let id = id?;
        let time = match order_by {
            AgentOrder::UpdatedAt => store.agent(id)?.map(|agent| agent.updated_at),
            AgentOrder::LastRunCompletion | AgentOrder::CreatedAt => {
                store.head(id)?.and_then(|head| head.last_run_completion)
            }
        };
        found.push((time, id));
    }
    found.sort();
    if page.order == Order::Descending {
        found.reverse();
    }
    found.sort_by_key(|(time, _)| time.is_none());
    let page = page.cut(found, |(_, id)| *id).into_iter();
    Ok(page.map(|(_, id)| id).collect())
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
