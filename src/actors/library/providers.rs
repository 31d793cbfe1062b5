//! Model providers that clients add. The handle asks the network, the library never does; what it wrote, it takes into use.

use super::{LibraryHandle, MOST_TRIES, Msg, State};
use crate::actors::reads::blocking;
use crate::actors::refused::Refused;
use crate::domain::clock;
use crate::domain::id::{ProviderId, UserId};
use crate::domain::model::{ModelError, ModelErrorClass};
use crate::domain::provider::{BadProvider, NewProvider, Provider, ProviderChange};
use crate::providers::Prepared;
use crate::store::{Batch, CommitError, Condition, Store};

/// Providers that clients may have added at once: each is asked for its models again and again.
const MOST_PROVIDERS: usize = 256;

impl From<BadProvider> for Refused {
    fn from(bad: BadProvider) -> Self {
        Self::Argument(bad.to_string())
    }
}

impl LibraryHandle {
    /// Adds a provider whose key works, or that cannot be asked at the moment.
    pub async fn create_provider(&self, new: NewProvider, by: UserId) -> Result<Provider, Refused> {
        let providers = &self.house.providers;
        let mut provider = new.create(by, clock::now())?;
        if providers.is_taken(&provider.name) {
            let name = provider.name;
            let text = format!("the name '{name}' belongs to a provider of this server");
            return Err(Refused::Argument(text));
        }
        let (store, name) = (self.house.store.clone(), provider.name.clone());
        if blocking(move || Ok(store.provider_named(&name)?))
            .await?
            .is_some()
        {
            return Err(Refused::ProviderNameTaken(provider.name));
        }
        let prepared = providers.prepare(&provider).map_err(Refused::Argument)?;
        match providers.ask(&prepared).await {
            Ok(()) => provider.last_synced = Some(clock::now()),
            Err(error) if error.class == ModelErrorClass::Authentication => {
                return Err(Refused::Argument(error.detail));
            }
            Err(error) => {
                let (provider, reason) = (&provider.name, error.detail);
                tracing::warn!(provider, reason, "a provider was added that gives no list");
            }
        }
        self.ask(|reply| Msg::CreateProvider(Box::new(provider), prepared, reply))
            .await
    }

    pub async fn modify_provider(
        &self,
        id: ProviderId,
        change: ProviderChange,
    ) -> Result<Provider, Refused> {
        self.ask(|reply| Msg::ModifyProvider(id, Box::new(change), reply))
            .await
    }

    /// Its agents stay as they are, and fail when they ask it.
    pub async fn delete_provider(&self, id: ProviderId) -> Result<(), Refused> {
        self.ask(|reply| Msg::DeleteProvider(id, reply)).await
    }

    /// Tries a key that is not stored.
    ///
    /// # Errors
    /// `KeyRefused`; `Argument` if the provider cannot be asked.
    pub async fn check_new_provider(&self, new: NewProvider, by: UserId) -> Result<(), Refused> {
        let provider = new.create(by, clock::now())?;
        let providers = &self.house.providers;
        let prepared = providers.prepare(&provider).map_err(Refused::Argument)?;
        providers.ask(&prepared).await.map_err(unusable)
    }

    /// Tries the stored key.
    ///
    /// # Errors
    /// As `check_new_provider`.
    pub async fn check_provider(&self, id: ProviderId) -> Result<Provider, Refused> {
        let store = self.house.store.clone();
        let provider = blocking(move || provider(&store, id)).await?;
        let providers = &self.house.providers;
        let prepared = match providers.seated(id) {
            Some(prepared) => prepared,
            None => providers.prepare(&provider).map_err(Refused::Argument)?,
        };
        providers.ask(&prepared).await.map_err(unusable)?;
        Ok(provider)
    }

    /// Reads the provider's list of models now.
    ///
    /// # Errors
    /// As `check_new_provider`; the last list stays.
    pub async fn refresh_provider(&self, id: ProviderId) -> Result<Provider, Refused> {
        self.check_provider(id).await?;
        self.ask(|reply| Msg::NoteSync(id, reply)).await
    }
}

