//! Secrets are stored sealed (decisions 38): AES-256-GCM with a random nonce, bound to the agent and the secret they
//! belong to, so that a sealed text cannot be moved elsewhere. The text form is `v1:` and the base64 of
//! `[key mark, 4 bytes][nonce, 12 bytes][ciphertext and tag]`; the mark tells a wrong key from a damaged text.

use super::codec::Unreadable;
use crate::domain::agent::{Agent, Secret};
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

    fn close_one(&self, agent: &[u8; 16], secret: &Secret) -> String {
        let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
        let owner = owner(agent, secret);
        let payload = Payload {
            msg: secret.value.as_bytes(),
            aad: &owner,
        };
        let sealed = self
            .cipher
            .encrypt(&nonce, payload)
            .expect("only a text of more than 64 GiB cannot be encrypted");
        let parts: [&[u8]; 3] = [&self.mark, &nonce, &sealed];
        format!("{FORM}{}", STANDARD.encode(parts.concat()))
    }

    fn open_one(&self, agent: &[u8; 16], secret: &Secret) -> Result<String, Unreadable> {
        let unreadable = |why: &str| Unreadable(format!("secret '{}' {why}", secret.key));
        let text = secret
            .value
            .strip_prefix(FORM)
            .ok_or_else(|| unreadable("is not sealed in a form this program knows"))?;
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| unreadable("is not base64"))?;
        let (mark, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| unreadable("is cut off"))?;
        if *mark != self.mark {
            return Err(unreadable("was sealed with another key"));
        }
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE>()
            .ok_or_else(|| unreadable("is cut off"))?;
        let payload = Payload {
            msg: sealed,
            aad: &owner(agent, secret),
        };
        let plain = self
            .cipher
            .decrypt(Nonce::from_slice(nonce), payload)
            .map_err(|_| unreadable("was changed"))?;
        String::from_utf8(plain).map_err(|_| unreadable("is not text"))
    }
}

/// What the sealed text is bound to.
fn owner(agent: &[u8; 16], secret: &Secret) -> [u8; 32] {
    let mut owner = [0; 32];
    owner[..16].copy_from_slice(agent);
    owner[16..].copy_from_slice(secret.id.bytes());
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
}
