//! The documents as scripts reach them, on threads that may wait until their deadline.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use picloud_executor::port::{DocStore, PortCaller, PortError};
use picloud_shared::docs::{DocPage, DocPlace, DocQuery, DocWrite, DocWritten, Document};
use tokio::time::timeout_at;

use super::{Docs, Made, Write, search_in_file, search_in_postgres};
use crate::port_failure::{failed, not_written, unknown};
use crate::repo::RepoError;
use crate::repo::docs::{postgres, sqlite};
use crate::store::DataPlace;

impl Docs {
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

impl DocStore for Docs {
    fn get(&self, caller: &PortCaller, place: &DocPlace) -> Result<Option<Document>, PortError> {
        match self.store.data() {
            DataPlace::File(file) => file.read(|conn| sqlite::find(conn, caller.app, place)).map_err(failed),
            DataPlace::Postgres(data) => {
                let find = async { postgres::find(&mut data.read().await?, caller.app, place).await };
                self.wait(caller.deadline, find, || PortError::TooLate)
            }
        }
    }

    fn find(&self, caller: &PortCaller, query: &DocQuery) -> Result<DocPage, PortError> {
        let deadline = caller.deadline;
        match self.store.data() {
            DataPlace::File(file) => {
                let found = file.read_until(deadline, |conn| search_in_file(conn, caller.app, query, deadline));
                found.map_err(|error| if Instant::now() < deadline { failed(error) } else { PortError::TooLate })
            }
            DataPlace::Postgres(data) => {
                self.wait(deadline, search_in_postgres(data, caller.app, query), || PortError::TooLate)
            }
        }
    }

    fn write(&self, caller: &PortCaller, place: DocPlace, write: DocWrite) -> Result<DocWritten, PortError> {
        let write = Write::of_script(caller, place, write);
        let made: Made = match self.store.data() {
            DataPlace::File(file) => {
                let attempt = file.write_until(caller.deadline, self.in_file(Arc::new(write))).map_err(not_written)?;
                self.end(caller.app, attempt)
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
        made.map_err(|refusal| PortError::Refused { code: refusal.code(), message: refusal.to_string() })
    }
}
