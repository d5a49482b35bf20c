//! Scripts, their versions, and routes.

use std::time::Duration;

use picloud_manager::repo::routes::{self, StoredRoute};
use picloud_manager::repo::scripts::{self, KEPT_VERSIONS, Script, ScriptMeta};
use picloud_manager::repo::{Constraint, RepoError};
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind};

use crate::rows::{NOW, add_app, add_script, add_user, all as readable, route, script};
use crate::test_store::{TestStore, on_both};

fn pattern(kind: PathKind, path: &str) -> RoutePattern {
    RoutePattern { host: HostSelector::Any, path: PathPattern::parse(kind, path).unwrap(), method: RouteMethod::Get }
}

on_both! {
    async fn a_script_is_read_as_it_was_written(test: TestStore) {
        let (ada, shop) = (add_user(&test.store, "ada").await, add_app(&test.store, "shop").await);
        let hello = script(shop.id, "hello");
        let mut tx = test.store.begin().await.unwrap();
        scripts::insert(&mut tx, &hello, Some(ada.id)).await.unwrap();
        assert_eq!(scripts::find(&mut tx, hello.meta.id).await.unwrap(), Some(hello.clone()));
        assert_eq!(scripts::find_meta(&mut tx, hello.meta.id).await.unwrap(), Some(hello.meta.clone()));
        let (version, source) = scripts::find_version(&mut tx, hello.meta.id, 1).await.unwrap().unwrap();
        assert_eq!((version.created_by, version.created_at, source), (Some(ada.id), NOW, hello.source));
        assert_eq!(scripts::find_version(&mut tx, hello.meta.id, 2).await.unwrap(), None);
    }

    async fn a_script_of_every_default_has_no_limits_of_its_own(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let mut plain = script(shop.id, "plain");
        plain.meta = ScriptMeta { timeout_ms: None, sandbox: Sandbox::default(), imports: vec![], ..plain.meta };
        let mut tx = test.store.begin().await.unwrap();
        scripts::insert(&mut tx, &plain, None).await.unwrap();
        assert_eq!(scripts::find(&mut tx, plain.meta.id).await.unwrap(), Some(plain));
    }

    async fn a_name_is_unique_within_its_app(test: TestStore) {
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        add_script(&test.store, shop.id, "hello").await;
        add_script(&test.store, blog.id, "hello").await;
        let mut other = add_script(&test.store, shop.id, "other").await.meta;
        let mut tx = test.store.begin().await.unwrap();
        let taken = scripts::insert(&mut tx, &script(shop.id, "hello"), None).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::ScriptName))), "{taken:?}");
        drop(tx);
        other.name = "hello".parse().unwrap();
        let mut tx = test.store.begin().await.unwrap();
        let taken = scripts::update(&mut tx, &other).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::ScriptName))), "{taken:?}");
        drop(tx);
        let mut tx = test.store.begin().await.unwrap();
        let orphan = scripts::insert(&mut tx, &script(AppId::generate(NOW), "hello"), None).await;
        assert!(matches!(orphan, Err(RepoError::MissingReference)), "{orphan:?}");
    }

    async fn nul_is_refused_by_name_and_not_by_the_database(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let mut described = script(shop.id, "described");
        described.meta.description = "a\0b".to_owned();
        let mut sourced = script(shop.id, "sourced");
        let mut tx = test.store.begin().await.unwrap();
        let refused = scripts::insert(&mut tx, &described, None).await;
        assert!(matches!(refused, Err(RepoError::Unstorable("the description"))), "{refused:?}");
        if let Ok(source) = "a\0b".parse() {
            sourced.source = source;
            let refused = scripts::insert(&mut tx, &sourced, None).await;
            assert!(matches!(refused, Err(RepoError::Unstorable("the source"))), "{refused:?}");
        }
    }

    async fn the_other_fields_change_without_a_new_version(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let hello = add_script(&test.store, shop.id, "hello").await;
        let changed = ScriptMeta {
            name: "renamed".parse().unwrap(),
            kind: ScriptKind::Module,
            description: String::new(),
            timeout_ms: None,
            sandbox: Sandbox { max_map_size: Some(3), ..Sandbox::default() },
            execute_access: ExecuteAccess::Restricted,
            updated_at: NOW.plus(Duration::from_secs(1)),
            ..hello.meta
        };
        let mut tx = test.store.begin().await.unwrap();
        assert!(scripts::update(&mut tx, &changed).await.unwrap());
        let expected = Script { meta: changed.clone(), source: hello.source };
        assert_eq!(scripts::find(&mut tx, changed.id).await.unwrap(), Some(expected));
        let gone = ScriptMeta { id: ScriptId::generate(NOW), name: "gone".parse().unwrap(), ..changed };
        assert!(!scripts::update(&mut tx, &gone).await.unwrap());
    }

    async fn each_source_is_a_version_and_the_newest_hundred_are_kept(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let hello = add_script(&test.store, shop.id, "hello").await.meta;
        let mut tx = test.store.begin().await.unwrap();
        for expected in 2..=KEPT_VERSIONS + 3 {
            let source = format!("{expected}").parse().unwrap();
            let saved = scripts::update_source(&mut tx, hello.id, &source, &[], None, NOW).await.unwrap();
            assert_eq!(saved, Some(expected));
        }
        let found = scripts::find(&mut tx, hello.id).await.unwrap().unwrap();
        assert_eq!((found.meta.version, found.source.as_str(), found.meta.imports), (103, "103", vec![]));
        let kept = scripts::list_versions(&mut tx, hello.id, 1_000, None).await.unwrap();
        let numbers: Vec<u32> = kept.iter().map(|version| version.version).collect();
        assert_eq!(numbers, (4..=103).rev().collect::<Vec<_>>());
        let page = scripts::list_versions(&mut tx, hello.id, 2, Some(6)).await.unwrap();
        assert_eq!(page.iter().map(|version| version.version).collect::<Vec<_>>(), [5, 4]);
        assert_eq!(scripts::find_version(&mut tx, hello.id, 4).await.unwrap().unwrap().1.as_str(), "4");
        let nobody = scripts::update_source(&mut tx, ScriptId::generate(NOW), &hello_source(), &[], None, NOW).await;
        assert_eq!(nobody.unwrap(), None);
    }

    async fn scripts_are_listed_page_by_page_and_whole(test: TestStore) {
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        add_script(&test.store, blog.id, "x").await;
        let mut all = Vec::new();
        for name in ["c", "b", "a"] {
            all.push(add_script(&test.store, shop.id, name).await);
        }
        all.sort_by_key(|script| script.meta.id);
        let metas: Vec<_> = all.iter().map(|script| script.meta.clone()).collect();
        let mut conn = test.store.read().await.unwrap();
        assert_eq!(readable(scripts::list(&mut conn, shop.id, 2, None).await.unwrap()), metas[..2]);
        assert_eq!(readable(scripts::list(&mut conn, shop.id, 2, Some(metas[1].id)).await.unwrap()), metas[2..]);
        let source_bytes = all.iter().map(|script| script.source.as_str().len() as u64).sum();
        let held = scripts::holdings(&mut conn, shop.id).await.unwrap();
        assert_eq!(held, scripts::Holdings { scripts: 3, source_bytes }, "bytes, not characters");
        let nothing = scripts::holdings(&mut conn, AppId::generate(NOW)).await.unwrap();
        assert_eq!(nothing, scripts::Holdings { scripts: 0, source_bytes: 0 });
    }

    async fn each_shape_of_parameters_is_listed_once(test: TestStore) {
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        let [hello, other] = [add_script(&test.store, shop.id, "x").await, add_script(&test.store, blog.id, "x").await];
        let mut tx = test.store.begin().await.unwrap();
        assert_eq!(routes::list_param_shapes(&mut tx, shop.id, None).await.unwrap(), []);
        let mut stored = Vec::new();
        let paths = ["/a/b", "/u/:id", "/*", "/c/d", "/:x/:y/*", "/v/:id", "/u/:id/x"];
        for (at, path) in paths.into_iter().enumerate() {
            let kind = if path.ends_with('*') { PathKind::Prefix } else { PathKind::Param };
            let app = if at < 6 { &hello.meta } else { &other.meta };
            let mut new = route(app.app_id, app.id, "/");
            new.route.pattern = pattern(kind, path);
            routes::insert(&mut tx, &new).await.unwrap();
            stored.push(new.route);
        }
        let mut shapes = async |app, except| -> Vec<String> {
            let found = routes::list_param_shapes(&mut tx, app, except).await.unwrap();
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(shapes(shop.id, None).await, ["", "..", ".:", "::"]);
        assert_eq!(shapes(shop.id, Some(stored[0].id)).await, ["", "..", ".:", "::"], "another has it as well");
        assert_eq!(shapes(shop.id, Some(stored[2].id)).await, ["..", ".:", "::"]);
        assert_eq!(shapes(shop.id, Some(stored[4].id)).await, ["", "..", ".:"]);
        assert_eq!(shapes(blog.id, None).await, [".:."]);
        assert_eq!(routes::count(&mut tx, shop.id).await.unwrap(), 6);
        let moved = Route { pattern: pattern(PathKind::Param, "/:a"), ..stored[2].clone() };
        assert!(routes::update(&mut tx, &moved).await.unwrap());
        let found = routes::list_param_shapes(&mut tx, shop.id, None).await.unwrap();
        assert_eq!(found.iter().map(|shape| shape.as_str()).collect::<Vec<_>>(), ["..", ".:", ":", "::"]);
    }

    async fn a_route_is_read_as_it_was_written(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let hello = add_script(&test.store, shop.id, "hello").await.meta;
        let host = |text: &str| picloud_shared::domain_pattern::Host::parse_authority(text).unwrap().into_owned();
        let hosts = [
            HostSelector::Any,
            HostSelector::Strict(host("a.example.com")),
            HostSelector::Strict(host("[::1]")),
            HostSelector::Wildcard(host("example.com")),
        ];
        let paths = [(PathKind::Exact, "/a/:b/%2F"), (PathKind::Param, "/u/:id"), (PathKind::Prefix, "/f/:x/*")];
        let mut tx = test.store.begin().await.unwrap();
        let mut all = Vec::new();
        for host in &hosts {
            for (kind, path) in paths {
                for method in RouteMethod::ALL {
                    let mut stored = route(shop.id, hello.id, "/");
                    stored.route.pattern = RoutePattern { host: host.clone(), method, ..pattern(kind, path) };
                    routes::insert(&mut tx, &stored).await.unwrap();
                    assert_eq!(routes::find(&mut tx, stored.route.id).await.unwrap(), Some(stored.clone()));
                    let conflict = routes::find_conflict(&mut tx, shop.id, &stored.route.pattern).await.unwrap();
                    assert_eq!(conflict, Some(Ok(stored.clone())));
                    all.push(stored);
                }
            }
        }
        all.sort_by_key(|stored| stored.route.id);
        assert_eq!(readable(routes::list_of_app(&mut tx, shop.id, 9_999, None).await.unwrap()), all);
        assert_eq!(readable(routes::list_of_script(&mut tx, hello.id, 9_999, None).await.unwrap()), all);
    }

    async fn two_routes_of_one_shape_conflict_and_other_apps_never(test: TestStore) {
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        let (hello, other) = (add_script(&test.store, shop.id, "h").await.meta, add_script(&test.store, blog.id, "h").await.meta);
        let with = |app_id, script_id, pattern| {
            let mut stored = route(app_id, script_id, "/");
            stored.route.pattern = pattern;
            stored
        };
        let first = with(shop.id, hello.id, pattern(PathKind::Param, "/u/:id"));
        let mut tx = test.store.begin().await.unwrap();
        routes::insert(&mut tx, &first).await.unwrap();
        routes::insert(&mut tx, &with(blog.id, other.id, pattern(PathKind::Param, "/u/:id"))).await.unwrap();
        routes::insert(&mut tx, &with(shop.id, hello.id, pattern(PathKind::Exact, "/u/:id"))).await.unwrap();
        tx.commit().await.unwrap();

        let same_shape = pattern(PathKind::Param, "/u/:name");
        let mut tx = test.store.begin().await.unwrap();
        assert_eq!(routes::find_conflict(&mut tx, shop.id, &same_shape).await.unwrap(), Some(Ok(first)));
        let taken = routes::insert(&mut tx, &with(shop.id, hello.id, same_shape)).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::Route))), "{taken:?}");
    }

    async fn the_longest_path_fits_the_index(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let hello = add_script(&test.store, shop.id, "hello").await.meta;
        // 2,000 bytes of noise, which PostgreSQL cannot compress into its largest index entry (2,704 bytes), once each
        // character is escaped.
        let noise: String = (0..500u32).map(|n| char::from_u32(0x4e00 + n.wrapping_mul(2_654_435_761) % 0x5000).unwrap()).collect();
        let stored = route(shop.id, hello.id, &format!("/{noise}"));
        let mut tx = test.store.begin().await.unwrap();
        routes::insert(&mut tx, &stored).await.unwrap();
        assert_eq!(routes::find(&mut tx, stored.route.id).await.unwrap(), Some(stored));
    }

    async fn a_route_leads_only_to_a_script_of_its_own_app(test: TestStore) {
        let (shop, blog) = (add_app(&test.store, "shop").await, add_app(&test.store, "blog").await);
        let (own, foreign) = (add_script(&test.store, shop.id, "h").await.meta, add_script(&test.store, blog.id, "h").await.meta);
        for script_id in [foreign.id, ScriptId::generate(NOW)] {
            let mut tx = test.store.begin().await.unwrap();
            let refused = routes::insert(&mut tx, &route(shop.id, script_id, "/")).await;
            assert!(matches!(refused, Err(RepoError::MissingReference)), "{refused:?}");
        }
        let mut stored = route(shop.id, own.id, "/");
        let mut tx = test.store.begin().await.unwrap();
        routes::insert(&mut tx, &stored).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = test.store.begin().await.unwrap();
        stored.route.script_id = foreign.id;
        let refused = routes::update(&mut tx, &stored.route).await;
        assert!(matches!(refused, Err(RepoError::MissingReference)), "{refused:?}");
        drop(tx);
        let mut tx = test.store.begin().await.unwrap();
        stored.route.app_id = blog.id;
        assert!(!routes::update(&mut tx, &stored.route).await.unwrap(), "a route never changes its app");
    }

    async fn a_route_changes_and_goes_and_goes_with_its_script(test: TestStore) {
        let shop = add_app(&test.store, "shop").await;
        let (first, second) = (add_script(&test.store, shop.id, "a").await.meta, add_script(&test.store, shop.id, "b").await.meta);
        let mut tx = test.store.begin().await.unwrap();
        let (mut moved, kept) = (route(shop.id, first.id, "/a"), route(shop.id, first.id, "/b"));
        routes::insert(&mut tx, &moved).await.unwrap();
        routes::insert(&mut tx, &kept).await.unwrap();
        moved.route.script_id = second.id;
        moved.route.pattern = pattern(PathKind::Prefix, "/a/*");
        assert!(routes::update(&mut tx, &moved.route).await.unwrap());
        assert_eq!(readable(routes::list_of_script(&mut tx, second.id, 9_999, None).await.unwrap()), [moved.clone()]);
        assert!(!routes::update(&mut tx, &StoredRoute { route: picloud_shared::route::Route { id: RouteId::generate(NOW), ..kept.route.clone() }, ..kept.clone() }.route).await.unwrap());

        assert!(scripts::delete(&mut tx, second.id).await.unwrap());
        assert!(!scripts::delete(&mut tx, second.id).await.unwrap());
        assert_eq!(readable(routes::list_of_app(&mut tx, shop.id, 9_999, None).await.unwrap()), std::slice::from_ref(&kept));
        assert_eq!(scripts::list_versions(&mut tx, second.id, 9, None).await.unwrap(), []);
        assert!(routes::delete(&mut tx, kept.route.id).await.unwrap());
        assert!(!routes::delete(&mut tx, kept.route.id).await.unwrap());
    }
}

fn hello_source() -> picloud_shared::script::ScriptSource {
    "1".parse().unwrap()
}
