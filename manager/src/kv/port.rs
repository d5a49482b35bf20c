//! The store as scripts reach it, on threads that may wait until their deadline.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use picloud_executor::port::{KvStore, PortCaller, PortError};
use picloud_shared::kv::{KvPage, KvPlace, KvQuery, KvValue, KvWrite, KvWritten};
use tokio::time::timeout_at;

use super::{Attempts, Kv, Made, Write, is_live};
use crate::port_failure::{failed, not_written, unknown};
use crate::repo::RepoError;
use crate::repo::kv::{postgres, sqlite};
use crate::store::DataPlace;

impl Kv {
    /// Waits for PostgreSQL until the deadline. `late` says what it means that it came.
    fn wait<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, RepoError>>,
        late: impl FnOnce() -> PortError,
    ) -> Result<T, PortError> {
        match self.runtime.block_on(async { timeout_at(deadline.into(), work).await }) {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(late()),
        }
    }
}

impl KvStore for Kv {
    fn get(&self, caller: &PortCaller, place: &KvPlace) -> Result<Option<KvValue>, PortError> {
        let now = self.clock.now();
        let found = match self.store.data() {
            DataPlace::File(file) => file.read(|conn| sqlite::find(conn, caller.app, place)).map_err(failed)?,
            DataPlace::Postgres(data) => {
                let find = async { postgres::find(&mut data.read().await?, caller.app, place).await };
                self.wait(caller.deadline, find, || PortError::TooLate)?
            }
        };
        Ok(found.filter(|entry| is_live(entry, now)).map(|entry| entry.value))
    }

    fn answers_at_once(&self) -> bool {
        matches!(self.store.data(), DataPlace::File(_))
    }

    fn get_at_once(&self, caller: &PortCaller, place: &KvPlace) -> Option<Result<Option<KvValue>, PortError>> {
        let DataPlace::File(file) = self.store.data() else {
            return None;
        };
        let now = self.clock.now();
        let found = file.read_at_once(|conn| sqlite::find(conn, caller.app, place))?.map_err(failed);
        Some(found.map(|found| found.filter(|entry| is_live(entry, now)).map(|entry| entry.value)))
    }

    fn list(&self, caller: &PortCaller, query: &KvQuery) -> Result<KvPage, PortError> {
        match self.store.data() {
            DataPlace::File(file) => {
                let now = self.clock.now();
                let listed = file.read_until(caller.deadline, |conn| sqlite::list(conn, caller.app, query, now));
                listed
                    .map_err(|error| if Instant::now() < caller.deadline { failed(error) } else { PortError::TooLate })
            }
            DataPlace::Postgres(_) => self.wait(caller.deadline, self.list(caller.app, query), || PortError::TooLate),
        }
    }

    fn write(&self, caller: &PortCaller, place: KvPlace, write: KvWrite) -> Result<KvWritten, PortError> {
        let write = Write::of_script(caller, place, write);
        let made: Made = match self.store.data() {
            DataPlace::File(file) => {
                let write = Arc::new(write);
                let mut attempts = Attempts::default();
                loop {
                    let attempt = file.write_until(caller.deadline, self.in_file(&write)).map_err(not_written)?;
                    if let Some(made) = self.end(&mut attempts, caller.app, attempt) {
                        break made;
                    }
                }
            }
            DataPlace::Postgres(data) => {
                let committing = Cell::new(false);
                let late = || if committing.get() { PortError::Unsettled } else { PortError::TooLate };
                let work = async {
                    let made = self.in_postgres(data, &write, || committing.set(true)).await;
                    // A connection that broke amid the commit does not say what became of it.
                    Ok(made.map_err(|error| if committing.get() { unknown(error) } else { failed(error) }))
                };
                self.wait(caller.deadline, work, late)??
            }
        };
        let (written, _entry) =
            made.map_err(|refusal| PortError::Refused { code: refusal.code(), message: refusal.to_string() })?;
        Ok(written)
    }
}
