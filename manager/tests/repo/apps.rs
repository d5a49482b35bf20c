//! Apps, slug history, members, domain claims and the audit log.

use picloud_manager::repo::audit::{self, AuditEntry, AuditFilter, AuditHead, AuditObject, SealedEntry};
use picloud_manager::repo::members::{self, Member};
use picloud_manager::repo::role::AppRole;
use picloud_manager::repo::routes;
use picloud_manager::repo::{Constraint, RepoError, apps, domains, scripts, users};
use picloud_shared::id::{ApiKeyId, AppId, AuditId, UserId};

use crate::rows::{NOW, add_app, add_script, add_user, all as readable, app, domain, route};
use crate::test_store::{TestStore, on_both};

fn patterns(domains: &[domains::Domain]) -> Vec<String> {
    let mut patterns: Vec<String> = domains.iter().map(|domain| domain.pattern.to_string()).collect();
    patterns.sort();
    patterns
}

on_both! {
    async fn an_app_is_found_by_id_and_slug(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let mut conn = test.store.read().await.unwrap();
        assert_eq!(apps::find(&mut conn, shop.id).await.unwrap(), Some(shop.clone()));
        assert_eq!(apps::find_by_slug(&mut conn, &shop.slug).await.unwrap(), Some(shop));
        assert_eq!(apps::find(&mut conn, AppId::generate(NOW)).await.unwrap(), None);
    }

    async fn a_slug_is_taken_once(test: TestStore) {
        let (_, mut blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        let mut tx = test.store.begin().await.unwrap();
        let taken = apps::insert(&mut tx, &app("shop")).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::AppSlug))), "{taken:?}");
        drop(tx);
        let mut tx = test.store.begin().await.unwrap();
        blog.slug = "shop".parse().unwrap();
        let taken = apps::update(&mut tx, &blog).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::AppSlug))), "{taken:?}");
    }

    async fn a_member_lists_only_its_apps(test: TestStore) {
        let ada = add_user(&test.store, "ada").await;
        let mut all = Vec::new();
        for slug in ["a", "b", "c", "d"] {
            all.push(add_app(&test.store, slug).await);
        }
        all.sort_by_key(|app| app.id);
        let mut tx = test.store.begin().await.unwrap();
        for app in [&all[0], &all[2], &all[3]] {
            let member = Member { app_id: app.id, user_id: ada.id, role: AppRole::Editor, joined_at: NOW };
            members::insert(&mut tx, &member).await.unwrap();
            assert_eq!(members::find(&mut tx, app.id, ada.id).await.unwrap(), Some(member.clone()));
            assert_eq!(readable(members::list(&mut tx, app.id, 9, None).await.unwrap()), [(member, ada.clone())]);
        }
        assert_eq!(readable(apps::list(&mut tx, None, 3, None).await.unwrap()), all[..3]);
        assert_eq!(readable(apps::list(&mut tx, None, 3, Some(all[2].id)).await.unwrap()), all[3..]);
        let own = [all[0].clone(), all[2].clone()];
        assert_eq!(readable(apps::list(&mut tx, Some(ada.id), 2, None).await.unwrap()), own);
        assert_eq!(readable(apps::list(&mut tx, Some(ada.id), 2, Some(all[2].id)).await.unwrap()), all[3..]);
        assert_eq!(readable(apps::list(&mut tx, Some(UserId::generate(NOW)), 2, None).await.unwrap()), []);
        assert_eq!(members::find(&mut tx, all[1].id, ada.id).await.unwrap(), None);
    }

    async fn a_membership_exists_once_and_of_what_exists(test: TestStore) {
        let (ada, shop) = (add_user(&test.store, "ada").await, add_app(&test.store, "shop").await);
        let member = Member { app_id: shop.id, user_id: ada.id, role: AppRole::Viewer, joined_at: NOW };
        let mut tx = test.store.begin().await.unwrap();
        members::insert(&mut tx, &member).await.unwrap();
        let again = members::insert(&mut tx, &member).await;
        assert!(matches!(again, Err(RepoError::Conflict(Constraint::Member))), "{again:?}");
        drop(tx);
        for orphan in [Member { app_id: AppId::generate(NOW), ..member.clone() }, Member { user_id: UserId::generate(NOW), ..member }] {
            let mut tx = test.store.begin().await.unwrap();
            let refused = members::insert(&mut tx, &orphan).await;
            assert!(matches!(refused, Err(RepoError::MissingReference)), "{refused:?}");
        }
    }

    async fn a_former_slug_leads_to_its_app_until_taken_over(test: TestStore) {
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        let old = "store".parse().unwrap();
        let mut tx = test.store.begin().await.unwrap();
        apps::insert_historical_slug(&mut tx, &old, shop.id).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = test.store.begin().await.unwrap();
        let taken = apps::insert_historical_slug(&mut tx, &old, blog.id).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::HistoricalSlug))), "{taken:?}");
        drop(tx);
        let mut tx = test.store.begin().await.unwrap();
        assert_eq!(apps::find_by_historical_slug(&mut tx, &old).await.unwrap(), Some(shop.clone()));
        assert_eq!(apps::find_by_historical_slug(&mut tx, &shop.slug).await.unwrap(), None);
        assert!(apps::delete_historical_slug(&mut tx, &old).await.unwrap());
        assert!(!apps::delete_historical_slug(&mut tx, &old).await.unwrap());
    }

    async fn deleting_an_app_takes_everything_of_it_and_nothing_else(test: TestStore) {
        let ada = add_user(&test.store, "ada").await;
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        for app in [&shop, &blog] {
            let script = add_script(&test.store, app.id, "hello").await;
            let mut tx = test.store.begin().await.unwrap();
            let member = Member { app_id: app.id, user_id: ada.id, role: AppRole::AppAdmin, joined_at: NOW };
            members::insert(&mut tx, &member).await.unwrap();
            domains::insert(&mut tx, &domain(app.id, &format!("{}.example.com", app.slug))).await.unwrap();
            apps::insert_historical_slug(&mut tx, &format!("old-{}", app.slug).parse().unwrap(), app.id).await.unwrap();
            routes::insert(&mut tx, &route(app.id, script.meta.id, "/")).await.unwrap();
            tx.commit().await.unwrap();
        }
        let mut tx = test.store.begin().await.unwrap();
        assert_eq!(apps::count_scripts(&mut tx, shop.id).await.unwrap(), 1);
        assert!(apps::delete(&mut tx, shop.id).await.unwrap());
        assert!(!apps::delete(&mut tx, shop.id).await.unwrap());
        for (app, left) in [(&shop, 0), (&blog, 1)] {
            assert_eq!(scripts::list(&mut tx, app.id, 9, None).await.unwrap().len(), left);
            assert_eq!(routes::list_of_app(&mut tx, app.id, 9_999, None).await.unwrap().len(), left);
            assert_eq!(domains::list(&mut tx, app.id, 9_999, None).await.unwrap().len(), left);
            assert_eq!(members::list(&mut tx, app.id, 9, None).await.unwrap().len(), left);
            let old = format!("old-{}", app.slug).parse().unwrap();
            assert_eq!(apps::find_by_historical_slug(&mut tx, &old).await.unwrap().is_some(), left == 1);
        }
    }

    async fn a_claim_is_unique_by_shape_over_the_instance(test: TestStore) {
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        let claim = domain(shop.id, "{tenant}.example.com");
        let mut tx = test.store.begin().await.unwrap();
        domains::insert(&mut tx, &claim).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = test.store.begin().await.unwrap();
        let taken = domains::insert(&mut tx, &domain(blog.id, "*.example.com")).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::DomainShape))), "{taken:?}");
        drop(tx);
        let mut tx = test.store.begin().await.unwrap();
        let found = domains::find_by_shape(&mut tx, &"*.example.com".parse().unwrap()).await.unwrap();
        assert_eq!(found, Some(claim.clone()));
        assert_eq!(readable(domains::list(&mut tx, shop.id, 9_999, None).await.unwrap()), std::slice::from_ref(&claim));
        assert!(domains::delete(&mut tx, claim.id).await.unwrap());
        assert!(!domains::delete(&mut tx, claim.id).await.unwrap());
    }

    async fn overlaps_are_found_both_ways_and_siblings_are_none(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let mut tx = test.store.begin().await.unwrap();
        let claimed = ["*.example.com", "a.example.com", "b.example.com", "a.b.example.com", "localhost", "127.0.0.1", "[::1]"];
        for pattern in claimed {
            domains::insert(&mut tx, &domain(shop.id, pattern)).await.unwrap();
        }
        for (pattern, overlapping) in [
            ("c.example.com", &["*.example.com"][..]),
            ("a.example.com", &["*.example.com", "a.example.com"]),
            ("{t}.example.com", &["*.example.com", "a.example.com", "b.example.com"]),
            ("*.b.example.com", &["a.b.example.com"]),
            ("example.com", &[]),
            ("localhost", &["localhost"]),
            ("127.0.0.1", &["127.0.0.1"]),
            ("[::1]", &["[::1]"]),
        ] {
            let found = domains::list_overlapping(&mut tx, &pattern.parse().unwrap()).await.unwrap();
            assert_eq!(patterns(&readable(found)), overlapping, "{pattern}");
        }
    }

    async fn the_audit_log_outlives_what_it_tells_of(test: TestStore) {
        let (ada, shop) = (add_user(&test.store, "ada").await, add_app(&test.store, "shop").await);
        let entry = AuditEntry {
            id: AuditId::generate(NOW),
            at: NOW,
            user_id: Some(ada.id),
            username: Some("ada".to_owned()),
            key_id: Some(ApiKeyId::generate(NOW)),
            action: "app.delete".to_owned(),
            object_kind: AuditObject::App(shop.id).kind().to_owned(),
            object_id: AuditObject::App(shop.id).uuid(),
            app_id: Some(shop.id),
            remote_ip: Some("::1".parse().unwrap()),
            before: Some(serde_json::json!({ "slug": "shop" })),
            after: None,
        };
        let mut tx = test.store.begin().await.unwrap();
        let first = SealedEntry { seq: 1, seal: vec![1; 32], entry };
        audit::insert(&mut tx, std::slice::from_ref(&first)).await.unwrap();
        apps::delete(&mut tx, shop.id).await.unwrap();
        users::delete(&mut tx, ada.id).await.unwrap();
        let entry = AuditEntry {
            id: AuditId::generate(NOW),
            object_kind: AuditObject::Instance.kind().to_owned(),
            object_id: AuditObject::Instance.uuid(),
            user_id: None,
            username: None,
            remote_ip: None,
            ..first.entry.clone()
        };
        let second = SealedEntry { seq: 2, seal: vec![2; 32], entry };
        audit::insert(&mut tx, std::slice::from_ref(&second)).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = test.store.read().await.unwrap();
        let listed = audit::list(&mut conn, &AuditFilter::default(), 9, None).await.unwrap();
        assert_eq!(readable(listed), [second.clone(), first.clone()]);
        assert_eq!(audit::list_chain(&mut conn, 0, 9).await.unwrap(), [first, second]);
    }

    async fn a_place_in_the_audit_log_is_taken_once(test: TestStore) {
        let mut tx = test.store.begin().await.unwrap();
        let head = AuditHead { seq: 7, seal: vec![1; 32], head_seal: vec![2; 32] };
        assert_eq!(audit::head(&mut tx).await.unwrap(), None);
        audit::set_head(&mut tx, &head).await.unwrap();
        let next = AuditHead { seq: 8, ..head };
        audit::set_head(&mut tx, &next).await.unwrap();
        assert_eq!(audit::head(&mut tx).await.unwrap(), Some(next));
        tx.commit().await.unwrap();
        add_user(&test.store, "ada").await;
        add_user(&test.store, "bob").await;
        let mut tx = test.store.begin().await.unwrap();
        let twice = tx.execute_unchecked(
            "INSERT INTO audit_log (id, at, action, object_kind, seq) SELECT id, 1, 'a', 'b', 1 FROM users",
        );
        assert!(matches!(twice.await, Err(RepoError::Conflict(_))));
    }
}
