//! Which models an endpoint has: read from it now and then, kept in between, never in anybody's way.

use super::catalog::{self, Claude};
use super::config::Listing;
use super::endpoint::{Endpoint, Unsent, causes};
use super::failure::{Complaint, without_keys};
use super::vendors::{ANTHROPIC_BASE, ListingStyle};
use crate::domain::clock;
use crate::domain::model::{ModelError, ModelErrorClass as Class};
use crate::egress;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::fmt::Display;
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
    /// When that list was read.
    listed_at: Option<Timestamp>,
}

impl Cache {
    /// The last list, without asking.
    pub(crate) fn known(&self) -> Option<Arc<[Listed]>> {
        self.state().models
    }

    /// When the last list was read.
    pub(crate) fn listed_at(&self) -> Option<Timestamp> {
        self.state().listed_at
    }

    /// The list, asked for again when it is too old. An endpoint that does not answer in time keeps its last list and
    /// is left alone for as long as a list lives. `None`: it never gave one.
    pub(crate) async fn models(
        &self,
        endpoint: &Endpoint,
        settings: &Listing,
    ) -> Option<Arc<[Listed]>> {
        let state = self.state();
        if state.is_younger(settings.ttl()) {
            return state.models;
        }
        let asking = match &state.models {
            // Somebody else is on the way: what we have is good enough meanwhile.
            Some(_) => self.asking.try_lock().ok(),
            None => Some(self.asking.lock().await),
        };
        if asking.is_some() && !self.state().is_younger(settings.ttl()) {
            self.try_ask(endpoint, settings).await;
        }
        self.known()
    }

    /// Asks again if nobody has for half of the time that a list lives: so none grows too old.
    pub(crate) async fn refresh(&self, endpoint: &Endpoint, settings: &Listing) {
        let half = settings.ttl() / 2;
        if self.state().is_younger(half) {
            return;
        }
        let _asking = self.asking.lock().await;
        if !self.state().is_younger(half) {
            self.try_ask(endpoint, settings).await;
        }
    }

    /// Asks now, whatever the age of the list.
    ///
    /// # Errors
    /// Why there is no new list; the last one stays.
    pub(crate) async fn ask_now(
        &self,
        endpoint: &Endpoint,
        settings: &Listing,
    ) -> Result<(), ModelError> {
        let _asking = self.asking.lock().await;
        self.ask(endpoint, settings).await
    }

    async fn try_ask(&self, endpoint: &Endpoint, settings: &Listing) {
        if let Err(error) = self.ask(endpoint, settings).await {
            let reason = error.detail;
            tracing::warn!(
                provider = endpoint.name,
                reason,
                "cannot list the models of a provider"
            );
        }
    }

    /// Only with `asking` held.
    async fn ask(&self, endpoint: &Endpoint, settings: &Listing) -> Result<(), ModelError> {
        let answer = in_time(endpoint, settings, fetch(endpoint)).await;
        let mut state = self
            .state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.asked = Some(Instant::now());
        state.models = Some(answer?.into());
        state.listed_at = Some(clock::now());
        Ok(())
    }

    fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl State {
    fn is_younger(&self, age: Duration) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < age)
    }
}

/// What the endpoint gives within the time that a list may take.
async fn in_time<T>(
    endpoint: &Endpoint,
    settings: &Listing,
    asking: impl Future<Output = Result<T, ModelError>>,
) -> Result<T, ModelError> {
    let patience = Duration::from_millis(settings.timeout_ms);
    let late = |_| {
        error(
            endpoint,
            Class::Timeout,
            format_args!("gave no list after {patience:?}"),
        )
    };
    timeout(patience, asking).await.map_err(late)?
}

/// Tries the key where the list does not ask for one.
///
/// # Errors
/// What the endpoint said.
pub(crate) async fn check_key(endpoint: &Endpoint, settings: &Listing) -> Result<(), ModelError> {
    let Some(path) = endpoint.dialect.key_check else {
        return Ok(());
    };
    let url = format!("{}{path}", endpoint.base_url);
    in_time(endpoint, settings, get(endpoint, &url))
        .await
        .map(drop)
}