fn unusable(error: ModelError) -> Refused {
    match error.class {
        ModelErrorClass::Authentication => Refused::KeyRefused(error.detail),
        _ => Refused::Argument(error.detail),
    }
}

fn provider(store: &Store, id: ProviderId) -> Result<Provider, Refused> {
    store.provider(id)?.ok_or(Refused::NoSuchProvider(id))
}

impl State {
    /// Takes into use what is stored. One that cannot be read, or be asked any more, costs its own place only.
    pub(super) fn seat_providers(&self) {
        let (stored, unread) = self.house.store.providers();
        for error in unread {
            tracing::error!(%error, "a model provider that was added cannot be read");
        }
        let seat = |provider: &Provider| {
            let name = &provider.name;
            if self.house.providers.is_taken(name) {
                tracing::warn!(
                    name,
                    "the configuration has a provider of the name of an added one, which is passed over"
                );
            }
            let prepared = self.house.providers.prepare(provider);
            prepared
                .inspect_err(|reason| {
                    tracing::error!(name, reason, "an added model provider cannot be used")
                })
                .ok()
        };
        let prepared = stored.iter().filter_map(seat).collect();
        self.house.providers.seat_all(prepared);
        self.house.lists_due();
    }

    pub(super) async fn create_provider(
        &self,
        provider: Provider,
        prepared: Prepared,
    ) -> Result<Provider, Refused> {
        if self.house.store.providers().0.len() >= MOST_PROVIDERS {
            let text = format!("{MOST_PROVIDERS} providers are here, no more are taken");
            return Err(Refused::Argument(text));
        }
        let mut batch = Batch::shared();
        batch.put_provider(&provider);
        self.write_provider(batch).await?;
        self.house.providers.seat(prepared);
        self.house.lists_due();
        Ok(provider)
    }

    pub(super) async fn modify_provider(
        &self,
        id: ProviderId,
        change: &ProviderChange,
    ) -> Result<Provider, Refused> {
        let (changed, prepared) = self
            .rewrite_provider(id, |provider| {
                let changed = change.clone().apply(provider, clock::now())?;
                let prepared = self.house.providers.prepare(&changed);
                Ok((changed, prepared.map_err(Refused::Argument)?))
            })
            .await?;
        self.house.providers.seat(prepared);
        self.house.lists_due();
        Ok(changed)
    }

    pub(super) async fn note_sync(&self, id: ProviderId) -> Result<Provider, Refused> {
        let (synced, ()) = self
            .rewrite_provider(id, |provider| Ok((provider.synced(clock::now()), ())))
            .await?;
        Ok(synced)
    }

    /// Reads, changes, writes on the condition that nobody wrote in between; then again.
    async fn rewrite_provider<T>(
        &self,
        id: ProviderId,
        change: impl Fn(&Provider) -> Result<(Provider, T), Refused>,
    ) -> Result<(Provider, T), Refused> {
        for _ in 0..MOST_TRIES {
            let changed = change(&provider(&self.house.store, id)?)?;
            let mut batch = Batch::shared();
            batch.put_provider(&changed.0);
            match self.write_provider(batch).await {
                Ok(()) => return Ok(changed),
                Err(CommitError::Conflict(Condition::ProviderVersion { .. })) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Overloaded)
    }

    /// Also one whose key cannot be opened any more.
    pub(super) async fn delete_provider(&self, id: ProviderId) -> Result<(), Refused> {
        for _ in 0..MOST_TRIES {
            let stored = self.house.store.provider_version(id)?;
            let (name, version) = stored.ok_or(Refused::NoSuchProvider(id))?;
            let mut batch = Batch::shared();
            batch.delete_provider(id, &name, version);
            match self.write_provider(batch).await {
                Ok(()) => {
                    self.house.providers.unseat(id);
                    return Ok(());
                }
                Err(CommitError::Conflict(_)) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Overloaded)
    }

    /// After a write whose outcome is unknown, what is in use is what the disk says.
    async fn write_provider(&self, batch: Batch) -> Result<(), CommitError> {
        let written = self.house.store.commit(batch).await;
        if matches!(written, Err(CommitError::Failed(_))) {
            self.seat_providers();
        }
        written
    }
}
