//! Another secret key in place of the store's, and what is left wherever that is broken off.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use picloud_manager::AuditedStore;
use picloud_manager::audit_chain::AuditChain;
use picloud_manager::certificate_store::Certificates;
use picloud_manager::key_rotation::{Rotated, Rotation, RotationError};
use picloud_manager::repo::audit::{self, AuditEntry, AuditFilter};
use picloud_manager::repo::secrets::{self, SecretMeta};
use picloud_manager::secret::key_file::{KeyFileError, Purpose, SecretKey};
use picloud_manager::secret::seal::{Place, Sealer};
use picloud_manager::users::{InstanceRole, create_user};
use picloud_shared::certificate::{
    CertificateFacts, CertificateSource, CertificateStore, ChallengeKind, InternalAuthority, Issued, OrderProgress,
    PrivateKey,
};
use picloud_shared::clock::{Clock, ManualClock};
use picloud_shared::id::{AuditId, CertificateAttemptId, CertificateId};
use sha2::Sha256;
use sqlx::Row;

use crate::rows::{NOW, add_app};
use crate::test_store::{TestStore, on_both};

const NOTHING: [PathBuf; 0] = [];

/// A store, the file of its key, and the directory that it stands in alone.
struct Keyed {
    test: TestStore,
    dir: tempfile::TempDir,
    path: PathBuf,
}

fn app_sealer(key: &SecretKey) -> Sealer {
    Sealer::new(&key.derive(Purpose::AppSecrets))
}

fn secret_place(app: &str) -> Place<'_> {
    Place { table: "app_secrets.sealed", app, name: "KEY" }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(NOW))
}

