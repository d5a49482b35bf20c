//! Managed and uploaded certificates: their state, their leases, and what is served of them.

pub mod accounts;
pub mod attempts;
pub mod nodes;
pub mod sealed;
pub mod served;

use std::time::Duration;

use picloud_shared::certificate::{CertificateRecord, CertificateSource, CertificateState, Issued};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, CertificateId, LeaseId};
use sqlx::FromRow;
use sqlx::types::Json;

use self::sealed::SealedCertificate;
use crate::repo::RepoError;
use crate::repo::column::{Count, IdOf, Lenient, Listed, StoreRow, from_row, integer, listed};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// A lease that is longer than any was made when the clock stood elsewhere.
const LONGEST_LEASE: Duration = Duration::from_secs(10 * 60);

/// What never led to a certificate, and has not been touched for longer than anything waits.
const COME_TO_NOTHING: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// A certificate with what is sealed of it.
#[derive(Debug)]
pub struct CertificateRow {
    /// Its state.
    pub record: CertificateRecord,
    /// The order under way, sealed.
    pub order_sealed: Option<Vec<u8>>,
}

/// A claim that no certificate is managed for.
#[derive(Debug)]
pub struct UnmanagedClaim {
    /// Whose it is.
    pub app_id: AppId,
    /// What is claimed.
    pub pattern: DomainPattern,
}

from_row!(UnmanagedClaim { app_id, pattern });

/// A moment that may be none.
struct When {
    at: Option<Timestamp>,
}

from_row!(When { at });

struct OfState {
    state: CertificateState,
    count: u64,
}

from_row!(OfState { state, count });

/// A managed certificate whose name nobody claims.
#[derive(Debug)]
pub struct Unclaimed {
    /// Which one.
    pub id: CertificateId,
    /// Its name.
    pub name: DomainPattern,
}

from_row!(Unclaimed { id, name });

impl<'r, R: StoreRow> FromRow<'r, R> for CertificateRow {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self { record: record(row)?, order_sealed: row.read("order_sealed")? })
    }
}

/// A record alone, for those who read.
struct Record(CertificateRecord);

impl<'r, R: StoreRow> FromRow<'r, R> for Record {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        record(row).map(Self)
    }
}

fn record<R: StoreRow>(row: &R) -> Result<CertificateRecord, sqlx::Error> {
    Ok(CertificateRecord {
        id: row.read("id")?,
        source: row.read("source")?,
        name: row.read("name")?,
        names: row.read("names")?,
        app: row.read("app_id")?,
        state: row.read("state")?,
        failures: row.read("failures")?,
        last_error: row.read("last_error")?,
        next_attempt_at: row.read("next_attempt_at")?,
        renewal: row.read("renewal")?,
        facts: row.read("facts")?,
        created_at: row.read("created_at")?,
        updated_at: row.read("updated_at")?,
    })
}

macro_rules! columns {
    () => {
        "id, source, name, names, app_id, state, failures, last_error, next_attempt_at, renewal, facts, created_at, \
         updated_at"
    };
}

// The database's own clock, in milliseconds: that of leases.
macro_rules! sqlite_now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}
macro_rules! postgres_now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}

macro_rules! lease {
    ($now:expr) => {
        concat!(
            "UPDATE certificates SET lease = $2, lease_until = ",
            $now,
            " + $3 WHERE id = $1 \
             AND (lease IS NULL OR lease_until < ",
            $now,
            " OR lease_until > ",
            $now,
            " + $4) RETURNING ",
            columns!(),
            ", order_sealed"
        )
    };
}

macro_rules! delete_unleased {
    ($now:expr) => {
        concat!(
            "DELETE FROM certificates WHERE id = $1 AND (lease IS NULL OR lease_until < ",
            $now,
            ") RETURNING id, app_id, order_sealed, key_sealed"
        )
    };
}

macro_rules! due {
    ($dot:literal, $kept:literal, $now:expr) => {
        // A host under a wildcard claim goes on having its own certificate.
        concat!(
            "SELECT id FROM certificates c WHERE next_attempt_at <= $1 AND (lease IS NULL OR lease_until < ",
            $now,
            " OR lease_until > ",
            $now,
            " + $3) AND (c.name IN (SELECT ",
            $kept,
            ") OR EXISTS (SELECT 1 FROM domains d \
             WHERE d.shape_key IN (c.name, '*.' || substr(c.name, ",
            $dot,
            " + 1)))) \
             ORDER BY CASE WHEN not_after IS NULL THEN 1 ELSE 0 END, CASE WHEN app_id IS NULL THEN 0 ELSE 1 END, \
             next_attempt_at, id LIMIT $2"
        )
    };
}

