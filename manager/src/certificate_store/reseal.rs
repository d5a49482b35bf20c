//! Sealing by another key what was sealed of certificates: every sealed column is named here, or it would be lost with its key.

use picloud_shared::id::CertificateId;
use uuid::Uuid;

use super::sealed::{ACCOUNT, INTERMEDIATE_KEY, KEY, ORDER, ROOT_KEY, app_text};
use crate::repo::RepoError;
use crate::repo::certificates::{accounts, sealed};
use crate::secret::key_file::{Purpose, SecretKey};
use crate::secret::reseal::{Resealed, Resealer};
use crate::secret::seal::Place;
use crate::store::Conn;

/// Certificates that are sealed anew in one go.
const BATCH: u32 = 200;

/// Seals all by the new key, within a unit of work.
pub(crate) async fn reseal(conn: &mut Conn, old: &SecretKey, new: &SecretKey) -> Result<Resealed, RepoError> {
    let mut resealer = Resealer::new(old, new, Purpose::CertificateKeys);
    let mut last = CertificateId::from_uuid(Uuid::nil());
    loop {
        let certificates = sealed::list(conn, last, BATCH).await?;
        let Some(end) = certificates.last() else { break };
        last = end.id;
        for mut certificate in certificates {
            let (app, name) = (app_text(certificate.app_id), certificate.id.to_string());
            for (table, sealed) in [(ORDER, &mut certificate.order_sealed), (KEY, &mut certificate.key_sealed)] {
                if let Some(sealed) = sealed {
                    resealer.reseal(Place { table, app: &app, name: &name }, sealed);
                }
            }
            sealed::update(conn, &certificate).await?;
        }
    }
    for mut account in accounts::list(conn).await? {
        let place = Place { table: ACCOUNT, app: "", name: &account.directory };
        resealer.reseal(place, &mut account.account_sealed);
        accounts::reseal(conn, &account).await?;
    }
    if let Some(mut authority) = accounts::internal_authority(conn).await? {
        resealer.reseal(ROOT_KEY, &mut authority.root_key_sealed);
        resealer.reseal(INTERMEDIATE_KEY, &mut authority.intermediate_key_sealed);
        let ended = authority.intermediate_not_after;
        accounts::save_internal_authority(conn, &authority, Some(ended)).await?;
    }
    Ok(resealer.done())
}
