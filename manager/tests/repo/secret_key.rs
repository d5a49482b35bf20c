//! The secret key and the store that was made with it.

use picloud_manager::secret::key_file::{KeyFileError, Purpose, SecretKey};

use crate::test_store::{TestStore, on_both};

fn audit_key(key: &SecretKey) -> [u8; 32] {
    *key.derive(Purpose::AuditChain).as_bytes()
}

on_both! {
    async fn a_store_opens_with_the_key_it_was_made_with_and_no_other(test: TestStore) {
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("secret.key"), dir.path().join("away"));
        let made = SecretKey::open(&test.store, &path).await.unwrap();
        let again = SecretKey::open(&test.store, &path).await.unwrap();
        assert_eq!(audit_key(&again), audit_key(&made));

        std::fs::rename(&path, &away).unwrap();
        let refused = SecretKey::open(&test.store, &path).await.map(drop).unwrap_err();
        assert!(matches!(refused, KeyFileError::Missing(_)), "{refused}");
        assert!(!path.exists(), "a lost key is not replaced by another");
        let other = TestStore::sqlite().await;
        SecretKey::open(&other.store, &path).await.unwrap();
        let refused = SecretKey::open(&test.store, &path).await.map(drop).unwrap_err();
        assert!(matches!(refused, KeyFileError::Other(_)), "{refused}");
        assert!(SecretKey::open(&test.store, &away).await.is_ok());
    }

    async fn a_new_store_makes_no_key_in_place_of_a_link_that_leads_nowhere(test: TestStore) {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("secret.key"), dir.path().join("usb/secret.key"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let refused = SecretKey::open(&test.store, &link).await.map(drop).unwrap_err();
        assert!(matches!(refused, KeyFileError::DanglingLink { .. }), "{refused}");
        assert_eq!(std::fs::read_link(&link).unwrap(), target);
        assert!(!target.exists());
    }

    async fn a_new_store_takes_the_key_that_is_there(test: TestStore) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        std::fs::write(&path, format!("{}\n", "A".repeat(43))).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        SecretKey::open(&test.store, &path).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", "A".repeat(43)));
    }

    async fn of_nodes_that_start_at_once_with_keys_of_their_own_one_is_taken(test: TestStore) {
        let dir = tempfile::tempdir().unwrap();
        let starts: Vec<_> = (0..4)
            .map(|node| {
                let (store, path) = (test.store.clone(), dir.path().join(format!("{node}.key")));
                tokio::spawn(async move { SecretKey::open(&store, &path).await.map(drop) })
            })
            .collect();
        let mut taken = 0;
        for start in starts {
            match start.await.unwrap() {
                Ok(()) => taken += 1,
                Err(refused) => assert!(matches!(refused, KeyFileError::Missing(_)), "{refused}"),
            }
        }
        assert_eq!(taken, 1);
    }
}