statements! {
    UNMANAGED = "SELECT d.app_id, d.pattern FROM domains d LEFT JOIN certificates c ON c.name = d.shape_key \
        WHERE c.id IS NULL ORDER BY d.id LIMIT $1";
    INSERT_MANAGED = "INSERT INTO certificates (id, source, name, names, app_id, state, next_attempt_at, created_at, \
        updated_at) VALUES ($1, $2, $3, $4, $5, 'claimed', $6, $7, $7) ON CONFLICT (name) DO NOTHING";
    UNCLAIMED = "SELECT c.id, c.name FROM certificates c LEFT JOIN domains d ON d.shape_key = c.name \
        WHERE c.name IS NOT NULL AND d.id IS NULL \
        AND (c.app_id IS NOT NULL OR NOT $3 OR COALESCE(c.not_after, c.updated_at + $2) < $1) ORDER BY c.id";
    WILDCARD_LACKS_ITS_OWN = "SELECT COUNT(*) AS count FROM domains d LEFT JOIN certificates c ON c.name = d.shape_key \
        AND c.not_after > $2 WHERE d.shape_key = $1 AND c.id IS NULL";
    HOSTS_LACK_THEIR_OWN = "SELECT COUNT(*) AS count FROM domains d LEFT JOIN certificates c ON c.name = d.shape_key \
        AND c.not_after > $2 WHERE d.parent = $1 AND d.shape_key <> $3 AND c.id IS NULL";
    DELETE_UNLEASED = delete_unleased!(sqlite_now!()), delete_unleased!(postgres_now!());
    DUE = due!("instr(c.name, '.')", "value FROM json_each($4)", sqlite_now!()),
        due!("position('.' in c.name)", "jsonb_array_elements_text($4)", postgres_now!());
    COUNT_BY_STATE = "SELECT state, COUNT(*) AS count FROM certificates GROUP BY state ORDER BY state";
    NEXT_DUE = "SELECT MIN(next_attempt_at) AS at FROM certificates";
    LEASE = lease!(sqlite_now!()), lease!(postgres_now!());
    PROLONG = concat!("UPDATE certificates SET lease_until = ", sqlite_now!(), " + $3 WHERE id = $1 AND lease = $2"),
        concat!("UPDATE certificates SET lease_until = ", postgres_now!(), " + $3 WHERE id = $1 AND lease = $2");
    RELEASE = "UPDATE certificates SET lease = NULL, lease_until = NULL WHERE id = $1 AND lease = $2";
    END_ALL_LEASES = "UPDATE certificates SET lease = NULL, lease_until = NULL WHERE lease IS NOT NULL";
    SAVE = "UPDATE certificates SET state = $3, failures = $4, last_error = $5, next_attempt_at = $6, renewal = $7, \
        order_sealed = $8, updated_at = $9 WHERE id = $1 AND lease = $2";
    FIND = concat!("SELECT ", columns!(), " FROM certificates WHERE id = $1");
    FIND_BY_NAME = concat!("SELECT ", columns!(), " FROM certificates WHERE name = $1");
    LIST_OF_APP = "SELECT c.id, c.source, c.name, c.names, c.app_id, c.state, c.failures, c.last_error, c.next_attempt_at, \
        c.renewal, c.facts, c.created_at, c.updated_at FROM certificates c JOIN domains d ON d.shape_key = c.name \
        WHERE d.app_id = $1 ORDER BY c.id";
    INSERT_UPLOADED = "INSERT INTO certificates (id, source, names, state, chain, key_sealed, facts, not_after, \
        served_revision, created_at, updated_at) VALUES ($1, 'manual', $2, 'valid', $3, $4, $5, $6, $7, $8, $8)";
    DELETE_UPLOADED = "DELETE FROM certificates WHERE id = $1 AND source = 'manual'";
    RESCHEDULE = "UPDATE certificates SET next_attempt_at = $1 WHERE next_attempt_at > $1 AND updated_at > $2";
    MAKE_DUE = "UPDATE certificates SET next_attempt_at = $2, renewal = $3, \
        lease = CASE WHEN state = 'valid' THEN NULL ELSE lease END WHERE id = $1";
    LIST = concat!("SELECT ", columns!(), " FROM certificates WHERE $1 IS NULL OR id > $1 ORDER BY id LIMIT $2"),
        concat!("SELECT ", columns!(), " FROM certificates WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2");
}

/// Up to `limit` claims that no certificate is managed for.
pub async fn unmanaged(conn: &mut Conn, limit: u32) -> Result<Vec<UnmanagedClaim>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(UNMANAGED.on(db)).bind(i64::from(limit)).fetch_all(db).await?))
}

