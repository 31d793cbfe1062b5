//! Model providers that clients add with keys of their own (BYOK). Those of the configuration have no record.

use super::id::{ProviderId, UserId};
use jiff::Timestamp;
use std::fmt;

/// A provider that a client added. Its name is the first part of its models' handles and never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub id: ProviderId,
    pub name: String,
    pub provider_type: ProviderType,
    pub key: ProviderKey,
    /// The name of the key, where keys come in pairs (AWS).
    pub access_key: Option<ProviderKey>,
    pub base_url: Option<String>,
    pub region: Option<String>,
    pub api_version: Option<String>,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When its list of models was read at somebody's request.
    pub last_synced: Option<Timestamp>,
    pub version: u64,
}

/// What the contract calls a provider's type: one of a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderType(&'static str);

impl ProviderType {
    pub const NAMES: [&'static str; 25] = [
        "anthropic",
        "azure",
        "baseten",
        "bedrock",
        "cerebras",
        "chatgpt_oauth",
        "deepseek",
        "fireworks",
        "google_ai",
        "google_vertex",
        "groq",
        "hugging-face",
        "letta",
        "lmstudio_openai",
        "minimax",
        "mistral",
        "ollama",
        "openai",
        "together",
        "vllm",
        "sglang",
        "openrouter",
        "xai",
        "zai",
        "zai_coding",
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES
            .into_iter()
            .find(|known| *known == name)
            .map(Self)
    }

    pub fn name(self) -> &'static str {
        self.0
    }
}

/// Who pays: the operator, whose configuration names the provider, or the client that added it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderCategory {
    Base,
    Byok,
}

impl ProviderCategory {
    pub const NAMES: [&'static str; 2] = ["base", "byok"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "base" => Some(Self::Base),
            "byok" => Some(Self::Byok),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Byok => "byok",
        }
    }
}

/// A key: never printed. Empty for servers that want none.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderKey(String);

impl ProviderKey {
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderKey(…)")
    }
}

/// Most bytes of each field: a record stays short enough for one value on disk.
const MOST_NAME: usize = 100;
const MOST_KEY: usize = 1_500;
const MOST_URL: usize = 500;
const MOST_WORD: usize = 100;

/// Why this can be no provider, whatever its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProvider {
    #[error("a provider needs a name")]
    NoName,
    #[error("the name '{0}' holds a slash or a control character, and could not begin a handle")]
    Name(String),
    #[error("{field} is longer than {most} bytes")]
    TooLong { field: &'static str, most: usize },
}

/// A provider as it is asked for. Texts are trimmed and not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProvider {
    pub name: String,
    pub provider_type: ProviderType,
    pub key: ProviderKey,
    pub access_key: Option<ProviderKey>,
    pub base_url: Option<String>,
    pub region: Option<String>,
    pub api_version: Option<String>,
}

impl NewProvider {
    /// # Errors
    /// What cannot be.
    pub fn create(self, by: UserId, now: Timestamp) -> Result<Provider, BadProvider> {
        if self.name.is_empty() {
            return Err(BadProvider::NoName);
        }
        within("name", &self.name, MOST_NAME)?;
        if self.name.contains('/') || self.name.chars().any(char::is_control) {
            return Err(BadProvider::Name(self.name));
        }
        let provider = Provider {
            id: ProviderId::new(),
            name: self.name,
            provider_type: self.provider_type,
            key: self.key,
            access_key: self.access_key,
            base_url: self.base_url,
            region: self.region,
            api_version: self.api_version,
            created_by: by,
            created_at: now,
            updated_at: now,
            last_synced: None,
            version: 1,
        };
        provider.check()?;
        Ok(provider)
    }
}

/// What changes. `Some("")` takes a text away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderChange {
    pub key: ProviderKey,
    pub access_key: Option<ProviderKey>,
    pub base_url: Option<String>,
    pub region: Option<String>,
    pub api_version: Option<String>,
}

