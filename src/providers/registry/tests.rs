use super::*;
use crate::providers::testing::{self, Reply, Server, request};
use crate::providers::vendors::OPENAI_BASE;
use serde_json::{Value, json};
use std::time::Duration;

fn config(options: Value) -> ProvidersConfig {
    serde_json::from_value(options).unwrap()
}

fn providers(options: Value, environment: &[(&str, &str)]) -> Result<Providers, Vec<String>> {
    let environment = environment.to_vec();
    let find = move |name: &str| {
        environment
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Providers::new(config(options), Gate::new(Vec::new()), find)
}

fn openai_at(base_url: &str) -> Providers {
    providers(json!({}), &[("OPENAI_API_BASE", base_url)]).unwrap()
}

async fn listing(body: Value) -> Server {
    let body = body.to_string();
    Server::answering(move |_| Reply::json(200, &body)).await
}

#[tokio::test]
async fn without_providers_the_built_in_model_is_the_default() {
    let providers = providers(json!({}), &[("OPENAI_API_KEY", "")]).unwrap();
    for handle in [
        None,
        Some("letta/auto"),
        Some("letta/letta-free"),
        Some("greenroom/rehearsal"),
    ] {
        let config = providers.configure(handle).await.unwrap();
        assert_eq!(config.handle.as_deref(), Some("greenroom/rehearsal"));
        assert!(providers.model(&config).is_ok());
    }
    let models = providers.models().await;
    let [
        ModelInfo {
            config,
            provider_type,
            ..
        },
    ] = models.as_slice()
    else {
        panic!("{models:?}")
    };
    assert_eq!(
        (provider_type.as_str(), config.model_endpoint_type.as_str()),
        ("openai", "openai")
    );
    assert_eq!(
        (
            config.provider_name.as_deref(),
            config.model_endpoint.as_deref()
        ),
        (Some("greenroom"), None)
    );
    assert_eq!(
        providers
            .configure(Some("openai/gpt-4o"))
            .await
            .unwrap_err()
            .to_string(),
        "the handle 'openai/gpt-4o' names no configured provider (greenroom)"
    );
}

#[tokio::test]
async fn with_a_provider_the_default_is_what_was_configured_or_nothing() {
    let key = [("OPENAI_API_KEY", "k")];
    let without = providers(json!({}), &key).unwrap();
    assert_eq!(without.configure(None).await, Err(UnknownHandle::NoDefault));
    let options =
        json!({"default_model": "openai/gpt-4o-mini", "openai": {"models": ["gpt-4o-mini"]}});
    let with = providers(options, &key).unwrap();
    let config = with.configure(Some("letta/auto")).await.unwrap();
    assert_eq!(config.handle.as_deref(), Some("openai/gpt-4o-mini"));
}

#[tokio::test]
async fn a_configuration_from_a_handle_has_the_recorded_values() {
    let server = listing(json!({"data": [{"id": "gpt-4o-mini"}]})).await;
    let config = openai_at(&server.base_url)
        .configure(Some("openai-proxy/gpt-4o-mini"))
        .await
        .unwrap();
    assert_eq!(config.handle.as_deref(), Some("openai/gpt-4o-mini"));
    assert_eq!(
        config.model_endpoint.as_deref(),
        Some(server.base_url.as_str())
    );
    assert_eq!(
        (config.context_window, config.max_tokens, config.temperature),
        (128_000, Some(16_384), 1.0)
    );
    assert_eq!(
        (
            config.enable_reasoner,
            config.reasoning_effort,
            config.parallel_tool_calls
        ),
        (false, None, None)
    );
    assert_eq!(
        (
            config.put_inner_thoughts_in_kwargs,
            config.provider_category.as_deref()
        ),
        (Some(false), Some("base"))
    );
}

#[tokio::test]
async fn windows_come_from_the_operator_the_endpoint_or_the_table() {
    let server = listing(json!({"data": [{"id": "qwen", "max_model_len": 40_960}, {"id": "big", "max_model_len": 900_000}]})).await;
    let options =
        json!({"vllm": {"base_url": server.base_url}, "context_windows": {"vllm/big": 500_000}});
    let providers = providers(options, &[]).unwrap();
    for (model, window) in [("qwen", 40_960), ("big", 500_000), ("not-listed", 30_000)] {
        let config = providers
            .configure(Some(&format!("vllm/{model}")))
            .await
            .unwrap();
        assert_eq!(config.context_window, window, "{model}");
    }
    let models = providers.models().await;
    assert_eq!(
        models
            .iter()
            .map(|info| info.max_context_window)
            .collect::<Vec<_>>(),
        [128_000, 40_960, 900_000]
    );
    assert_eq!(server.requests(), 1, "the list is kept");
}

#[tokio::test]
async fn a_vendors_list_decides_and_an_unreachable_one_is_trusted() {
    let chosen = json!({"groq": {"api_key": "k", "models": ["llama-3.3-70b"]}});
    let chosen = providers(chosen, &[]).unwrap();
    assert!(chosen.configure(Some("groq/llama-3.3-70b")).await.is_ok());
    assert!(matches!(
        chosen.configure(Some("groq/other")).await,
        Err(UnknownHandle::NoModel(_))
    ));
    let dead = openai_at("http://127.0.0.1:1/v1");
    assert!(dead.configure(Some("openai/gpt-4o")).await.is_ok());
}

#[tokio::test]
async fn one_dead_endpoint_neither_breaks_nor_delays_the_list() {
    let silent = Server::scripted(vec![Reply::Stall(String::new())]).await;
    let live = listing(json!({"data": [{"id": "m"}]})).await;
    let options = json!({
        "listing": {"timeout_ms": 100},
        "vllm": {"base_url": silent.base_url},
        "custom": [{"name": "mine", "base_url": live.base_url}],
    });
    let providers = providers(options, &[]).unwrap();
    let handles = async || -> Vec<String> {
        providers
            .models()
            .await
            .into_iter()
            .filter_map(|info| info.config.handle)
            .collect()
    };
    let listed = tokio::time::timeout(Duration::from_secs(5), handles())
        .await
        .unwrap();
    assert_eq!(listed, ["greenroom/rehearsal", "mine/m"]);
    assert_eq!(handles().await, listed);
    assert_eq!(
        silent.requests(),
        1,
        "a dead endpoint is left alone for a while"
    );
    let counts: Vec<Option<usize>> = providers
        .summary()
        .into_iter()
        .map(|line| line.models)
        .collect();
    assert_eq!(counts, [Some(1), None, Some(1)]);
}

#[tokio::test]
async fn the_background_asks_before_a_list_is_too_old() {
    let server = listing(json!({"data": [{"id": "m"}]})).await;
    let options = json!({"listing": {"ttl_ms": 2_000}, "vllm": {"base_url": server.base_url}});
    let providers = providers(options, &[]).unwrap();
    assert_eq!(providers.refresh_every(), Duration::from_secs(1));
    providers.models().await;
    providers.refresh().await;
    assert_eq!(server.requests(), 1, "it is young");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    providers.models().await;
    assert_eq!(server.requests(), 1, "it may still be shown");
    providers.refresh().await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn ollama_is_asked_in_its_own_words() {
    let server = Server::answering(|request| {
        let body = if request.starts_with("GET /api/tags") {
            json!({"models": [{"name": "qwen3:8b"}, {"name": "nomic"}]})
        } else if request.contains("qwen3") {
            json!({"capabilities": ["tools"], "model_info": {"qwen3.context_length": 40_960}})
        } else {
            json!({"capabilities": ["embedding"], "model_info": {"bert.embedding_length": 768}})
        };
        Reply::json(200, &body.to_string())
    })
    .await;
    let root = server.base_url.trim_end_matches("/v1").to_owned();
    let providers = providers(json!({}), &[("OLLAMA_BASE_URL", &root)]).unwrap();
    let config = providers.configure(Some("ollama/qwen3:8b")).await.unwrap();
    assert_eq!(
        (config.context_window, config.model_endpoint),
        (40_960, Some(server.base_url.clone()))
    );
    assert_eq!(
        providers
            .configure_embedding("ollama/nomic")
            .await
            .unwrap()
            .embedding_dim,
        768
    );
}

#[tokio::test]
async fn google_lists_in_pages_what_can_be_asked_of_a_model() {
    let server = Server::answering(|request| {
        let model = |name: &str, method: &str| {
            json!({"name": format!("models/{name}"), "inputTokenLimit": 1_048_576, "supportedGenerationMethods": [method, "countTokens"]})
        };
        let head = request.to_lowercase();
        assert!(head.contains("x-goog-api-key: k") && !head.contains("authorization"));
        let page = if request.starts_with("GET /v1/models?pageSize=1000 ") {
            json!({"models": [model("gemini-2.5-flash", "generateContent"), model("veo-3", "predictLongRunning")], "nextPageToken": "a/b="})
        } else {
            assert!(request.starts_with("GET /v1/models?pageSize=1000&pageToken=a%2Fb%3D "));
            json!({"models": [model("gemini-2.5-flash-image", "generateContent"), model("gemini-embedding-001", "embedContent")]})
        };
        Reply::json(200, &page.to_string())
    })
    .await;
    let options = json!({"google_ai": {"api_key": "k", "base_url": server.base_url}});
    let providers = providers(options, &[]).unwrap();
    let models = providers.models().await;
    let [_, flash] = models.as_slice() else {
        panic!("{models:?}")
    };
    assert_eq!(
        (flash.provider_type.as_str(), flash.max_context_window),
        ("google_ai", 1_048_576)
    );
    let config = &flash.config;
    assert_eq!(
        (
            config.handle.as_deref(),
            config.model_endpoint_type.as_str()
        ),
        (Some("google_ai/gemini-2.5-flash"), "google_ai")
    );
    assert_eq!(
        (config.max_tokens, config.enable_reasoner),
        (Some(65_536), true)
    );
    let embeddings = providers.embedding_models().await;
    assert_eq!(
        (
            embeddings[0].config.embedding_model.as_str(),
            embeddings[0].config.embedding_dim,
            embeddings.len()
        ),
        ("gemini-embedding-001", 3_072, 1)
    );
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn openais_embeddings_exist_wherever_it_is_configured() {
    let providers = openai_at("http://127.0.0.1:1/v1");
    let config = providers
        .configure_embedding("openai/text-embedding-3-large")
        .await
        .unwrap();
    assert_eq!(
        (
            config.embedding_dim,
            config.embedding_chunk_size,
            config.batch_size
        ),
        (3_072, Some(300), 32)
    );
    assert_eq!(providers.embedding_models().await.len(), 3);
    assert!(providers.configure_embedding("openai/other").await.is_err());
}

#[tokio::test]
async fn a_whole_configuration_uses_the_configured_address_and_no_other_provider() {
    let server = Server::scripted(vec![Reply::json(
        200,
        r#"{"choices":[{"message":{"content":"hi"}}]}"#,
    )])
    .await;
    let providers = openai_at(&server.base_url);
    let mut whole = config_for(
        "openai",
        "openai",
        Some("https://api.openai.com/v1"),
        "gpt-4o",
        128_000,
    );
    (whole.handle, whole.provider_name) = (None, None);
    let mut request = request("gpt-4o", "hello");
    request.config = Arc::new(whole.clone());
    providers
        .model(&whole)
        .unwrap()
        .answer(&request, &mut |_| ())
        .await
        .unwrap();
    assert_eq!(server.requests(), 1);

    whole.handle = Some("vllm/private".to_owned());
    let error = providers.model(&whole).err().unwrap();
    assert_eq!(error.class, ModelErrorClass::NotFound);
}

#[test]
fn only_openais_own_reasoning_models_are_asked_through_responses() {
    let path = |base_url: &str, model: &str| {
        let request = request(model, "hello");
        let endpoint = testing::endpoint(base_url);
        protocol(&endpoint, &request.config).path(&request)
    };
    for model in ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5.4-fast"] {
        assert_eq!(path(OPENAI_BASE, model), "/responses", "{model}");
    }
    for model in ["gpt-4o-mini", "gpt-4.1", "gpt-5-chat-latest"] {
        assert_eq!(path(OPENAI_BASE, model), "/chat/completions", "{model}");
    }
    let own = "http://127.0.0.1:8000/v1";
    assert_eq!(path(own, "gpt-5"), "/chat/completions");
}
