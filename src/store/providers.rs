//! Model providers that clients added. There are few of them, and their records are short: one value each, the key sealed.

use super::batch::{Batch, Condition, Unsealed};
use super::codec::{self, Kind, Stored, Unreadable};
use super::keys;
use super::record::{Record, record};
use super::seal::SealedProvider;
use super::{ReadError, Store, bad_entry, disk};
use crate::domain::id::ProviderId;
use crate::domain::page::Order;
use crate::domain::provider::{Provider, ProviderKey, ProviderType};
use bincode::{Decode, Encode};

/// Before keys came in pairs.
#[derive(Encode, Decode)]
struct ProviderV1 {
    id: [u8; 16],
    name: String,
    provider_type: String,
    key: String,
    base_url: Option<String>,
    region: Option<String>,
    api_version: Option<String>,
    created_by: [u8; 16],
    created_at: i64,
    updated_at: i64,
    last_synced: Option<i64>,
    version: u64,
}

record! {
    /// `key` and `access_key` are sealed texts.
    #[derive(Encode, Decode)]
    struct ProviderV2 for Provider {
        id: [u8; 16],
        name: String,
        provider_type: String,
        key: String,
        access_key: Option<String>,
        base_url: Option<String>,
        region: Option<String>,
        api_version: Option<String>,
        created_by: [u8; 16],
        created_at: i64,
        updated_at: i64,
        last_synced: Option<i64>,
        version: u64,
    }
}

impl From<ProviderV1> for ProviderV2 {
    fn from(old: ProviderV1) -> Self {
        Self {
            id: old.id,
            name: old.name,
            provider_type: old.provider_type,
            key: old.key,
            access_key: None,
            base_url: old.base_url,
            region: old.region,
            api_version: old.api_version,
            created_by: old.created_by,
            created_at: old.created_at,
            updated_at: old.updated_at,
            last_synced: old.last_synced,
            version: old.version,
        }
    }
}

impl Record<ProviderType> for String {
    fn of(value: &ProviderType) -> Self {
        value.name().to_owned()
    }

    fn into_domain(self) -> Result<ProviderType, Unreadable> {
        ProviderType::named(&self)
            .ok_or_else(|| Unreadable(format!("'{self}' is no type of provider")))
    }
}

impl Record<ProviderKey> for String {
    fn of(value: &ProviderKey) -> Self {
        value.reveal().to_owned()
    }

    fn into_domain(self) -> Result<ProviderKey, Unreadable> {
        Ok(ProviderKey::new(self))
    }
}

impl Record<SealedProvider> for ProviderV2 {
    fn of(value: &SealedProvider) -> Self {
        Self::of(&value.0)
    }

    fn into_domain(self) -> Result<SealedProvider, Unreadable> {
        self.into_domain().map(SealedProvider)
    }
}

impl Stored for SealedProvider {
    const KIND: Kind = Kind::Provider;
    const VERSION: u8 = 2;
    type Newest = ProviderV2;

    fn older(version: u8, payload: &[u8]) -> Result<Self, Unreadable> {
        if version != 1 {
            return Err(Unreadable(format!(
                "a provider record of version {version}"
            )));
        }
        ProviderV2::from(codec::read::<ProviderV1>(payload)?).into_domain()
    }
}

impl Batch {
    /// Writes a provider, on the condition that the version before it is the newest there is (version 1: that neither
    /// the provider nor another one of its name exists).
    pub fn put_provider(&mut self, provider: &Provider) {
        self.require(Condition::ProviderVersion {
            provider: provider.id,
            version: provider.version.saturating_sub(1),
        });
        if provider.version == 1 {
            self.require(Condition::ProviderNameFree(provider.name.clone()));
        }
        list(self, provider);
        self.unsealed
            .push(Unsealed::Provider(Box::new(provider.clone())));
    }

