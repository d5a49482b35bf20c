//! Another secret key in place of the instance's, from the command line and on the store directly: all that the old one has
//! sealed is sealed by the new one, at one moment.
//!
//! Wherever this is broken off there is a key file that fits the store. The new key stands beside the old one before the store
//! knows of it; the store takes it, with everything sealed by it, in one unit of work; after that the file replaces the old one,
//! which [`SecretKey::open`] makes up for where it was not done.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use picloud_shared::clock::Clock;
use serde_json::json;

use crate::app_secrets;
use crate::audit_chain::{AuditChain, AuditViolation};
use crate::certificate_store::reseal;
use crate::repo::RepoError;
use crate::repo::audit::AuditObject;
use crate::repo::config;
use crate::secret::key_file::{KeyFileError, SecretKey};
pub use crate::secret::reseal::Resealed;
use crate::service::change::{AuditedStore, Author, Change, Event};
use crate::service::error::ServiceError;
use crate::store::Store;

/// Why the key was not replaced; then the old one goes on.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The present key cannot be used, or the next one not be made.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The audit log would prove right by the new key what it does not by the old one.
    #[error("the audit log is not as it was written, which the new key would hide: {0}")]
    AuditLog(#[from] AuditViolation),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<RepoError> for RotationError {
    fn from(error: RepoError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<ServiceError> for RotationError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Store(error) => error.into(),
            error => Self::Store(Box::new(error)),
        }
    }
}

/// A new key that everything is sealed by, but for the store's last word. Dropped, it never was.
pub struct Rotation {
    change: Option<Change>,
    audited: AuditedStore,
    /// By which what waits for its place in the audit log is sealed.
    old_chain: AuditChain,
    key: SecretKey,
    path: PathBuf,
    resealed: Resealed,
    /// Whether the store may have it, whatever this process hears of that.
    may_be_taken: bool,
}

/// A new key that the store has taken, and whose file is still to replace the old one's.
pub struct TakenKey {
    key: SecretKey,
    path: PathBuf,
    rotated: Rotated,
}

/// What was done.
#[derive(Debug)]
pub struct Rotated {
    /// The new key's fingerprint.
    pub fingerprint: String,
    /// What became of all that was sealed.
    pub resealed: Resealed,
}

impl Rotation {
    /// Makes a key, and seals everything by it within a unit of work that others wait for.
    ///
    /// # Errors
    /// See [`RotationError`].
    pub async fn prepare(store: &Store, clock: Arc<dyn Clock>, path: &Path) -> Result<Self, RotationError> {
        let old = SecretKey::open(store, path).await?;
        // What waits for its place in the chain is sealed by the key as well.
        AuditedStore::new(store.clone(), Arc::clone(&clock), &old).carry_data_audit().await?;
        let key = SecretKey::make_next(path)?;
        let mut rotation = Self {
            change: None,
            audited: AuditedStore::new(store.clone(), clock, &key),
            old_chain: AuditChain::new(&old),
            key: key.clone(),
            path: path.to_owned(),
            resealed: Resealed::default(),
            may_be_taken: false,
        };
        let change = rotation.change.insert(rotation.audited.begin_as(Author::PLATFORM).await?);
        // Another command like this may have been quicker.
        rotation.old_chain.require_key(change).await?;
        rotation.audited.chain.take_over(change, &rotation.old_chain).await?;
        let certificates = reseal(change, &old, &key).await?;
        rotation.resealed = certificates.and(app_secrets::reseal(change, &old, &key).await?);
        config::replace_key_fingerprint(change, &key.fingerprint()).await?;
        let event = Event::new("instance.rotate_key", AuditObject::Instance);
        let event = event.before(json!({ "fingerprint": old.fingerprint() }));
        change.record(event.after(json!({ "fingerprint": key.fingerprint() })));
        change.write_audit().await?;
        Ok(rotation)
    }

    /// Has the store take the key.
    ///
    /// # Errors
    /// A store that fails. Whether it has taken the key may be unknown then; either key is found at the next start.
    pub async fn commit(mut self) -> Result<TakenKey, RotationError> {
        self.may_be_taken = true;
        if let Some(change) = self.change.take() {
            change.commit().await?;
        }
        // What a node changed of the apps' data meanwhile. From now on none does that has the old key.
        if let Err(error) = self.audited.carry_sealed_by(&self.old_chain).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "what changed of the apps' data amid the replacing of the key stays out of the audit log"
            );
        }
        let rotated = Rotated { fingerprint: self.key.fingerprint(), resealed: std::mem::take(&mut self.resealed) };
        Ok(TakenKey { key: self.key.clone(), path: self.path.clone(), rotated })
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        if !self.may_be_taken {
            self.key.discard_next(&self.path);
        }
    }
}

impl TakenKey {
    /// Has the key's file replace the old one's.
    ///
    /// # Errors
    /// [`KeyFileError::NotInPlace`].
    pub fn put_in_place(self) -> Result<Rotated, KeyFileError> {
        self.key.put_in_place(&self.path)?;
        Ok(self.rotated)
    }
}
