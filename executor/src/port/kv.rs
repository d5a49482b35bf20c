//! The port of the key-value store.

use picloud_shared::kv::{KvPage, KvPlace, KvQuery, KvValue, KvWrite, KvWritten};

use super::{PortCaller, PortError};

/// The key-value store of all apps. What a call names is always the caller's.
pub trait KvStore: Send + Sync {
    /// The value of an entry that is there and has not expired.
    ///
    /// # Errors
    /// See [`PortError`].
    fn get(&self, caller: &PortCaller, place: &KvPlace) -> Result<Option<KvValue>, PortError>;

    /// Whether [`KvStore::get_at_once`] answers as a rule.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// The same as [`KvStore::get`] on a thread that serves connections, in some microseconds; nothing where it might have to wait.
    fn get_at_once(&self, caller: &PortCaller, place: &KvPlace) -> Option<Result<Option<KvValue>, PortError>> {
        let _ = (caller, place);
        None
    }

    /// A page of entries that have not expired.
    ///
    /// # Errors
    /// See [`PortError`].
    fn list(&self, caller: &PortCaller, query: &KvQuery) -> Result<KvPage, PortError>;

    /// Changes an entry. Once it returns the change is kept, whatever happens.
    ///
    /// # Errors
    /// See [`PortError`].
    fn write(&self, caller: &PortCaller, place: KvPlace, write: KvWrite) -> Result<KvWritten, PortError>;
}
