//! The audit log, as its readers see it.

use crate::repo::audit::{self, AuditFilter, SealedEntry};
use crate::service::authorize::{Actor, Capability};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize, readable};
use crate::store::Store;

pub(crate) struct AuditService {
    store: Store,
}

impl AuditService {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
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
        let rows = audit::list(&mut self.store.read().await?, filter, size.plus_one(), before).await?;
        let Page { items, next } = Page::cut(rows, size, |_| ());
        let items = readable("audit row", items);
        // A row that cannot be read has no place to go on from; those that can be have.
        let next = next.and_then(|()| items.last().map(|row| row.seq));
        Ok(Page { items, next })
    }
}
