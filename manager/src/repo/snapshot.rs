//! What the publisher loads: whole apps, as the data plane needs them. A row that cannot be read is left out and named.

use std::collections::HashMap;
use std::fmt;

use futures_util::TryStreamExt;
use picloud_shared::app::{App, HstsMaxAge};
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::env::EnvValue;
use picloud_shared::execution::{RecordPolicy, RedactedHeaders};
use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::name::{AppSlug, ScriptName, SettingName};
use picloud_shared::route::Route;
use picloud_shared::script::{ExecuteAccess, LimitPolicy, Sandbox, ScriptKind, ScriptSource};
use picloud_shared::snapshot::{AppChanges, Now, ScriptRow};
use picloud_shared::trigger::Trigger;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::{StoreRow, from_row};
use crate::repo::config::ChangedParts;
use crate::repo::routes::StoredRoute;
use crate::repo::secrets::SealedSecret;
use crate::repo::statement::statements;
use crate::repo::triggers::StoredTrigger;
use crate::store::conn::{FUNCTION_TIMEOUT, LOAD_TIMEOUT, on_db};
use crate::store::{Conn, Dialects};

/// The readable rows of one app.
#[derive(Debug)]
pub struct AppRows {
    /// The app.
    pub app: App,
    /// What its execution records keep.
    pub record_policy: RecordPolicy,
    /// For how long browsers are to ask by HTTPS alone.
    pub hsts: Option<HstsMaxAge>,
    /// Its claims.
    pub claims: Vec<DomainPattern>,
    /// Its scripts.
    pub scripts: Vec<ScriptRow>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Its settings.
    pub env: Vec<(SettingName, EnvValue)>,
    /// Its secrets, sealed.
    pub secrets: Vec<SealedSecret>,
    /// Its triggers.
    pub triggers: Vec<Trigger>,
}

/// The parts of an app that changed.
#[derive(Debug, Default)]
pub struct LoadedParts {
    /// Those that are published as they are; secrets are not among them.
    pub changes: AppChanges,
    /// All secrets as they are now, where one changed, sealed.
    pub secrets: Option<Vec<SealedSecret>>,
    /// What is missing.
    pub problems: Vec<RowProblem>,
}

/// A row that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// The app that the row belongs to.
    pub app_id: AppId,
    /// `app`, `domain`, `script`, `route`, `env`, `secret` or `trigger`.
    pub kind: &'static str,
    /// The row's id; its app's where it has none of its own.
    pub id: Uuid,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of app {} is left out: {}", self.kind, self.id, self.app_id, self.detail)
    }
}

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The apps that can be published.
    pub apps: Vec<AppRows>,
    /// What is missing from them, or an app that is missing altogether.
    pub problems: Vec<RowProblem>,
}

/// The columns of an app that the data plane needs.
struct AppColumns {
    id: AppId,
    slug: AppSlug,
    redacted_headers: RedactedHeaders,
    record_bodies: bool,
    hsts_max_age_s: Option<HstsMaxAge>,
}

from_row!(AppColumns { id, slug, redacted_headers, record_bodies, hsts_max_age_s });

/// The columns of a script that the data plane needs.
struct ScriptColumns {
    id: ScriptId,
    name: ScriptName,
    kind: ScriptKind,
    version: u32,
    source: ScriptSource,
    imports: Vec<ScriptName>,
    timeout_ms: Option<u64>,
    sandbox: Sandbox,
    execute_access: ExecuteAccess,
}

from_row!(ScriptColumns { id, name, kind, version, source, imports, timeout_ms, sandbox, execute_access });

struct Claim {
    pattern: DomainPattern,
}

from_row!(Claim { pattern });

struct Setting {
    name: SettingName,
    value: EnvValue,
}

from_row!(Setting { name, value });

macro_rules! scripts {
    ($rest:literal) => {
        concat!(
            "SELECT app_id, id, name, kind, version, source, imports, timeout_ms, sandbox, execute_access FROM scripts ",
            $rest
        )
    };
}

macro_rules! routes {
    ($rest:literal) => {
        concat!(
            "SELECT app_id, id, script_id, host_kind, host, path_kind, path, method, is_async, created_at FROM routes ",
            $rest
        )
    };
}

macro_rules! triggers {
    ($rest:literal) => {
        concat!(
            "SELECT app_id, id, script_id, source, config, enabled, max_attempts, backoff_base_ms, backoff_cap_ms, timeout_ms, \
             created_at, updated_at FROM triggers ",
            $rest
        )
    };
}

