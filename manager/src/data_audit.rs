//! The audit of changes of the apps' data. Its rows are committed with the change, sealed one by one, since on SQLite the chain is
//! in another file; from there they are carried to their place in the chain, each once.
//!
//! A row is added to the chain before it is removed here. Who dies between the two, or carries the same row on another node, finds
//! its id in the audit log the next time.

use tracing::error;
use uuid::Uuid;

use crate::audit_chain::AuditChain;
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
        self.carry_sealed_by(&self.chain).await
    }

    /// The same of what another key has sealed.
    pub(crate) async fn carry_sealed_by(&self, chain: &AuditChain) -> Result<(), RepoError> {
        let mut after = Uuid::nil();
        loop {
            let waiting = self.waiting(after).await?;
            let Some(last) = waiting.last() else { return Ok(()) };
            after = last.id;
            // To who has the old key, what the new one has sealed would look like somebody else's.
            self.chain.require_key(&mut self.store.read().await?).await?;
            let genuine: Vec<_> = waiting.iter().filter_map(|row| genuine(row, chain)).collect();
            // Who can write the file could have it put into the chain. It stays where it is, to be looked at, and holds up nothing.
            if genuine.len() < waiting.len() {
                let count = waiting.len() - genuine.len();
                error!(count, "rows for the audit log are not as they were written, and stay out of it (data_audit)");
            }
            if !genuine.is_empty() {
                self.carry(genuine).await?;
            }
        }
    }

    async fn carry(&self, rows: Vec<(Uuid, AuditEntry)>) -> Result<(), RepoError> {
        let mut tx = self.store.begin().await?;
        let (mut ids, mut entries) = (Vec::new(), Vec::new());
        for (id, entry) in rows {
            ids.push(id);
            if !audit::is_there(&mut tx, entry.id).await? {
                entries.push(entry);
            }
        }
        self.chain.append(&mut tx, entries).await?;
        tx.commit().await?;
        self.forget(ids).await
    }

    async fn waiting(&self, after: Uuid) -> Result<Vec<Outbound>, RepoError> {
        match self.store.data() {
            DataPlace::File(file) => file.read_aside(move |conn| data_audit::list_sqlite(conn, after, BATCH)).await,
            DataPlace::Postgres(data) => data_audit::list_postgres(&mut data.read().await?, after, BATCH).await,
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

/// What the row says, if it was written by who has the key of that chain.
fn genuine(row: &Outbound, chain: &AuditChain) -> Option<(Uuid, AuditEntry)> {
    let sealed = chain.is_outbound(&row.entry, &row.seal);
    let entry = if sealed { serde_json::from_str(&row.entry).ok() } else { None };
    entry.map(|entry| (row.id, entry))
}