    /// Removes a provider and frees its name, on the condition that this is its newest version.
    pub fn delete_provider(&mut self, provider: ProviderId, name: &str, version: u64) {
        self.require(Condition::ProviderVersion { provider, version });
        self.unset(keys::provider_name(name));
        self.unset(keys::provider(provider));
    }
}

/// Writes the entry that leads to the provider.
pub(super) fn list(batch: &mut Batch, provider: &Provider) {
    batch.set(keys::provider_name(&provider.name), *provider.id.bytes());
}

impl Store {
    /// # Errors
    /// `Damaged` also when its key was sealed with another master key.
    pub fn provider(&self, id: ProviderId) -> Result<Option<Provider>, ReadError> {
        let key = keys::provider(id);
        let sealed: Option<SealedProvider> = self.disk().record(&key)?;
        sealed.map(|sealed| self.opened(sealed)).transpose()
    }

    fn opened(&self, sealed: SealedProvider) -> Result<Provider, ReadError> {
        let key = keys::provider(sealed.0.id);
        self.seal()
            .open_provider(sealed)
            .map_err(|error| disk::damaged(&key, error.to_string()))
    }

    /// Name and version of a provider, also of one whose key cannot be opened.
    pub fn provider_version(&self, id: ProviderId) -> Result<Option<(String, u64)>, ReadError> {
        let sealed: Option<SealedProvider> = self.disk().record(&keys::provider(id))?;
        Ok(sealed.map(|SealedProvider(provider)| (provider.name, provider.version)))
    }

    /// The provider of this name.
    pub fn provider_named(&self, name: &str) -> Result<Option<ProviderId>, ReadError> {
        let key = keys::provider_name(name);
        let Some(value) = self.disk().get(&key)? else {
            return Ok(None);
        };
        keys::last_id(&value)
            .map(|id| Some(ProviderId::from_bytes(id)))
            .ok_or_else(|| bad_entry(&key))
    }

    /// All providers by time of creation, and what cannot be read.
    pub fn providers(&self) -> (Vec<Provider>, Vec<ReadError>) {
        let stored = self
            .disk()
            .records::<SealedProvider>(keys::providers(), Order::Ascending);
        let (mut providers, mut unread) = (Vec::new(), Vec::new());
        for sealed in stored {
            match sealed.and_then(|sealed| self.opened(sealed)) {
                Ok(provider) => providers.push(provider),
                Err(error) => unread.push(error),
            }
        }
        providers.sort_by_key(|provider: &Provider| (provider.created_at, provider.id));
        (providers, unread)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing;
    use crate::store::{Batch, CommitError, Condition};

    #[tokio::test]
    async fn a_name_belongs_to_one_provider_until_it_is_deleted() {
        let store = testing::store();
        let provider = testing::provider("mine");
        let put = |provider| {
            let mut batch = Batch::shared();
            batch.put_provider(provider);
            store.commit(batch)
        };
        put(&provider).await.unwrap();
        let other = testing::provider("mine");
        assert!(matches!(
            put(&other).await,
            Err(CommitError::Conflict(Condition::ProviderNameFree(_)))
        ));
        let mut changed = provider.clone();
        changed.version = 2;
        put(&changed).await.unwrap();
        assert!(matches!(
            put(&changed).await,
            Err(CommitError::Conflict(Condition::ProviderVersion { .. }))
        ));
        assert_eq!(store.provider(provider.id).unwrap(), Some(changed.clone()));
        assert_eq!(store.provider_named("mine").unwrap(), Some(provider.id));

        let mut batch = Batch::shared();
        batch.delete_provider(provider.id, "mine", 2);
        store.commit(batch).await.unwrap();
        assert_eq!(store.provider(provider.id).unwrap(), None);
        put(&other).await.unwrap();
        let (all, unread) = store.providers();
        assert_eq!((all, unread), (vec![other], Vec::new()));
        assert!(store.rebuild_indexes().await.unwrap().is_empty());
    }
}