impl ProviderChange {
    /// # Errors
    /// What cannot be.
    pub fn apply(self, to: &Provider, now: Timestamp) -> Result<Provider, BadProvider> {
        let text = |new: Option<String>, old: &Option<String>| match new {
            Some(new) => Some(new).filter(|new| !new.is_empty()),
            None => old.clone(),
        };
        let provider = Provider {
            key: self.key,
            access_key: match self.access_key {
                Some(new) => Some(new).filter(|new| !new.reveal().is_empty()),
                None => to.access_key.clone(),
            },
            base_url: text(self.base_url, &to.base_url),
            region: text(self.region, &to.region),
            api_version: text(self.api_version, &to.api_version),
            updated_at: now,
            version: to.version + 1,
            ..to.clone()
        };
        provider.check()?;
        Ok(provider)
    }
}

impl Provider {
    fn check(&self) -> Result<(), BadProvider> {
        within("api_key", self.key.reveal(), MOST_KEY)?;
        let access_key = self.access_key.as_ref().map_or("", ProviderKey::reveal);
        within("access_key", access_key, MOST_WORD)?;
        let texts = [
            ("base_url", &self.base_url, MOST_URL),
            ("region", &self.region, MOST_WORD),
            ("api_version", &self.api_version, MOST_WORD),
        ];
        texts
            .into_iter()
            .try_for_each(|(field, text, most)| within(field, text.as_deref().unwrap_or(""), most))
    }

    /// The provider whose models were listed at `now`.
    pub fn synced(&self, now: Timestamp) -> Self {
        Self {
            last_synced: Some(now),
            version: self.version + 1,
            ..self.clone()
        }
    }
}

fn within(field: &'static str, text: &str, most: usize) -> Result<(), BadProvider> {
    if text.len() <= most {
        Ok(())
    } else {
        Err(BadProvider::TooLong { field, most })
    }
}

/// Which providers a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderFilter {
    pub name: Option<String>,
    pub provider_type: Option<ProviderType>,
}

impl ProviderFilter {
    pub fn keeps(&self, provider: &Provider) -> bool {
        self.name.as_ref().is_none_or(|name| *name == provider.name)
            && self
                .provider_type
                .is_none_or(|wanted| wanted == provider.provider_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;

    fn new(name: &str) -> NewProvider {
        NewProvider {
            name: name.to_owned(),
            provider_type: ProviderType::named("openai").unwrap(),
            key: ProviderKey::new("sk-secret"),
            access_key: Some(ProviderKey::new("AKIA")),
            base_url: Some("http://a/v1".to_owned()),
            region: None,
            api_version: None,
        }
    }

    #[test]
    fn a_name_must_be_able_to_begin_a_handle() {
        let create = |name: &str| new(name).create(UserId::DEFAULT, clock::now());
        assert_eq!(create("my own").unwrap().version, 1);
        assert_eq!(create("").unwrap_err(), BadProvider::NoName);
        for bad in ["a/b", "a\nb"] {
            assert!(matches!(create(bad), Err(BadProvider::Name(_))), "{bad:?}");
        }
        assert!(matches!(
            create(&"x".repeat(101)),
            Err(BadProvider::TooLong { field: "name", .. })
        ));
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name_and_an_empty_text_clears() {
        let now = clock::now();
        let provider = new("mine").create(UserId::DEFAULT, now).unwrap();
        let change = |base_url: Option<&str>| ProviderChange {
            key: ProviderKey::new("other"),
            access_key: None,
            base_url: base_url.map(str::to_owned),
            region: None,
            api_version: None,
        };
        let kept = change(None).apply(&provider, now).unwrap();
        assert_eq!(
            (kept.base_url, kept.version),
            (provider.base_url.clone(), 2)
        );
        assert_eq!(kept.key.reveal(), "other");
        assert_eq!(kept.access_key, provider.access_key);
        let cleared = change(Some("")).apply(&provider, now).unwrap();
        assert_eq!(cleared.base_url, None);
    }

    #[test]
    fn a_key_is_not_printed() {
        let provider = new("mine").create(UserId::DEFAULT, clock::now()).unwrap();
        assert!(!format!("{provider:?}").contains("secret"));
    }
}
