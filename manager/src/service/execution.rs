//! The execution log, as its readers see it.

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::Outcome;
use picloud_shared::id::{ExecutionId, ScriptId};

use crate::execution_writer::ExecutionWriter;
use crate::repo::executions::{self, Execution, ExecutionFilter, ExecutionsOf};
use crate::repo::scripts;
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::script::find_meta;
use crate::store::Store;

pub(crate) struct ExecutionService {
    store: Store,
    writer: ExecutionWriter,
}

/// Which part of a log.
pub(crate) struct LogQuery {
    pub size: PageSize,
    pub before: Option<ExecutionId>,
    pub offset: u32,
    pub outcome: Option<Outcome>,
    pub since: Option<Timestamp>,
}

/// As far as a log is counted, and as far as one may go into it by offset.
pub(crate) const MAX_COUNTED: u32 = 10_000;

/// A part of a log, and how many entries the whole has, up to [`MAX_COUNTED`].
pub(crate) struct LogPage {
    pub page: Page<Execution, ExecutionId>,
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
        access.require(Capability::LogRead)?;
        self.read(ExecutionsOf::Script(script), query).await
    }

    /// Of all scripts of the app, or of one.
    pub(crate) async fn of_app(
        &self,
        actor: &Actor,
        app: &AppRef,
        script: Option<ScriptId>,
        query: LogQuery,
    ) -> Result<LogPage, ServiceError> {
        let mut conn = self.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::LogRead)?;
        let of = match script {
            None => ExecutionsOf::App(access.app.id),
            Some(script) => {
                let meta = scripts::find_meta(&mut conn, script).await?.filter(|meta| meta.app_id == access.app.id);
                meta.ok_or_else(|| ServiceError::invalid("script_id", "the app has no such script"))?;
                ExecutionsOf::Script(script)
            }
        };
        drop(conn);
        self.read(of, query).await
    }

    /// Reads the log after writing what waits, so that one sees the request that one just made.
    async fn read(&self, of: ExecutionsOf, query: LogQuery) -> Result<LogPage, ServiceError> {
        self.writer.flush().await;
        let mut conn = self.store.read_logs().await?;
        let filter = ExecutionFilter { of, outcome: query.outcome, since: query.since };
        let found = executions::list(&mut conn, &filter, query.size.plus_one(), query.before, query.offset).await?;
        let page = Page::of_rows("execution", found, query.size, |row| row.id.as_uuid(), ExecutionId::from_uuid);
        let total = executions::count(&mut conn, &filter, MAX_COUNTED).await?;
        Ok(LogPage { page, total })
    }
}
