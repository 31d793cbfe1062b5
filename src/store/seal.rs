//! Secrets are stored sealed (decisions 38): AES-256-GCM with a random nonce, bound to what they belong to (an agent and
//! its secret, a provider), so that a sealed text cannot be moved elsewhere. The text form is `v1:` and the base64 of
//! `[key mark, 4 bytes][nonce, 12 bytes][ciphertext and tag]`; the mark tells a wrong key from a damaged text.

use super::batch::{Batch, Unsealed};
use super::codec::Unreadable;
use super::keys;
use crate::domain::agent::{Agent, Secret};
use crate::domain::id::ProviderId;
use crate::domain::provider::{Provider, ProviderKey};
use aes_gcm::aead::{Aead, AeadCore, OsRng, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const FORM: &str = "v1:";
const NONCE: usize = 12;

/// The master key, ready for use.
pub(super) struct Seal {
    cipher: Aes256Gcm,
    /// First bytes of the key's hash.
    mark: [u8; 4],
}

/// An agent whose secrets hold sealed texts: the only form that is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sealed(pub(super) Agent);

/// A provider whose key is a sealed text: the only form that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SealedProvider(pub(super) Provider);

impl Batch {
    /// Seals the secrets of everything in this batch.
    pub(super) fn seal(&mut self, seal: &Seal) {
        for unsealed in std::mem::take(&mut self.unsealed) {
            match unsealed {
                Unsealed::Agent(agent) => {
                    let key = keys::settings(agent.id);
                    self.put(key, &seal.close(*agent));
                }
                Unsealed::Provider(provider) => {
                    let key = keys::provider(provider.id);
                    self.set_record(key, &seal.close_provider(*provider));
                }
            }
        }
    }
}

impl Seal {
    pub(super) fn new(master_key: &[u8; 32]) -> Self {
        let hash = Sha256::digest(master_key);
        Self {
            cipher: Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(master_key)),
            mark: [hash[0], hash[1], hash[2], hash[3]],
        }
    }

    pub(super) fn close(&self, mut agent: Agent) -> Sealed {
        let id = *agent.id.bytes();
        for secret in &mut agent.secrets {
            secret.value = self.close_one(&id, secret);
        }
        Sealed(agent)
    }

    /// # Errors
    /// When a secret was sealed with another key or was changed.
    pub(super) fn open(&self, sealed: Sealed) -> Result<Agent, Unreadable> {
        let mut agent = sealed.0;
        let id = *agent.id.bytes();
        for secret in &mut agent.secrets {
            secret.value = self.open_one(&id, secret)?;
        }
        Ok(agent)
    }

    pub(super) fn close_provider(&self, mut provider: Provider) -> SealedProvider {
        let sealed = self.close_text(&provider_key(provider.id), provider.key.reveal());
        provider.key = ProviderKey::new(sealed);
        let owner = access_key(provider.id);
        let close = |key: ProviderKey| ProviderKey::new(self.close_text(&owner, key.reveal()));
        provider.access_key = provider.access_key.map(close);
        SealedProvider(provider)
    }

    /// # Errors
    /// When the key was sealed with another master key or was changed.
    pub(super) fn open_provider(&self, sealed: SealedProvider) -> Result<Provider, Unreadable> {
        let mut provider = sealed.0;
        let key = self
            .open_text(&provider_key(provider.id), provider.key.reveal())
            .map_err(|why| Unreadable(format!("the key of provider '{}' {why}", provider.name)))?;
        provider.key = ProviderKey::new(key);
        if let Some(sealed) = provider.access_key {
            let opened = self.open_text(&access_key(provider.id), sealed.reveal());
            let opened = opened.map_err(|why| {
                Unreadable(format!(
                    "the access key of provider '{}' {why}",
                    provider.name
                ))
            })?;
            provider.access_key = Some(ProviderKey::new(opened));
        }
        Ok(provider)
    }

    fn close_one(&self, agent: &[u8; 16], secret: &Secret) -> String {
        self.close_text(&owner(agent, secret), &secret.value)
    }

    fn open_one(&self, agent: &[u8; 16], secret: &Secret) -> Result<String, Unreadable> {
        self.open_text(&owner(agent, secret), &secret.value)
            .map_err(|why| Unreadable(format!("secret '{}' {why}", secret.key)))
    }

    fn close_text(&self, owner: &[u8; 32], text: &str) -> String {
        let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
        let payload = Payload {
            msg: text.as_bytes(),
            aad: owner,
        };
        let sealed = self
            .cipher
            .encrypt(&nonce, payload)
            .expect("only a text of more than 64 GiB cannot be encrypted");
        let parts: [&[u8]; 3] = [&self.mark, &nonce, &sealed];
        format!("{FORM}{}", STANDARD.encode(parts.concat()))
    }

    /// The text, or what is wrong with it: the end of a sentence.
    fn open_text(&self, owner: &[u8; 32], text: &str) -> Result<String, &'static str> {
        let text = text
            .strip_prefix(FORM)
            .ok_or("is not sealed in a form this program knows")?;
        let bytes = STANDARD.decode(text).map_err(|_| "is not base64")?;
        let (mark, rest) = bytes.split_first_chunk::<4>().ok_or("is cut off")?;
        if *mark != self.mark {
            return Err("was sealed with another key");
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or("is cut off")?;
        let payload = Payload {
            msg: sealed,
            aad: owner,
        };
        let plain = self
            .cipher
            .decrypt(Nonce::from_slice(nonce), payload)
            .map_err(|_| "was changed")?;
        String::from_utf8(plain).map_err(|_| "is not text")
    }
}

