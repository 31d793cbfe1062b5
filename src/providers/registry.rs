//! All providers of this Greenroom: what a handle stands for, which model a configuration means, what there is to
//! choose from.

use super::Model;
use super::added::{self, Prepared};
use super::call::Remote;
use super::catalog::{self, MAX_DEFAULT_WINDOW};
use super::config::{Listing, ProvidersConfig, Timeouts};
use super::counting::Counts;
use super::endpoint::Endpoint;
use super::listing::{self, Listed};
use super::protocol::Protocol;
use super::provider::{NotOffered, Provider, config_for};
use super::rehearsal::{self, Rehearsal};
use super::responses::Responses;
use super::setup::{self, Setup};
use super::vendors::{self, canonical, canonical_name};
use crate::domain::id::ProviderId;
use crate::domain::model::{
    DEFAULT_ALIASES, EmbeddingConfig, EmbeddingInfo, Handle, LlmConfig, ModelError,
    ModelErrorClass, ModelInfo, ModelRequest,
};
use crate::domain::provider::{Provider as Record, ProviderCategory};
use crate::egress::Gate;
use futures_util::future::join_all;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::timeout;

/// How long the lists wait for an endpoint that never gave its own: the background asks it, so this is for the first
/// moments only.
const FIRST_LIST: Duration = Duration::from_secs(1);
/// Between two rounds of the background, at least and at most.
const ROUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));

/// The providers and their models. Cheap to clone; clones share lists and connections.
#[derive(Debug, Clone)]
pub struct Providers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    configured: Vec<Arc<Provider>>,
    /// What clients added, in the order in which they did.
    added: RwLock<Vec<Prepared>>,
    gate: Gate,
    timeouts: Timeouts,
    default_model: Option<Handle>,
    context_windows: BTreeMap<String, u64>,
    listing: Listing,
    counts: Counts,
}

/// Why a handle gives no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownHandle {
    /// No handle was given, or an alias of the default, and no default is configured.
    #[error("no model is named, and providers.default_model is not configured")]
    NoDefault,
    #[error("'{0}' is not a handle, expected 'provider/model'")]
    Malformed(String),
    #[error("the handle '{handle}' names no configured provider ({configured})")]
    NoProvider { handle: String, configured: String },
    #[error("the provider '{}' has no model '{}'", .0.provider, .0.model)]
    NoModel(Handle),
}

/// One line of what `serve` says about models at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSummary {
    pub name: String,
    /// `None` for the built-in provider.
    pub base_url: Option<String>,
    /// Models for conversation; `None` while the endpoint has not given a list.
    pub models: Option<usize>,
}

/// Which provider a configuration means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Of one that a client added.
    pub id: Option<ProviderId>,
    pub name: String,
    pub category: ProviderCategory,
}

impl Providers {
    /// Reads configuration and environment; nothing is asked of the network. `gate` says where those may be that clients
    /// add. `variable` looks up an environment variable; an empty one counts as unset, and what the configuration gives
    /// wins.
    ///
    /// # Errors
    /// All problems, each naming its option.
    pub fn new(
        config: ProvidersConfig,
        gate: Gate,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let Setup {
            providers,
            default_model,
        } = setup::read(&config, variable)?;
        let ProvidersConfig {
            context_windows,
            listing,
            timeouts,
            ..
        } = config;
        Ok(Self {
            inner: Arc::new(Inner {
                configured: providers,
                added: RwLock::default(),
                gate,
                timeouts,
                default_model,
                context_windows,
                listing,
                counts: Counts::default(),
            }),
        })
    }

    /// The model that a configuration names, at the address its provider is configured with: a client names models,
    /// never addresses (a key must not travel to an address that its owner did not choose).
    ///
    /// # Errors
    /// `NotFound` when no configured provider fits.
    pub fn model(&self, config: &LlmConfig) -> Result<Arc<dyn Model>, ModelError> {
        let handle = canonical(config.handle());
        if handle == rehearsal::handle() {
            return Ok(Arc::new(Rehearsal));
        }
        self.remote(config)
            .map(|remote| Arc::new(remote) as Arc<dyn Model>)
    }