statements! {
    APP = "SELECT id AS app_id, id, slug, redacted_headers, record_bodies, hsts_max_age_s FROM apps WHERE id = $1";
    APPS = "SELECT id AS app_id, id, slug, redacted_headers, record_bodies, hsts_max_age_s FROM apps ORDER BY id";
    DOMAINS_OF_APP = "SELECT app_id, id, pattern FROM domains WHERE app_id = $1 ORDER BY id";
    DOMAINS = "SELECT app_id, id, pattern FROM domains ORDER BY id";
    SCRIPTS_OF_APP = scripts!("WHERE app_id = $1 ORDER BY id");
    SCRIPTS = scripts!("ORDER BY id");
    ROUTES_OF_APP = routes!("WHERE app_id = $1 ORDER BY id");
    ROUTES = routes!("ORDER BY id");
    ENV_OF_APP = "SELECT app_id, app_id AS id, name, value FROM app_env WHERE app_id = $1";
    ENV = "SELECT app_id, app_id AS id, name, value FROM app_env";
    SECRETS_OF_APP = "SELECT app_id, app_id AS id, name, revision, sealed FROM app_secrets WHERE app_id = $1";
    SECRETS = "SELECT app_id, app_id AS id, name, revision, sealed FROM app_secrets";
    TRIGGERS_OF_APP = triggers!("WHERE app_id = $1 ORDER BY id");
    TRIGGERS = triggers!("ORDER BY id");
    SCRIPT = scripts!("WHERE app_id = $1 AND id = $2");
    ROUTE = routes!("WHERE app_id = $1 AND id = $2");
}

/// Which rows of a table.
#[derive(Debug, Clone, Copy)]
enum Of {
    All,
    App(AppId),
    /// The one row of the app with that id.
    One(AppId, Uuid),
}

/// Loads one app; no apps and no problems when it does not exist. Call it within [`crate::store::Store::begin_read`].
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn load_app(conn: &mut Conn, limits: &LimitPolicy, id: AppId) -> Result<Loaded, RepoError> {
    let statements = [APP, DOMAINS_OF_APP, SCRIPTS_OF_APP, ROUTES_OF_APP, ENV_OF_APP, SECRETS_OF_APP, TRIGGERS_OF_APP];
    load(conn, limits, Of::App(id), statements).await
}

/// Loads all apps. Call it within [`crate::store::Store::begin_read`].
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn load_all(conn: &mut Conn, limits: &LimitPolicy) -> Result<Loaded, RepoError> {
    load(conn, limits, Of::All, [APPS, DOMAINS, SCRIPTS, ROUTES, ENV, SECRETS, TRIGGERS]).await
}

/// Loads the parts of one app that changed. Call it within [`crate::store::Store::begin_read`].
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn load_parts(
    conn: &mut Conn,
    limits: &LimitPolicy,
    app: AppId,
    parts: &ChangedParts,
) -> Result<LoadedParts, RepoError> {
    let LoadedParts { mut changes, mut secrets, mut problems } = LoadedParts::default();
    if parts.claims {
        let claims: Vec<(AppId, Claim)> = rows(conn, DOMAINS_OF_APP, Of::App(app), "domain", &mut problems).await?;
        changes.claims = Some(claims.into_iter().map(|(_, claim)| claim.pattern).collect());
    }
    if parts.triggers {
        let triggers = rows(conn, TRIGGERS_OF_APP, Of::App(app), "trigger", &mut problems).await?;
        let triggers = timely(triggers, limits, &mut problems);
        changes.triggers = Some(triggers.into_iter().map(|(_, trigger)| trigger).collect());
    }
    for id in &parts.scripts {
        let known_problems = problems.len();
        let found = rows(conn, SCRIPT, Of::One(app, id.as_uuid()), "script", &mut problems).await?;
        let found = within_limits(found, limits, &mut problems).pop().map(|(_, row)| row);
        changes.scripts.push((*id, now(found, problems.len() > known_problems)));
    }
    for id in &parts.routes {
        let known_problems = problems.len();
        let found: Vec<(AppId, StoredRoute)> =
            rows(conn, ROUTE, Of::One(app, id.as_uuid()), "route", &mut problems).await?;
        let found = found.into_iter().next().map(|(_, stored)| stored.route);
        changes.routes.push((*id, now(found, problems.len() > known_problems)));
    }
    if parts.env {
        let env: Vec<(AppId, Setting)> = rows(conn, ENV_OF_APP, Of::App(app), "env", &mut problems).await?;
        changes.env = Some(env.into_iter().map(|(_, setting)| (setting.name, setting.value)).collect());
    }
    if parts.secrets {
        let found = rows(conn, SECRETS_OF_APP, Of::App(app), "secret", &mut problems).await?;
        secrets = Some(found.into_iter().map(|(_, secret)| secret).collect());
    }
    Ok(LoadedParts { changes, secrets, problems })
}

fn now<T>(found: Option<T>, has_problem: bool) -> Now<T> {
    match found {
        Some(found) => Now::Is(found),
        None if has_problem => Now::Unfit,
        None => Now::Gone,
    }
}

