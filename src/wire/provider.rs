//! Model providers as JSON. Keys come in and never go out.

use crate::domain::id::ProviderId;
use crate::domain::provider::{
    NewProvider, Provider as Domain, ProviderChange, ProviderKey, ProviderType,
};
use crate::wire::model::named;
use crate::wire::time;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A provider that a client added.
#[derive(Debug, Clone, Serialize)]
pub struct Provider {
    id: String,
    name: String,
    provider_type: &'static str,
    provider_category: &'static str,
    /// This and the three like it are null, whatever is stored.
    api_key: Option<&'static str>,
    base_url: Option<String>,
    access_key: Option<&'static str>,
    region: Option<String>,
    api_version: Option<String>,
    updated_at: String,
    last_synced: Option<String>,
    api_key_enc: Option<&'static str>,
    access_key_enc: Option<&'static str>,
}

impl From<&Domain> for Provider {
    fn from(provider: &Domain) -> Self {
        Self {
            id: provider.id.to_string(),
            name: provider.name.clone(),
            provider_type: provider.provider_type.name(),
            provider_category: "byok",
            api_key: None,
            base_url: provider.base_url.clone(),
            access_key: None,
            region: provider.region.clone(),
            api_version: provider.api_version.clone(),
            updated_at: time(provider.updated_at),
            last_synced: provider.last_synced.map(time),
            api_key_enc: None,
            access_key_enc: None,
        }
    }
}

/// A provider as it is asked for. Strict: other keys are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderCreate {
    name: String,
    #[serde(deserialize_with = "provider_type")]
    provider_type: ProviderType,
    api_key: String,
    access_key: Option<String>,
    region: Option<String>,
    base_url: Option<String>,
    api_version: Option<String>,
}

impl From<ProviderCreate> for NewProvider {
    fn from(create: ProviderCreate) -> Self {
        Self {
            name: create.name.trim().to_owned(),
            provider_type: create.provider_type,
            key: key(&create.api_key),
            access_key: text(create.access_key).map(ProviderKey::new),
            base_url: text(create.base_url),
            region: text(create.region),
            api_version: text(create.api_version),
        }
    }
}

/// What a PATCH changes; absent and null leave a field as it is, an empty text clears it. Strict.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderUpdate {
    api_key: String,
    access_key: Option<String>,
    region: Option<String>,
    base_url: Option<String>,
    api_version: Option<String>,
}

impl From<ProviderUpdate> for ProviderChange {
    fn from(update: ProviderUpdate) -> Self {
        let trimmed = |text: Option<String>| text.map(|text| text.trim().to_owned());
        Self {
            key: key(&update.api_key),
            access_key: trimmed(update.access_key).map(ProviderKey::new),
            base_url: trimmed(update.base_url),
            region: trimmed(update.region),
            api_version: trimmed(update.api_version),
        }
    }
}

/// A key to try, of a provider that is called like its type meanwhile.
#[derive(Deserialize)]
pub struct ProviderCheck {
    #[serde(deserialize_with = "provider_type")]
    provider_type: ProviderType,
    api_key: String,
    access_key: Option<String>,
    region: Option<String>,
    base_url: Option<String>,
    api_version: Option<String>,
}

impl From<ProviderCheck> for NewProvider {
    fn from(check: ProviderCheck) -> Self {
        Self {
            name: check.provider_type.name().to_owned(),
            provider_type: check.provider_type,
            key: key(&check.api_key),
            access_key: text(check.access_key).map(ProviderKey::new),
            base_url: text(check.base_url),
            region: text(check.region),
            api_version: text(check.api_version),
        }
    }
}

/// The answer of a check, and of a delete.
#[derive(Debug, Clone, Serialize)]
pub struct Said {
    message: String,
}

impl Said {
    pub fn key_works(provider_type: &str) -> Self {
        Self {
            message: format!("Valid api key for provider_type={provider_type}"),
        }
    }

    pub fn deleted(id: ProviderId) -> Self {
        Self {
            message: format!("Provider id={id} successfully deleted"),
        }
    }
}

fn key(text: &str) -> ProviderKey {
    ProviderKey::new(text.trim())
}

fn text(text: Option<String>) -> Option<String> {
    let text = text?.trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

fn provider_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProviderType, D::Error> {
    let found = named(deserializer, ProviderType::named, &ProviderType::NAMES)?;
    found.ok_or_else(|| D::Error::custom("invalid type: null, expected a string"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;
    use crate::domain::id::UserId;
    use serde_json::json;

    #[test]
    fn texts_are_trimmed_and_no_key_is_shown() {
        let body = json!({"name": " mine ", "provider_type": "openai", "api_key": " sk-secret\n", "base_url": "", "access_key": "sk-secret"});
        let create: ProviderCreate = serde_json::from_value(body).unwrap();
        let new = NewProvider::from(create);
        assert_eq!((new.name.as_str(), new.base_url.as_deref()), ("mine", None));
        assert_eq!(new.key.reveal(), "sk-secret");
        let provider = new.create(UserId::DEFAULT, clock::now()).unwrap();
        let shown = serde_json::to_value(Provider::from(&provider)).unwrap();
        assert!(!shown.to_string().contains("secret"), "{shown}");
        let fields: Vec<&str> = shown
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let contract = "id name provider_type provider_category api_key base_url access_key region api_version updated_at \
                        last_synced api_key_enc access_key_enc";
        assert_eq!(fields.join(" "), contract);
    }
}
