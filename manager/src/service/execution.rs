//! The execution log, as its readers see it.

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::Outcome;
use picloud_shared::id::ScriptId;

use crate::execution_writer::ExecutionWriter;
use crate::repo::executions::{self, Execution, ExecutionFilter, ExecutionsOf};
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::error::ServiceError;
use crate::service::page::{PageSize, readable};
use crate::service::script::find_meta;
use crate::store::Store;

pub(crate) struct ExecutionService {
    store: Store,
    writer: ExecutionWriter,
}

/// Which part of a log.
pub(crate) struct LogQuery {
    pub size: PageSize,
    pub offset: u32,
    pub outcome: Option<Outcome>,
    pub since: Option<Timestamp>,
}

/// A part of a log, and how many entries the whole has.
pub(crate) struct LogPage {
    pub items: Vec<Execution>,
    pub total: u64,
}

impl ExecutionService {
    pub(crate) fn new(store: Store, writer: ExecutionWriter) -> Self {
        Self { store, writer }
    }

    pub(crate) async fn of_script(
        &self,
        actor: &Actor,
        script: ScriptId,
        query: LogQuery,
    ) -> Result<LogPage, ServiceError> {
        let (_, access) = find_meta(&mut self.store.read().await?, actor, script).await?;
        access.require(Capability::AppRead)?;
        self.read(ExecutionsOf::Script(script), query).await
    }

    pub(crate) async fn of_app(&self, actor: &Actor, app: &AppRef, query: LogQuery) -> Result<LogPage, ServiceError> {
        let access = actor.access(&mut self.store.read().await?, app).await?;
        access.require(Capability::AppRead)?;
        self.read(ExecutionsOf::App(access.app.id), query).await
    }

    /// Reads the log after writing what waits, so that one sees the request that one just made.
    async fn read(&self, of: ExecutionsOf, query: LogQuery) -> Result<LogPage, ServiceError> {
        self.writer.flush().await;
        let mut conn = self.store.read_logs().await?;
        let filter = ExecutionFilter { of, outcome: query.outcome, since: query.since };
        let items = executions::list(&mut conn, &filter, query.size.get(), query.offset).await?;
        let items = readable("execution", items);
        let total = executions::count(&mut conn, &filter).await?;
        Ok(LogPage { items, total })
    }
}
