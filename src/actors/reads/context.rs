//! What is in the context of a thread.

use super::{Reads, blocking};
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::actors::run::request;
use crate::actors::run::worker::Context;
use crate::domain::approval::Pending;
use crate::domain::block::Block;
use crate::domain::clock;
use crate::domain::conversation;
use crate::domain::history::Window;
use crate::domain::id::AgentId;
use crate::domain::message::Message;
use crate::domain::model::ModelRequest;
use crate::domain::overview::{self, Counted, Overview};
use crate::domain::prompt::{self, PromptInput};
use crate::domain::run::LaneId;
use crate::domain::tokens::Counter;
use crate::store::{ReadError, Store};
use std::sync::Arc;

impl Reads {
    /// The messages of a thread's context, the system message first.
    pub async fn context(&self, agent: AgentId, lane: LaneId) -> Result<Vec<Message>, Refused> {
        self.read(move |house| {
            let window = window(&house.store, agent, lane)?;
            let window = window.ok_or(Refused::NoSuchAgent(agent))?;
            Ok(house.store.messages_at(agent, window.spans())?)
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
}

/// The request at the end of a thread's context that nobody has answered.
pub(in crate::actors) fn pending(
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

pub(super) fn pending_at_end(
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

pub(super) fn attached(store: &Store, id: AgentId) -> Result<Vec<Arc<Block>>, ReadError> {
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
        agent: Some(id),
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
    let tools = tools.filter_map(|tool| house.toolbox.get(*tool));
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

/// The blocks that a thread sees.
pub(in crate::actors) async fn seen_blocks(
    store: Store,
    agent: AgentId,
    lane: LaneId,
) -> Result<Vec<Arc<Block>>, Refused> {
    blocking(move || {
        let agents = attached(&store, agent)?;
        let LaneId::Conversation(id) = lane else {
            return Ok(agents);
        };
        let conversation = store.conversation_of(agent, id)?;
        let conversation = conversation.ok_or(Refused::NoSuchConversation(id))?;
        let mut isolated = Vec::new();
        for block in conversation.isolated_blocks {
            isolated.extend(store.block(block)?.map(Arc::new));
        }
        Ok(conversation::seen_blocks(agents, isolated))
    })
    .await
}
