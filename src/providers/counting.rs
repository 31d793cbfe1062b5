//! What a request costs by its provider's own count. It is asked for only to be shown, so a provider that cannot say, or
//! not now, is no failure.

use super::call::Remote;
use super::listing;
use crate::domain::model::ModelRequest;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a count is believed.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// Counts that are kept at most.
const MOST: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// How a provider is asked.
#[derive(Debug)]
pub(crate) struct Question {
    /// After the base.
    pub(crate) path: String,
    pub(crate) body: Value,
    /// Where in the answer the number is.
    pub(crate) answer: &'static str,
}

/// By what was counted and where.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<HashMap<[u8; 32], (Instant, u64)>>);

impl Counts {
    /// `None`: it cannot be counted, or nobody has a key, or the provider did not say.
    pub(crate) async fn count(&self, model: &Remote, request: &ModelRequest) -> Option<u64> {
        let (endpoint, request) = (&*model.endpoint, &*model.as_served(request));
        let question = model.protocol.count(request)?;
        endpoint.key()?;
        let url = format!("{}{}", endpoint.base_url, question.path);
        let body = question.body.to_string();
        let key: [u8; 32] = Sha256::digest(format!("{url}\n{body}")).into();
        if let Some(known) = self.known(&key) {
            return Some(known);
        }
        let post = endpoint.post(&url).map(|post| {
            let headers = model.protocol.headers(request).into_iter();
            headers.fold(post.json(&question.body), |post, (name, value)| {
                post.header(name, value)
            })
        });
        let asked = timeout(PATIENCE, listing::read(endpoint, post))
            .await
            .ok()?;
        let counted = asked
            .inspect_err(|error| tracing::debug!(%error, "a provider did not count"))
            .ok()?
            .get(question.answer)?
            .as_u64()?;
        self.keep(key, counted);
        Some(counted)
    }

    fn known(&self, key: &[u8; 32]) -> Option<u64> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, counted) = kept.get(key)?;
        (at.elapsed() < KEPT_FOR).then_some(*counted)
    }

    fn keep(&self, key: [u8; 32], counted: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.retain(|_, (at, _)| at.elapsed() < KEPT_FOR);
        }
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(key, (Instant::now(), counted));
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::model::ModelRequest;
    use crate::egress::Gate;
    use crate::providers::Providers;
    use crate::providers::testing::{Reply, Server, request};
    use serde_json::{Value, json};
    use std::sync::Arc;

    async fn asking(server: &Server, vendor: &str, model: &str) -> (Providers, ModelRequest) {
        let options =
            json!({vendor: {"api_key": "k", "base_url": server.base_url, "models": [model]}});
        let options = serde_json::from_value(options).unwrap();
        let providers = Providers::new(options, Gate::new(Vec::new()), |_| None).unwrap();
        let handle = format!("{vendor}/{model}");
        let config = providers.configure(Some(&handle)).await.unwrap();
        let mut request = request(model, "hello");
        request.config = Arc::new(config);
        (providers, request)
    }

    fn body(request: &str) -> Value {
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    #[tokio::test]
    async fn a_provider_counts_what_it_would_be_sent_once_an_hour() {
        let server = Server::answering(|request| {
            let keys: Vec<String> = body(request).as_object().unwrap().keys().cloned().collect();
            assert!(
                request.starts_with("POST /v1/messages/count_tokens "),
                "{request}"
            );
            assert_eq!(keys, ["model", "thinking", "system", "messages"]);
            Reply::json(200, r#"{"input_tokens": 42}"#)
        })
        .await;
        let (providers, mut request) = asking(&server, "anthropic", "claude-sonnet-4-5").await;
        for _ in 0..2 {
            assert_eq!(providers.count(&request).await, Some(42));
        }
        assert_eq!(server.requests(), 1);
        request.system = "Something else.".into();
        assert_eq!(providers.count(&request).await, Some(42));
        assert_eq!(server.requests(), 2);

        let server = Server::answering(|request| {
            assert!(request.starts_with("POST /v1/models/gemini-2.5-flash:countTokens "));
            let inner = &body(request)["generateContentRequest"];
            assert_eq!(inner["model"], "models/gemini-2.5-flash");
            assert!(inner["contents"].is_array() && inner["systemInstruction"].is_object());
            Reply::json(200, r#"{"totalTokens": 7}"#)
        })
        .await;
        let (providers, request) = asking(&server, "google_ai", "gemini-2.5-flash").await;
        assert_eq!(providers.count(&request).await, Some(7));
    }

    #[tokio::test]
    async fn one_that_does_not_count_is_no_failure() {
        let server = Server::scripted(vec![Reply::json(500, "{}"), Reply::json(200, "[]")]).await;
        let (providers, request) = asking(&server, "anthropic", "claude-sonnet-4-5").await;
        for _ in 0..2 {
            assert_eq!(providers.count(&request).await, None);
        }
        let (providers, request) = asking(&server, "openai", "gpt-4o").await;
        assert_eq!(providers.count(&request).await, None);
        assert_eq!(server.requests(), 2);
    }
}