/// Manages a certificate for that name, if none is.
pub async fn insert_managed(
    conn: &mut Conn,
    id: CertificateId,
    name: &DomainPattern,
    app: Option<AppId>,
    source: CertificateSource,
    due: Option<Timestamp>,
    at: Timestamp,
) -> Result<(), RepoError> {
    let name = name.shape_key();
    on_db!(conn, db => {
        let query = sqlx::query(INSERT_MANAGED.on(db)).bind(id.as_uuid()).bind(source.as_str()).bind(&name);
        let query = query.bind(Json([&name])).bind(app.map(AppId::as_uuid)).bind(due.map(Timestamp::as_millis));
        query.bind(at.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// Managed certificates whose names nobody claims; where other nodes are, those that never were a claim's once they have ended, or have
/// come to nothing for long.
pub async fn unclaimed(conn: &mut Conn, now: Timestamp, others: bool) -> Result<Vec<Listed<Unclaimed>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(UNCLAIMED.on(db)).bind(now.as_millis()).bind(millis(COME_TO_NOTHING));
        Ok(query.bind(others).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// Whether a claim goes on being served by a certificate of that name, though nobody claims the name itself: a host's by a
/// wildcard claim that has none of its own, a wildcard's by claims of hosts that have none.
pub async fn is_relied_on(conn: &mut Conn, name: &DomainPattern, now: Timestamp) -> Result<bool, RepoError> {
    let lacking = match name {
        DomainPattern::Exact(host) => {
            let Some((_, parent)) = host.split_first_label() else { return Ok(false) };
            let wildcard = format!("*.{parent}");
            on_db!(conn, db => {
                let query = sqlx::query_as::<_, Count>(WILDCARD_LACKS_ITS_OWN.on(db)).bind(wildcard);
                Ok(query.bind(now.as_millis()).fetch_one(db).await?.count)
            })?
        }
        DomainPattern::Wildcard { parent, .. } => on_db!(conn, db => {
            let query = sqlx::query_as::<_, Count>(HOSTS_LACK_THEIR_OWN.on(db)).bind(parent.as_str());
            Ok(query.bind(now.as_millis()).bind(name.shape_key()).fetch_one(db).await?.count)
        })?,
    };
    Ok(lacking > 0)
}

/// Removes a certificate that nobody works on; gives what was sealed of it, if it did.
pub async fn delete_unleased(
    conn: &mut Conn,
    id: CertificateId,
) -> Result<Option<Listed<SealedCertificate>>, RepoError> {
    let row: Option<Lenient<SealedCertificate>> =
        on_db!(conn, db => Ok(sqlx::query_as(DELETE_UNLEASED.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))?;
    Ok(row.map(|Lenient(row)| row))
}

/// What is due by then and nobody works on, of what is claimed or among `kept`: renewals first, then admin hosts, then what has
/// been due for longest.
pub async fn due(
    conn: &mut Conn,
    now: Timestamp,
    kept: &[String],
    limit: u32,
) -> Result<Vec<CertificateId>, RepoError> {
    let rows: Vec<IdOf<CertificateId>> = on_db!(conn, db => {
        let query = sqlx::query_as(DUE.on(db)).bind(now.as_millis()).bind(i64::from(limit));
        Ok(query.bind(millis(LONGEST_LEASE)).bind(Json(kept)).fetch_all(db).await?)
    })?;
    Ok(rows.into_iter().map(|IdOf(id)| id).collect())
}

/// How many there are in each state that some are in.
pub async fn count_by_state(conn: &mut Conn) -> Result<Vec<(CertificateState, u64)>, RepoError> {
    let rows: Vec<OfState> = on_db!(conn, db => Ok(sqlx::query_as(COUNT_BY_STATE.on(db)).fetch_all(db).await?))?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}

/// When the next attempt is due.
pub async fn next_due(conn: &mut Conn) -> Result<Option<Timestamp>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, When>(NEXT_DUE.on(db)).fetch_one(db).await?.at))
}

/// Takes a certificate, unless somebody has it.
pub async fn lease(
    conn: &mut Conn,
    id: CertificateId,
    lease: LeaseId,
    span: Duration,
) -> Result<Option<CertificateRow>, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(LEASE.on(db)).bind(id.as_uuid()).bind(lease.as_uuid());
        Ok(query.bind(millis(span)).bind(millis(LONGEST_LEASE)).fetch_optional(db).await?)
    })
}