    /// What a request costs by its provider's own count; `None` where that cannot be had.
    pub async fn count(&self, request: &ModelRequest) -> Option<u64> {
        let model = self.remote(&request.config).ok()?;
        self.inner.counts.count(&model, request).await
    }

    /// Who answers for a configuration, if anybody does.
    pub fn identity(&self, config: &LlmConfig) -> Option<Identity> {
        let endpoint = self.meant(config)?.endpoint.clone();
        let category = endpoint.category();
        let added = self.read_added();
        let record = added
            .iter()
            .find(|added| added.provider.endpoint.name == endpoint.name);
        Some(Identity {
            id: record
                .filter(|_| category == ProviderCategory::Byok)
                .map(|record| record.id),
            name: endpoint.name.clone(),
            category,
        })
    }

    fn meant(&self, config: &LlmConfig) -> Option<Arc<Provider>> {
        match &config.handle {
            // Never another provider than the one that is named: a conversation is not for everybody.
            Some(_) => self.provider(&canonical(config.handle()).provider),
            None => self.by_description(config),
        }
    }

    pub(super) fn remote(&self, config: &LlmConfig) -> Result<Remote, ModelError> {
        let provider = self.meant(config);
        let handle = canonical(config.handle());
        let provider = provider.ok_or_else(|| ModelError {
            class: ModelErrorClass::NotFound,
            detail: format!(
                "there is no provider '{}' for the model {handle}: it was deleted, or is not configured",
                handle.provider
            ),
        })?;
        Ok(Remote {
            successor: provider.successor(&config.model),
            endpoint: provider.endpoint.clone(),
            protocol: protocol(&provider.endpoint, config),
        })
    }

    /// The provider of a configuration that was given whole and without a handle: by its name, its address, its type.
    /// Those that clients added have to be named.
    fn by_description(&self, config: &LlmConfig) -> Option<Arc<Provider>> {
        let first = |fits: &dyn Fn(&Provider) -> bool| {
            let mut configured = self.inner.configured.iter();
            configured.find(|provider| fits(provider)).cloned()
        };
        let kind = config.model_endpoint_type.as_str();
        let address = config
            .model_endpoint
            .as_deref()
            .map(|url| url.trim_end_matches('/'));
        let named = config
            .provider_name
            .as_deref()
            .and_then(|name| self.provider(name));
        named
            .or_else(|| first(&|provider| Some(provider.endpoint.base_url.as_str()) == address))
            .or_else(|| first(&|provider| provider.endpoint.name == canonical_name(kind)))
            .or_else(|| first(&|provider| provider.endpoint.endpoint_type == kind))
    }

    /// The configuration that a handle stands for, aliases resolved; `None` is the default model. May ask the
    /// provider for its list, and then takes at most as long as that may.
    ///
    /// # Errors
    /// The handle is not known. A provider whose list cannot be had, or whose address is the operator's own, is
    /// trusted to have the model.
    pub async fn configure(&self, handle: Option<&str>) -> Result<LlmConfig, UnknownHandle> {
        let handle = match handle {
            Some(text) if !DEFAULT_ALIASES.contains(&text) => parse(text)?,
            _ => self
                .inner
                .default_model
                .clone()
                .ok_or(UnknownHandle::NoDefault)?,
        };
        if handle == rehearsal::handle() {
            return Ok(built_in().config);
        }
        let provider = self.named(&handle)?;
        let settings = &self.inner.listing;
        let window = provider.window(&handle.model, settings).await;
        // The list is known by now, if it can be.
        if let Some(successor) = provider.successor(&handle.model) {
            let window = provider.window(successor, settings).await.unwrap_or(None);
            return Ok(self.info(&provider, successor, window).config);
        }
        match window {
            Ok(window) => Ok(self.info(&provider, &handle.model, window).config),
            Err(NotOffered) => Err(UnknownHandle::NoModel(handle)),
        }
    }

    /// The handle that requests get that name none.
    pub fn default_handle(&self) -> Option<&Handle> {
        self.inner.default_model.as_ref()
    }

