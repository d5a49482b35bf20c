//! What a backup says of itself.

use hmac::{Hmac, KeyInit, Mac};
use picloud_shared::clock::Timestamp;
use picloud_shared::version;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::backup::BackupError;
use crate::secret::key_file::{Purpose, SecretKey};
use crate::store::migration::{HISTORY, newest_version};

/// How backups are written by this version.
pub(super) const FORMAT: u32 = 1;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// How it is written.
    pub format: u32,
    /// The version of the program that took it.
    pub product: String,
    /// The number of the store's newest migration.
    pub schema: i64,
    /// The database that it was taken of, `sqlite` or `postgres`; it goes into either.
    pub store: String,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The fingerprint of the secret key.
    pub key: String,
    /// The key itself, sealed by a passphrase, where it goes along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_key: Option<String>,
    /// The tables, in the order in which they stand in the file.
    pub parts: Vec<Part>,
}

/// One table of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub table: String,
    /// The columns of its rows.
    pub columns: Vec<String>,
    /// How many rows it has.
    pub rows: u64,
    /// What the rows come to, whatever their order: the same in any database that holds them.
    pub digest: String,
    /// Bytes in the file.
    pub bytes: u64,
    /// The SHA-256 of those.
    pub sha256: String,
}

impl Manifest {
    pub(super) fn new(schema: i64, store: &str, taken_at: Timestamp, key: String, sealed_key: Option<String>) -> Self {
        let product = version::PRODUCT.to_owned();
        Self { format: FORMAT, product, schema, store: store.to_owned(), taken_at, key, sealed_key, parts: Vec::new() }
    }

    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Whether records of executions are in it.
    pub fn has_logs(&self) -> bool {
        self.parts.iter().any(|part| part.table == "executions")
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// What such bytes say, if this version can read it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, BackupError> {
        /// What stays the same in any format.
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        let unreadable = |error: serde_json::Error| BackupError::Damaged(format!("what it says of itself: {error}"));
        let Any { format: found } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if found > FORMAT {
            return Err(BackupError::NewerFormat { found, known: FORMAT });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        let (found, known) = (manifest.schema, newest_version(HISTORY));
        if found > known {
            return Err(BackupError::NewerSchema { found, known });
        }
        // A file is looked for by it before anything is sealed by anybody.
        if !SecretKey::is_fingerprint(&manifest.key) {
            return Err(BackupError::Damaged("its key has no fingerprint".to_owned()));
        }
        Ok(manifest)
    }
}

/// The seal over what a backup says of itself, and by the digests in it over all of the file.
pub(super) fn seal(key: &SecretKey, manifest: &[u8]) -> Hmac<Sha256> {
    let key = key.derive(Purpose::Backups);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(manifest);
    mac
}
