//! `[providers]` of the configuration file: which providers there are and how patient Greenroom is with them.
//!
//! Keys and addresses that are not given here are taken from the environment variables people already have
//! (`OPENAI_API_KEY`, `OLLAMA_BASE_URL`, …; `vendors.rs` has the list). What is given here wins.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// All options. The default is: no provider but what the environment names, and the built-in model.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvidersConfig {
    /// The handle that is used when a request names none, and that `letta/auto` stands for. Without it the built-in
    /// model is the default while no other provider is configured, and then there is none.
    pub default_model: Option<String>,
    /// Context windows in tokens by handle, for models whose endpoint does not tell or tells wrong.
    pub context_windows: BTreeMap<String, u64>,
    pub timeouts: Timeouts,
    pub listing: Listing,
    pub openai: ProviderConfig,
    pub anthropic: ProviderConfig,
    pub google_ai: ProviderConfig,
    pub ollama: ProviderConfig,
    pub vllm: ProviderConfig,
    pub sglang: ProviderConfig,
    pub lmstudio: ProviderConfig,
    pub llamacpp: ProviderConfig,
    pub openrouter: ProviderConfig,
    pub groq: ProviderConfig,
    pub together: ProviderConfig,
    pub deepseek: ProviderConfig,
    pub xai: ProviderConfig,
    pub azure: AzureConfig,
    pub google_vertex: VertexConfig,
    pub bedrock: BedrockConfig,
    /// Any other server that speaks OpenAI's chat completions: `[[providers.custom]]`.
    pub custom: Vec<CustomProvider>,
}

/// One known provider. It is configured when it has a key, or an address that is not its public one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    pub api_key: Option<ApiKey>,
    /// Where the provider is served. Changing it never changes a handle.
    pub base_url: Option<String>,
    /// The models to offer, instead of what the endpoint lists.
    pub models: Vec<String>,
}

/// Azure's OpenAI service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureConfig {
    pub api_key: Option<ApiKey>,
    pub base_url: Option<String>,
    /// Of the API.
    pub api_version: Option<String>,
    /// The deployments to offer, instead of what the service lists.
    pub models: Vec<String>,
}

/// Gemini in Google's cloud. It is configured when it has a project and a location.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VertexConfig {
    pub project: Option<String>,
    pub location: Option<String>,
    /// The key file of a service account; without it Google's usual places are looked at.
    pub credentials: Option<PathBuf>,
    pub base_url: Option<String>,
    pub models: Vec<String>,
}

/// Claude in Amazon's cloud. It is configured when it has a region, and a key of its own or both of an account.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BedrockConfig {
    pub region: Option<String>,
    /// A key of Bedrock; goes before the keys of an account.
    pub api_key: Option<ApiKey>,
    pub access_key: Option<ApiKey>,
    pub secret_key: Option<ApiKey>,
    pub session_token: Option<ApiKey>,
    pub base_url: Option<String>,
    pub models: Vec<String>,
}

/// A provider of the operator's own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomProvider {
    /// The part of the handle before the slash.
    pub name: String,
    /// The address up to `/chat/completions`; usually ends in `/v1`.
    pub base_url: String,
    #[serde(default)]
    pub api_key: Option<ApiKey>,
    #[serde(default)]
    pub models: Vec<String>,
}

/// How long a model call may take (runs-and-streaming §9). Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect_ms: u64,
    /// Until a streamed answer begins. An answer that is not streamed has only `call_ms`: its first byte comes when
    /// the model is done, which is not a sign of a dead provider.
    pub first_byte_ms: u64,
    /// Between two pieces of an answer.
    pub idle_ms: u64,
    /// For the whole call, repeats and the pauses between them included.
    pub call_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            first_byte_ms: 120_000,
            idle_ms: 120_000,
            call_ms: 600_000,
        }
    }
}

impl Timeouts {
    pub(crate) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(crate) fn first_byte(&self) -> Duration {
        Duration::from_millis(self.first_byte_ms)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub(crate) fn call(&self) -> Duration {
        Duration::from_millis(self.call_ms)
    }
}

/// How the lists of models are kept. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listing {
    /// How old a provider's list may grow; a provider that could not be reached is left alone as long.
    pub ttl_ms: u64,
    /// How long one provider's list may take. A provider that is slower keeps its last list.
    pub timeout_ms: u64,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            ttl_ms: 60_000,
            timeout_ms: 5_000,
        }
    }
}

impl Listing {
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// A key: never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself, for the request's header.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        let config = ProviderConfig {
            api_key: Some(ApiKey::new("sk-secret")),
            ..ProviderConfig::default()
        };
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn an_unknown_option_is_an_error_and_the_rest_has_defaults() {
        let read = serde_json::from_str::<ProvidersConfig>;
        let config = read(r#"{"openai": {"api_key": "k"}, "timeouts": {"idle_ms": 5}}"#).unwrap();
        assert_eq!(
            (config.timeouts.idle_ms, config.timeouts.connect_ms),
            (5, 10_000)
        );
        assert!(read(r#"{"openai": {"api_kee": "k"}}"#).is_err());
    }
}
