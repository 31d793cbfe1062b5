//! Shared things that no agent owns: blocks as far as create, attach and delete go, new agents, the model providers that
//! clients add, the catalogue of tools and models. The edits of blocks by agents are in their steps' commits (decisions 32).
//!
//! Tree     `root` → `library`
//! Owns     which added providers are in use, as the disk has them; every write is conditional on what was read, whoever
//!          else writes.
//! Restart  permanent.

mod providers;
mod tools;

use super::ask::{AskError, DEADLINE, Mailbox, Waiting, answer, ask};
use super::house::House;
use super::links;
use super::refused::Refused;
use super::tree::Hung;
use crate::domain::agent::NewAgent;
use crate::domain::block::{Block, BlockChange, BlockLink, NewBlock};
use crate::domain::clock;
use crate::domain::history::{Compiled, Head, Window};
use crate::domain::id::{AgentId, BlockId, ProviderId, ToolId, UserId};
use crate::domain::message::{Message, Part, Role};
use crate::domain::model::{EmbeddingConfig, EmbeddingInfo, LlmConfig, ModelInfo};
use crate::domain::prompt::{self, PromptInput};
use crate::domain::provider::{Provider, ProviderChange};
use crate::domain::tool::{NewTool, Tool, ToolChange};
use crate::providers::Prepared;
use crate::store::{Batch, CommitError, Condition};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use std::sync::{Arc, PoisonError, RwLock};

/// Times a conditional write is tried again because somebody else wrote in between.
const MOST_TRIES: u32 = 100;

#[derive(Clone)]
pub struct LibraryHandle {
    house: Arc<House>,
    seat: Arc<Seat>,
}

/// Where the present incarnation is found.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    actor: RwLock<Option<ActorRef<Mail>>>,
    mailbox: Arc<Mailbox>,
}

impl LibraryHandle {
    pub(crate) fn new(house: Arc<House>, seat: Arc<Seat>) -> Self {
        Self { house, seat }
    }

    /// Creates an agent with its blocks, links and first messages in one batch.
    pub async fn create_agent(&self, new: NewAgent) -> Result<(), Refused> {
        self.ask(|reply| Msg::CreateAgent(Box::new(new), reply))
            .await
    }

    pub async fn create_block(&self, new: NewBlock, by: UserId) -> Result<Block, Refused> {
        self.ask(|reply| Msg::CreateBlock(Box::new(new), by, reply))
            .await
    }

    /// Changes a block and its label on every agent; `expected_version` comes from `If-Match`.
    pub async fn modify_block(
        &self,
        id: BlockId,
        change: BlockChange,
        expected_version: Option<u64>,
        by: UserId,
    ) -> Result<Block, Refused> {
        self.ask(|reply| Msg::ModifyBlock(id, Box::new(change), expected_version, by, reply))
            .await
    }

    /// Changes the block that an agent knows by this label.
    pub async fn modify_agent_block(
        &self,
        agent: AgentId,
        label: String,
        change: BlockChange,
        expected_version: Option<u64>,
        by: UserId,
    ) -> Result<Block, Refused> {
        let store = self.house.store.clone();
        let wanted = label.clone();
        let link = super::reads::blocking(move || {
            if !store.agent_exists(agent)? {
                return Err(Refused::NoSuchAgent(agent));
            }
            Ok(store
                .links(agent)?
                .into_iter()
                .find(|link| link.label == wanted))
        });
        let link = link.await?.ok_or(Refused::NoSuchLabel { agent, label })?;
        self.modify_block(link.block_id, change, expected_version, by)
            .await
    }

    pub async fn delete_block(&self, id: BlockId) -> Result<(), Refused> {
        self.ask(|reply| Msg::DeleteBlock(id, reply)).await
    }

    /// Attaching twice is once.
    pub async fn attach_block(&self, agent: AgentId, block: BlockId) -> Result<(), Refused> {
        self.ask(|reply| Msg::Attach(agent, block, reply)).await
    }