    /// The models for conversation, of all providers at once: one that does not answer in time shows its last list.
    pub async fn models(&self) -> Vec<ModelInfo> {
        let mut models = vec![built_in()];
        for (provider, listed) in self.lists().await {
            let offers = provider.offers(listed.as_deref()).into_iter();
            models.extend(offers.map(|(model, window)| self.info(&provider, &model, window)));
        }
        models
    }

    /// The embedding models, of all providers at once.
    pub async fn embedding_models(&self) -> Vec<EmbeddingInfo> {
        let lists = self.lists().await;
        lists
            .into_iter()
            .flat_map(|(provider, listed)| provider.embeddings(listed.as_deref()))
            .collect()
    }

    /// The configuration of an embedding model. May ask the provider for its list.
    ///
    /// # Errors
    /// The handle is not known.
    pub async fn configure_embedding(
        &self,
        handle: &str,
    ) -> Result<EmbeddingConfig, UnknownHandle> {
        let handle = parse(handle)?;
        let provider = self.named(&handle)?;
        let among = |models: Vec<EmbeddingInfo>| {
            models
                .into_iter()
                .map(|model| model.config)
                .find(|config| config.embedding_model == handle.model)
        };
        if let Some(config) = among(provider.embeddings(provider.cache.known().as_deref())) {
            return Ok(config);
        }
        let listed = provider.list(&self.inner.listing).await;
        among(provider.embeddings(listed.as_deref())).ok_or(UnknownHandle::NoModel(handle))
    }

    /// Asks for the lists that will soon be too old, so that nobody else has to wait for them.
    pub async fn refresh(&self) {
        let providers = self.all();
        let settings = &self.inner.listing;
        let aging = providers
            .iter()
            .filter(|provider| provider.chosen.is_empty());
        let refresh = |provider: &Arc<Provider>| {
            let provider = provider.clone();
            async move { provider.cache.refresh(&provider.endpoint, settings).await }
        };
        join_all(aging.map(refresh)).await;
    }

    /// How often `refresh` should be called.
    pub fn refresh_every(&self) -> Duration {
        // Half of the time that a list lives and no less, or a round would find nothing to do.
        (self.inner.listing.ttl() / 2).clamp(ROUNDS.0, ROUNDS.1)
    }

    /// What is configured, with what is known by now.
    pub fn summary(&self) -> Vec<ProviderSummary> {
        let built_in = ProviderSummary {
            name: rehearsal::PROVIDER.to_owned(),
            base_url: None,
            models: Some(1),
        };
        std::iter::once(built_in)
            .chain(self.all().iter().map(|provider| provider.summary()))
            .collect()
    }

    // What clients add.

    /// Makes a provider of a record, without taking it into use and without asking it anything.
    ///
    /// # Errors
    /// Why it can be no provider, for the client.
    pub fn prepare(&self, record: &Record) -> Result<Prepared, String> {
        added::prepare(record, &self.inner.gate, self.inner.timeouts)
    }

    /// Whether the configuration has this name, or the program keeps it.
    pub fn is_taken(&self, name: &str) -> bool {
        vendors::is_reserved(name) || self.is_configured(name)
    }

    /// Asks a provider for its list now, with its key: both are good if that works. The list is kept.
    ///
    /// # Errors
    /// What it said, or why it said nothing; never the key.
    pub async fn ask(&self, prepared: &Prepared) -> Result<(), ModelError> {
        let (provider, settings) = (&prepared.provider, &self.inner.listing);
        listing::check_key(&provider.endpoint, settings).await?;
        provider.cache.ask_now(&provider.endpoint, settings).await
    }

    /// Takes a provider into use, in the place of the one with its id.
    pub fn seat(&self, prepared: Prepared) {
        let mut added = self.write_added();
        match added.iter_mut().find(|there| there.id == prepared.id) {
            Some(there) => *there = prepared,
            None => added.push(prepared),
        }
    }

    /// Takes exactly these into use.
    pub fn seat_all(&self, prepared: Vec<Prepared>) {
        *self.write_added() = prepared;
    }

    /// Takes a provider out of use; calls that are under way end as they would.
    pub fn unseat(&self, id: ProviderId) {
        self.write_added().retain(|there| there.id != id);
    }

