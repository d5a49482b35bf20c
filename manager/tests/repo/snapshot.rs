//! What the publisher loads.

use std::collections::HashMap;

use picloud_manager::repo::config::ChangedParts;
use picloud_manager::repo::snapshot::{self, AppRows, LoadedParts};
use picloud_manager::repo::{domains, routes, scripts};
use picloud_shared::execution::RecordPolicy;
use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::script::LimitPolicy;
use picloud_shared::snapshot::Now;

use crate::rows::{NOW, add_app, add_script, domain, route};
use crate::test_store::{TestStore, on_both};

async fn seeded(test: &TestStore) -> Vec<AppId> {
    let mut ids = Vec::new();
    for slug in ["a", "b"] {
        let app = add_app(&test.store, slug).await;
        let (one, two) = (add_script(&test.store, app.id, "one").await, add_script(&test.store, app.id, "two").await);
        let mut tx = test.store.begin().await.unwrap();
        for host in ["x", "y"] {
            domains::insert(&mut tx, &domain(app.id, &format!("{host}.{slug}.example.com"))).await.unwrap();
        }
        routes::insert(&mut tx, &route(app.id, one.meta.id, "/one")).await.unwrap();
        routes::insert(&mut tx, &route(app.id, two.meta.id, "/two")).await.unwrap();
        tx.commit().await.unwrap();
        ids.push(app.id);
    }
    ids
}

fn sizes(rows: &AppRows) -> (usize, usize, usize) {
    (rows.claims.len(), rows.scripts.len(), rows.routes.len())
}

