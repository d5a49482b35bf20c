//! The catalogue: every statement by name, so that a test can prepare each of them on both databases.

use crate::store::Dialects;

/// Defines statements: `NAME = text` where one text serves both databases, `NAME = text, text` where SQLite and
/// PostgreSQL each need their own.
macro_rules! statements {
    ($($NAME:ident = $text:expr $(, $postgres:expr)?;)+) => {
        $(const $NAME: $crate::store::Dialects = $crate::repo::statement::statement!($text $(, $postgres)?);)+

        /// Every statement of this module, by name.
        pub(in crate::repo) const CATALOGUE: &[(&str, $crate::store::Dialects)] =
            &[$((concat!(module_path!(), "::", stringify!($NAME)), $NAME)),+];
    };
}
pub(super) use statements;

macro_rules! statement {
    ($text:expr) => {
        $crate::store::Dialects::same($text)
    };
    ($sqlite:expr, $postgres:expr) => {
        $crate::store::Dialects { sqlite: $sqlite, postgres: $postgres }
    };
}
pub(super) use statement;

/// Rows of one INSERT on SQLite. Each statement costs a round trip to its thread, about as much as writing 20 rows; more rows
/// gain little.
pub(super) const SQLITE_ROWS: usize = 64;

/// An INSERT of [`SQLITE_ROWS`] rows for SQLite, out of its beginning and what follows the rows. Its parameters have no names: SQLite
/// looks names up in a list, one after the other, at each binding.
pub(super) fn insert_many(beginning: &str, columns: usize, end: &str) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    format!("{beginning} VALUES {}{end}", vec![row; SQLITE_ROWS].join(", "))
}

/// A query on SQLite to which the values of rows are bound.
pub(super) type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Inserts rows into SQLite by two statements, of which one takes [`SQLITE_ROWS`] rows and one the rest, one by one.
pub(super) async fn insert_sqlite<'q, T>(
    db: &mut sqlx::SqliteConnection,
    (many, single): (&'static str, &'static str),
    rows: &'q [T],
    bind: impl Fn(SqliteQuery<'q>, &'q T) -> SqliteQuery<'q>,
) -> Result<(), crate::repo::RepoError> {
    let (whole, rest) = rows.split_at(rows.len() - rows.len() % SQLITE_ROWS);
    for rows in whole.chunks(SQLITE_ROWS) {
        rows.iter().fold(sqlx::query(sqlx::AssertSqlSafe(many)), &bind).execute(&mut *db).await?;
    }
    for row in rest {
        bind(sqlx::query(single), row).execute(&mut *db).await?;
    }
    Ok(())
}

/// Every statement of the control data.
#[doc(hidden)]
pub fn main_statements() -> impl Iterator<Item = (&'static str, Dialects)> {
    use crate::repo::*;
    [
        api_keys::CATALOGUE,
        apps::CATALOGUE,
        audit::CATALOGUE,
        backups::CATALOGUE,
        certificates::CATALOGUE,
        certificates::accounts::CATALOGUE,
        certificates::attempts::CATALOGUE,
        certificates::nodes::CATALOGUE,
        certificates::sealed::CATALOGUE,
        certificates::served::CATALOGUE,
        config::CATALOGUE,
        deleted_apps::CATALOGUE,
        domains::CATALOGUE,
        env::CATALOGUE,
        idempotency::CATALOGUE,
        login_failures::CATALOGUE,
        members::CATALOGUE,
        nodes::CATALOGUE,
        probe::CATALOGUE,
        routes::CATALOGUE,
        scripts::CATALOGUE,
        secrets::CATALOGUE,
        sessions::CATALOGUE,
        settings::CATALOGUE,
        setup_tokens::CATALOGUE,
        snapshot::CATALOGUE,
        stats::CATALOGUE,
        triggers::CATALOGUE,
        users::CATALOGUE,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Every statement of the apps' data.
#[doc(hidden)]
pub fn data_statements() -> impl Iterator<Item = (&'static str, Dialects)> {
    use crate::repo::events::{self, claims, cron, dead_letters, upkeep};
    use crate::repo::{app_data, data_audit, docs, kv, probe};
    [
        app_data::CATALOGUE,
        data_audit::CATALOGUE,
        docs::CATALOGUE,
        events::CATALOGUE,
        claims::CATALOGUE,
        cron::CATALOGUE,
        dead_letters::CATALOGUE,
        upkeep::CATALOGUE,
        kv::CATALOGUE,
        probe::CATALOGUE,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Every statement of the execution log.
#[doc(hidden)]
pub fn log_statements() -> impl Iterator<Item = (&'static str, Dialects)> {
    use crate::repo::executions::{self, counters, insert, retention};
    use crate::repo::probe;
    [executions::CATALOGUE, counters::CATALOGUE, insert::CATALOGUE, retention::CATALOGUE, probe::CATALOGUE]
        .into_iter()
        .flatten()
        .copied()
}
