//! Which models an endpoint has: read from it now and then, kept in between, never in anybody's way.

use super::catalog::{self, Claude};
use super::config::Listing;
use super::endpoint::{Endpoint, causes};
use super::vendors::{ANTHROPIC_BASE, ListingStyle};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long Ollama may take to describe one model.
const SHOW_PATIENCE: Duration = Duration::from_secs(2);
/// Models that are described at the same time.
const SHOWN_AT_ONCE: usize = 8;
/// Bytes of a list that are read.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;
/// Pages of one list that are read; up to 1,000 models are on one.
const MAX_PAGES: usize = 20;

/// A model as its endpoint lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) purpose: Purpose,
    /// Tokens, if the endpoint says.
    pub(crate) window: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Chat,
    Embedding {
        dim: u64,
    },
    /// Known, and not offered: speech, images, models that take no tools.
    Other,
}

/// One endpoint's list, with its age.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    state: RwLock<State>,
    /// Held by the one that asks the endpoint.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// The last list that could be read.
    models: Option<Arc<[Listed]>>,
    asked: Option<Instant>,
}

impl Cache {
    /// The last list, without asking.
    pub(crate) fn known(&self) -> Option<Arc<[Listed]>> {
        self.state().models
    }

    /// The list, asked for again when it is too old. An endpoint that does not answer in time keeps its last list and
    /// is left alone for as long as a list lives. `None`: it never gave one.
    pub(crate) async fn models(
        &self,
        endpoint: &Endpoint,
        settings: &Listing,
    ) -> Option<Arc<[Listed]>> {
        let state = self.state();
        if state.is_fresh(settings) {
            return state.models;
        }
        let asking = match &state.models {
            // Somebody else is on the way: what we have is good enough meanwhile.
            Some(_) => self.asking.try_lock().ok(),
            None => Some(self.asking.lock().await),
        };
        if asking.is_some() && !self.state().is_fresh(settings) {
            self.ask(endpoint, settings).await;
        }
        self.known()
    }

    async fn ask(&self, endpoint: &Endpoint, settings: &Listing) {
        let patience = Duration::from_millis(settings.timeout_ms);
        let answer = timeout(patience, fetch(endpoint))
            .await
            .unwrap_or_else(|_| Err(format!("no list after {patience:?}")));
        let mut state = self
            .state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.asked = Some(Instant::now());
        match answer {
            Ok(models) => state.models = Some(models.into()),
            Err(reason) => tracing::warn!(
                provider = endpoint.name,
                reason,
                "cannot list the models of a provider"
            ),
        }
    }

    fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl State {
    fn is_fresh(&self, settings: &Listing) -> bool {
        self.asked
            .is_some_and(|asked| asked.elapsed() < Duration::from_millis(settings.ttl_ms))
    }
}

async fn fetch(endpoint: &Endpoint) -> Result<Vec<Listed>, String> {
    match endpoint.dialect.listing {
        ListingStyle::Ollama => ollama(endpoint).await,
        ListingStyle::LmStudio => {
            match get(endpoint, &format!("{}/api/v0/models", endpoint.root())).await {
                Ok(list) => Ok(items(&list).iter().filter_map(lmstudio_model).collect()),
                // Versions before 0.3.6 have only the list that everybody has.
                Err(_) => openai(endpoint).await,
            }
        }
        ListingStyle::OpenAi => openai(endpoint).await,
        ListingStyle::Anthropic => anthropic(endpoint).await,
        ListingStyle::Gemini => gemini(endpoint).await,
    }
}

async fn openai(endpoint: &Endpoint) -> Result<Vec<Listed>, String> {
    let list = get(endpoint, &format!("{}/models", endpoint.base_url)).await?;
    let official = endpoint.is_official();
    Ok(items(&list)
        .iter()
        .filter_map(|model| openai_model(model, official))
        .collect())
}

async fn ollama(endpoint: &Endpoint) -> Result<Vec<Listed>, String> {
    let list = get(endpoint, &format!("{}/api/tags", endpoint.root())).await?;
    let models = list
        .get("models")
        .and_then(Value::as_array)
        .ok_or("the list has no models")?;
    let names: Vec<String> = models
        .iter()
        .filter_map(|model| Some(model.get("name")?.as_str()?.to_owned()))
        .collect();
    let described = stream::iter(names).map(|name| async move {
        let url = format!("{}/api/show", endpoint.root());
        let ask = async { read(endpoint.post(&url)?.json(&json!({"model": name}))).await };
        let shown = timeout(SHOW_PATIENCE, ask).await.ok()?.ok()?;
        Some(ollama_model(name, &shown))
    });
    Ok(described
        .buffered(SHOWN_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await)
}

async fn anthropic(endpoint: &Endpoint) -> Result<Vec<Listed>, String> {
    let official = endpoint.base_url == ANTHROPIC_BASE;
    let next = |page: &Value| {
        let has_more = page.get("has_more") == Some(&json!(true));
        let last = page.get("last_id").filter(|_| has_more)?;
        last.as_str().map(str::to_owned)
    };
    let models = in_pages(endpoint, "limit", "after_id", next).await?;
    let model = |model| anthropic_model(model, official);
    Ok(models.iter().filter_map(model).collect())
}

async fn gemini(endpoint: &Endpoint) -> Result<Vec<Listed>, String> {
    let next = |page: &Value| page.get("nextPageToken")?.as_str().map(str::to_owned);
    let models = in_pages(endpoint, "pageSize", "pageToken", next).await?;
    Ok(models.iter().filter_map(gemini_model).collect())
}

/// The models of a list that comes in pages. `size` and `after` are words of the query; `next` reads what a page says
/// of the one after it.
async fn in_pages(
    endpoint: &Endpoint,
    size: &str,
    after: &str,
    next: impl Fn(&Value) -> Option<String>,
) -> Result<Vec<Value>, String> {
    let url = format!("{}/models", endpoint.base_url);
    let mut query = vec![(size, "1000".to_owned())];
    let mut models = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = read(endpoint.get(&url)?.query(&query)).await?;
        models.extend_from_slice(items(&page));
        match next(&page).filter(|next| !next.is_empty()) {
            Some(next) => {
                query.truncate(1);
                query.push((after, next));
            }
            None => break,
        }
    }
    Ok(models)
}

async fn get(endpoint: &Endpoint, url: &str) -> Result<Value, String> {
    read(endpoint.get(url)?).await
}

async fn read(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let sent = request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let mut response = sent.map_err(|error| causes(&error))?;
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| causes(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_LIST_BYTES {
            return Err("the list is too long".to_owned());
        }
    }
    serde_json::from_slice(&body).map_err(|error| format!("the list is not JSON: {error}"))
}

/// `{"data": […]}`, (Google) `{"models": […]}`, or (Together) the array itself.
fn items(list: &Value) -> &[Value] {
    list.get("data")
        .or(list.get("models"))
        .unwrap_or(list)
        .as_array()
        .map_or(&[], Vec::as_slice)
}

fn openai_model(model: &Value, official: bool) -> Option<Listed> {
    let id = model.get("id")?.as_str()?.to_owned();
    // vLLM and SGLang, OpenRouter and Together, Groq, llama.cpp.
    let paths = [
        "/max_model_len",
        "/context_length",
        "/context_window",
        "/meta/n_ctx_train",
    ];
    let window = paths
        .iter()
        .find_map(|path| model.pointer(path)?.as_u64())
        .filter(|tokens| *tokens > 0);
    let kind = model.get("type").and_then(Value::as_str);
    let parameters = model.get("supported_parameters").and_then(Value::as_array);
    let takes_tools =
        parameters.is_none_or(|parameters| parameters.iter().any(|name| name == "tools"));
    let chats =
        kind.is_none_or(|kind| matches!(kind, "chat" | "language" | "llm" | "model" | "code"));
    let purpose = match catalog::embedding_dim(&id) {
        Some(dim) => Purpose::Embedding { dim },
        None if official && !catalog::converses_at_openai(&id) => Purpose::Other,
        None if catalog::embeds(&id) || !chats || !takes_tools => Purpose::Other,
        None => Purpose::Chat,
    };
    Some(Listed {
        id,
        purpose,
        window,
    })
}

fn anthropic_model(model: &Value, official: bool) -> Option<Listed> {
    let id = model.get("id")?.as_str()?;
    let window = model.get("max_input_tokens").and_then(Value::as_u64);
    let purpose = if catalog::embeds(id) {
        Purpose::Other
    } else {
        Purpose::Chat
    };
    Some(Listed {
        id: if official { Claude::undated(id) } else { id }.to_owned(),
        purpose,
        window: window.filter(|tokens| *tokens > 0),
    })
}

fn lmstudio_model(model: &Value) -> Option<Listed> {
    let id = model.get("id")?.as_str()?.to_owned();
    let purpose = match model.get("type").and_then(Value::as_str) {
        Some("llm" | "vlm") => Purpose::Chat,
        Some("embeddings") => Purpose::Embedding { dim: 768 },
        _ => Purpose::Other,
    };
    let window = ["loaded_context_length", "max_context_length"]
        .iter()
        .find_map(|field| model.get(field)?.as_u64());
    Some(Listed {
        id,
        purpose,
        window,
    })
}

fn ollama_model(id: String, shown: &Value) -> Listed {
    let facts = shown.get("model_info").and_then(Value::as_object);
    let fact = |ending: &str| {
        facts?
            .iter()
            .find(|(name, _)| name.ends_with(ending))?
            .1
            .as_u64()
    };
    let capabilities = shown.get("capabilities").and_then(Value::as_array);
    let can = |what: &str| capabilities.is_some_and(|list| list.iter().any(|word| word == what));
    let purpose = match fact(".embedding_length") {
        Some(dim) if can("embedding") => Purpose::Embedding { dim },
        // Before 0.6 there were no capabilities to tell by.
        _ if can("tools") || capabilities.is_none() => Purpose::Chat,
        _ => Purpose::Other,
    };
    Listed {
        id,
        purpose,
        window: Some(fact(".context_length").unwrap_or(catalog::MAX_DEFAULT_WINDOW)),
    }
}

fn gemini_model(model: &Value) -> Option<Listed> {
    let name = model.get("name")?.as_str()?;
    let id = name.strip_prefix("models/").unwrap_or(name).to_owned();
    let methods = model
        .get("supportedGenerationMethods")
        .and_then(Value::as_array);
    let can = |what: &str| methods.is_some_and(|list| list.iter().any(|method| method == what));
    let purpose = if can("generateContent") && catalog::converses_at_google(&id) {
        Purpose::Chat
    } else {
        match catalog::embedding_dim(&id).filter(|_| can("embedContent")) {
            Some(dim) => Purpose::Embedding { dim },
            None => Purpose::Other,
        }
    };
    let window = model
        .get("inputTokenLimit")
        .and_then(Value::as_u64)
        .filter(|tokens| *tokens > 0);
    Some(Listed {
        id,
        purpose,
        window,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_read_by_its_own_words() {
        let read = |model: Value| openai_model(&model, false).unwrap();
        let vllm = read(json!({"id": "qwen", "object": "model", "max_model_len": 4096}));
        assert_eq!((vllm.purpose, vllm.window), (Purpose::Chat, Some(4_096)));
        assert_eq!(
            read(json!({"id": "x", "supported_parameters": ["seed"]})).purpose,
            Purpose::Other
        );
        assert_eq!(
            read(json!({"id": "x", "type": "image"})).purpose,
            Purpose::Other
        );
        assert_eq!(
            read(json!({"id": "text-embedding-3-small"})).purpose,
            Purpose::Embedding { dim: 1_536 }
        );
        assert_eq!(
            openai_model(&json!({"id": "gpt-4o-audio"}), true)
                .unwrap()
                .purpose,
            Purpose::Other
        );
        let studio =
            lmstudio_model(&json!({"id": "q", "type": "vlm", "max_context_length": 32768}))
                .unwrap();
        assert_eq!(
            (studio.purpose, studio.window),
            (Purpose::Chat, Some(32_768))
        );
    }

    #[test]
    fn claude_is_listed_without_its_date_by_anthropic_itself() {
        let model = json!({"type": "model", "id": "claude-haiku-4-5-20251001", "display_name": "x", "max_input_tokens": 200_000});
        let official = anthropic_model(&model, true).unwrap();
        assert_eq!(
            (official.id.as_str(), official.purpose, official.window),
            ("claude-haiku-4-5", Purpose::Chat, Some(200_000))
        );
        let other = anthropic_model(&model, false).unwrap();
        assert_eq!(other.id, "claude-haiku-4-5-20251001");
    }

    #[test]
    fn ollama_says_what_a_model_can() {
        let shown = |capabilities: Value| json!({"capabilities": capabilities, "model_info": {"qwen3.context_length": 40960, "qwen3.embedding_length": 4096}});
        let purpose = |capabilities| ollama_model("m".to_owned(), &shown(capabilities)).purpose;
        assert_eq!(purpose(json!(["completion", "tools"])), Purpose::Chat);
        assert_eq!(purpose(json!(["completion"])), Purpose::Other);
        assert_eq!(
            purpose(json!(["embedding"])),
            Purpose::Embedding { dim: 4_096 }
        );
        assert_eq!(
            ollama_model("m".to_owned(), &shown(json!(["tools"]))).window,
            Some(40_960)
        );
    }
}