async fn load(
    conn: &mut Conn,
    limits: &LimitPolicy,
    of: Of,
    [apps, domains, scripts, routes, env, secrets, triggers]: [Dialects; 7],
) -> Result<Loaded, RepoError> {
    let mut problems = Vec::new();
    let apps: Vec<(AppId, AppColumns)> = rows(conn, apps, of, "app", &mut problems).await?;
    let mut claims = by_app(rows(conn, domains, of, "domain", &mut problems).await?, |claim: Claim| claim.pattern);
    let scripts: Vec<(AppId, ScriptColumns)> = rows(conn, scripts, of, "script", &mut problems).await?;
    let mut routes = by_app(rows(conn, routes, of, "route", &mut problems).await?, |stored: StoredRoute| stored.route);
    let env: Vec<(AppId, Setting)> = rows(conn, env, of, "env", &mut problems).await?;
    let mut env = by_app(env, |setting| (setting.name, setting.value));
    let mut secrets = by_app(rows(conn, secrets, of, "secret", &mut problems).await?, |secret: SealedSecret| secret);
    let triggers = rows(conn, triggers, of, "trigger", &mut problems).await?;
    let mut triggers = by_app(timely(triggers, limits, &mut problems), |trigger| trigger);
    let mut scripts = by_app(within_limits(scripts, limits, &mut problems), |script| script);
    let apps =
        apps.into_iter().map(|(_, AppColumns { id, slug, redacted_headers, record_bodies, hsts_max_age_s })| AppRows {
            app: App { id, slug },
            record_policy: RecordPolicy::new(redacted_headers.names().iter().cloned(), record_bodies),
            hsts: hsts_max_age_s,
            claims: claims.remove(&id).unwrap_or_default(),
            scripts: scripts.remove(&id).unwrap_or_default(),
            routes: routes.remove(&id).unwrap_or_default(),
            env: env.remove(&id).unwrap_or_default(),
            secrets: secrets.remove(&id).unwrap_or_default(),
            triggers: triggers.remove(&id).unwrap_or_default(),
        });
    Ok(Loaded { apps: apps.collect(), problems })
}

/// The readable ones among the rows, each with the app that it belongs to. They are read one by one: at no moment does
/// all that the database sent stand beside what is made of it.
async fn rows<T>(
    conn: &mut Conn,
    statement: Dialects,
    of: Of,
    kind: &'static str,
    problems: &mut Vec<RowProblem>,
) -> Result<Vec<(AppId, T)>, RepoError>
where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send,
{
    let time = if matches!(of, Of::All) { LOAD_TIMEOUT } else { FUNCTION_TIMEOUT };
    on_db!(time, conn, db => {
        let query = sqlx::query(statement.on(db));
        let query = match of {
            Of::All => query,
            Of::App(app) => query.bind(app.as_uuid()),
            Of::One(app, id) => query.bind(app.as_uuid()).bind(id),
        };
        let (mut rows, mut found) = (query.fetch(db), Vec::new());
        while let Some(row) = rows.try_next().await? {
            found.extend(readable(&row, kind, problems));
        }
        Ok(found)
    })
}

fn readable<'r, R: StoreRow, T: FromRow<'r, R>>(
    row: &'r R,
    kind: &'static str,
    problems: &mut Vec<RowProblem>,
) -> Option<(AppId, T)> {
    let read = row.read("app_id").and_then(|app_id| Ok((app_id, T::from_row(row)?)));
    read.inspect_err(|error| {
        // An id that cannot be read itself is shown as the nil one.
        let app_id = row.read("app_id").unwrap_or(AppId::from_uuid(Uuid::nil()));
        problems.push(RowProblem { app_id, kind, id: row.read("id").unwrap_or_default(), detail: error.to_string() });
    })
    .ok()
}

/// The scripts that keep to the operator's ceilings, which may have come down since a script was saved.
fn within_limits(
    scripts: Vec<(AppId, ScriptColumns)>,
    policy: &LimitPolicy,
    problems: &mut Vec<RowProblem>,
) -> Vec<(AppId, ScriptRow)> {
    let mut kept = Vec::with_capacity(scripts.len());
    for (app_id, script) in scripts {
        let ScriptColumns { id, name, kind, version, source, imports, timeout_ms, sandbox, execute_access } = script;
        match policy.resolve(&sandbox, timeout_ms) {
            Ok(limits) => {
                kept.push((app_id, ScriptRow { id, name, kind, version, source, imports, limits, execute_access }));
            }
            Err(error) => {
                problems.push(RowProblem { app_id, kind: "script", id: id.as_uuid(), detail: error.to_string() });
            }
        }
    }
    kept
}

/// The triggers whose timeout keeps to the operator's ceiling, for the same reason.
fn timely(
    triggers: Vec<(AppId, StoredTrigger)>,
    policy: &LimitPolicy,
    problems: &mut Vec<RowProblem>,
) -> Vec<(AppId, Trigger)> {
    let mut kept = Vec::with_capacity(triggers.len());
    for (app_id, StoredTrigger { trigger, .. }) in triggers {
        let timeout_ms = trigger.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        match policy.resolve(&Sandbox::default(), timeout_ms) {
            Ok(_) => kept.push((app_id, trigger)),
            Err(error) => {
                let id = trigger.id.as_uuid();
                problems.push(RowProblem { app_id, kind: "trigger", id, detail: error.to_string() });
            }
        }
    }
    kept
}

fn by_app<T, U>(rows: Vec<(AppId, T)>, value: impl Fn(T) -> U) -> HashMap<AppId, Vec<U>> {
    let mut grouped: HashMap<AppId, Vec<U>> = HashMap::new();
    for (app_id, row) in rows {
        grouped.entry(app_id).or_default().push(value(row));
    }
    grouped
}