    pub async fn detach_block(&self, agent: AgentId, block: BlockId) -> Result<(), Refused> {
        self.ask(|reply| Msg::Detach(agent, block, reply)).await
    }

    /// The configuration that a handle stands for, aliases resolved; `None` is the default model.
    pub async fn configure(&self, handle: Option<&str>) -> Result<LlmConfig, Refused> {
        let unknown = |_| Refused::NoSuchModel(handle.unwrap_or_default().to_owned());
        self.house
            .providers
            .configure(handle)
            .await
            .map_err(unknown)
    }

    pub async fn configure_embedding(&self, handle: &str) -> Result<EmbeddingConfig, Refused> {
        self.house
            .providers
            .configure_embedding(handle)
            .await
            .map_err(|error| Refused::Argument(error.to_string()))
    }

    pub async fn models(&self) -> Vec<ModelInfo> {
        self.house.providers.models().await
    }

    pub async fn embedding_models(&self) -> Vec<EmbeddingInfo> {
        self.house.providers.embedding_models().await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Reply<T>) -> Msg,
    ) -> Result<T, Refused> {
        if self.house.is_draining() {
            return Err(Refused::Draining);
        }
        if self.seat.mailbox.depth() >= self.house.settings.mailbox_depth {
            return Err(Refused::Overloaded);
        }
        let actor = self
            .seat
            .actor
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(actor) = actor else {
            return Err(Refused::Overloaded);
        };
        let asked = ask(&actor, Some(DEADLINE), |reply| Mail {
            message: question(reply),
            waiting: self.seat.mailbox.enter(),
        })
        .await;
        asked.unwrap_or_else(|error| match error {
            AskError::Gone => Err(Refused::Overloaded),
            AskError::Late => Err(Refused::Timeout),
        })
    }
}

type Reply<T> = RpcReplyPort<Result<T, Refused>>;

#[derive(Debug)]
pub(crate) struct Mail {
    message: Msg,
    waiting: Waiting,
}

#[derive(Debug)]
enum Msg {
    CreateAgent(Box<NewAgent>, Reply<()>),
    CreateBlock(Box<NewBlock>, UserId, Reply<Block>),
    ModifyBlock(BlockId, Box<BlockChange>, Option<u64>, UserId, Reply<Block>),
    DeleteBlock(BlockId, Reply<()>),
    Attach(AgentId, BlockId, Reply<()>),
    Detach(AgentId, BlockId, Reply<()>),
    CreateProvider(Box<Provider>, Prepared, Reply<Provider>),
    ModifyProvider(ProviderId, Box<ProviderChange>, Reply<Provider>),
    DeleteProvider(ProviderId, Reply<()>),
    /// Its models were listed at somebody's request.
    NoteSync(ProviderId, Reply<Provider>),
    UpsertTool(Box<NewTool>, UserId, Reply<Arc<Tool>>),
    ModifyTool(ToolId, Box<ToolChange>, UserId, Reply<Arc<Tool>>),
    DeleteTool(ToolId, Reply<()>),
}

pub(crate) struct Library;

pub(crate) struct State {
    house: Arc<House>,
    _plate: Hung,
}

impl Actor for Library {
    type Msg = Mail;
    type State = State;
    type Arguments = (Arc<House>, Arc<Seat>, u64);

