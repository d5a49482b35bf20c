//! Failures to sign in that the nodes of an instance count together, on PostgreSQL.

use std::time::Duration;

use crate::repo::RepoError;
use crate::repo::column::{from_row, integer};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// Failures of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub failures: u32,
    /// When the last one was, by the database's clock: one stamp for each state of the row.
    pub last_at: i64,
    /// How long ago that was, in milliseconds.
    pub age_ms: i64,
}

from_row!(Failures { failures, last_at, age_ms });

struct Stamp {
    last_at: i64,
}

from_row!(Stamp { last_at });

// The texts for SQLite serve nobody: there the one node has them in memory.
statements! {
    FIND = "SELECT failures, last_at, 0 AS age_ms FROM login_failures WHERE subject = $1",
        "SELECT failures, last_at, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint - last_at AS age_ms \
        FROM login_failures WHERE subject = $1";
    SET = "INSERT INTO login_failures (subject, failures, last_at) VALUES ($1, $2, 0) \
        ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures RETURNING last_at",
        "INSERT INTO login_failures (subject, failures, last_at) \
        VALUES ($1, $2, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint) \
        ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures, last_at = GREATEST(excluded.last_at, login_failures.last_at + 1) \
        RETURNING last_at";
    FORGIVE = "UPDATE login_failures SET failures = failures - 1 WHERE subject = $1";
    FORGET = "DELETE FROM login_failures WHERE subject = $1 OR (subject = $2 AND failures <= 0)";
    FORGET_OLD = "DELETE FROM login_failures WHERE last_at < $1",
        "DELETE FROM login_failures WHERE last_at < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint - $1";
}

/// The failures of a subject.
pub async fn find(conn: &mut Conn, subject: &str) -> Result<Option<Failures>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(FIND.on(db)).bind(subject).fetch_optional(db).await?))
}

/// Says how many there are with the one of now; gives its stamp.
pub async fn set(conn: &mut Conn, subject: &str, failures: u32) -> Result<i64, RepoError> {
    let stamp: Stamp = on_db!(conn, db => {
        Ok(sqlx::query_as(SET.on(db)).bind(subject).bind(integer(failures.into())).fetch_one(db).await?)
    })?;
    Ok(stamp.last_at)
}

/// Takes one back.
pub async fn forgive(conn: &mut Conn, subject: &str) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(FORGIVE.on(db)).bind(subject).execute(&mut *db).await?;
        sqlx::query(FORGET.on(db)).bind("").bind(subject).execute(db).await?;
        Ok(())
    })
}

/// Takes all of a subject back.
pub async fn forget(conn: &mut Conn, subject: &str) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(FORGET.on(db)).bind(subject).bind("").execute(db).await?;
        Ok(())
    })
}

/// Forgets those that are older.
pub async fn forget_old(conn: &mut Conn, age: Duration) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(FORGET_OLD.on(db)).bind(age).execute(db).await?;
        Ok(())
    })
}