/// What the sealed text is bound to.
fn owner(agent: &[u8; 16], secret: &Secret) -> [u8; 32] {
    let mut owner = [0; 32];
    owner[..16].copy_from_slice(agent);
    owner[16..].copy_from_slice(secret.id.bytes());
    owner
}

fn provider_key(provider: ProviderId) -> [u8; 32] {
    let mut owner = *b"................provider api_key";
    owner[..16].copy_from_slice(provider.bytes());
    owner
}

fn access_key(provider: ProviderId) -> [u8; 32] {
    let mut owner = *b"................provider acc_key";
    owner[..16].copy_from_slice(provider.bytes());
    owner
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AgentId;
    use crate::store::testing;

    #[test]
    fn a_secret_opens_with_its_key_on_its_agent_only() {
        let seal = Seal::new(&[7; 32]);
        let mut agent = testing::agent();
        agent.secrets = vec![testing::secret("API_KEY", "swordfish")];
        let sealed = seal.close(agent.clone());
        assert!(!format!("{:?}", sealed.0.secrets[0].value).contains("swordfish"));
        assert_eq!(seal.open(sealed.clone()).unwrap(), agent);

        let other = Seal::new(&[8; 32]).open(sealed.clone()).unwrap_err();
        assert!(other.0.contains("another key"), "{other}");
        let mut moved = sealed;
        moved.0.id = AgentId::new();
        assert!(seal.open(moved).unwrap_err().0.contains("was changed"));
    }

    #[test]
    fn a_providers_key_opens_on_its_provider_only() {
        let seal = Seal::new(&[7; 32]);
        let provider = testing::fixed_provider();
        let sealed = seal.close_provider(provider.clone());
        assert!(!sealed.0.key.reveal().contains(provider.key.reveal()));
        let shown = |provider: &Provider| provider.access_key.clone().unwrap();
        assert!(
            !shown(&sealed.0)
                .reveal()
                .contains(shown(&provider).reveal())
        );
        assert_eq!(seal.open_provider(sealed.clone()).unwrap(), provider);
        let mut moved = sealed;
        moved.0.id = ProviderId::new();
        let error = seal.open_provider(moved).unwrap_err();
        assert!(error.0.contains("was changed"), "{error}");
    }
}
