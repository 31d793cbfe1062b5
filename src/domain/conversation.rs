//! Conversations: threads of an agent beside its default one, each with a context, a system message and, if wanted, a model
//! and blocks of its own (messages-and-search §9).

use super::block::Block;
use super::history::Window;
use super::id::{AgentId, BlockId, ConversationId, UserId};
use super::model::{LlmConfig, ModelSettings};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    pub id: ConversationId,
    pub agent_id: AgentId,
    pub summary: Option<String>,
    /// Instead of the agent's, but for the context window.
    pub llm_config: Option<LlmConfig>,
    pub model_settings: Option<SentSettings>,
    /// Copies that only this conversation sees, each in the place of the agent's block with its label.
    pub isolated_blocks: Vec<BlockId>,
    pub window: Window,
    pub last_message_at: Option<Timestamp>,
    pub last_run_completion: Option<Timestamp>,
    pub created_by: UserId,
    pub updated_by: UserId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Settings of a model as a client gave them, and what they mean.
#[derive(Debug, Clone, PartialEq)]
pub struct SentSettings {
    pub sent: Value,
    pub read: ModelSettings,
}

/// A conversation as a client asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewConversation {
    pub id: ConversationId,
    pub summary: Option<String>,
    pub llm_config: Option<LlmConfig>,
    pub model_settings: Option<SentSettings>,
    /// Labels of blocks of the agent.
    pub isolated: Vec<String>,
    pub by: UserId,
}

/// What a PATCH changes: `None` leaves the field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConversationChange {
    pub summary: Option<String>,
    pub llm_config: Option<LlmConfig>,
    pub model_settings: Option<SentSettings>,
    pub last_message_at: Option<Timestamp>,
}

/// Which conversations a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConversationFilter {
    pub agent_id: Option<AgentId>,
    /// A part of the summary, letter for letter.
    pub summary_search: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationOrder {
    CreatedAt,
    LastRunCompletion,
    LastMessageAt,
}

impl Conversation {
    /// The model of its turns.
    pub fn config(&self, agent: &LlmConfig) -> LlmConfig {
        let mut config = self.llm_config.as_ref().unwrap_or(agent).clone();
        config.context_window = agent.context_window;
        if let Some(settings) = &self.model_settings {
            settings.read.clone().apply(&mut config);
        }
        config
    }

    /// The position of a message in the lists of the conversation. The system message comes first, although a fork got it
    /// last.
    pub fn position(&self, sequence: u64) -> u64 {
        if self.window.first() == Some(sequence) {
            SYSTEM_POSITION
        } else {
            sequence
        }
    }

    /// The same settings for a thread of its own: nothing was said in it.
    pub fn forked(&self, id: ConversationId, by: UserId, now: Timestamp) -> Self {
        Self {
            id,
            summary: None,
            isolated_blocks: Vec::new(),
            window: Window::default(),
            last_message_at: None,
            last_run_completion: None,
            created_by: by,
            updated_by: by,
            created_at: now,
            updated_at: now,
            ..self.clone()
        }
    }
}

/// The sequence of an agent's first message, which is the system message of its default thread and in no conversation.
pub const SYSTEM_POSITION: u64 = 0;

impl NewConversation {
    /// Still without its system message and its blocks.
    pub fn create(self, agent_id: AgentId, now: Timestamp) -> Conversation {
        Conversation {
            id: self.id,
            agent_id,
            summary: self.summary,
            llm_config: self.llm_config,
            model_settings: self.model_settings,
            isolated_blocks: Vec::new(),
            window: Window::default(),
            last_message_at: None,
            last_run_completion: None,
            created_by: self.by,
            updated_by: self.by,
            created_at: now,
            updated_at: now,
        }
    }
}

