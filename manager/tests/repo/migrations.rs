//! The schema's history: applied from empty and from each step, on both databases.

use std::os::unix::fs::PermissionsExt;

use picloud_manager::backup::{Backup, BackupError, Progress, Restore, back_up, restore};
use picloud_manager::repo::{routes, users};
use picloud_manager::secret::key_file::SecretKey;
use picloud_manager::store::migration::{HISTORY, Step};
use picloud_manager::store::{DatabaseConfig, Store, StoreError};
use picloud_shared::clock::{Clock, SystemClock};
use picloud_shared::path_pattern::{PathKind, PathPattern};

use crate::rows::{add_app, add_script, add_user, route, user};
use crate::test_store::{TestStore, on_both, tamper_with_file};

/// The product's history and one step more, as the next release would have it.
fn next_release() -> Vec<Step> {
    let version = HISTORY.last().unwrap().version + 1;
    let text = "-- file: main\nALTER TABLE users ADD COLUMN nick TEXT;\n-- file: logs\nCREATE TABLE more (id {{uuid}}) {{strict}};\n";
    HISTORY.iter().copied().chain([Step { version, name: "next", text }]).collect()
}

fn known() -> i64 {
    HISTORY.last().unwrap().version
}

on_both! {
    async fn opening_again_changes_nothing_and_keeps_the_data(test: TestStore) {
        assert_eq!(test.store.schema_version(), known());
        let ada = add_user(&test.store, "ada").await;
        test.store.close().await;
        let again = Store::open(&test.config).await.unwrap();
        assert_eq!(users::find(&mut again.read().await.unwrap(), ada.id).await.unwrap(), Some(ada));
    }

    async fn an_upgrade_keeps_the_data_and_the_older_binary_refuses_it_naming_both_numbers(test: TestStore) {
        let ada = add_user(&test.store, "ada").await;
        test.store.close().await;
        let upgraded = Store::open_at(&test.config, &next_release()).await.unwrap();
        assert_eq!(upgraded.schema_version(), known() + 1);
        assert_eq!(users::find(&mut upgraded.read().await.unwrap(), ada.id).await.unwrap(), Some(ada));
        upgraded.close().await;
        test.tamper("UPDATE users SET nick = 'a'").await;

        let refused = Store::open(&test.config).await.unwrap_err();
        let (found, known) = (known() + 1, known());
        assert!(matches!(refused, StoreError::NewerSchema { found: f, known: k } if (f, k) == (found, known)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains(&found.to_string()) && text.contains(&known.to_string()), "{text}");
    }

    async fn a_backup_of_an_older_schema_is_restored_and_brought_to_the_newest(test: TestStore) {
        test.store.close().await;
        let dir = tempfile::tempdir().unwrap();
        let (file, key, older) = (dir.path().join("cloud.backup"), dir.path().join("secret.key"), known() - 1);
        let database = DatabaseConfig::Sqlite { dir: dir.path().join("older") };
        let until = HISTORY.iter().position(|step| step.version == older).unwrap();
        let store = Store::open_at(&database, &HISTORY[..=until]).await.unwrap();
        SecretKey::open(&store, &key).await.unwrap();
        let ada = add_user(&store, "ada").await;
        store.close().await;
        let backup = Backup {
            database,
            secret_key_file: key.clone(),
            file: file.clone(),
            with_logs: true,
            with_key: None,
            now: SystemClock.now(),
        };
        assert_eq!(back_up(backup, Box::new(|_: Progress| true)).await.unwrap().manifest.schema, older);
        let restored = loop {
            let wanted = Restore {
                file: file.clone(),
                database: test.config.clone(),
                data_dir: dir.path().join("data"),
                secret_key_file: key.clone(),
                passphrase: None,
                replace: true,
                now: SystemClock.now(),
            };
            match restore(wanted, Box::new(|_: Progress| true)).await {
                // The server has not noticed yet that the store is closed.
                Err(BackupError::Served(_)) => {}
                restored => break restored.unwrap(),
            }
        };
        assert_eq!((restored.checked.manifest.schema, restored.checked.audit_log.is_none()), (older, true));
        let newest = Store::open(&test.config).await.unwrap();
        assert_eq!(newest.schema_version(), known());
        assert_eq!(users::find(&mut newest.read().await.unwrap(), ada.id).await.unwrap(), Some(ada));
    }

    async fn routes_of_an_older_schema_get_the_shape_of_their_parameters(test: TestStore) {
        let app = add_app(&test.store, "shop").await;
        let script = add_script(&test.store, app.id, "page").await;
        let mut tx = test.store.begin().await.unwrap();
        let mut expected = Vec::new();
        for (kind, path) in [
            (PathKind::Exact, "/"),
            (PathKind::Exact, "/:a/b/:c/d"),
            (PathKind::Param, "/users/:id"),
            (PathKind::Param, "/é/:_x/%2F:/"),
            (PathKind::Prefix, "/*"),
            (PathKind::Prefix, "//*"),
            (PathKind::Prefix, "/:a/*/:b/*"),
            (PathKind::Param, "/:a/b"),
            (PathKind::Param, &"/b".repeat(64)),
        ] {
            let mut stored = route(app.id, script.meta.id, "/");
            stored.route.pattern.path = PathPattern::parse(kind, path).unwrap();
            expected.push(stored.route.pattern.path.param_shape().to_string());
            routes::insert(&mut tx, &stored).await.unwrap();
        }
        tx.commit().await.unwrap();
        test.store.close().await;
        let step = HISTORY.iter().find(|step| step.name == "apps").unwrap();
        for undo in [
            "DROP INDEX routes_app_id_param_shape_idx",
            "ALTER TABLE routes DROP COLUMN param_shape",
            "ALTER TABLE config_changes DROP COLUMN app_id",
            "DROP TABLE deleted_apps",
            &format!("DELETE FROM _sqlx_migrations WHERE version = {}", step.version),
        ] {
            test.tamper(undo).await;
        }
        let store = Store::open(&test.config).await.unwrap();
        let found = routes::list_param_shapes(&mut store.read().await.unwrap(), app.id, None).await.unwrap();
        expected.sort();
        expected.dedup();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    async fn an_edited_migration_is_refused(test: TestStore) {
        test.store.close().await;
        let text = format!("{}\n", HISTORY[0].text.replace("username TEXT", "username  TEXT"));
        let edited = Step { text: Box::leak(text.into_boxed_str()), ..HISTORY[0] };
        let refused = Store::open_at(&test.config, &[&[edited], &HISTORY[1..]].concat()).await.unwrap_err();
        assert!(matches!(refused, StoreError::EditedMigration { version: 1 }), "{refused}");
        Store::open(&test.config).await.unwrap();
    }

    async fn a_step_that_fails_leaves_the_schema_before_it(test: TestStore) {
        test.store.close().await;
        let mut broken = next_release();
        let last = broken.len() - 1;
        broken[last].text = "-- file: main\nCREATE TABLE half (id {{uuid}}) {{strict}};\nINSERT INTO nowhere VALUES (1);\n";
        assert!(Store::open_at(&test.config, &broken).await.is_err());
        let store = Store::open(&test.config).await.unwrap();
        add_user(&store, "ada").await;
        store.close().await;
        // The lock of the failed attempt is gone as well, and so is half of its step.
        broken[last].text = "-- file: main\nCREATE TABLE half (id {{uuid}}) {{strict}};\n";
        Store::open_at(&test.config, &broken).await.unwrap();
    }

    async fn nodes_that_start_at_once_migrate_once(test: TestStore) {
        test.store.close().await;
        let history: &'static [Step] = Box::leak(next_release().into_boxed_slice());
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let config = test.config.clone();
                tokio::spawn(async move { Store::open_at(&config, history).await })
            })
            .collect();
        for start in starts {
            start.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_on_an_empty_postgres_all_open_it() {
    let test = TestStore::postgres().await;
    test.store.close().await;
    for _ in 0..5 {
        test.tamper("DROP SCHEMA public CASCADE").await;
        test.tamper("CREATE SCHEMA public").await;
        let open = || {
            let config = test.config.clone();
            tokio::spawn(async move { Store::open(&config).await })
        };
        let starts: Vec<_> = std::iter::repeat_with(open).take(8).collect();
        for start in starts {
            start.await.unwrap().unwrap().close().await;
        }
    }
}

#[tokio::test]
async fn an_existing_sqlite_store_is_backed_up_before_a_migration_and_only_then() {
    let test = TestStore::sqlite().await;
    let dir = test.sqlite_dir().unwrap();
    let backup = dir.join(format!("main.schema-{}.backup.db", known()));
    add_user(&test.store, "ada").await;
    test.store.close().await;
    Store::open(&test.config).await.unwrap().close().await;
    assert!(!backup.exists());
    std::fs::write(&backup, "what an attempt that was cut short left").unwrap();
    Store::open_at(&test.config, &next_release()).await.unwrap().close().await;

    let restored = tempfile::tempdir().unwrap();
    std::fs::copy(&backup, restored.path().join("main.db")).unwrap();
    let config = DatabaseConfig::Sqlite { dir: restored.path().to_owned() };
    let store = Store::open(&config).await.unwrap();
    let found = users::find_by_username(&mut store.read().await.unwrap(), &user("ada").username).await.unwrap();
    assert!(found.is_some());
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("deep/data");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("main.db"), "").unwrap();
    for (path, mode) in [(dir.clone(), 0o755), (dir.join("main.db"), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let store = Store::open(&DatabaseConfig::Sqlite { dir: dir.clone() }).await.unwrap();
    add_user(&store, "ada").await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("main.db-wal")), "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn sqlite_files_are_set_up_as_documented() {
    use sqlx::{Connection, Row};
    let test = TestStore::sqlite().await;
    let path = test.sqlite_dir().unwrap().join("main.db");
    let mut conn = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    // What the file itself remembers: WAL, and pages that can be given back.
    for (pragma, expected) in [("PRAGMA journal_mode", "wal"), ("PRAGMA auto_vacuum", "2")] {
        let row = sqlx::query(pragma).fetch_one(&mut conn).await.unwrap();
        let value = row.try_get::<String, _>(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string());
        assert_eq!(value, expected, "{pragma}");
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_named() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&DatabaseConfig::Sqlite { dir: file.join("data") }).await.unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");

    let dir = place.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("main.db"), "This is no database, it only stands in its place. ".repeat(100)).unwrap();
    assert!(Store::open(&DatabaseConfig::Sqlite { dir }).await.is_err());
}

#[tokio::test]
async fn a_tampered_checksum_is_an_edited_migration() {
    let test = TestStore::sqlite().await;
    test.store.close().await;
    let logs = test.sqlite_dir().unwrap().join("logs.db");
    tamper_with_file(&logs, "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    let refused = Store::open(&test.config).await.unwrap_err();
    assert!(matches!(refused, StoreError::EditedMigration { version: 1 }), "{refused}");
}
