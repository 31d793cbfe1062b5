//! The key that seals secrets (decisions 38).

use super::Config;
use aes_gcm::aead::OsRng;
use aes_gcm::{Aes256Gcm, KeyInit};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Rounds that turn a text into a key: some 10 ms, once per start, and as much for every guess of somebody who tries.
const ROUNDS: usize = 100_000;

/// 32 bytes that seal the secrets of one data folder.
pub struct MasterKey {
    pub bytes: [u8; 32],
    pub source: KeySource,
}

/// Where the key came from, for the lines that `serve` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `data.encryption_key` or `LETTA_ENCRYPTION_KEY`.
    Configured,
    /// Found in the data folder.
    Found(PathBuf),
    /// Made now, in the data folder.
    Made(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read or make the key file {path}: {error}", path = .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the key file {path} can be read by others; run `chmod 600` on it", path = .path.display())]
    Exposed { path: PathBuf },
    #[error("the key file {path} does not hold 64 hexadecimal digits", path = .path.display())]
    Malformed { path: PathBuf },
}

/// The key for the data folder `data_dir`, which must exist: the configured one, else the one in `secret.key`, which is
/// made on first use, readable by its owner only. Durable when this returns.
pub fn master_key(config: &Config, data_dir: &Path) -> Result<MasterKey, KeyError> {
    if let Some(text) = &config.data.encryption_key {
        let text = text.expose();
        let bytes = from_hex(text).unwrap_or_else(|| stretch(text));
        return Ok(MasterKey {
            bytes,
            source: KeySource::Configured,
        });
    }
    let path = data_dir.join("secret.key");
    let found = path.try_exists().map_err(|error| KeyError::Io {
        path: path.clone(),
        error,
    })?;
    if found {
        read(path)
    } else {
        make(path, data_dir)
    }
}

fn read(path: PathBuf) -> Result<MasterKey, KeyError> {
    let io = |error| KeyError::Io {
        path: path.clone(),
        error,
    };
    if fs::metadata(&path).map_err(io)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path });
    }
    let text = fs::read_to_string(&path).map_err(io)?;
    match from_hex(text.trim()) {
        Some(bytes) => Ok(MasterKey {
            bytes,
            source: KeySource::Found(path),
        }),
        None => Err(KeyError::Malformed { path }),
    }
}

/// Written under another name first: a crash leaves either no key or a whole one.
fn make(path: PathBuf, data_dir: &Path) -> Result<MasterKey, KeyError> {
    let bytes: [u8; 32] = Aes256Gcm::generate_key(OsRng).into();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let write = || -> io::Result<()> {
        let draft = path.with_extension("key.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(|error| KeyError::Io {
        path: path.clone(),
        error,
    })?;
    Ok(MasterKey {
        bytes,
        source: KeySource::Made(path),
    })
}

/// 64 hexadecimal digits as 32 bytes.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn stretch(text: &str) -> [u8; 32] {
    let mut digest = Sha256::new()
        .chain_update(b"greenroom master key v1\0")
        .chain_update(text)
        .finalize();
    for _ in 0..ROUNDS {
        digest = Sha256::new()
            .chain_update(digest)
            .chain_update(text)
            .finalize();
    }
    digest.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, Sources};

    fn config() -> Config {
        let environment = [("HOME".to_owned(), "/home/ada".into())].into();
        Config::load(&Sources {
            environment,
            ..Sources::default()
        })
        .unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let made = master_key(&config(), folder.path()).unwrap();
        let found = master_key(&config(), folder.path()).unwrap();
        let path = folder.path().join("secret.key");
        assert_eq!(made.source, KeySource::Made(path.clone()));
        assert_eq!(found.source, KeySource::Found(path.clone()));
        assert_eq!(made.bytes, found.bytes);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            master_key(&config(), folder.path()),
            Err(KeyError::Exposed { .. })
        ));
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        master_key(&config(), folder.path()).unwrap();
        fs::write(folder.path().join("secret.key"), "short").unwrap();
        assert!(matches!(
            master_key(&config(), folder.path()),
            Err(KeyError::Malformed { .. })
        ));
    }

    #[test]
    fn a_configured_key_is_used_as_it_is_or_stretched() {
        let key = |text: &str| {
            let mut config = config();
            config.data.encryption_key = Some(Secret(text.to_owned()));
            master_key(&config, Path::new("/nowhere")).unwrap().bytes
        };
        assert_eq!(key(&"0f".repeat(32)), [0x0f; 32]);
        assert_ne!(key("correct horse"), key("correct horsf"));
        assert_eq!(key("correct horse"), key("correct horse"));
    }
}
