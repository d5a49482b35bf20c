//! What is sealed of certificates, for whoever seals it by another key.

use picloud_shared::id::{AppId, CertificateId};

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// What is sealed of a certificate.
#[derive(Debug)]
pub struct SealedCertificate {
    /// Which one.
    pub id: CertificateId,
    /// Whose claim it is for.
    pub app_id: Option<AppId>,
    /// The order under way.
    pub order_sealed: Option<Vec<u8>>,
    /// The key of what is served.
    pub key_sealed: Option<Vec<u8>>,
}

from_row!(SealedCertificate { id, app_id, order_sealed, key_sealed });

statements! {
    LIST = "SELECT id, app_id, order_sealed, key_sealed FROM certificates WHERE id > $1 ORDER BY id LIMIT $2";
    UPDATE = "UPDATE certificates SET order_sealed = $2, key_sealed = $3 WHERE id = $1";
}

/// Up to `limit` certificates in order of creation, those after `after`.
pub async fn list(conn: &mut Conn, after: CertificateId, limit: u32) -> Result<Vec<SealedCertificate>, RepoError> {
    on_db!(conn, db => {
        Ok(sqlx::query_as(LIST.on(db)).bind(after.as_uuid()).bind(i64::from(limit)).fetch_all(db).await?)
    })
}

/// Keeps what is sealed of a certificate otherwise.
pub async fn update(conn: &mut Conn, certificate: &SealedCertificate) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(UPDATE.on(db)).bind(certificate.id.as_uuid());
        query.bind(&certificate.order_sealed).bind(&certificate.key_sealed).execute(db).await?;
        Ok(())
    })
}
