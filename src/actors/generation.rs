//! One model call that belongs to no turn: nothing of an agent's context goes into it and nothing is stored.
//!
//! Not an actor, and no actor waits for it. The call lives in the request's own future and is dropped with it when the client
//! goes away: there is no outcome that anybody else could want.

use super::house::House;
use super::refused::Refused;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Message, Part, Role};
use crate::domain::model::{Answer, LlmConfig, ModelRequest, ToolChoice, ToolSchema, Usage};
use crate::domain::stock;
use serde_json::Value;
use std::sync::Arc;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    pub text: String,
    pub system: Option<String>,
    /// In place of the agent's own model.
    pub model: Option<LlmConfig>,
    /// The JSON schema that the answer has to follow.
    pub schema: Option<Value>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    pub text: String,
    pub model: String,
    pub usage: Usage,
}

#[derive(Clone)]
pub struct Generator {
    house: Arc<House>,
}

/// The tool by whose arguments a model answers in a given form.
const FORM: &str = "answer";

impl Generator {
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self { house }
    }

    /// Asks the agent's model, or another one.
    ///
    /// # Errors
    /// `NoSuchAgent`, `NoSuchModel`; `Model` when the provider gave no answer, or none in the given form.
    pub async fn generate(&self, agent: AgentId, prompt: Prompt) -> Result<Generated, Refused> {
        if self.house.is_draining() {
            return Err(Refused::Draining);
        }
        let store = self.house.store.clone();
        let settings =
            super::reads::blocking(move || store.agent(agent)?.ok_or(Refused::NoSuchAgent(agent)))
                .await?;
        let user = settings.created_by.to_string();
        let wants_form = prompt.schema.is_some();
        let request = request(agent, settings.llm_config, prompt, user);
        let model = self.house.providers.model(&request.config);
        let model = model.map_err(|_| Refused::NoSuchModel(request.config.handle().to_string()))?;
        let answer = model.answer(&request, &mut |_| ()).await;
        let answer = answer.map_err(|error| Refused::Model(error.detail))?;
        let text = if wants_form {
            filled_form(&answer).ok_or_else(|| {
                Refused::Model("the model did not answer in the given form".to_owned())
            })?
        } else {
            spoken(&answer)
        };
        Ok(Generated {
            text,
            model: request.config.model.clone(),
            usage: answer.usage,
        })
    }
}

fn request(agent: AgentId, own: LlmConfig, prompt: Prompt, user: String) -> ModelRequest {
    let mut config = prompt.model.unwrap_or(own);
    let system = prompt.system.unwrap_or_else(|| stock::BARE.to_owned());
    let form = prompt.schema.map(|parameters| ToolSchema {
        name: FORM.to_owned(),
        description: "Gives the answer. Everything that was asked for goes into the arguments."
            .to_owned(),
        parameters,
    });
    let choice = match form {
        Some(_) => ToolChoice::Named(FORM.to_owned()),
        None => ToolChoice::None,
    };
    if form.is_some() {
        // Models that think cannot be made to call something, and a call needs no format beside it.
        config.enable_reasoner = false;
        config.response_format = None;
    }
    let mut message = Message::new(agent, Role::User, clock::now());
    message.content = vec![Part::of_text(prompt.text)];
    ModelRequest {
        config: Arc::new(config),
        system: system.into(),
        messages: vec![Arc::new(message)],
        tools: form.into_iter().collect(),
        choice,
        parallel_calls: false,
        stream: false,
        user,
    }
}

fn spoken(answer: &Answer) -> String {
    answer.parts.iter().filter_map(Part::text).collect()
}

/// The object that a model answered with: the arguments of its call, or its words where it wrote the object there.
fn filled_form(answer: &Answer) -> Option<String> {
    let call = answer.calls.iter().find(|call| call.name == FORM);
    let text = call.map_or_else(|| spoken(answer), |call| call.arguments.clone());
    let value: Value = serde_json::from_str(&text).ok()?;
    value.is_object().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::ToolCall;
    use crate::domain::model::{Finish, Trace};
    use crate::store::testing::llm_config;
    use serde_json::json;

    fn prompt(schema: Option<Value>) -> Prompt {
        Prompt {
            text: "say hi".to_owned(),
            system: None,
            model: None,
            schema,
        }
    }

    fn answer(text: &str, calls: &[(&str, &str)]) -> Answer {
        let call = |(name, arguments): &(&str, &str)| ToolCall {
            id: "call_1".to_owned(),
            name: (*name).to_owned(),
            arguments: (*arguments).to_owned(),
        };
        Answer {
            parts: vec![Part::of_text(text)],
            calls: calls.iter().map(call).collect(),
            finish: Finish::Stop,
            usage: Usage::default(),
            tokens: None,
            request_id: None,
            trace: Trace::default(),
        }
    }

    #[test]
    fn a_bare_prompt_offers_nothing_and_a_form_is_the_only_tool() {
        let user = || "user-1".to_owned();
        let bare = request(AgentId::new(), llm_config(), prompt(None), user());
        assert!(bare.offered().is_empty() && bare.messages.len() == 1);
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let with_form = prompt(Some(schema.clone()));
        let formed = request(AgentId::new(), llm_config(), with_form, user());
        assert_eq!(formed.choice, ToolChoice::Named(FORM.to_owned()));
        assert_eq!(formed.offered()[0].parameters, schema);
        assert!(!formed.config.enable_reasoner);
    }

    #[test]
    fn a_form_is_taken_from_the_call_or_from_words_that_are_one() {
        let call = answer("Here you are.", &[(FORM, "{\"b\": 1, \"a\": 2}")]);
        assert_eq!(filled_form(&call).as_deref(), Some("{\"b\": 1, \"a\": 2}"));
        assert_eq!(filled_form(&answer("{}", &[])).as_deref(), Some("{}"));
        for none in [
            answer("hello", &[]),
            answer("[1]", &[]),
            answer("{}", &[(FORM, "{\"a\":")]),
        ] {
            assert_eq!(filled_form(&none), None);
        }
    }
}