    /// The provider in use that was made of this record.
    pub fn seated(&self, id: ProviderId) -> Option<Prepared> {
        let added = self.read_added();
        added.iter().find(|there| there.id == id).cloned()
    }

    /// When a provider's list was read, whoever asked for it.
    pub fn listed_at(&self, id: ProviderId) -> Option<Timestamp> {
        self.seated(id)?.provider.cache.listed_at()
    }

    fn read_added(&self) -> std::sync::RwLockReadGuard<'_, Vec<Prepared>> {
        let added = self.inner.added.read();
        added.unwrap_or_else(PoisonError::into_inner)
    }

    fn write_added(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Prepared>> {
        let added = self.inner.added.write();
        added.unwrap_or_else(PoisonError::into_inner)
    }

    fn is_configured(&self, name: &str) -> bool {
        let mut configured = self.inner.configured.iter();
        configured.any(|provider| provider.endpoint.name == name)
    }

    /// Those of the configuration, then those that clients added; a name that the configuration has come to use is its.
    fn all(&self) -> Vec<Arc<Provider>> {
        let added = self.read_added();
        let added = added.iter().map(|prepared| &prepared.provider);
        let visible = added.filter(|provider| !self.is_configured(&provider.endpoint.name));
        self.inner
            .configured
            .iter()
            .chain(visible)
            .cloned()
            .collect()
    }

    fn provider(&self, name: &str) -> Option<Arc<Provider>> {
        let mut all = self.all().into_iter();
        all.find(|provider| provider.endpoint.name == name)
    }

    /// The provider of a handle.
    fn named(&self, handle: &Handle) -> Result<Arc<Provider>, UnknownHandle> {
        self.provider(&handle.provider).ok_or_else(|| {
            let names: Vec<String> = self.summary().into_iter().map(|line| line.name).collect();
            UnknownHandle::NoProvider {
                handle: handle.to_string(),
                configured: names.join(", "),
            }
        })
    }

    /// The list of each: none waits longer than a moment for an endpoint that never gave one.
    async fn lists(&self) -> Vec<(Arc<Provider>, Option<Arc<[Listed]>>)> {
        let settings = &self.inner.listing;
        let list = |provider: Arc<Provider>| async move {
            let asked = timeout(FIRST_LIST, provider.list(settings)).await;
            let list = asked.unwrap_or_else(|_| provider.cache.known());
            (provider, list)
        };
        join_all(self.all().into_iter().map(list)).await
    }

    /// A model with the window its operator, its endpoint or its name gives it, in this order.
    fn info(&self, provider: &Provider, model: &str, listed_window: Option<u64>) -> ModelInfo {
        let max_context_window = listed_window.unwrap_or_else(|| catalog::window(model));
        let mut config = provider.config(model, max_context_window);
        let by_hand = config
            .handle
            .as_ref()
            .and_then(|handle| self.inner.context_windows.get(handle));
        config.context_window = by_hand.copied().unwrap_or(config.context_window);
        let max_context_window = max_context_window.max(config.context_window);
        ModelInfo {
            config,
            provider_type: provider.endpoint.provider_type.clone(),
            max_context_window,
        }
    }
}

/// How a model is spoken to. OpenAI's reasoning models get their thoughts back through Responses only, and only
/// OpenAI is sure to have it: servers of one's own rarely do.
fn protocol(endpoint: &Endpoint, config: &LlmConfig) -> &'static dyn Protocol {
    if endpoint.is_official() && catalog::reasons(&config.model) {
        &Responses
    } else {
        endpoint.dialect.protocol
    }
}

fn parse(handle: &str) -> Result<Handle, UnknownHandle> {
    Handle::parse(handle)
        .map(canonical)
        .ok_or_else(|| UnknownHandle::Malformed(handle.to_owned()))
}

/// The rehearsal model as it is listed: strict clients know only a closed list of types.
fn built_in() -> ModelInfo {
    let config = config_for(
        rehearsal::PROVIDER,
        "openai",
        None,
        rehearsal::MODEL,
        MAX_DEFAULT_WINDOW,
    );
    ModelInfo {
        config,
        provider_type: "openai".to_owned(),
        max_context_window: MAX_DEFAULT_WINDOW,
    }
}

#[cfg(test)]
mod tests;