/// Keeps a lease; whether it still stood.
pub async fn prolong(conn: &mut Conn, id: CertificateId, lease: LeaseId, span: Duration) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(PROLONG.on(db)).bind(id.as_uuid()).bind(lease.as_uuid()).bind(millis(span));
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}

/// Gives a lease back.
pub async fn release(conn: &mut Conn, id: CertificateId, lease: LeaseId) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(RELEASE.on(db)).bind(id.as_uuid()).bind(lease.as_uuid()).execute(db).await?;
        Ok(())
    })
}

/// Ends every lease: for a store that this process alone uses, where whoever held them is gone.
pub async fn end_all_leases(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(END_ALL_LEASES.on(db)).execute(db).await?;
        Ok(())
    })
}

/// Writes a certificate's state down; whether the lease still stood.
pub async fn save(
    conn: &mut Conn,
    lease: LeaseId,
    record: &CertificateRecord,
    order_sealed: Option<&[u8]>,
) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(SAVE.on(db)).bind(record.id.as_uuid()).bind(lease.as_uuid()).bind(record.state.as_str());
        let query = query.bind(i64::from(record.failures)).bind(record.last_error.as_deref());
        let query = query.bind(record.next_attempt_at.map(Timestamp::as_millis)).bind(record.renewal.as_ref().map(Json));
        let query = query.bind(order_sealed).bind(record.updated_at.as_millis());
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}

/// The certificate of that id.
pub async fn find(conn: &mut Conn, id: CertificateId) -> Result<Option<CertificateRecord>, RepoError> {
    let found: Option<Record> =
        on_db!(conn, db => Ok(sqlx::query_as(FIND.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))?;
    Ok(found.map(|Record(record)| record))
}

/// The certificates that are managed for the claims of an app.
pub async fn list_of_app(conn: &mut Conn, app: AppId) -> Result<Vec<Listed<CertificateRecord>>, RepoError> {
    let rows = on_db!(conn, db => Ok(sqlx::query_as(LIST_OF_APP.on(db)).bind(app.as_uuid()).fetch_all(db).await?))?;
    Ok(listed(rows).into_iter().map(|row| row.map(|Record(record)| record)).collect())
}

/// Stores a certificate that somebody uploaded.
pub async fn insert_uploaded(
    conn: &mut Conn,
    record: &CertificateRecord,
    issued: &Issued,
    key_sealed: &[u8],
    revision: u64,
) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(INSERT_UPLOADED.on(db)).bind(record.id.as_uuid()).bind(Json(&record.names));
        let query = query.bind(&issued.chain).bind(key_sealed).bind(Json(&issued.facts));
        let query = query.bind(issued.facts.not_after.as_millis()).bind(integer(revision));
        query.bind(record.created_at.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// Removes a certificate that somebody uploaded; whether there was one.
pub async fn delete_uploaded(conn: &mut Conn, id: CertificateId) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        Ok(sqlx::query(DELETE_UPLOADED.on(db)).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0)
    })
}

/// Has a certificate's turn come as its record says. An order is not disturbed; who only asks an authority about renewal loses its
/// lease, and does not write over this.
pub async fn make_due(conn: &mut Conn, record: &CertificateRecord) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(MAKE_DUE.on(db)).bind(record.id.as_uuid());
        let query = query.bind(record.next_attempt_at.map(Timestamp::as_millis)).bind(record.renewal.as_ref().map(Json));
        query.execute(db).await?;
        Ok(())
    })
}

/// Has the turn come of whatever was written down after that moment, which is yet to come; how many.
pub async fn reschedule(conn: &mut Conn, now: Timestamp, written_after: Timestamp) -> Result<u64, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(RESCHEDULE.on(db)).bind(now.as_millis()).bind(written_after.as_millis());
        Ok(query.execute(db).await?.rows_affected())
    })
}

/// The certificate that is managed for that name.
pub async fn find_by_name(conn: &mut Conn, name: &DomainPattern) -> Result<Option<CertificateRecord>, RepoError> {
    let found: Option<Record> =
        on_db!(conn, db => Ok(sqlx::query_as(FIND_BY_NAME.on(db)).bind(name.shape_key()).fetch_optional(db).await?))?;
    Ok(found.map(|Record(record)| record))
}

/// Up to `limit` certificates in order of creation, those after `after`.
pub async fn list(
    conn: &mut Conn,
    limit: u32,
    after: Option<CertificateId>,
) -> Result<Vec<Listed<CertificateRecord>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(after.map(CertificateId::as_uuid)).bind(i64::from(limit));
        Ok(query.fetch_all(db).await?)
    })?;
    Ok(listed(rows).into_iter().map(|row| row.map(|Record(record)| record)).collect())
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
