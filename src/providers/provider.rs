//! One provider, configured or added by a client: its endpoint, its models, and the configurations made of them.

use super::catalog::{self, Claude, MAX_DEFAULT_WINDOW};
use super::config::Listing;
use super::endpoint::Endpoint;
use super::listing::{Cache, Listed, Purpose};
use super::registry::ProviderSummary;
use super::vendors;
use crate::domain::model::{EmbeddingConfig, EmbeddingInfo, LlmConfig};
use crate::domain::provider::ProviderCategory;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) endpoint: Arc<Endpoint>,
    /// What to offer instead of what the endpoint lists.
    pub(crate) chosen: Vec<String>,
    pub(crate) cache: Cache,
}

/// A model that the provider certainly does not have, or has for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOffered;

impl Provider {
    /// The endpoint's list; an operator's own choice of models spares asking.
    pub(crate) async fn list(&self, settings: &Listing) -> Option<Arc<[Listed]>> {
        if self.chosen.is_empty() {
            self.cache.models(&self.endpoint, settings).await
        } else {
            None
        }
    }

    /// The window that the endpoint tells for a model, in tokens. A model that may be there is taken to be there: the
    /// list cannot be had, or the server is the operator's own.
    pub(crate) async fn window(
        &self,
        model: &str,
        settings: &Listing,
    ) -> Result<Option<u64>, NotOffered> {
        if !self.chosen.is_empty() {
            return if self.chosen.iter().any(|chosen| chosen == model) {
                Ok(None)
            } else {
                Err(NotOffered)
            };
        }
        let known = self.cache.known();
        let among = |list: Option<&[Listed]>| {
            let named =
                |listed: &&Listed| listed.id == model || listed.id == Claude::undated(model);
            list?.iter().find(named).cloned()
        };
        let list = if among(known.as_deref()).is_some() {
            known
        } else {
            self.list(settings).await
        };
        match among(list.as_deref()) {
            Some(Listed {
                purpose: Purpose::Embedding { .. },
                ..
            }) => Err(NotOffered),
            Some(listed) => Ok(listed.window),
            None if list.is_none() || self.is_own_server() => Ok(None),
            None => Err(NotOffered),
        }
    }

    /// The model to ask for instead, if the endpoint lists that and no longer the one that is named.
    pub(crate) fn successor(&self, model: &str) -> Option<&'static str> {
        // Vertex does not list all that it has.
        if self.endpoint.vendor() != "google_ai" {
            return None;
        }
        let first = catalog::gemini_successor(model)?;
        let known = self.cache.known()?;
        let lists = |name: &str| known.iter().any(|listed| listed.id == name);
        std::iter::successors(Some(first), |model| catalog::gemini_successor(model))
            .find(|name| lists(name))
            .filter(|_| !lists(model))
    }

    /// Whether the operator chose the address: such servers load models on demand, know aliases, or ignore the name.
    fn is_own_server(&self) -> bool {
        let vendor = vendors::vendor(self.endpoint.vendor());
        vendor.and_then(|vendor| vendor.public_base) != Some(self.endpoint.base_url.as_str())
    }

    /// Models for conversation with the window that the endpoint tells.
    pub(crate) fn offers(&self, listed: Option<&[Listed]>) -> Vec<(String, Option<u64>)> {
        let chosen = self.chosen.iter().map(|model| (model.clone(), None));
        let listed = listed
            .unwrap_or(&[])
            .iter()
            .filter(|model| model.purpose == Purpose::Chat);
        chosen
            .chain(listed.map(|model| (model.id.clone(), model.window)))
            .collect()
    }

    /// Embedding models; OpenAI's own exist wherever it is configured, whatever its list says.
    pub(crate) fn embeddings(&self, listed: Option<&[Listed]>) -> Vec<EmbeddingInfo> {
        let added = self.endpoint.category() == ProviderCategory::Byok;
        let openai = self.endpoint.vendor() == "openai" && (!added || self.endpoint.is_official());
        let known: &[(&str, u64)] = if openai {
            &catalog::OPENAI_EMBEDDINGS
        } else {
            &[]
        };
        let listed = listed
            .unwrap_or(&[])
            .iter()
            .filter_map(|model| match model.purpose {
                Purpose::Embedding { dim } => Some((model.id.as_str(), dim)),
                Purpose::Chat | Purpose::Other => None,
            });
        let listed = listed.filter(|(model, _)| !known.iter().any(|(name, _)| name == model));
        known
            .iter()
            .copied()
            .chain(listed)
            .map(|(model, dim)| self.embedding(model, dim))
            .collect()
    }

    fn embedding(&self, model: &str, dim: u64) -> EmbeddingInfo {
        let endpoint = &*self.endpoint;
        let config = EmbeddingConfig {
            embedding_endpoint_type: endpoint.endpoint_type.clone(),
            embedding_endpoint: Some(endpoint.base_url.clone()),
            embedding_model: model.to_owned(),
            embedding_dim: dim,
            embedding_chunk_size: Some(300),
            handle: Some(format!("{}/{model}", endpoint.name)),
            batch_size: 32,
            azure_endpoint: None,
            azure_version: None,
            azure_deployment: None,
        };
        EmbeddingInfo {
            config,
            provider_name: endpoint.name.clone(),
            provider_type: endpoint.provider_type.clone(),
        }
    }

    /// The configuration of one of its models.
    pub(crate) fn config(&self, model: &str, max_window: u64) -> LlmConfig {
        let endpoint = &*self.endpoint;
        LlmConfig {
            provider_category: Some(endpoint.category().name().to_owned()),
            max_tokens: Some(catalog::max_tokens(endpoint.vendor(), model)),
            ..config_for(
                &endpoint.name,
                &endpoint.endpoint_type,
                Some(&endpoint.base_url),
                model,
                max_window,
            )
        }
    }

    pub(crate) fn summary(&self) -> ProviderSummary {
        let known = self.cache.known();
        let models = (!self.chosen.is_empty() || known.is_some())
            .then(|| self.offers(known.as_deref()).len());
        ProviderSummary {
            name: self.endpoint.name.clone(),
            base_url: Some(self.endpoint.base_url.clone()),
            models,
        }
    }
}

/// A configuration made from a handle (providers-and-context §2).
pub(crate) fn config_for(
    provider: &str,
    endpoint_type: &str,
    endpoint: Option<&str>,
    model: &str,
    max_window: u64,
) -> LlmConfig {
    LlmConfig {
        model: model.to_owned(),
        display_name: None,
        model_endpoint_type: endpoint_type.to_owned(),
        model_endpoint: endpoint.map(str::to_owned),
        provider_name: Some(provider.to_owned()),
        provider_category: Some("base".to_owned()),
        model_wrapper: None,
        context_window: max_window.min(MAX_DEFAULT_WINDOW),
        put_inner_thoughts_in_kwargs: Some(false),
        handle: Some(format!("{provider}/{model}")),
        temperature: 1.0,
        max_tokens: Some(catalog::max_tokens(provider, model)),
        enable_reasoner: catalog::reasons_by_default(endpoint_type, model),
        reasoning_effort: None,
        max_reasoning_tokens: 0,
        effort: None,
        frequency_penalty: None,
        compatibility_type: None,
        verbosity: None,
        tier: None,
        parallel_tool_calls: None,
        response_format: None,
        strict: false,
        return_logprobs: false,
        top_logprobs: None,
        return_token_ids: false,
        tool_call_parser: None,
    }
}
