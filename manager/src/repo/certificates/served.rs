//! What is served of certificates, and what is answered for those that are being ordered.

use picloud_shared::certificate::{CertificateFacts, CertificateSource, Challenge, ChallengeKind};
use picloud_shared::id::{AppId, CertificateId};
use sqlx::types::Json;

use crate::repo::RepoError;
use crate::repo::column::{Count, from_row, integer};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// What is served of a certificate, its key sealed.
#[derive(Debug)]
pub struct ServedRow {
    /// Which one.
    pub id: CertificateId,
    /// Where it comes from.
    pub source: CertificateSource,
    /// Whose claim it is for.
    pub app_id: Option<AppId>,
    /// The chain in PEM.
    pub chain: String,
    /// The key, sealed.
    pub key_sealed: Vec<u8>,
    /// What it says of itself.
    pub facts: CertificateFacts,
    /// At which revision it changed last.
    pub served_revision: u64,
}

from_row!(ServedRow { id, source, app_id, chain, key_sealed, facts, served_revision });

/// A certificate and the revision of its chain.
#[derive(Debug)]
pub struct ServedRevision {
    /// Which one.
    pub id: CertificateId,
    /// At which revision it changed last.
    pub served_revision: u64,
}

from_row!(ServedRevision { id, served_revision });

struct ChallengeRow {
    certificate_id: CertificateId,
    kind: ChallengeKind,
    name: String,
    token: String,
    key_authorization: String,
}

from_row!(ChallengeRow { certificate_id, kind, name, token, key_authorization });

statements! {
    REVISION = "SELECT revision AS count FROM certificate_revision";
    RAISE_REVISION = "UPDATE certificate_revision SET revision = revision + 1 RETURNING revision AS count";
    SET_SERVED = "UPDATE certificates SET chain = $2, key_sealed = $3, facts = $4, not_after = $5, served_revision = $6 \
        WHERE id = $1";
    SERVED_REVISIONS = "SELECT id, served_revision FROM certificates WHERE served_revision IS NOT NULL";
    SERVED = "SELECT id, source, app_id, chain, key_sealed, facts, served_revision FROM certificates \
        WHERE id = $1 AND served_revision IS NOT NULL";
    CHALLENGES = "SELECT certificate_id, kind, name, token, key_authorization FROM acme_challenges";
    DELETE_CHALLENGES = "DELETE FROM acme_challenges WHERE certificate_id = $1";
    INSERT_CHALLENGE = "INSERT INTO acme_challenges (certificate_id, kind, name, token, key_authorization) \
        VALUES ($1, $2, $3, $4, $5)";
}

/// The newest revision.
pub async fn revision(conn: &mut Conn) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(REVISION.on(db)).fetch_one(db).await?.count))
}

/// Raises the revision; the new one.
pub async fn raise_revision(conn: &mut Conn) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(RAISE_REVISION.on(db)).fetch_one(db).await?.count))
}

/// Serves another chain.
pub async fn set_served(
    conn: &mut Conn,
    id: CertificateId,
    chain: &str,
    key_sealed: &[u8],
    facts: &CertificateFacts,
    revision: u64,
) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(SET_SERVED.on(db)).bind(id.as_uuid()).bind(chain).bind(key_sealed);
        let query = query.bind(Json(facts)).bind(facts.not_after.as_millis()).bind(integer(revision));
        query.execute(db).await?;
        Ok(())
    })
}

/// Which certificates are served, each with its revision.
pub async fn served_revisions(conn: &mut Conn) -> Result<Vec<ServedRevision>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(SERVED_REVISIONS.on(db)).fetch_all(db).await?))
}

/// What is served of a certificate.
pub async fn served(conn: &mut Conn, id: CertificateId) -> Result<Option<ServedRow>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(SERVED.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))
}

/// All challenges that are answered.
pub async fn challenges(conn: &mut Conn) -> Result<Vec<Challenge>, RepoError> {
    let rows: Vec<ChallengeRow> = on_db!(conn, db => Ok(sqlx::query_as(CHALLENGES.on(db)).fetch_all(db).await?))?;
    let challenge = |row: ChallengeRow| Challenge {
        certificate: row.certificate_id,
        kind: row.kind,
        name: row.name,
        token: row.token,
        key_authorization: row.key_authorization,
    };
    Ok(rows.into_iter().map(challenge).collect())
}

/// Has these challenges of a certificate answered, and no others of it.
pub async fn set_challenges(conn: &mut Conn, id: CertificateId, challenges: &[Challenge]) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(DELETE_CHALLENGES.on(db)).bind(id.as_uuid()).execute(&mut *db).await?;
        for challenge in challenges {
            let query = sqlx::query(INSERT_CHALLENGE.on(db)).bind(id.as_uuid()).bind(challenge.kind.as_str());
            let query = query.bind(&challenge.name).bind(&challenge.token).bind(&challenge.key_authorization);
            query.execute(&mut *db).await?;
        }
        Ok(())
    })
}