impl ConversationChange {
    pub fn apply(self, conversation: &mut Conversation, by: UserId, now: Timestamp) {
        let set = |field: &mut Option<Timestamp>, value: Option<Timestamp>| {
            if value.is_some() {
                *field = value;
            }
        };
        set(&mut conversation.last_message_at, self.last_message_at);
        if self.summary.is_some() {
            conversation.summary = self.summary;
        }
        if self.llm_config.is_some() {
            conversation.llm_config = self.llm_config;
        }
        if self.model_settings.is_some() {
            conversation.model_settings = self.model_settings;
        }
        conversation.updated_by = by;
        conversation.updated_at = now;
    }
}

impl ConversationFilter {
    pub fn keeps(&self, conversation: &Conversation) -> bool {
        let found = |part: &String| {
            let summary = conversation.summary.as_deref().unwrap_or_default();
            summary.contains(part.as_str())
        };
        self.agent_id
            .is_none_or(|agent| conversation.agent_id == agent)
            && self.summary_search.as_ref().is_none_or(found)
    }
}

/// The blocks that a thread sees: the agent's, an isolated one in the place of that with its label, and at the end those
/// whose label the agent has no longer.
pub fn seen_blocks(agents: Vec<Arc<Block>>, isolated: Vec<Arc<Block>>) -> Vec<Arc<Block>> {
    let mut isolated = isolated;
    let mut seen: Vec<Arc<Block>> = agents
        .into_iter()
        .map(
            |block| match isolated.iter().position(|own| own.label == block.label) {
                Some(place) => isolated.remove(place),
                None => block,
            },
        )
        .collect();
    seen.append(&mut isolated);
    seen
}

/// A copy of a block that only one conversation sees.
pub fn isolated_copy(block: &Block, by: UserId, now: Timestamp) -> Block {
    Block {
        id: BlockId::new(),
        created_by: Some(by),
        updated_by: Some(by),
        created_at: now,
        updated_at: now,
        version: 1,
        ..block.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    fn conversation() -> Conversation {
        let new = NewConversation {
            id: ConversationId::new(),
            summary: Some("About Tea".to_owned()),
            llm_config: None,
            model_settings: None,
            isolated: Vec::new(),
            by: UserId::DEFAULT,
        };
        new.create(AgentId::new(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_model_of_its_own_keeps_the_agents_context_window() {
        let agent = testing::llm_config();
        let mut own = conversation();
        assert_eq!(own.config(&agent), agent);
        own.llm_config = Some(LlmConfig {
            model: "other".to_owned(),
            context_window: 1,
            ..agent.clone()
        });
        own.model_settings = Some(SentSettings {
            sent: serde_json::json!({"temperature": 0.1}),
            read: ModelSettings {
                temperature: Some(0.1),
                ..ModelSettings::default()
            },
        });
        let config = own.config(&agent);
        assert_eq!(
            (config.model.as_str(), config.context_window),
            ("other", agent.context_window)
        );
        assert!((config.temperature - 0.1).abs() < f64::EPSILON);
    }

    #[test]
    fn an_isolated_block_stands_where_the_agents_stood() {
        let block = |label: &str, value: &str| {
            Arc::new(Block {
                value: value.to_owned(),
                ..testing::block(label)
            })
        };
        let seen = seen_blocks(
            vec![block("a", "1"), block("b", "2")],
            vec![block("z", "own"), block("a", "own")],
        );
        let seen: Vec<(&str, &str)> = seen
            .iter()
            .map(|block| (block.label.as_str(), block.value.as_str()))
            .collect();
        assert_eq!(seen, [("a", "own"), ("b", "2"), ("z", "own")]);
    }

    #[test]
    fn a_summary_is_searched_letter_for_letter() {
        let search = |part: &str| ConversationFilter {
            agent_id: None,
            summary_search: Some(part.to_owned()),
        };
        let conversation = conversation();
        assert!(search("Tea").keeps(&conversation) && !search("tea").keeps(&conversation));
    }

    #[test]
    fn the_system_message_of_a_fork_is_listed_first() {
        let mut fork = conversation();
        [90, 3, 4].into_iter().for_each(|at| fork.window.append(at));
        assert_eq!([fork.position(90), fork.position(3)], [0, 3]);
    }
}
