//! The test panel: runs an endpoint with a made-up request, saved or as it stands in an editor.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use picloud_executor::{Completion, Executor, Invocation};
use picloud_shared::clock::Clock;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::execution::Origin;
use picloud_shared::id::{ExecutionId, ScriptId};
use picloud_shared::path_pattern::RequestPath;
use picloud_shared::request::{Params, RequestHead, Scheme, ScriptRequest};
use picloud_shared::routing::{Dispatch, RouteVerdict, dispatch};
use picloud_shared::script::{ScriptKind, ScriptSource};
use picloud_shared::snapshot::{PublishedApp, PublishedScript, ScriptRow, Snapshot, SnapshotCell};

use crate::repo::scripts::{Script, ScriptMeta};
use crate::service::authorize::{Actor, Capability};
use crate::service::error::ServiceError;
use crate::service::script::find_meta;
use crate::service::script_check::{Checker, Family};
use crate::store::Store;
use crate::without_secrets::without_secrets;

/// The host that a test's request names where the app claims none.
const NO_HOST: &str = "localhost";

pub(crate) struct InvokeService {
    store: Store,
    clock: Arc<dyn Clock>,
    snapshot: Arc<SnapshotCell>,
    executor: Arc<Executor>,
    checker: Checker,
}

/// A request that somebody made up.
pub(crate) struct TestRequest {
    pub method: Method,
    pub host: Option<Host<'static>>,
    /// A path that [`RequestPath::parse`] takes.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// How a test ended, and which version ran: 0 for unsaved source.
pub(crate) struct TestResult {
    pub completion: Completion,
    pub version: u32,
}

impl InvokeService {
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        snapshot: Arc<SnapshotCell>,
        executor: Arc<Executor>,
        checker: Checker,
    ) -> Self {
        Self { store, clock, snapshot, executor, checker }
    }

    /// Runs the saved script, or the source given in its place.
    pub(crate) async fn invoke(
        &self,
        actor: &Actor,
        id: ScriptId,
        source: Option<ScriptSource>,
        request: TestRequest,
    ) -> Result<TestResult, ServiceError> {
        let mut read = self.store.begin_read().await?;
        let (meta, access) = find_meta(&mut read, actor, id).await?;
        access.require(Capability::ScriptInvoke)?;
        if source.is_some() {
            access.require(Capability::ScriptWrite)?;
        }
        if meta.kind == ScriptKind::Module {
            return Err(ServiceError::ModuleNotInvokable);
        }
        let snapshot = self.snapshot.load_full();
        let app = snapshot.app(meta.app_id).ok_or(ServiceError::NotPublished)?;
        // Compiling and running may take long and need no connection.
        let script = match source {
            None => {
                drop(read);
                Arc::clone(app.script(id).ok_or(ServiceError::NotPublished)?)
            }
            Some(source) => {
                let family = Family::load(&mut read, &snapshot, meta.app_id).await?;
                drop(read);
                Arc::new(self.unsaved(&family, meta, source).await?)
            }
        };
        let version = script.row.version;
        let request = arrange(&snapshot, app, id, request, actor.remote_ip);
        let execution_id = ExecutionId::generate(self.clock.now());
        let (app, input) = (Arc::clone(app), request.into());
        let invocation = Invocation { execution_id, app, script, input, origin: Origin::Test, timeout: None };
        let completion = without_secrets(self.executor.run(invocation).await).await;
        Ok(TestResult { completion, version })
    }

    /// A script as it would be published, had the source been saved.
    async fn unsaved(
        &self,
        family: &Family,
        meta: ScriptMeta,
        source: ScriptSource,
    ) -> Result<PublishedScript, ServiceError> {
        let limits = self.checker.limits(&meta.sandbox, meta.timeout_ms)?;
        let draft = Script { meta, source };
        let imports = self.checker.check(family, &draft).await?;
        let Script { meta, source } = draft;
        let ScriptMeta { id, name, kind, execute_access, .. } = meta;
        let row = ScriptRow { id, name, kind, version: 0, source, imports, limits, execute_access };
        Ok(PublishedScript::unsaved(row))
    }
}

/// The request as the data plane would hand it over: with the parameters of the script's route, if one of its routes
/// takes it.
fn arrange(
    snapshot: &Snapshot,
    app: &PublishedApp,
    script: ScriptId,
    test: TestRequest,
    remote_ip: IpAddr,
) -> ScriptRequest {
    let host = test.host.or_else(|| app.claims().iter().find_map(exact_host));
    let (mut params, mut host_params, mut rest) = (Params::new(), Params::new(), None);
    if let (Some(host), Ok(path)) = (&host, RequestPath::parse(&test.path))
        && let Dispatch::App { app: of_host, host_params: bound, verdict: RouteVerdict::Matched(found) } =
            dispatch(snapshot, host, &path, &test.method)
        && of_host.app().id == app.app().id
        && found.route.script_id == script
    {
        (params, host_params, rest) = (found.params, bound, found.rest);
    }
    let host: Box<str> = host.as_ref().map_or(NO_HOST, Host::as_str).into();
    let head = RequestHead {
        method: test.method,
        scheme: Scheme::Http,
        host,
        port: None,
        path: test.path.into(),
        query: test.query.map(Into::into),
        headers: test.headers,
        remote_ip,
    };
    ScriptRequest { head: Arc::new(head), params, host_params, rest, body: test.body }
}

fn exact_host(claim: &DomainPattern) -> Option<Host<'static>> {
    match claim {
        DomainPattern::Exact(host) => Some(host.clone()),
        DomainPattern::Wildcard { .. } => None,
    }
}