    async fn pre_start(
        &self,
        myself: ActorRef<Mail>,
        (house, seat, restarts): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let plate = house.board.hang(
            "library",
            None,
            Some("root".to_owned()),
            restarts,
            seat.mailbox.clone(),
        );
        let state = State {
            house,
            _plate: plate,
        };
        state.seat_providers();
        state.seat_tools();
        *seat.actor.write().unwrap_or_else(PoisonError::into_inner) = Some(myself);
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Mail>,
        mail: Mail,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        super::faults::point("library");
        let Mail { message, waiting } = mail;
        drop(waiting);
        match message {
            Msg::CreateAgent(new, reply) => answer(reply, state.create_agent(*new).await),
            Msg::CreateBlock(new, by, reply) => answer(reply, state.create_block(*new, by).await),
            Msg::ModifyBlock(id, change, expected, by, reply) => {
                answer(reply, state.modify_block(id, &change, expected, by).await)
            }
            Msg::DeleteBlock(id, reply) => answer(reply, state.delete_block(id).await),
            Msg::Attach(agent, block, reply) => answer(reply, state.attach(agent, block).await),
            Msg::Detach(agent, block, reply) => answer(reply, state.detach(agent, block).await),
            Msg::CreateProvider(provider, prepared, reply) => {
                answer(reply, state.create_provider(*provider, prepared).await)
            }
            Msg::ModifyProvider(id, change, reply) => {
                answer(reply, state.modify_provider(id, &change).await)
            }
            Msg::DeleteProvider(id, reply) => answer(reply, state.delete_provider(id).await),
            Msg::NoteSync(id, reply) => answer(reply, state.note_sync(id).await),
            Msg::UpsertTool(new, by, reply) => answer(reply, state.upsert_tool(*new, by).await),
            Msg::ModifyTool(id, change, by, reply) => {
                answer(reply, state.modify_tool(id, &change, by).await)
            }
            Msg::DeleteTool(id, reply) => answer(reply, state.delete_tool(id).await),
        }
        Ok(())
    }
}

impl State {
    async fn create_agent(&self, new: NewAgent) -> Result<(), Refused> {
        let NewAgent {
            agent,
            block_ids,
            blocks,
            first_messages,
        } = new;
        let mut batch = Batch::shared();
        batch.require(Condition::AgentAbsent(agent.id));
        let mut attached = Vec::with_capacity(block_ids.len() + blocks.len());
        for id in block_ids {
            let block = self.block(id)?;
            batch.require(Condition::BlockVersion {
                block: id,
                version: block.version,
            });
            attached.push(block);
        }
        for new in blocks {
            let block = new.create(agent.created_by, agent.created_at);
            batch.put_block(&block);
            attached.push(block);
        }
        for (ordinal, block) in (0..).zip(&attached) {
            if attached
                .iter()
                .filter(|other| other.label == block.label)
                .count()
                > 1
            {
                return Err(Refused::LabelTaken {
                    agent: agent.id,
                    label: block.label.clone(),
                });
            }
            batch.put_link(
                agent.id,
                &BlockLink {
                    block_id: block.id,
                    label: block.label.clone(),
                    ordinal,
                },
            );
        }
        let attached: Vec<Arc<Block>> = attached.into_iter().map(Arc::new).collect();
        let input = PromptInput {
            agent: &agent,
            blocks: &attached,
            conversation_id: None,
            compiled_at: agent.created_at,
            recall_messages: 0,
        };
        let mut system = Message::new(agent.id, Role::System, agent.created_at);
        system.content = vec![Part::of_text(prompt::compile(&input))];
        let mut head = Head {
            next_sequence: 0,
            next_acceptance: 0,
            stored_messages: 0,
            default_lane: Window::default(),
            compiled: Compiled {
                blocks: attached
                    .iter()
                    .map(|block| (block.id, block.version))
                    .collect(),
                prompt_revision: agent.prompt_revision,
            },
            last_created_at: agent.created_at,
            last_run_completion: None,
            last_run_duration_ms: None,
            last_stop_reason: None,
        };
        for mut message in std::iter::once(system).chain(first_messages) {
            message.sequence = head.next_sequence;
            head.default_lane.append(message.sequence);
            head.next_sequence += 1;
            head.stored_messages += 1;
            batch.put_message(&message);
        }
        batch.put_agent(&agent);
        batch.put_head(agent.id, &head);
        self.write(batch).await
    }

    async fn create_block(&self, new: NewBlock, by: UserId) -> Result<Block, Refused> {
        self.check_limit(&new.label, &new.value, new.limit)?;
        let block = new.create(by, clock::now());
        let mut batch = Batch::shared();
        batch.put_block(&block);
        self.write(batch).await?;
        Ok(block)
    }

