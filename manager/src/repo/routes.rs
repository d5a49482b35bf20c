//! Routes.

use std::sync::LazyLock;

use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::Host;
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{ParamShape, PathKind, PathPattern};
use picloud_shared::route::{HostSelector, Route, RoutePattern};
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::{Count, IdOf, Ids, Lenient, Listed, StoreRow, from_row, listed};
use crate::repo::error::Cause;
use crate::repo::statement::{SqliteQuery, insert_many, insert_sqlite, statements};
use crate::store::conn::on_db;
use crate::store::{Conn, Dialects};

/// A route with its date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoute {
    /// The route.
    pub route: Route,
    /// When it was created.
    pub created_at: Timestamp,
}

impl<'r, R: StoreRow> FromRow<'r, R> for StoredRoute {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let pattern = RoutePattern { host: host(row)?, path: path(row)?, method: row.read("method")? };
        let (id, app_id, script_id) = (row.read("id")?, row.read("app_id")?, row.read("script_id")?);
        let route = Route { id, app_id, script_id, pattern, is_async: row.read("is_async")? };
        Ok(Self { route, created_at: row.read("created_at")? })
    }
}

fn host<R: StoreRow>(row: &R) -> Result<HostSelector, sqlx::Error> {
    let kind: String = row.read("host_kind")?;
    let text: Option<String> = row.read("host")?;
    let parse = |text: &str| Host::parse_authority(text).map(Host::into_owned);
    let host = text.as_deref().map(parse).transpose().map_err(|error| unreadable("host", error))?;
    match (kind.as_str(), host) {
        ("any", None) => Ok(HostSelector::Any),
        ("strict", Some(host)) => Ok(HostSelector::Strict(host)),
        ("wildcard", Some(parent)) => Ok(HostSelector::Wildcard(parent)),
        _ => Err(unreadable("host_kind", "strict and wildcard have a host, any has none")),
    }
}

fn path<R: StoreRow>(row: &R) -> Result<PathPattern, sqlx::Error> {
    let kind: String = row.read("path_kind")?;
    let kind = [PathKind::Exact, PathKind::Param, PathKind::Prefix].into_iter().find(|known| known.as_str() == kind);
    let kind = kind.ok_or_else(|| unreadable("path_kind", "a path is exact, param or prefix"))?;
    let text: String = row.read("path")?;
    PathPattern::parse(kind, &text).map_err(|error| unreadable("path", error))
}

fn unreadable(column: &str, source: impl Into<Cause>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

/// A row of one shape.
struct Shape {
    shape: ParamShape,
}

from_row!(Shape { shape });

/// What the pattern of a route is stored as.
struct PatternColumns<'p> {
    host_kind: &'static str,
    host: Option<&'p str>,
    host_key: String,
    path_kind: &'static str,
    path: &'p str,
    path_shape: Vec<u8>,
    param_shape: ParamShape,
    method: &'static str,
}

impl<'p> PatternColumns<'p> {
    fn of(pattern: &'p RoutePattern) -> Self {
        Self {
            host_kind: pattern.host.kind(),
            host: match &pattern.host {
                HostSelector::Any => None,
                HostSelector::Strict(host) | HostSelector::Wildcard(host) => Some(host.as_str()),
            },
            host_key: pattern.host.shape_key(),
            path_kind: pattern.path.kind().as_str(),
            path: pattern.path.as_str(),
            path_shape: Sha256::digest(pattern.path.shape_key()).to_vec(),
            param_shape: pattern.path.param_shape(),
            method: pattern.method.as_str(),
        }
    }
}

macro_rules! columns {
    () => {
        "id, app_id, script_id, host_kind, host, host_key, path_kind, path, path_shape, method, param_shape, is_async, created_at"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, app_id, script_id, host_kind, host, path_kind, path, method, is_async, created_at FROM routes ",
            $rest
        )
    };
}