on_both! {
    async fn an_app_is_loaded_whole_and_alone(test: TestStore) {
        let ids = seeded(&test).await;
        let mut tx = test.store.begin_read().await.unwrap();
        let loaded = snapshot::load_app(&mut tx, &LimitPolicy::default(), ids[0]).await.unwrap();
        assert_eq!(loaded.problems, []);
        let [rows] = &loaded.apps[..] else { panic!("{loaded:?}") };
        assert_eq!((rows.app.id, rows.app.slug.as_str(), sizes(rows)), (ids[0], "a", (2, 2, 2)));
        assert!(rows.routes.iter().all(|route| route.app_id == ids[0]));
        let kept = RecordPolicy::new(["x-token".parse().unwrap()], false);
        assert_eq!(rows.record_policy, kept);
        let script = &rows.scripts[0];
        let stored = scripts::find(&mut tx, script.id).await.unwrap().unwrap();
        assert_eq!((script.version, &script.source, &script.imports), (1, &stored.source, &stored.meta.imports));
        assert_eq!((script.limits.max_operations, script.limits.timeout.as_millis()), (7, 1_000));
        let nobody = snapshot::load_app(&mut tx, &LimitPolicy::default(), AppId::generate(NOW)).await.unwrap();
        assert!(nobody.apps.is_empty() && nobody.problems.is_empty());
    }

    async fn parts_of_an_app_are_loaded_alone_and_told_as_they_are_now(test: TestStore) {
        let ids = seeded(&test).await;
        let mut tx = test.store.begin_read().await.unwrap();
        let all = snapshot::load_app(&mut tx, &LimitPolicy::default(), ids[0]).await.unwrap().apps.remove(0);
        let foreign = snapshot::load_app(&mut tx, &LimitPolicy::default(), ids[1]).await.unwrap().apps.remove(0);
        drop(tx);
        let nobody = ScriptId::generate(NOW);
        test.tamper(&format!("UPDATE scripts SET sandbox = '{{\"max_quarks\": 1}}' WHERE name = '{}' AND app_id = (SELECT id FROM apps WHERE slug = 'a')", all.scripts[0].name)).await;
        let parts = ChangedParts {
            scripts: [all.scripts[0].id, all.scripts[1].id, nobody, foreign.scripts[0].id].into(),
            routes: [all.routes[0].id, foreign.routes[0].id].into(),
            claims: true,
            triggers: true,
            ..ChangedParts::default()
        };
        let mut tx = test.store.begin_read().await.unwrap();
        let limits = LimitPolicy::default();
        let loaded = snapshot::load_parts(&mut tx, &limits, ids[0], &parts).await.unwrap();
        let LoadedParts { changes, secrets, problems } = loaded;
        assert!(changes.env.is_none() && secrets.is_none());
        assert_eq!(changes.claims, Some(all.claims.clone()));
        let of = |id| &changes.scripts.iter().find(|(script, _)| *script == id).unwrap().1;
        assert!(matches!(of(all.scripts[0].id), Now::Unfit));
        assert!(matches!(of(all.scripts[1].id), Now::Is(row) if row.source == all.scripts[1].source));
        assert!(matches!(of(nobody), Now::Gone));
        assert!(matches!(of(foreign.scripts[0].id), Now::Gone), "it is not of this app");
        let routes: HashMap<_, _> = changes.routes.into_iter().collect();
        assert_eq!(routes[&all.routes[0].id], Now::Is(all.routes[0].clone()));
        assert_eq!(routes[&foreign.routes[0].id], Now::Gone);
        assert_eq!(problems.iter().map(|problem| problem.id).collect::<Vec<_>>(), [all.scripts[0].id.as_uuid()]);
    }

    async fn all_apps_are_loaded(test: TestStore) {
        let mut ids = seeded(&test).await;
        ids.sort();
        let mut tx = test.store.begin_read().await.unwrap();
        let loaded = snapshot::load_all(&mut tx, &LimitPolicy::default()).await.unwrap();
        assert_eq!(loaded.problems, []);
        assert_eq!(loaded.apps.iter().map(|rows| rows.app.id).collect::<Vec<_>>(), ids);
        assert!(loaded.apps.iter().all(|rows| sizes(rows) == (2, 2, 2)));
    }

    async fn a_bad_row_is_left_out_and_named_and_the_rest_is_loaded(test: TestStore) {
        let ids = seeded(&test).await;
        test.tamper("UPDATE domains SET pattern = 'not a host' WHERE pattern = 'x.a.example.com'").await;
        test.tamper("UPDATE scripts SET sandbox = '{\"max_quarks\": 1}' WHERE name = 'one' AND app_id = (SELECT id FROM apps WHERE slug = 'a')").await;
        test.tamper("UPDATE routes SET path = 'no-slash' WHERE path = '/two' AND app_id = (SELECT id FROM apps WHERE slug = 'a')").await;
        let mut tx = test.store.begin_read().await.unwrap();
        for loaded in [
            snapshot::load_app(&mut tx, &LimitPolicy::default(), ids[0]).await.unwrap(),
            snapshot::load_all(&mut tx, &LimitPolicy::default()).await.unwrap(),
        ] {
            let mut kinds: Vec<&str> = loaded.problems.iter().map(|problem| problem.kind).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, ["domain", "route", "script"]);
            for problem in &loaded.problems {
                assert!(problem.app_id == ids[0] && !problem.id.is_nil(), "{problem}");
                assert!(problem.to_string().contains(&problem.id.to_string()), "{problem}");
            }
            let rows = loaded.apps.iter().find(|rows| rows.app.id == ids[0]).unwrap();
            assert_eq!(sizes(rows), (1, 1, 1));
        }
    }

    async fn a_bad_app_is_left_out_alone(test: TestStore) {
        let ids = seeded(&test).await;
        test.tamper("UPDATE apps SET slug = 'Not A Slug' WHERE slug = 'a'").await;
        let mut tx = test.store.begin_read().await.unwrap();
        let loaded = snapshot::load_all(&mut tx, &LimitPolicy::default()).await.unwrap();
        assert_eq!(loaded.apps.iter().map(|rows| rows.app.id).collect::<Vec<_>>(), [ids[1]]);
        let [problem] = &loaded.problems[..] else { panic!("{:?}", loaded.problems) };
        assert_eq!((problem.kind, problem.app_id, problem.id), ("app", ids[0], ids[0].as_uuid()));
    }

    async fn a_script_over_a_lowered_ceiling_is_left_out(test: TestStore) {
        let ids = seeded(&test).await;
        let mut policy = LimitPolicy::default();
        policy.ceilings.max_operations = 6;
        let mut tx = test.store.begin_read().await.unwrap();
        let loaded = snapshot::load_app(&mut tx, &policy, ids[0]).await.unwrap();
        assert_eq!((loaded.apps[0].scripts.len(), loaded.problems.len()), (0, 2));
        assert!(loaded.problems[0].detail.contains("max_operations"), "{}", loaded.problems[0]);
    }
}
