//! Conversations as JSON.

use super::model::{sent_settings, settings_object};
use crate::domain::conversation::{Conversation as Domain, SentSettings};
use crate::domain::id::MessageId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A conversation in an answer.
#[derive(Debug, Serialize)]
pub struct Conversation {
    created_by_id: String,
    last_updated_by_id: String,
    created_at: String,
    updated_at: String,
    id: String,
    agent_id: String,
    summary: Option<String>,
    in_context_message_ids: Vec<String>,
    isolated_block_ids: Vec<String>,
    model: Option<String>,
    model_settings: Option<Value>,
    last_message_at: Option<String>,
}

impl Conversation {
    /// `in_context`: the system message first.
    pub fn new(conversation: &Domain, in_context: &[MessageId]) -> Self {
        let model = conversation.llm_config.as_ref();
        let settings = conversation.model_settings.as_ref();
        Self {
            created_by_id: conversation.created_by.to_string(),
            last_updated_by_id: conversation.updated_by.to_string(),
            created_at: super::time(conversation.created_at),
            updated_at: super::time(conversation.updated_at),
            id: conversation.id.to_string(),
            agent_id: conversation.agent_id.to_string(),
            summary: conversation.summary.clone(),
            in_context_message_ids: in_context.iter().map(ToString::to_string).collect(),
            isolated_block_ids: conversation
                .isolated_blocks
                .iter()
                .map(ToString::to_string)
                .collect(),
            model: model.map(|config| config.handle().to_string()),
            model_settings: settings.map(|settings| settings.sent.clone()),
            last_message_at: conversation.last_message_at.map(super::time),
        }
    }
}

/// A conversation as it is asked for; the whole body may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CreateConversation {
    pub summary: Option<String>,
    pub isolated_block_labels: Option<Vec<String>>,
    pub model: Option<String>,
    #[serde(deserialize_with = "settings_object")]
    model_settings: Option<Option<Value>>,
}

/// What a PATCH changes; null is as good as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct UpdateConversation {
    pub summary: Option<String>,
    pub model: Option<String>,
    #[serde(deserialize_with = "settings_object")]
    model_settings: Option<Option<Value>>,
    pub last_message_at: Option<String>,
}

impl CreateConversation {
    pub fn model_settings(&self) -> Option<SentSettings> {
        self.model_settings.clone().flatten().map(sent_settings)
    }
}

impl UpdateConversation {
    pub fn model_settings(&self) -> Option<SentSettings> {
        self.model_settings.clone().flatten().map(sent_settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;
    use serde_json::json;

    #[test]
    fn a_conversation_has_the_keys_of_the_contract() {
        let mut conversation = testing::conversation(crate::domain::id::AgentId::new());
        let shown = serde_json::to_value(Conversation::new(&conversation, &[])).unwrap();
        let contract: Value =
            serde_json::from_str(include_str!("../../tests/golden/openapi.json")).unwrap();
        let schema = &contract["components"]["schemas"]["Conversation"]["properties"];
        let known: Vec<&String> = schema.as_object().unwrap().keys().collect();
        for key in shown.as_object().unwrap().keys() {
            assert!(known.contains(&key), "{key}");
        }
        assert_eq!(shown["model"], "openai/gpt-4o-mini");
        conversation.llm_config = None;
        let shown = serde_json::to_value(Conversation::new(&conversation, &[])).unwrap();
        assert_eq!(shown["model"], Value::Null);
    }

    #[test]
    fn settings_of_a_model_are_shown_as_they_were_sent() {
        let sent = json!({"provider_type": "openai", "temperature": 0.1});
        let body = json!({"model_settings": sent.clone()});
        let create: CreateConversation = serde_json::from_value(body).unwrap();
        let settings = create.model_settings().unwrap();
        assert_eq!(
            (settings.sent, settings.read.temperature),
            (sent, Some(0.1))
        );
        for none in [json!({}), json!({"model_settings": null})] {
            let create: CreateConversation = serde_json::from_value(none).unwrap();
            assert_eq!(create.model_settings(), None);
        }
        let bad = json!({"model_settings": {"temperature": "hot"}});
        assert!(serde_json::from_value::<UpdateConversation>(bad).is_err());
    }
}
