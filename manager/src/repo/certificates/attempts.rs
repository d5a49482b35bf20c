//! The history of attempts, which limits are counted by. It outlives its certificates.

use picloud_shared::certificate::{Attempt, AttemptOutcome, ChallengeKind};
use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, CertificateAttemptId, CertificateId};

use crate::repo::RepoError;
use crate::repo::column::{Listed, from_row, listed};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

struct AttemptRow {
    id: CertificateAttemptId,
    certificate_id: CertificateId,
    name: String,
    app_id: Option<AppId>,
    is_renewal: bool,
    authority: String,
    challenge: Option<ChallengeKind>,
    outcome: AttemptOutcome,
    validation_failed: bool,
    error: Option<String>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

from_row!(AttemptRow {
    id,
    certificate_id,
    name,
    app_id,
    is_renewal,
    authority,
    challenge,
    outcome,
    validation_failed,
    error,
    started_at,
    ended_at,
});

/// How many there were, and when the first of them began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// When the first of them began.
    pub first: Option<Timestamp>,
}

from_row!(Counted { count, first });

statements! {
    NOTE = "INSERT INTO certificate_attempts (id, certificate_id, name, app_id, is_renewal, authority, challenge, outcome, \
        validation_failed, error, started_at, ended_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
        ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome, validation_failed = excluded.validation_failed, \
        error = excluded.error, ended_at = excluded.ended_at";
    LIST = "SELECT id, certificate_id, name, app_id, is_renewal, authority, challenge, outcome, validation_failed, error, \
        started_at, ended_at FROM certificate_attempts WHERE certificate_id = $1 ORDER BY id DESC LIMIT $2";
    FAILED_VALIDATIONS = "SELECT COUNT(*) AS count, MIN(started_at) AS first FROM certificate_attempts \
        WHERE name = $1 AND started_at BETWEEN $2 AND $3 AND validation_failed";
    NEW_ORDERS = "SELECT COUNT(*) AS count, MIN(started_at) AS first FROM certificate_attempts \
        WHERE app_id = $1 AND started_at BETWEEN $2 AND $3 AND NOT is_renewal";
    FAIL_RUNNING = "UPDATE certificate_attempts SET outcome = 'failed', error = $2, ended_at = $3 \
        WHERE certificate_id = $1 AND outcome = 'running'";
    PRUNE = "DELETE FROM certificate_attempts WHERE started_at < $1";
}

/// Writes an attempt down, as it began or as it ended.
pub async fn note(conn: &mut Conn, attempt: &Attempt) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(NOTE.on(db)).bind(attempt.id.as_uuid()).bind(attempt.certificate.as_uuid());
        let query = query.bind(&attempt.name).bind(attempt.app.map(AppId::as_uuid)).bind(attempt.is_renewal);
        let query = query.bind(&attempt.authority).bind(attempt.challenge.map(ChallengeKind::as_str));
        let query = query.bind(attempt.outcome.as_str()).bind(attempt.validation_failed).bind(&attempt.error);
        let query = query.bind(attempt.started_at.as_millis()).bind(attempt.ended_at.map(Timestamp::as_millis));
        query.execute(db).await?;
        Ok(())
    })
}

/// Up to `limit` attempts of a certificate, the newest first.
pub async fn list(conn: &mut Conn, id: CertificateId, limit: u32) -> Result<Vec<Listed<Attempt>>, RepoError> {
    let rows = on_db!(conn, db => {
        Ok(sqlx::query_as(LIST.on(db)).bind(id.as_uuid()).bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    let attempt = |row: AttemptRow| Attempt {
        id: row.id,
        certificate: row.certificate_id,
        name: row.name,
        app: row.app_id,
        is_renewal: row.is_renewal,
        authority: row.authority,
        challenge: row.challenge,
        outcome: row.outcome,
        validation_failed: row.validation_failed,
        error: row.error,
        started_at: row.started_at,
        ended_at: row.ended_at,
    };
    Ok(listed(rows).into_iter().map(|row| row.map(attempt)).collect())
}

/// The validations of a name that failed between these moments.
pub async fn failed_validations(
    conn: &mut Conn,
    name: &str,
    since: Timestamp,
    until: Timestamp,
) -> Result<Counted, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(FAILED_VALIDATIONS.on(db)).bind(name).bind(since.as_millis());
        Ok(query.bind(until.as_millis()).fetch_one(db).await?)
    })
}

/// The first certificates that were ordered for an app between these moments.
pub async fn new_orders(conn: &mut Conn, app: AppId, since: Timestamp, until: Timestamp) -> Result<Counted, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(NEW_ORDERS.on(db)).bind(app.as_uuid()).bind(since.as_millis());
        Ok(query.bind(until.as_millis()).fetch_one(db).await?)
    })
}

/// Has whatever attempts of a certificate are under way be failed ones that ended then.
pub async fn fail_running(
    conn: &mut Conn,
    certificate: CertificateId,
    error: &str,
    at: Timestamp,
) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(FAIL_RUNNING.on(db)).bind(certificate.as_uuid()).bind(error).bind(at.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// Removes attempts from before then.
pub async fn prune(conn: &mut Conn, before: Timestamp) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(PRUNE.on(db)).bind(before.as_millis()).execute(db).await?.rows_affected()))
}
