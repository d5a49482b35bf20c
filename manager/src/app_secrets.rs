//! The secrets of apps, between the store, which has them sealed, and the snapshot, which has them open. It knows neither who may
//! set them nor which script asks for them.

use std::sync::Arc;

use picloud_shared::id::AppId;
use picloud_shared::name::SettingName;
use picloud_shared::secret::SecretValue;
use picloud_shared::snapshot::{PublishedSecret, PublishedSecrets};
use tracing::warn;

use crate::repo::RepoError;
use crate::repo::secrets::{self, SealedSecret};
use crate::secret::key_file::{Purpose, SecretKey};
use crate::secret::reseal::{Resealed, Resealer};
use crate::secret::seal::{Place, Sealer};
use crate::store::Conn;

/// What is sealed, for its place.
const VALUE: &str = "app_secrets.sealed";
/// Secrets that are sealed anew in one go.
const BATCH: u32 = 200;

/// Seals and opens the secrets of apps. Clones are the same.
#[derive(Clone)]
pub(crate) struct AppSecrets(Arc<Sealer>);

impl AppSecrets {
    pub(crate) fn new(key: &SecretKey) -> Self {
        Self(Arc::new(Sealer::new(&key.derive(Purpose::AppSecrets))))
    }

    pub(crate) fn seal(&self, app: AppId, name: &SettingName, value: &SecretValue) -> Vec<u8> {
        self.0.seal(place(&app.to_string(), name.as_str()), value.reveal().as_bytes())
    }

    /// An app's secrets for the snapshot. One that stands in the snapshot as it was set is not opened again, which spares the work, and
    /// lets a node go on with what it has open once the key was replaced.
    pub(crate) fn publish(
        &self,
        app: AppId,
        rows: Vec<SealedSecret>,
        published: Option<&PublishedSecrets>,
    ) -> PublishedSecrets {
        let open = |row: SealedSecret| {
            let known = published.and_then(|published| published.get(row.name.as_str()));
            let known = known.filter(|(_, known)| known.revision == row.revision && known.value.is_some());
            let secret = match known {
                Some((_, known)) => known.clone(),
                None => PublishedSecret { revision: row.revision, value: self.open(app, &row).map(Arc::new) },
            };
            (row.name, secret)
        };
        rows.into_iter().map(open).collect()
    }

    fn open(&self, app: AppId, row: &SealedSecret) -> Option<SecretValue> {
        let opened = self.0.open(place(&app.to_string(), row.name.as_str()), &row.sealed).ok();
        let value = opened.and_then(|bytes| SecretValue::try_from(String::from_utf8(bytes).ok()?).ok());
        if value.is_none() {
            warn!(app_id = %app, name = %row.name, "a secret does not open; scripts that ask for it are told so until it is set again");
        }
        value
    }
}

fn place<'a>(app: &'a str, name: &'a str) -> Place<'a> {
    Place { table: VALUE, app, name }
}

/// Seals all secrets of apps by another key, within a unit of work.
pub(crate) async fn reseal(conn: &mut Conn, old: &SecretKey, new: &SecretKey) -> Result<Resealed, RepoError> {
    let mut resealer = Resealer::new(old, new, Purpose::AppSecrets);
    let mut last = None;
    loop {
        let rows = secrets::list_sealed(conn, last.as_ref(), BATCH).await?;
        if rows.is_empty() {
            return Ok(resealer.done());
        }
        for mut row in rows {
            let app = row.app_id.to_string();
            resealer.reseal(place(&app, &row.name), &mut row.sealed);
            secrets::reseal(conn, &row).await?;
            last = Some(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use picloud_shared::clock::Timestamp;

    use super::*;

    fn row(name: &str, revision: i64, sealed: Vec<u8>) -> SealedSecret {
        SealedSecret { name: name.parse().unwrap(), revision, sealed }
    }

    fn value(secrets: &PublishedSecrets, name: &str) -> Option<String> {
        let (_, secret) = secrets.get(name)?;
        secret.value.as_ref().map(|value| value.reveal().to_owned())
    }

    #[test]
    fn a_secret_opens_in_its_app_and_under_its_name_alone() {
        let sealer = AppSecrets::new(&SecretKey::from_bytes([1; 32]));
        let [app, other] = [1, 2].map(|n| AppId::generate(Timestamp::from_millis(n)));
        let text = SecretValue::try_from("hunter2".to_owned()).ok().unwrap();
        let sealed = sealer.seal(app, &"KEY".parse().unwrap(), &text);
        let rows = || vec![row("KEY", 1, sealed.clone()), row("COPY", 2, sealed.clone())];
        let published = sealer.publish(app, rows(), None);
        assert_eq!((value(&published, "KEY").as_deref(), value(&published, "COPY")), (Some("hunter2"), None));
        assert!(published.get("COPY").is_some(), "it is there, and cannot be read");
        assert_eq!(value(&sealer.publish(other, rows(), None), "KEY"), None);
        // By another key what is open stays so, until it is set again.
        let replaced = AppSecrets::new(&SecretKey::from_bytes([2; 32]));
        let kept = replaced.publish(app, rows(), Some(&published));
        assert_eq!(value(&kept, "KEY").as_deref(), Some("hunter2"));
        assert_eq!(value(&replaced.publish(app, vec![row("KEY", 7, sealed)], Some(&published)), "KEY"), None);
    }
}
