//! What some servers tell of the single tokens of an answer. Programs that train models ask for it; nothing here reads it,
//! and nothing is stored.

use super::id::StepId;
use super::message::{Message, Part, Role, ToolOutput};
use super::model::LlmConfig;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// What a request asks for beyond the model's configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenWish {
    pub logprobs: bool,
    pub top_logprobs: Option<u64>,
    pub token_ids: bool,
}

impl TokenWish {
    /// How many alternatives of a token can be asked for.
    pub const MOST_ALTERNATIVES: u64 = 20;

    pub fn lay_over(self, config: &mut LlmConfig) {
        config.return_logprobs |= self.logprobs;
        config.top_logprobs = self.top_logprobs.or(config.top_logprobs);
        config.return_token_ids |= self.token_ids;
    }
}

/// The tokens of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenData {
    /// In OpenAI's form: `content` and `refusal`, each a list with `token`, `logprob` and `top_logprobs`.
    pub logprobs: Option<Value>,
    pub ids: Vec<u64>,
}

/// What a run tells of its tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenReport {
    /// Of its last answer.
    pub logprobs: Option<Value>,
    /// Its answers and what tools returned, in order. Empty where no server told ids.
    pub turns: Vec<TokenTurn>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TokenTurn {
    pub content: String,
    pub speaker: Speaker,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Speaker {
    Model(TokenData),
    Tool(Option<String>),
}

impl TokenReport {
    /// `tokens`: of each step that told any, in order.
    pub fn new<'a>(
        tokens: &[(StepId, TokenData)],
        messages: impl Iterator<Item = &'a Arc<Message>>,
    ) -> Self {
        let logprobs = tokens.last().and_then(|(_, last)| last.logprobs.clone());
        let mut untold: HashMap<StepId, &TokenData> =
            tokens.iter().map(|(step, data)| (*step, data)).collect();
        let told = tokens.iter().any(|(_, data)| !data.ids.is_empty());
        let turns = messages.filter(|_| told).flat_map(|message| {
            let answer = message.step_id.and_then(|step| untold.remove(&step));
            turns(message, answer)
        });
        Self {
            turns: turns.collect(),
            logprobs,
        }
    }
}

fn turns(message: &Message, answer: Option<&TokenData>) -> Vec<TokenTurn> {
    if message.role != Role::Tool {
        let turn = answer.map(|data| TokenTurn {
            content: message.text(),
            speaker: Speaker::Model(data.clone()),
        });
        return turn.into_iter().collect();
    }
    let returns = message.tool_returns.iter().map(|end| TokenTurn {
        content: match &end.output {
            ToolOutput::Packed(text) => text.clone(),
            ToolOutput::Parts(parts) => parts.iter().filter_map(Part::text).collect(),
        },
        speaker: Speaker::Tool(message.name.clone()),
    });
    returns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;
    use crate::domain::id::AgentId;
    use crate::domain::message::{ToolReturn, ToolStatus};
    use serde_json::json;

    #[test]
    fn each_answer_is_a_turn_with_its_tokens_and_each_return_one_without() {
        let agent = AgentId::new();
        let message = |role, step| {
            let mut message = Message::new(agent, role, clock::now());
            message.step_id = Some(step);
            message.content = vec![Part::of_text("said")];
            Arc::new(message)
        };
        let (one, two) = (StepId::new(), StepId::new());
        let mut returned = Message::clone(&message(Role::Tool, one));
        returned.name = Some("look".to_owned());
        returned.tool_returns = vec![ToolReturn {
            tool_call_id: "call_1".to_owned(),
            status: ToolStatus::Success,
            output: ToolOutput::Packed("seen".to_owned()),
            stdout: None,
            stderr: None,
        }];
        let messages = [
            message(Role::Assistant, one),
            Arc::new(returned),
            message(Role::Assistant, two),
        ];
        let data = |id| TokenData {
            logprobs: Some(json!({"content": [id]})),
            ids: vec![id],
        };
        let tokens = [(one, data(1)), (two, data(2))];
        let report = TokenReport::new(&tokens, messages.iter());
        assert_eq!(report.logprobs, data(2).logprobs);
        let speakers: Vec<_> = report.turns.into_iter().map(|turn| turn.speaker).collect();
        let tool = Speaker::Tool(Some("look".to_owned()));
        assert_eq!(
            speakers,
            [Speaker::Model(data(1)), tool, Speaker::Model(data(2))]
        );
        let without_ids = [(one, TokenData::default())];
        let report = TokenReport::new(&without_ids, messages.iter());
        assert_eq!(report, TokenReport::default());
    }
}
