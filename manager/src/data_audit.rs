//! The audit of changes of the apps' data. Its rows are committed with the change, sealed one by one, since on SQLite the chain is
//! in another file; from there they are carried to their place in the chain, each once.
//!
//! A row is added to the chain before it is removed here. Who dies between the two, or carries the same row on another node, finds
//! its id in the audit log the next time.

use tracing::error;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::audit::{self, AuditEntry};
use crate::repo::data_audit::{self, Outbound};
use crate::service::change::AuditedStore;
use crate::store::DataPlace;
use crate::store::data_file::WriteFailed;

/// Rows that are carried together.
const BATCH: u32 = 200;

impl AuditedStore {
    /// The row as it waits beside the data.
    pub(crate) fn outbound(&self, entry: &AuditEntry) -> Outbound {
        let text = serde_json::to_string(entry).expect("a row of the audit log is plain values, which JSON can hold");
        Outbound { id: entry.id.as_uuid(), seal: self.chain.seal_outbound(&text), entry: text }
    }

    /// Carries what waits to the chain.
    ///
    /// # Errors
    /// A store that does not answer, and then what waits goes on waiting.
    pub async fn carry_data_audit(&self) -> Result<(), RepoError> {
        loop {
            let waiting = self.waiting().await?;
            if waiting.is_empty() {
                return Ok(());
            }
            let mut tx = self.store.begin().await?;
            let mut entries = Vec::new();
            let mut carried = Vec::new();
            for row in &waiting {
                let Some(entry) = self.genuine(row) else { continue };
                carried.push(row.id);
                if !audit::is_there(&mut tx, entry.id).await? {
                    entries.push(entry);
                }
            }
            self.chain.append(&mut tx, entries).await?;
            tx.commit().await?;
            let none = carried.is_empty();
            self.forget(carried).await?;
            // What is left is not ours, and would be found again for ever.
            if none || waiting.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// What the row says, if it was written by this program: else whoever can write the file could have it put into the chain.
    fn genuine(&self, row: &Outbound) -> Option<AuditEntry> {
        let sealed = self.chain.is_outbound(&row.entry, &row.seal);
        let entry = if sealed { serde_json::from_str(&row.entry).ok() } else { None };
        if entry.is_none() {
            error!(id = %row.id, "a row for the audit log is not as it was written, and stays out of it (data_audit)");
        }
        entry
    }

    async fn waiting(&self) -> Result<Vec<Outbound>, RepoError> {
        match self.store.data() {
            DataPlace::File(file) => file.read_aside(|conn| data_audit::list_sqlite(conn, BATCH)).await,
            DataPlace::Postgres(data) => data_audit::list_postgres(&mut data.read().await?, BATCH).await,
        }
    }

    async fn forget(&self, ids: Vec<Uuid>) -> Result<(), RepoError> {
        match self.store.data() {
            DataPlace::File(file) => {
                let forgotten = file.write(move |conn| data_audit::delete_sqlite(conn, &ids)).await;
                forgotten.map_err(WriteFailed::into_repo_error)
            }
            DataPlace::Postgres(data) => {
                let mut tx = data.begin().await?;
                data_audit::delete_postgres(&mut tx, &ids).await?;
                tx.commit().await
            }
        }
    }
}