statements! {
    INSERT = concat!("INSERT INTO routes (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"),
        concat!("INSERT INTO routes (", columns!(), ") SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], \
        $6::text[], $7::text[], $8::text[], $9::bytea[], $10::text[], $11::text[], $12::boolean[], $13::bigint[])");
    FIND = select!("WHERE id = $1");
    FIND_APP = "SELECT app_id AS id FROM routes WHERE id = $1";
    LIST_OF_SCRIPT = select!("WHERE script_id = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3"),
        select!("WHERE script_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3");
    LIST_OF_APP = select!("WHERE app_id = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3"),
        select!("WHERE app_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3");
    FIND_CONFLICT = select!("WHERE app_id = $1 AND host_key = $2 AND path_shape = $3 AND method = $4");
    UPDATE = "UPDATE routes SET script_id = $1, host_kind = $2, host = $3, host_key = $4, path_kind = $5, path = $6, \
        path_shape = $7, method = $8, param_shape = $9, is_async = $10 WHERE id = $11 AND app_id = $12",
        "UPDATE routes SET script_id = s, host_kind = hk, host = h, host_key = ho, path_kind = pk, path = p, path_shape = ps, \
        method = m, param_shape = pa, is_async = asy FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
        $7::bytea[], $8::text[], $9::text[], $10::boolean[], $11::uuid[], $12::uuid[]) AS rows (s, hk, h, ho, pk, p, ps, m, pa, asy, i, a) \
        WHERE id = i AND app_id = a";
    DELETE = "DELETE FROM routes WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM routes WHERE id = ANY($1)";
    COUNT = "SELECT COUNT(*) AS count FROM routes WHERE app_id = $1";
    // From each shape to the next one in the index: the app's other routes of a shape are not read.
    LIST_PARAM_SHAPES = "WITH RECURSIVE shapes (shape) AS ( \
        SELECT MIN(param_shape) FROM routes WHERE app_id = $1 AND ($2 IS NULL OR id <> $2) \
        UNION ALL SELECT (SELECT MIN(param_shape) FROM routes WHERE app_id = $1 AND param_shape > shape \
        AND ($2 IS NULL OR id <> $2)) FROM shapes WHERE shape IS NOT NULL) \
        SELECT shape FROM shapes WHERE shape IS NOT NULL",
        "WITH RECURSIVE shapes (shape) AS ( \
        SELECT MIN(param_shape) FROM routes WHERE app_id = $1 AND ($2::uuid IS NULL OR id <> $2) \
        UNION ALL SELECT (SELECT MIN(param_shape) FROM routes WHERE app_id = $1 AND param_shape > shape \
        AND ($2::uuid IS NULL OR id <> $2)) FROM shapes WHERE shape IS NOT NULL) \
        SELECT shape FROM shapes WHERE shape IS NOT NULL";
}

/// Stores a route.
///
/// # Errors
/// [`RepoError::Conflict`] when another route of the app takes the same requests, [`RepoError::MissingReference`] when
/// the app has no such script.
pub async fn insert(conn: &mut Conn, route: &StoredRoute) -> Result<(), RepoError> {
    insert_all(conn, std::slice::from_ref(route)).await
}

/// Stores routes.
///
/// # Errors
/// As [`insert`].
pub async fn insert_all(conn: &mut Conn, routes: &[StoredRoute]) -> Result<(), RepoError> {
    on_db!(conn,
        Sqlite(db) => insert_sqlite(db, (&INSERT_MANY, INSERT.sqlite), routes, bind_row).await,
        Postgres(db) => insert_postgres(db, routes).await)
}

static INSERT_MANY: LazyLock<String> =
    LazyLock::new(|| insert_many(concat!("INSERT INTO routes (", columns!(), ")"), 13, ""));

fn bind_row<'q>(query: SqliteQuery<'q>, StoredRoute { route: r, created_at }: &'q StoredRoute) -> SqliteQuery<'q> {
    let query = query.bind(r.id.as_uuid()).bind(r.app_id.as_uuid()).bind(r.script_id.as_uuid());
    bind_taken(query, r).bind(created_at.as_millis())
}