    /// Reads, changes, writes on the condition that nobody wrote in between; then again.
    async fn modify_block(
        &self,
        id: BlockId,
        change: &BlockChange,
        expected: Option<u64>,
        by: UserId,
    ) -> Result<Block, Refused> {
        for _ in 0..MOST_TRIES {
            let block = self.block(id)?;
            if let Some(expected) = expected.filter(|expected| *expected != block.version) {
                return Err(Refused::StaleVersion {
                    expected,
                    found: block.version,
                });
            }
            let Some(changed) = change.clone().apply(&block, by, clock::now()) else {
                return Ok(block);
            };
            self.check_limit(&changed.label, &changed.value, changed.limit)?;
            let mut batch = Batch::shared();
            batch.put_block(&changed);
            if changed.label != block.label {
                links::rename(&self.house.store, &mut batch, block.id, &changed.label)?;
            }
            match self.house.store.commit(batch).await {
                Ok(()) => return Ok(changed),
                Err(CommitError::Conflict(
                    Condition::BlockVersion { .. } | Condition::LinkIs { .. },
                )) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Overloaded)
    }

    /// A new label on every agent that holds the block, in the same batch.
    async fn delete_block(&self, id: BlockId) -> Result<(), Refused> {
        for _ in 0..MOST_TRIES {
            let block = self.block(id)?;
            let mut batch = Batch::shared();
            batch.require(Condition::BlockVersion {
                block: id,
                version: block.version,
            });
            batch.delete_block(id);
            match self.house.store.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict(_)) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Overloaded)
    }

    async fn attach(&self, agent: AgentId, id: BlockId) -> Result<(), Refused> {
        self.agent(agent)?;
        let block = self.block(id)?;
        let links = self.house.store.links(agent)?;
        if links.iter().any(|link| link.block_id == id) {
            return Ok(());
        }
        let ordinal = links.iter().map(|link| link.ordinal + 1).max().unwrap_or(0);
        let mut batch = Batch::shared();
        batch.require(Condition::AgentAlive(agent));
        batch.require(Condition::BlockVersion {
            block: id,
            version: block.version,
        });
        batch.require(Condition::LabelFree {
            agent,
            label: block.label.clone(),
        });
        batch.put_link(
            agent,
            &BlockLink {
                block_id: id,
                label: block.label,
                ordinal,
            },
        );
        self.write(batch).await
    }

    async fn detach(&self, agent: AgentId, block: BlockId) -> Result<(), Refused> {
        self.agent(agent)?;
        let attached = self
            .house
            .store
            .links(agent)?
            .iter()
            .any(|link| link.block_id == block);
        if !attached {
            return Err(Refused::NotAttached { agent, block });
        }
        let mut batch = Batch::shared();
        batch.require(Condition::LinkIs {
            agent,
            block,
            present: true,
        });
        batch.delete_link(agent, block);
        self.write(batch).await
    }

    fn check_limit(&self, label: &str, value: &str, limit: u64) -> Result<(), Refused> {
        let found = value.chars().count() as u64;
        if found <= limit {
            return Ok(());
        }
        if self.house.settings.strict_block_limits {
            return Err(Refused::OverLimit {
                label: label.to_owned(),
                limit,
                found,
            });
        }
        tracing::warn!(label, limit, found, "a block is over its limit");
        Ok(())
    }

    fn agent(&self, id: AgentId) -> Result<(), Refused> {
        if self.house.store.agent_exists(id)? {
            Ok(())
        } else {
            Err(Refused::NoSuchAgent(id))
        }
    }

    fn block(&self, id: BlockId) -> Result<Block, Refused> {
        self.house.store.block(id)?.ok_or(Refused::NoSuchBlock(id))
    }

    async fn write(&self, batch: Batch) -> Result<(), Refused> {
        Ok(self.house.store.commit(batch).await?)
    }
}