impl Keyed {
    /// The files that stand beside that of the key, which is there.
    fn beside(&self) -> Vec<PathBuf> {
        assert!(self.path.exists());
        let all = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| *path != self.path).collect()
    }

    /// With something in every sealed column, and rows in the audit log.
    async fn new(test: TestStore) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let keyed = Self { test, dir, path };
        let key = keyed.open().await;
        for name in ["ada", "bob"] {
            keyed.add_user(&key, name).await.unwrap();
        }
        let store = keyed.certificates(&key);
        store.manage(&"a.test".parse().unwrap(), None, CertificateSource::Automatic, Some(NOW)).await.unwrap();
        let leased = store.lease(keyed.certificate(&store).await, Duration::from_secs(60)).await.unwrap().unwrap();
        let order = OrderProgress {
            attempt: CertificateAttemptId::generate(NOW),
            authority: "https://ca.test/dir".to_owned(),
            url: None,
            challenge: ChallengeKind::Http01,
            key: PrivateKey::new("the key of an order".to_owned()),
            begun_at: NOW,
            records: Vec::new(),
            rehearsal: false,
            finalized: false,
        };
        let facts = CertificateFacts {
            names: vec!["a.test".to_owned()],
            issuer: String::new(),
            serial: String::new(),
            not_before: NOW,
            not_after: NOW.plus(Duration::from_secs(600)),
            renewal_id: None,
            authority: None,
        };
        let key = PrivateKey::new("the key of a certificate".to_owned());
        let issued = Issued { chain: "chain".to_owned(), key, facts };
        store.keep(leased.lease, &leased.record, &issued, None).await.unwrap();
        store.save(leased.lease, &leased.record, Some(&order)).await.unwrap();
        store.release(leased.record.id, leased.lease).await.unwrap();
        store.save_account("https://ca.test/dir", "an account", false).await.unwrap();
        let authority = InternalAuthority {
            root: "root".to_owned(),
            root_key: PrivateKey::new("the key of the root".to_owned()),
            intermediate: "intermediate".to_owned(),
            intermediate_key: PrivateKey::new("the key of the intermediate".to_owned()),
            intermediate_not_after: NOW,
        };
        store.save_internal_authority(&authority, None).await.unwrap();
        keyed.add_secret().await;
        keyed
    }

    /// A secret of an app.
    async fn add_secret(&self) {
        let (app, key) = (add_app(&self.test.store, "shop").await.id, self.open().await);
        let sealed = app_sealer(&key).seal(secret_place(&app.to_string()), b"a secret of an app");
        let (created_at, updated_at) = (NOW, NOW);
        let secret = SecretMeta { name: "KEY".parse().unwrap(), revision: 7, created_at, updated_at };
        let mut tx = self.test.store.begin().await.unwrap();
        secrets::set(&mut tx, app, &secret, &sealed).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The app's secret, if it opens by the key, and its revision.
    async fn secret(&self, key: &SecretKey) -> (Option<Vec<u8>>, i64) {
        let mut conn = self.test.store.read().await.unwrap();
        let row = secrets::list_sealed(&mut conn, None, 10).await.unwrap().remove(0);
        let name = "KEY".parse().unwrap();
        let revision = secrets::find(&mut conn, row.app_id, &name).await.unwrap().unwrap().revision;
        (app_sealer(key).open(secret_place(&row.app_id.to_string()), &row.sealed).ok(), revision)
    }

    async fn open(&self) -> SecretKey {
        SecretKey::open(&self.test.store, &self.path).await.unwrap()
    }

    fn certificates(&self, key: &SecretKey) -> Certificates {
        Certificates::new(self.test.store.clone(), clock(), key)
    }

    async fn certificate(&self, store: &Certificates) -> CertificateId {
        store.due(NOW, &["a.test".to_owned()], 10).await.unwrap()[0]
    }

    async fn add_user(&self, key: &SecretKey, name: &str) -> Result<(), String> {
        let audited = AuditedStore::new(self.test.store.clone(), clock(), key);
        let made = create_user(&audited, name.parse().unwrap(), InstanceRole::Member, None).await;
        made.map(drop).map_err(|error| format!("{:?}", anyhow_chain(&error)))
    }

    /// Leaves a row for the audit log beside the apps' data, as a node with that key does.
    async fn put_outbound(&self, key: &SecretKey, action: &str) {
        let entry = AuditEntry {
            id: AuditId::generate(NOW),
            at: NOW,
            user_id: None,
            username: None,
            key_id: None,
            action: action.to_owned(),
            object_kind: "kv_entry".to_owned(),
            object_id: None,
            app_id: None,
            remote_ip: None,
            before: None,
            after: None,
        };
        let text = serde_json::to_string(&entry).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(key.derive(Purpose::AuditChain).as_bytes()).unwrap();
        mac.update(b"outbound");
        mac.update(text.as_bytes());
        let seal: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let id = entry.id.as_uuid();
        let (id, seal) = match self.test.sqlite_dir() {
            Some(_) => (format!("X'{}'", id.simple()), format!("X'{seal}'")),
            None => (format!("'{id}'"), format!("decode('{seal}', 'hex')")),
        };
        let insert = format!("INSERT INTO data_audit (id, entry, seal) VALUES ({id}, '{text}', {seal})");
        self.test.tamper_with_data(&insert).await;
    }

    /// The actions in the audit log, which is whole by that key.
    async fn audited_actions(&self, key: &SecretKey) -> Vec<String> {
        AuditChain::new(key).verify(&self.test.store, None).await.unwrap();
        let mut conn = self.test.store.read().await.unwrap();
        let rows = audit::list(&mut conn, &AuditFilter::default(), 100, None).await.unwrap();
        rows.into_iter().map(|row| row.unwrap().entry.action).collect()
    }

    async fn prepare(&self) -> Result<Rotation, RotationError> {
        Rotation::prepare(&self.test.store, clock(), &self.path).await
    }

    async fn rotate(&self) -> Rotated {
        self.prepare().await.unwrap().commit().await.unwrap().put_in_place().unwrap()
    }

    /// That everything opens by the key, and the audit log is whole by it.
    async fn opens_by(&self, key: &SecretKey) {
        let store = self.certificates(key);
        let id = self.certificate(&store).await;
        let leased = store.lease(id, Duration::from_secs(60)).await.unwrap().unwrap();
        store.release(id, leased.lease).await.unwrap();
        assert_eq!(leased.order.unwrap().key.reveal(), "the key of an order");
        let served = store.served(id).await.unwrap().unwrap();
        assert_eq!(served.issued.key.reveal(), "the key of a certificate");
        assert_eq!(store.account("https://ca.test/dir").await.unwrap().as_deref(), Some("an account"));
        let authority = store.internal_authority().await.unwrap().unwrap();
        assert_eq!(authority.root_key.reveal(), "the key of the root");
        assert_eq!(authority.intermediate_key.reveal(), "the key of the intermediate");
        assert_eq!(
            self.secret(key).await,
            (Some(b"a secret of an app".to_vec()), 7),
            "for who has it open it is the same"
        );
        AuditChain::new(key).verify(&self.test.store, None).await.unwrap();
    }

    /// That nothing opens by the key any more, and nothing is written by it.
    async fn is_closed_to(&self, key: &SecretKey) {
        let store = self.certificates(key);
        let id = self.certificate(&store).await;
        assert!(store.served(id).await.is_err());
        assert!(store.account("https://ca.test/dir").await.is_err());
        assert!(store.internal_authority().await.is_err());
        assert_eq!(self.secret(key).await.0, None);
        assert!(AuditChain::new(key).verify(&self.test.store, None).await.is_err());
        let replaced = "the instance's secret key was replaced: give this node the new key file";
        for refused in [
            store.lease(id, Duration::from_secs(60)).await.map(drop).unwrap_err().to_string(),
            store.revision().await.map(drop).unwrap_err().to_string(),
            store.save_account("https://other.test/dir", "an account", false).await.unwrap_err().to_string(),
            self.add_user(key, "mallory").await.unwrap_err(),
        ] {
            assert!(refused.contains(replaced), "{refused}");
        }
    }
}