/// What a route takes, and how.
fn bind_taken<'q>(query: SqliteQuery<'q>, route: &'q Route) -> SqliteQuery<'q> {
    let p = PatternColumns::of(&route.pattern);
    let query = query.bind(p.host_kind).bind(p.host).bind(p.host_key).bind(p.path_kind).bind(p.path);
    query.bind(p.path_shape).bind(p.method).bind(p.param_shape.as_str().to_owned()).bind(route.is_async)
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// The same of many routes, a list for each column.
fn bind_all_taken<'q>(query: PgQuery<'q>, routes: impl Iterator<Item = &'q Route> + Clone) -> PgQuery<'q> {
    let patterns: Vec<PatternColumns<'q>> = routes.clone().map(|route| PatternColumns::of(&route.pattern)).collect();
    query
        .bind(patterns.iter().map(|p| p.host_kind).collect::<Vec<_>>())
        .bind(patterns.iter().map(|p| p.host).collect::<Vec<_>>())
        .bind(patterns.iter().map(|p| p.host_key.clone()).collect::<Vec<_>>())
        .bind(patterns.iter().map(|p| p.path_kind).collect::<Vec<_>>())
        .bind(patterns.iter().map(|p| p.path).collect::<Vec<_>>())
        .bind(patterns.iter().map(|p| p.path_shape.clone()).collect::<Vec<_>>())
        .bind(patterns.iter().map(|p| p.method).collect::<Vec<_>>())
        .bind(patterns.iter().map(|p| p.param_shape.as_str().to_owned()).collect::<Vec<_>>())
        .bind(routes.map(|route| route.is_async).collect::<Vec<_>>())
}

/// All by one: a statement costs a way over the network.
async fn insert_postgres(db: &mut PgConnection, routes: &[StoredRoute]) -> Result<(), RepoError> {
    fn column<T>(routes: &[StoredRoute], value: impl Fn(&StoredRoute) -> T) -> Vec<T> {
        routes.iter().map(value).collect()
    }
    let query = sqlx::query(INSERT.postgres)
        .bind(column(routes, |r| r.route.id.as_uuid()))
        .bind(column(routes, |r| r.route.app_id.as_uuid()))
        .bind(column(routes, |r| r.route.script_id.as_uuid()));
    let query = bind_all_taken(query, routes.iter().map(|stored| &stored.route));
    query.bind(column(routes, |r| r.created_at.as_millis())).execute(db).await?;
    Ok(())
}

/// The route of that id.
pub async fn find(conn: &mut Conn, id: RouteId) -> Result<Option<StoredRoute>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, StoredRoute>(FIND.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))
}

/// The app of a route, whatever else of the route can be read.
pub async fn find_app(conn: &mut Conn, id: RouteId) -> Result<Option<AppId>, RepoError> {
    on_db!(conn, db => {
        let found = sqlx::query_as::<_, IdOf<AppId>>(FIND_APP.on(db)).bind(id.as_uuid()).fetch_optional(db).await?;
        Ok(found.map(|IdOf(id)| id))
    })
}

/// Up to `limit` routes that lead to the script in order of creation, those after `after`.
pub async fn list_of_script(
    conn: &mut Conn,
    script_id: ScriptId,
    limit: u32,
    after: Option<RouteId>,
) -> Result<Vec<Listed<StoredRoute>>, RepoError> {
    list(conn, LIST_OF_SCRIPT, script_id.as_uuid(), limit, after).await
}

/// Up to `limit` routes of the app in order of creation, those after `after`.
pub async fn list_of_app(
    conn: &mut Conn,
    app_id: AppId,
    limit: u32,
    after: Option<RouteId>,
) -> Result<Vec<Listed<StoredRoute>>, RepoError> {
    list(conn, LIST_OF_APP, app_id.as_uuid(), limit, after).await
}

