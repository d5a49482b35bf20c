//! The published version, its changes, the instance's flags, and units of work.

use std::collections::BTreeMap;

use picloud_manager::repo::config::{self, AppChange, ChangedParts, InstanceFlag, KEPT_CHANGES, Part, Position};
use picloud_manager::repo::{apps, users};
use picloud_shared::id::{AppId, DomainId, RouteId, ScriptId};

use crate::rows::{NOW, add_app, add_user, app};
use crate::test_store::{TestStore, on_both};

/// Where a new store stands.
const START: Position = Position { version: 0, stamp: 0 };

/// Apps of which all may have changed.
fn whole(apps: &[AppId]) -> Option<BTreeMap<AppId, AppChange>> {
    Some(apps.iter().map(|app| (*app, AppChange::Whole)).collect())
}

on_both! {
    async fn changes_are_told_once_each_and_only_when_committed(test: TestStore) {
        let (a, b) = (AppId::generate(NOW), AppId::generate(NOW));
        let mut tx = test.store.begin().await.unwrap();
        assert_eq!(config::position(&mut tx).await.unwrap(), START);
        assert_eq!(config::changes_since(&mut tx, START).await.unwrap(), whole(&[]));
        let mut positions = Vec::new();
        for (app, version) in [(a, 1), (b, 2), (a, 3)] {
            assert_eq!(config::bump(&mut tx, app, Part::App).await.unwrap(), version);
            positions.push(config::position(&mut tx).await.unwrap());
        }
        tx.commit().await.unwrap();
        let mut tx = test.store.begin().await.unwrap();
        config::bump(&mut tx, b, Part::App).await.unwrap();
        drop(tx);

        let mut conn = test.store.begin_read().await.unwrap();
        assert_eq!(config::position(&mut conn).await.unwrap(), positions[2]);
        let both = [a, b];
        assert_eq!(config::changes_since(&mut conn, START).await.unwrap(), whole(&both));
        assert_eq!(config::changes_since(&mut conn, positions[1]).await.unwrap(), whole(&[a]));
        assert_eq!(config::changes_since(&mut conn, positions[2]).await.unwrap(), whole(&[]));
    }

    async fn who_knows_another_history_is_told_to_load_all(test: TestStore) {
        let (a, b) = (AppId::generate(NOW), AppId::generate(NOW));
        let change = async |app| {
            let mut tx = test.store.begin().await.unwrap();
            config::bump(&mut tx, app, Part::App).await.unwrap();
            let position = config::position(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            position
        };
        change(a).await;
        let lost = change(a).await;
        // As after a failover to a database that had not got the last change.
        test.tamper("DELETE FROM config_changes WHERE version = 2").await;
        test.tamper("UPDATE config_version SET version = 1, stamp = (SELECT stamp FROM config_changes)").await;
        let again = change(b).await;
        assert_eq!(again.version, lost.version);
        assert_ne!(again, lost);
        let since = async |known| config::changes_since(&mut test.store.begin_read().await.unwrap(), known).await.unwrap();
        assert_eq!(since(lost).await, None, "as far");
        change(b).await;
        assert_eq!(since(lost).await, None, "further");
        assert_eq!(since(again).await, whole(&[b]));
    }

    async fn the_parts_that_changed_are_told_unless_they_are_many(test: TestStore) {
        let (a, b, c) = (AppId::generate(NOW), AppId::generate(NOW), AppId::generate(NOW));
        let (script, route, domain) = (ScriptId::generate(NOW), RouteId::generate(NOW), DomainId::generate(NOW));
        let mut tx = test.store.begin().await.unwrap();
        for (app, part) in [
            (a, Part::Script(script)),
            (b, Part::Route(route)),
            (a, Part::Domain(domain)),
            (a, Part::Script(script)),
            (a, Part::Env),
            (a, Part::Secrets),
            (b, Part::App),
            (b, Part::Script(script)),
        ] {
            config::bump(&mut tx, app, part).await.unwrap();
        }
        let parts = ChangedParts { scripts: [script].into(), claims: true, env: true, secrets: true, ..ChangedParts::default() };
        let expected = BTreeMap::from([(a, AppChange::Parts(parts)), (b, AppChange::Whole)]);
        assert_eq!(config::changes_since(&mut tx, START).await.unwrap(), Some(expected));
        let before = config::position(&mut tx).await.unwrap();
        for _ in 0..100 {
            config::bump(&mut tx, c, Part::Route(RouteId::generate(NOW))).await.unwrap();
        }
        assert_eq!(config::changes_since(&mut tx, before).await.unwrap(), whole(&[c]));
    }

    async fn a_change_of_the_release_before_is_of_the_whole_app(test: TestStore) {
        let a = AppId::generate(NOW);
        let mut tx = test.store.begin().await.unwrap();
        config::bump(&mut tx, a, Part::App).await.unwrap();
        tx.commit().await.unwrap();
        test.tamper("UPDATE config_changes SET app_id = NULL").await;
        let mut conn = test.store.begin_read().await.unwrap();
        assert_eq!(config::changes_since(&mut conn, START).await.unwrap(), whole(&[a]));
    }

    async fn who_is_too_far_behind_or_ahead_is_told_to_load_all(test: TestStore) {
        let a = AppId::generate(NOW);
        let first = KEPT_CHANGES - 2;
        test.tamper(&format!("UPDATE config_version SET version = {first}")).await;
        let mut tx = test.store.begin().await.unwrap();
        let mut positions = vec![config::position(&mut tx).await.unwrap()];
        for _ in 0..5 {
            config::bump(&mut tx, a, Part::App).await.unwrap();
            positions.push(config::position(&mut tx).await.unwrap());
        }
        tx.commit().await.unwrap();
        let ahead = Position { version: first + 6, stamp: positions[5].stamp };
        let since = async |known| config::changes_since(&mut test.store.begin_read().await.unwrap(), known).await.unwrap();
        assert_eq!(since(positions[1]).await, whole(&[a]));
        assert_eq!(since(positions[0]).await, None, "a gap");
        assert_eq!(since(START).await, None, "a gap");
        assert_eq!(since(ahead).await, None, "a restored backup");

        test.tamper(&format!("DELETE FROM config_changes WHERE version = {}", first + 5)).await;
        assert_eq!(since(positions[4]).await, None, "the last one is missing");
        let of_a_newer_node = format!("UPDATE config_changes SET kind = 'certificate' WHERE version = {}", first + 4);
        test.tamper(&of_a_newer_node).await;
        test.tamper(&format!("UPDATE config_version SET version = {}", first + 4)).await;
        assert_eq!(since(positions[3]).await, None);
    }

    async fn only_the_newest_changes_are_kept(test: TestStore) {
        let a = AppId::generate(NOW);
        let mut tx = test.store.begin().await.unwrap();
        config::bump(&mut tx, a, Part::App).await.unwrap();
        tx.commit().await.unwrap();
        test.tamper(&format!("UPDATE config_version SET version = {KEPT_CHANGES}")).await;
        let mut tx = test.store.begin().await.unwrap();
        config::bump(&mut tx, a, Part::App).await.unwrap();
        tx.commit().await.unwrap();
        // The first change is beyond reach, so inserting its row again meets no other.
        test.tamper(&format!("INSERT INTO config_changes (version, kind, id, app_id) SELECT 1, kind, id, app_id FROM config_changes WHERE version = {}", KEPT_CHANGES + 1)).await;
    }

    async fn a_flag_is_set_once(test: TestStore) {
        let mut tx = test.store.begin().await.unwrap();
        assert!(!config::flag(&mut tx, InstanceFlag::Seeded).await.unwrap());
        assert!(config::set_flag(&mut tx, InstanceFlag::Seeded).await.unwrap());
        assert!(!config::set_flag(&mut tx, InstanceFlag::Seeded).await.unwrap());
        assert!(config::flag(&mut tx, InstanceFlag::Seeded).await.unwrap());
    }

    async fn units_of_work_follow_one_another(test: TestStore) {
        let tasks = (0..8).map(|_| {
            let store = test.store.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    // Read, then write what was read: every lost update would show.
                    let mut tx = store.begin().await.unwrap();
                    let users = users::count(&mut tx).await.unwrap();
                    tokio::task::yield_now().await;
                    let user = crate::rows::user(&format!("user-{users}"));
                    users::insert(&mut tx, &user, &users::PasswordHash::from_phc(String::new())).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(users::count(&mut test.store.read().await.unwrap()).await.unwrap(), 40);
    }

    async fn a_reading_stands_still_while_others_write(test: TestStore) {
        add_app(&test.store, "first").await;
        let mut reading = test.store.begin_read().await.unwrap();
        assert_eq!(apps::list(&mut reading, None, 9, None).await.unwrap().len(), 1);
        add_app(&test.store, "second").await;
        assert_eq!(apps::list(&mut reading, None, 9, None).await.unwrap().len(), 1);
        assert!(apps::insert(&mut reading, &app("third")).await.is_err(), "it cannot write");
        drop(reading);
        let mut conn = test.store.read().await.unwrap();
        assert_eq!(apps::list(&mut conn, None, 9, None).await.unwrap().len(), 2);
    }

    async fn a_unit_of_work_that_its_caller_gave_up_leaves_nothing_and_holds_nothing(test: TestStore) {
        for round in 0..20 {
            let store = test.store.clone();
            let task = tokio::spawn(async move {
                let mut tx = store.begin().await.unwrap();
                apps::insert(&mut tx, &app("half")).await.unwrap();
                std::future::pending::<()>().await;
            });
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            task.abort();
            task.await.unwrap_err();
        }
        add_user(&test.store, "ada").await;
        assert_eq!(apps::list(&mut test.store.read().await.unwrap(), None, 9, None).await.unwrap(), []);
    }
}
