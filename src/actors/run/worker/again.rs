//! One question to a model: asked once more where it had to call something, could not be made to, and did not.

use crate::domain::forced;
use crate::domain::model::{Answer, Delta, ModelError, ModelRequest};
use crate::providers::Model;

/// The model's answer. Of a second one only the calls are told and kept.
pub(super) async fn answer(
    model: &dyn Model,
    request: &ModelRequest,
    deltas: &mut (dyn FnMut(Delta) + Send),
) -> Result<Answer, ModelError> {
    let first = model.answer(request, deltas).await?;
    if model.forces(request) || !forced::owes_call(&request.choice, &first) {
        return Ok(first);
    }
    let mut calls = |delta| {
        if matches!(delta, Delta::CallName { .. } | Delta::CallArguments { .. }) {
            deltas(delta);
        }
    };
    let second = model.answer(&forced::again(request), &mut calls).await?;
    Ok(forced::joined(first, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::{Part, ToolCall};
    use crate::domain::model::{Finish, ToolChoice, Trace, Usage};
    use crate::store::testing::llm_config;
    use futures_util::future::BoxFuture;
    use std::sync::Arc;

    /// Calls only where it does not think, and says a word either way.
    struct Thinker;

    impl Model for Thinker {
        fn body(&self, _request: &ModelRequest) -> Vec<u8> {
            Vec::new()
        }

        fn forces(&self, request: &ModelRequest) -> bool {
            !request.config.enable_reasoner
        }

        fn answer<'a>(
            &'a self,
            request: &'a ModelRequest,
            deltas: &'a mut (dyn FnMut(Delta) + Send),
        ) -> BoxFuture<'a, Result<Answer, ModelError>> {
            let call = ToolCall {
                id: "call_1".to_owned(),
                name: "look".to_owned(),
                arguments: "{}".to_owned(),
            };
            deltas(Delta::Text("Well.".to_owned()));
            let calls = if request.config.enable_reasoner {
                Vec::new()
            } else {
                deltas(Delta::CallName {
                    call_id: call.id.clone(),
                    name: call.name.clone(),
                });
                vec![call]
            };
            let answer = Answer {
                parts: vec![Part::of_text("Well.")],
                calls,
                finish: Finish::Stop,
                usage: Usage::default(),
                tokens: None,
                request_id: None,
                trace: Trace::default(),
            };
            Box::pin(async move { Ok(answer) })
        }
    }

    #[tokio::test]
    async fn a_model_that_could_not_be_forced_is_asked_twice_and_heard_once() {
        let mut config = llm_config();
        config.enable_reasoner = true;
        let mut request = ModelRequest {
            config: Arc::new(config),
            system: "".into(),
            messages: Vec::new(),
            tools: Arc::default(),
            choice: ToolChoice::Must,
            parallel_calls: false,
            stream: true,
            user: String::new(),
        };
        let mut told = Vec::new();
        let forced = answer(&Thinker, &request, &mut |delta| told.push(delta)).await;
        let forced = forced.unwrap();
        assert_eq!((forced.parts.len(), forced.calls.len()), (1, 1));
        assert!(matches!(told[..], [Delta::Text(_), Delta::CallName { .. }]));
        request.choice = ToolChoice::Free;
        let free = answer(&Thinker, &request, &mut |_| ()).await.unwrap();
        assert!(free.calls.is_empty());
    }
}