/// An error with all that led to it.
fn anyhow_chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

/// Every column of something sealed, as the database tells them. One that is not here is not sealed anew: see
/// `certificate_store/reseal.rs` and `app_secrets.rs`.
const SEALED: [&str; 6] = [
    "acme_accounts.account_sealed",
    "app_secrets.sealed",
    "certificates.key_sealed",
    "certificates.order_sealed",
    "internal_authority.intermediate_key_sealed",
    "internal_authority.root_key_sealed",
];

async fn sealed_columns(test: &TestStore) -> Vec<String> {
    let statement = match test.sqlite_dir() {
        Some(_) => {
            "SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND c.name LIKE '%sealed' ORDER BY 1"
        }
        None => {
            "SELECT table_name || '.' || column_name FROM information_schema.columns \
             WHERE table_schema = 'public' AND column_name LIKE '%sealed' ORDER BY 1"
        }
    };
    match test.sqlite_dir() {
        Some(dir) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("main.db"));
            let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
            let rows = sqlx::query(statement).fetch_all(&mut conn).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        }
        None => {
            let rows = sqlx::query(statement).fetch_all(&mut test.pg_connection().await).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        }
    }
}

on_both! {
    async fn whatever_is_sealed_opens_by_the_new_key_alone(test: TestStore) {
        assert_eq!(sealed_columns(&test).await, SEALED);
        let keyed = Keyed::new(test).await;
        let old = keyed.open().await;
        keyed.opens_by(&old).await;
        let rotated = keyed.rotate().await;
        assert_eq!((rotated.resealed.count, &rotated.resealed.unopenable[..]), (6, &[][..]));
        let new = keyed.open().await;
        assert_eq!(new.fingerprint(), rotated.fingerprint);
        keyed.opens_by(&new).await;
        keyed.is_closed_to(&old).await;
        keyed.add_user(&new, "carol").await.unwrap();
        AuditChain::new(&new).verify(&keyed.test.store, None).await.unwrap();
        let mut conn = keyed.test.store.read().await.unwrap();
        let filter = AuditFilter { action: Some("instance.rotate_key".to_owned()), ..AuditFilter::default() };
        let noted = audit::list(&mut conn, &filter, 10, None).await.unwrap();
        let entry = &noted[0].as_ref().unwrap().entry;
        assert_eq!((&entry.before, &entry.after), (
            &Some(serde_json::json!({ "fingerprint": old.fingerprint() })),
            &Some(serde_json::json!({ "fingerprint": new.fingerprint() })),
        ));
        assert_eq!(keyed.beside(), NOTHING, "no other key is left");
    }

    async fn what_waits_for_the_audit_log_as_the_key_is_replaced_gets_there(test: TestStore) {
        let keyed = Keyed::new(test).await;
        let old = keyed.open().await;
        // A node changes the apps' data between the last look at what waits and the store's word.
        let rotation = keyed.prepare().await.unwrap();
        keyed.put_outbound(&old, "kv.set").await;
        rotation.commit().await.unwrap().put_in_place().unwrap();
        let new = keyed.open().await;
        let found = keyed.audited_actions(&new).await;
        assert!(found.contains(&"kv.set".to_owned()), "{found:?}");
        // What the old key seals from then on is nobody's.
        keyed.put_outbound(&old, "kv.delete").await;
        AuditedStore::new(keyed.test.store.clone(), clock(), &new).carry_data_audit().await.unwrap();
        assert!(!keyed.audited_actions(&new).await.contains(&"kv.delete".to_owned()));
        let late = AuditedStore::new(keyed.test.store.clone(), clock(), &old).carry_data_audit().await;
        assert!(late.unwrap_err().to_string().contains("the instance's secret key was replaced"));
    }

    async fn broken_off_before_the_store_takes_it_the_old_key_goes_on(test: TestStore) {
        let keyed = Keyed::new(test).await;
        let old = keyed.open().await;
        let rotation = keyed.prepare().await.unwrap();
        let next = keyed.beside().remove(0);
        let text = std::fs::read_to_string(&next).unwrap();
        drop(rotation);
        assert_eq!(keyed.beside(), NOTHING, "what nobody took is not left behind");
        // Killed, it would have left the file.
        std::fs::write(&next, text).unwrap();
        std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(keyed.open().await.fingerprint(), old.fingerprint());
        keyed.opens_by(&old).await;
        let rotated = keyed.rotate().await;
        keyed.opens_by(&keyed.open().await).await;
        assert!(!next.to_string_lossy().contains(&rotated.fingerprint), "a key is never taken twice");
    }

    async fn broken_off_after_the_store_took_it_the_new_key_is_found(test: TestStore) {
        let keyed = Keyed::new(test).await;
        let old = keyed.open().await;
        drop(keyed.prepare().await.unwrap().commit().await.unwrap());
        assert_eq!(keyed.beside().len(), 1);
        let new = keyed.open().await;
        assert_eq!(keyed.beside(), NOTHING, "it is in its place now");
        keyed.opens_by(&new).await;
        keyed.is_closed_to(&old).await;

        // The same where the old file is gone too.
        drop(keyed.prepare().await.unwrap().commit().await.unwrap());
        std::fs::remove_file(&keyed.path).unwrap();
        keyed.opens_by(&keyed.open().await).await;
    }

    async fn of_two_that_replace_it_at_once_neither_loses_a_key(test: TestStore) {
        let keyed = Keyed::new(test).await;
        let old = keyed.open().await;
        let rotations: Vec<_> = (0..4)
            .map(|_| {
                let (store, path) = (keyed.test.store.clone(), keyed.path.clone());
                tokio::spawn(async move {
                    let rotation = Rotation::prepare(&store, clock(), &path).await?;
                    rotation.commit().await?.put_in_place()?;
                    Ok::<_, RotationError>(())
                })
            })
            .collect();
        let mut done = 0;
        for rotation in rotations {
            match rotation.await.unwrap() {
                Ok(()) => done += 1,
                Err(refused) => assert!(format!("{refused:?}").contains("KeyReplaced"), "{refused:?}"),
            }
        }
        assert!(done >= 1);
        let new = keyed.open().await;
        assert_ne!(new.fingerprint(), old.fingerprint());
        keyed.opens_by(&new).await;
        assert_eq!(keyed.beside(), NOTHING);
    }

    async fn what_the_audit_log_hides_is_not_sealed_anew(test: TestStore) {
        let keyed = Keyed::new(test).await;
        let old = keyed.open().await;
        keyed.test.tamper("UPDATE audit_log SET username = 'mallory' WHERE seq = 2").await;
        let refused = keyed.prepare().await.map(drop).unwrap_err();
        assert!(matches!(refused, RotationError::AuditLog(_)), "{refused}");
        assert_eq!(keyed.open().await.fingerprint(), old.fingerprint());
        assert_eq!(keyed.beside(), NOTHING);
    }

    async fn what_does_not_open_keeps_nothing_else_from_being_sealed_anew(test: TestStore) {
        let keyed = Keyed::new(test).await;
        keyed.test.tamper("UPDATE acme_accounts SET directory = 'https://moved.test/dir'").await;
        keyed.test.tamper("UPDATE app_secrets SET name = 'moved'").await;
        let rotated = keyed.rotate().await;
        let mut conn = keyed.test.store.read().await.unwrap();
        let app = secrets::list_sealed(&mut conn, None, 10).await.unwrap().remove(0).app_id;
        let moved = format!("app_secrets.sealed {app} moved");
        assert_eq!(rotated.resealed.unopenable, ["acme_accounts.account https://moved.test/dir", &moved]);
        assert_eq!(rotated.resealed.count, 4);
    }

    async fn a_key_of_no_use_is_told_before_anything_is_made(test: TestStore) {
        let keyed = Keyed::new(test).await;
        std::fs::write(&keyed.path, "A".repeat(43)).unwrap();
        let refused = keyed.prepare().await.map(drop).unwrap_err();
        assert!(matches!(refused, RotationError::KeyFile(KeyFileError::Other(_))), "{refused}");
        assert_eq!(keyed.beside(), NOTHING);
    }
}
