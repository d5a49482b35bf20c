//! The audit log, as its readers see it.

use tracing::debug;

use crate::repo::audit::{self, AuditFilter, SealedEntry};
use crate::service::authorize::{Actor, Capability};
use crate::service::change::AuditedStore;
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize, readable};

pub(crate) struct AuditService {
    audited: AuditedStore,
}

impl AuditService {
    pub(crate) fn new(audited: AuditedStore) -> Self {
        Self { audited }
    }

    /// The rows that pass the filter, the newest first; the cursor is a place in the chain.
    pub(crate) async fn list(
        &self,
        actor: &Actor,
        filter: &AuditFilter,
        size: PageSize,
        before: Option<u64>,
    ) -> Result<Page<SealedEntry, u64>, ServiceError> {
        actor.require(Capability::InstanceRead)?;
        // What was changed before this call is to be seen in it. A store that cannot be written shows what it has.
        if let Err(error) = self.audited.carry_data_audit().await {
            debug!(
                error = &error as &dyn std::error::Error,
                "the audit log is shown without what waits beside the data"
            );
        }
        let rows = audit::list(&mut self.audited.store.read().await?, filter, size.plus_one(), before).await?;
        let Page { items, next } = Page::cut(rows, size, |_| ());
        let items = readable("audit row", items);
        // A row that cannot be read has no place to go on from; those that can be have.
        let next = next.and_then(|()| items.last().map(|row| row.seq));
        Ok(Page { items, next })
    }
}