async fn list(
    conn: &mut Conn,
    statement: Dialects,
    of: Uuid,
    limit: u32,
    after: Option<RouteId>,
) -> Result<Vec<Listed<StoredRoute>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(statement.on(db)).bind(of).bind(after.map(RouteId::as_uuid));
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// How many routes the app has.
pub async fn count(conn: &mut Conn, app_id: AppId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT.on(db)).bind(app_id.as_uuid()).fetch_one(db).await?.count))
}

/// Where the parameters of the app's routes stand, each shape once; without what only the route `except` has.
pub async fn list_param_shapes(
    conn: &mut Conn,
    app_id: AppId,
    except: Option<RouteId>,
) -> Result<Vec<ParamShape>, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(LIST_PARAM_SHAPES.on(db)).bind(app_id.as_uuid()).bind(except.map(RouteId::as_uuid));
        Ok(query.fetch_all(db).await?.into_iter().map(|Shape { shape }| shape).collect())
    })
}

/// The route of the app that takes exactly the requests of the pattern.
pub async fn find_conflict(
    conn: &mut Conn,
    app_id: AppId,
    pattern: &RoutePattern,
) -> Result<Option<Listed<StoredRoute>>, RepoError> {
    let p = PatternColumns::of(pattern);
    on_db!(conn, db => {
        let query = sqlx::query_as(FIND_CONFLICT.on(db)).bind(app_id.as_uuid()).bind(p.host_key);
        let found = query.bind(p.path_shape).bind(p.method).fetch_optional(db).await?;
        Ok(found.map(|Lenient(row)| row))
    })
}

/// Stores the script and pattern of a route; whether it exists.
///
/// # Errors
/// As [`insert`].
pub async fn update(conn: &mut Conn, route: &Route) -> Result<bool, RepoError> {
    update_all(conn, &[route]).await
}

/// Stores the scripts and patterns of routes; whether all exist.
///
/// # Errors
/// As [`insert`].
pub async fn update_all(conn: &mut Conn, routes: &[&Route]) -> Result<bool, RepoError> {
    let stored = on_db!(conn,
        Sqlite(db) => update_sqlite(db, routes).await,
        Postgres(db) => update_postgres(db, routes).await)?;
    Ok(stored == routes.len() as u64)
}

async fn update_sqlite(db: &mut SqliteConnection, routes: &[&Route]) -> Result<u64, RepoError> {
    let mut stored = 0;
    for route in routes {
        let query = bind_taken(sqlx::query(UPDATE.sqlite).bind(route.script_id.as_uuid()), route);
        let done = query.bind(route.id.as_uuid()).bind(route.app_id.as_uuid()).execute(&mut *db).await?;
        stored += done.rows_affected();
    }
    Ok(stored)
}

async fn update_postgres(db: &mut PgConnection, routes: &[&Route]) -> Result<u64, RepoError> {
    fn column<T>(routes: &[&Route], value: impl Fn(&Route) -> T) -> Vec<T> {
        routes.iter().map(|route| value(route)).collect()
    }
    let query = sqlx::query(UPDATE.postgres).bind(column(routes, |r| r.script_id.as_uuid()));
    let query = bind_all_taken(query, routes.iter().copied())
        .bind(column(routes, |r| r.id.as_uuid()))
        .bind(column(routes, |r| r.app_id.as_uuid()));
    Ok(query.execute(db).await?.rows_affected())
}

/// Removes a route; whether it existed.
pub async fn delete(conn: &mut Conn, id: RouteId) -> Result<bool, RepoError> {
    Ok(delete_all(conn, &[id]).await? > 0)
}

/// Removes routes; how many of them existed.
pub async fn delete_all(conn: &mut Conn, ids: &[RouteId]) -> Result<u64, RepoError> {
    let ids = Ids::of(ids.iter().map(|id| id.as_uuid()));
    on_db!(conn,
        Sqlite(db) => Ok(sqlx::query(DELETE.sqlite).bind(ids.sqlite()).execute(db).await?.rows_affected()),
        Postgres(db) => Ok(sqlx::query(DELETE.postgres).bind(ids.postgres()).execute(db).await?.rows_affected()))
}