async fn fetch(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
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
        ListingStyle::Azure => azure(endpoint).await,
        ListingStyle::Vertex => vertex(endpoint).await,
        ListingStyle::Bedrock => bedrock(endpoint).await,
    }
}

async fn openai(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let list = get(endpoint, &format!("{}/models", endpoint.base_url)).await?;
    let official = endpoint.is_official();
    Ok(items(&list)
        .iter()
        .filter_map(|model| openai_model(model, official))
        .collect())
}

async fn ollama(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let list = get(endpoint, &format!("{}/api/tags", endpoint.root())).await?;
    let models = list
        .get("models")
        .and_then(Value::as_array)
        .ok_or_else(|| error(endpoint, Class::Unreadable, "gave a list without models"))?;
    let names: Vec<String> = models
        .iter()
        .filter_map(|model| Some(model.get("name")?.as_str()?.to_owned()))
        .collect();
    let described = stream::iter(names).map(|name| async move {
        let url = format!("{}/api/show", endpoint.root());
        let body = json!({"model": name});
        let ask = async { read(endpoint, endpoint.post(&url).map(|post| post.json(&body))).await };
        let shown = timeout(SHOW_PATIENCE, ask).await.ok()?.ok()?;
        Some(ollama_model(name, &shown))
    });
    Ok(described
        .buffered(SHOWN_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await)
}

async fn anthropic(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let official = endpoint.base_url == ANTHROPIC_BASE;
    let next = |page: &Value| {
        let has_more = page.get("has_more") == Some(&json!(true));
        let last = page.get("last_id").filter(|_| has_more)?;
        last.as_str().map(str::to_owned)
    };
    let url = format!("{}/models", endpoint.base_url);
    let models = in_pages(endpoint, &url, (("limit", "1000"), "after_id"), next).await?;
    let model = |model| anthropic_model(model, official);
    Ok(models.iter().filter_map(model).collect())
}

async fn gemini(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let next = |page: &Value| page.get("nextPageToken")?.as_str().map(str::to_owned);
    let url = format!("{}/models", endpoint.base_url);
    let models = in_pages(endpoint, &url, (("pageSize", "1000"), "pageToken"), next).await?;
    Ok(models.iter().filter_map(gemini_model).collect())
}

/// Google's list is the same for all projects.
async fn vertex(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let next = |page: &Value| page.get("nextPageToken")?.as_str().map(str::to_owned);
    let root = endpoint.base_url.split("/v1/projects/").next();
    let url = format!(
        "{}/v1beta1/publishers/google/models",
        root.unwrap_or_default()
    );
    let models = in_pages(endpoint, &url, (("pageSize", "100"), "pageToken"), next).await?;
    Ok(models.iter().filter_map(vertex_model).collect())
}

/// What can be asked in a region is listed by another service than the one that answers.
async fn bedrock(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let next = |page: &Value| page.get("nextToken")?.as_str().map(str::to_owned);
    let root = endpoint
        .base_url
        .replacen("bedrock-runtime.", "bedrock.", 1);
    let url = format!("{root}/inference-profiles");
    let models = in_pages(endpoint, &url, (("maxResults", "1000"), "nextToken"), next).await?;
    Ok(models.iter().filter_map(bedrock_model).collect())
}

/// The models of a list that comes in pages. `size` and `after` are words of the query; `next` reads what a page says
/// of the one after it.
async fn in_pages(
    endpoint: &Endpoint,
    url: &str,
    ((size, count), after): ((&str, &str), &str),
    next: impl Fn(&Value) -> Option<String>,
) -> Result<Vec<Value>, ModelError> {
    let mut query = vec![(size, count.to_owned())];
    let mut models = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = read(endpoint, endpoint.get(url).map(|get| get.query(&query))).await?;
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

/// What is deployed; the older version of the API is the last that tells with a key alone.
async fn azure(endpoint: &Endpoint) -> Result<Vec<Listed>, ModelError> {
    let url = format!(
        "{}/openai/deployments?api-version=2023-03-15-preview",
        endpoint.base_url
    );
    let list = get(endpoint, &url).await?;
    Ok(items(&list).iter().filter_map(azure_deployment).collect())
}

async fn get(endpoint: &Endpoint, url: &str) -> Result<Value, ModelError> {
    read(endpoint, endpoint.get(url)).await
}

/// The JSON that the endpoint answers.
pub(crate) async fn read(
    endpoint: &Endpoint,
    request: Result<RequestBuilder, String>,
) -> Result<Value, ModelError> {
    let request = request.map_err(|reason| error(endpoint, Class::Connection, reason))?;
    let response = endpoint
        .send(request)
        .await
        .map_err(|unsent| match unsent {
            Unsent::Failed(failed) => broken(endpoint, &failed),
            Unsent::Login(why) => {
                let what = format_args!("cannot be asked: {why}");
                error(endpoint, Class::Authentication, what)
            }
        })?;
    let status = response.status();
    let body = body(endpoint, response).await?;
    if !status.is_success() {
        let complaint = Complaint::read(&body);
        let said = match complaint.message.as_str() {
            "" => status.canonical_reason().unwrap_or("no reason given"),
            said => said,
        };
        let class = complaint.class(status.as_u16());
        let what = format_args!("answered {}: {said}", status.as_u16());
        return Err(error(endpoint, class, what));
    }
    serde_json::from_slice(&body).map_err(|failed| {
        let what = format_args!("gave a list that is not JSON: {failed}");
        error(endpoint, Class::Unreadable, what)
    })
}

async fn body(endpoint: &Endpoint, mut response: Response) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    loop {
        let piece = response.chunk().await;
        match piece.map_err(|failed| broken(endpoint, &failed))? {
            Some(piece) => body.extend_from_slice(&piece),
            None => return Ok(body),
        }
        if body.len() > MAX_LIST_BYTES {
            return Err(error(endpoint, Class::Unreadable, "gave too long a list"));
        }
    }
}

fn broken(endpoint: &Endpoint, failed: &reqwest::Error) -> ModelError {
    let why = match egress::refusal(failed) {
        Some(refused) => refused.to_string(),
        None => causes(failed),
    };
    let what = format_args!("cannot be reached: {why}");
    error(endpoint, Class::Connection, what)
}

fn error(endpoint: &Endpoint, class: Class, what: impl Display) -> ModelError {
    let what = without_keys(&what.to_string(), endpoint.key());
    ModelError {
        class,
        detail: format!("{} {what}", endpoint.spoken()),
    }
}

/// `{"data": […]}`, (Google, AWS) an array under another name, or (Together) the array itself.
fn items(list: &Value) -> &[Value] {
    let names = [
        "data",
        "models",
        "publisherModels",
        "inferenceProfileSummaries",
    ];
    names
        .iter()
        .find_map(|name| list.get(name))
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

fn vertex_model(model: &Value) -> Option<Listed> {
    let id = model.get("name")?.as_str()?.rsplit('/').next()?;
    let converses = id.starts_with("gemini-") && catalog::converses_at_google(id);
    let purpose = match converses && !catalog::embeds(id) {
        true => Purpose::Chat,
        false => Purpose::Other,
    };
    Some(Listed {
        id: id.to_owned(),
        purpose,
        window: None,
    })
}

/// Only Claude is spoken to here.
fn bedrock_model(profile: &Value) -> Option<Listed> {
    let id = profile.get("inferenceProfileId")?.as_str()?;
    let active = profile
        .get("status")
        .is_none_or(|status| status == "ACTIVE");
    let purpose = match id.contains("anthropic.claude") && active {
        true => Purpose::Chat,
        false => Purpose::Other,
    };
    Some(Listed {
        id: id.to_owned(),
        purpose,
        window: None,
    })
}

/// A deployment has a name of its own; what it is goes by its model.
fn azure_deployment(deployment: &Value) -> Option<Listed> {
    let ready = deployment
        .get("status")
        .is_none_or(|status| status == "succeeded");
    let id = deployment.get("id").filter(|_| ready)?.as_str()?;
    let model = deployment.get("model").and_then(Value::as_str);
    let model = model.unwrap_or(id);
    let purpose = match catalog::embedding_dim(model) {
        Some(dim) => Purpose::Embedding { dim },
        None if catalog::embeds(model) => Purpose::Other,
        None => Purpose::Chat,
    };
    Some(Listed {
        id: id.to_owned(),
        purpose,
        window: Some(catalog::window(model)),
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
