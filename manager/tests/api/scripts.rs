//! Scripts: saving, versions, modules and their importers, checks, the test panel.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use picloud_executor::Executor;
use picloud_manager::repo::role::AppRole;
use picloud_manager::repo::scripts;
use picloud_manager::store::{Store, Tx};
use picloud_shared::id::AppId;
use picloud_shared::script::{LimitPolicy, ScriptKind, ScriptSource};
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Answer, World, id};

/// Enough people at one app that each meets some other's change.
const EDITORS: u64 = 24;

async fn an_edit_changes_the_very_next_response(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    let script = owner.make_endpoint(&app, "greet", "`Hello ${ctx.request.params.name}`").await;
    assert_eq!((&script["version"], &script["kind"]), (&json!(1), &json!("endpoint")));
    owner.make_route(&script, "/greet/:name").await;
    assert_eq!(world.fetch("GET", "http://shop.localhost/greet/Ada").await, "Hello Ada");
    for n in 2..12 {
        let body = json!({ "source": format!("`{n} ${{ctx.request.params.name}}`") });
        let saved = owner.patch(&format!("/scripts/{}", id(&script)), body).await.is(200);
        assert_eq!(saved["version"], n);
        assert_eq!(world.fetch("GET", "http://shop.localhost/greet/Ada").await, format!("{n} Ada"));
    }
}

async fn a_script_shows_everything_it_was_made_with(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let body = json!({
        "app_id": id(&app), "name": "a", "kind": "endpoint", "source": "1", "description": "One.",
        "timeout_ms": 250, "sandbox": { "max_operations": 1000, "max_map_size": null }, "execute_access": "restricted",
    });
    let made = owner.post("/scripts", body.clone()).await;
    let etag = made.etag();
    let made = made.is(201);
    for member in ["app_id", "name", "kind", "source", "description", "timeout_ms", "execute_access"] {
        assert_eq!(made[member], body[member], "{member}");
    }
    assert_eq!(made["sandbox"]["max_operations"], 1000);
    assert_eq!(made["sandbox"]["max_map_size"], json!(null));
    let path = format!("/scripts/{}", id(&made));
    let found = owner.get(&path).await;
    assert_eq!(found.etag(), etag);
    assert_eq!(found.is(200), made);
    let listed = owner.get("/scripts?app=shop").await.is(200)["items"][0].clone();
    assert_eq!((&listed["id"], &listed["source"]), (&made["id"], &json!(null)));

    let changed = owner.patch(&path, json!({ "sandbox": {}, "timeout_ms": null, "name": "b" })).await.is(200);
    assert_eq!((&changed["sandbox"]["max_operations"], &changed["timeout_ms"]), (&json!(null), &json!(null)));
    assert_eq!(
        (&changed["name"], &changed["version"], &changed["description"]),
        (&json!("b"), &json!(1), &json!("One."))
    );
}

async fn bad_scripts_are_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let good = json!({ "app_id": id(&app), "name": "a", "kind": "endpoint", "source": "1" });
    let with = |member: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[member] = value;
        body
    };
    let fields = [
        (with("app_id", json!("shop")), "app_id"),
        (with("name", json!("A b")), "name"),
        (with("kind", json!("cron")), "kind"),
        (with("source", json!("x".repeat(131_073))), "source"),
        (with("source", json!(null)), "source"),
        (with("description", json!("x".repeat(2001))), "description"),
        (with("timeout_ms", json!(-1)), "timeout_ms"),
        (with("sandbox", json!({ "max_stack": 1 })), "sandbox.max_stack"),
        (with("execute_access", json!("nobody")), "execute_access"),
        (with("language", json!("lua")), "language"),
    ];
    for (body, field) in fields {
        assert_eq!(owner.post("/scripts", body).await.invalid_fields(), [field]);
    }
    assert_eq!(owner.post("/scripts", with("source", json!("\"a\u{0}\""))).await.status, 422);
    assert_eq!(owner.post("/scripts", with("description", json!("a\u{0}b"))).await.invalid_fields(), ["description"]);
    let absent = with("app_id", json!("0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a"));
    owner.post("/scripts", absent).await.problem(404, "not_found");
    let over = owner.post("/scripts", with("sandbox", json!({ "max_call_levels": 65 }))).await;
    let over = over.problem(422, "limit_over_ceiling");
    assert_eq!(over["errors"][0]["field"], "sandbox.max_call_levels");
    assert_eq!((&over["limit"], &over["ceiling"]), (&json!("max_call_levels"), &json!(64)));
    let late = owner.post("/scripts", with("timeout_ms", json!(60_001))).await.problem(422, "limit_over_ceiling");
    assert_eq!((&late["limit"], &late["ceiling"]), (&json!("timeout_ms"), &json!(60_000)));
    let broken = owner.post("/scripts", with("source", json!("let a = 1;\nlet b = ;"))).await;
    assert_eq!(broken.problem(422, "invalid_source")["line"], 2);
    owner.post("/scripts", good.clone()).await.is(201);
    owner.post("/scripts", good).await.problem(409, "script_name_taken");
    assert_eq!(owner.get("/scripts?app=shop").await.is(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(owner.get("/scripts").await.invalid_fields(), ["app"]);
}

async fn of_two_edits_of_one_reading_the_second_is_refused(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "a", "0").await;
    let path = format!("/scripts/{}", id(&script));
    let etag = owner.get(&path).await.etag();
    let edits = (1..=4).map(|n| {
        let (owner, path) = (owner.if_match(&etag), path.clone());
        async move { owner.patch(&path, json!({ "source": n.to_string() })).await.status.as_u16() }
    });
    let mut statuses = futures_util::future::join_all(edits).await;
    statuses.sort();
    assert_eq!(statuses, [200, 412, 412, 412]);
    assert_eq!(owner.get(&path).await.is(200)["version"], 2);
    owner.if_match(&etag).delete(&path).await.problem(412, "precondition_failed");
    owner.if_match("nonsense").patch(&path, json!({})).await.problem(400, "malformed");
    owner.if_match("*").delete(&path).await.is(204);
}

async fn concurrent_edits_without_a_precondition_all_become_versions(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "a", "0").await;
    let path = format!("/scripts/{}", id(&script));
    let edits = (1..=EDITORS).map(|n| {
        let (owner, path) = (owner.clone(), path.clone());
        async move { owner.patch(&path, json!({ "source": n.to_string() })).await.is(200) }
    });
    let mut versions: Vec<u64> =
        futures_util::future::join_all(edits).await.iter().map(|saved| saved["version"].as_u64().unwrap()).collect();
    versions.sort();
    assert_eq!(versions, (2..2 + EDITORS).collect::<Vec<u64>>());
}

async fn scripts_that_are_made_at_once_all_come_to_be(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let saves = (0..EDITORS).map(|n| {
        let (owner, app) = (owner.clone(), app.clone());
        async move { owner.make_endpoint(&app, &format!("a{n}"), "0").await }
    });
    futures_util::future::join_all(saves).await;
    let list = owner.get("/scripts?app=shop").await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len() as u64, EDITORS);
}

async fn of_two_scripts_of_one_name_made_at_once_one_comes_to_be(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let body = json!({ "app_id": app["id"], "name": "a", "kind": "endpoint", "source": "0" });
    let saves = (0..EDITORS).map(|_| {
        let (owner, body) = (owner.clone(), body.clone());
        async move { owner.post("/scripts", body).await }
    });
    let answers = futures_util::future::join_all(saves).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1);
    for answer in refused {
        answer.problem(409, "script_name_taken");
    }
}

async fn of_edits_of_one_reading_made_at_once_one_is_saved(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "a", "0").await;
    let path = format!("/scripts/{}", id(&script));
    let etag = owner.get(&path).await.etag();
    let edits = (1..=EDITORS).map(|n| {
        let (owner, path) = (owner.if_match(&etag), path.clone());
        async move { owner.patch(&path, json!({ "description": n.to_string() })).await }
    });
    let answers = futures_util::future::join_all(edits).await;
    let (saved, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(saved.len(), 1);
    for answer in refused {
        answer.problem(412, "precondition_failed");
    }
}

async fn versions_are_kept_shown_and_restored(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "a", "1").await;
    let path = format!("/scripts/{}", id(&script));
    owner.patch(&path, json!({ "source": "2" })).await.is(200);
    owner.patch(&path, json!({ "description": "no new version" })).await.is(200);
    owner.patch(&path, json!({ "source": "2" })).await.is(200);
    let list = owner.get(&format!("{path}/versions?limit=1")).await.is(200);
    assert_eq!((&list["items"][0]["version"], &list["next_cursor"]), (&json!(2), &json!("2")));
    assert_eq!(list["items"][0]["created_by"], owner.get("/auth/me").await.is(200)["id"]);
    let rest = owner.get(&format!("{path}/versions?cursor=2")).await.is(200);
    assert_eq!((&rest["items"][0]["version"], &rest["next_cursor"]), (&json!(1), &json!(null)));
    assert_eq!(owner.get(&format!("{path}/versions/1")).await.is(200)["source"], "1");
    let restored = owner.send_json("POST", &format!("{path}/versions/1/restore"), "").await.is(200);
    assert_eq!((&restored["version"], &restored["source"]), (&json!(3), &json!("1")));
    for absent in ["versions/9", "versions/0", "versions/x", "versions/-1"] {
        owner.get(&format!("{path}/{absent}")).await.problem(404, "not_found");
    }
}

async fn a_changed_module_is_live_in_all_that_imports_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    let inner = owner.make_module(&app, "inner", "fn word() { \"one\" }").await;
    owner.make_module(&app, "outer", "import \"inner\" as i; fn word() { i::word() }").await;
    let script = owner.make_endpoint(&app, "say", "import \"outer\" as o; o::word()").await;
    assert_eq!(script["imports"], json!(["outer"]));
    owner.make_route(&script, "/").await;
    assert_eq!(world.fetch("GET", "http://shop.localhost/").await, "one");
    let source = json!({ "source": "fn word() { \"two\" }" });
    owner.patch(&format!("/scripts/{}", id(&inner)), source).await.is(200);
    assert_eq!(world.fetch("GET", "http://shop.localhost/").await, "two");
}

async fn imports_must_lead_to_modules_and_never_back(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let other = owner.make_app("blog").await;
    owner.make_module(&other, "foreign", "fn f() { 1 }").await;
    owner.make_endpoint(&app, "page", "1").await;
    let a = owner.make_module(&app, "a", "fn f() { 1 }").await;
    owner.make_module(&app, "b", "import \"a\" as a; fn f() { 1 }").await;
    for import in ["missing", "page", "foreign", "self"] {
        let source = format!("import \"{import}\" as x; 1");
        let body = json!({ "app_id": id(&app), "name": "self", "kind": "module", "source": source });
        owner.post("/scripts", body).await.problem(422, "invalid_source");
    }
    let circle = json!({ "source": "import \"b\" as b; fn f() { 1 }" });
    let refused = owner.patch(&format!("/scripts/{}", id(&a)), circle).await.problem(422, "invalid_source");
    assert!(refused["detail"].as_str().unwrap().contains('b'), "{refused}");
}

async fn a_module_in_use_keeps_its_name_kind_and_existence(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let module = owner.make_module(&app, "lib", "fn f() { 1 }").await;
    let user = owner.make_endpoint(&app, "page", "import \"lib\" as l; l::f()").await;
    let path = format!("/scripts/{}", id(&module));
    let importers = json!([{ "id": id(&user), "name": "page" }]);
    for change in [json!({ "kind": "endpoint" }), json!({ "name": "other" })] {
        let refused = owner.patch(&path, change).await.problem(409, "script_in_use");
        assert_eq!(refused["importers"], importers);
    }
    assert_eq!(owner.delete(&path).await.problem(409, "script_in_use")["importers"], importers);
    owner.patch(&format!("/scripts/{}", id(&user)), json!({ "source": "1" })).await.is(200);
    owner.patch(&path, json!({ "name": "other" })).await.is(200);
    owner.delete(&path).await.is(204);
}

async fn an_endpoint_with_routes_stays_one_and_goes_with_them(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    let script = owner.make_endpoint(&app, "page", "1").await;
    let route = owner.make_route(&script, "/").await;
    let path = format!("/scripts/{}", id(&script));
    let refused = owner.patch(&path, json!({ "kind": "module" })).await.problem(409, "script_in_use");
    assert_eq!(refused["routes"], json!([route]));
    owner.delete(&path).await.is(204);
    owner.get(&format!("/routes/{}", id(&route))).await.problem(404, "not_found");
    assert_eq!(world.fetch("GET", "http://shop.localhost/").await, "no_route");
}

async fn a_check_tells_what_saving_would_and_saves_nothing(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_module(&app, "lib", "fn f() { 1 }").await;
    let check = |source: &'static str| {
        let (owner, app_id) = (owner.clone(), id(&app).to_owned());
        async move {
            let body = json!({ "app_id": app_id, "kind": "endpoint", "source": source });
            owner.post("/scripts:check", body).await.is(200)
        }
    };
    let good = check("import \"lib\" as l; l::f()").await;
    assert_eq!(good, json!({ "valid": true, "errors": [], "imports": ["lib"] }));
    let bad = check("let a = ;").await;
    assert_eq!((&bad["valid"], &bad["errors"][0]["line"]), (&json!(false), &json!(1)));
    assert_eq!(owner.get("/scripts?app=shop").await.is(200)["items"].as_array().unwrap().len(), 1);
}

async fn a_test_runs_saved_or_unsaved_source_with_a_made_up_request(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    let source = "log::info(\"seen\"); respond(201, `${ctx.request.params.id} ${ctx.request.text}`)";
    let script = owner.make_endpoint(&app, "page", source).await;
    owner.make_route(&script, "/things/:id").await;
    let path = format!("/scripts/{}/invoke", id(&script));
    let request = json!({ "path": "/things/7", "body": "hi", "headers": { "content-type": "text/plain" } });
    let ran = owner.post(&path, request).await.is(200);
    assert_eq!((&ran["outcome"], &ran["status"], &ran["version"]), (&json!("success"), &json!(201), &json!(1)));
    assert_eq!((&ran["response"]["body"], &ran["logs"][0]["message"]), (&json!("7 hi"), &json!("seen")));

    let unsaved = owner.post(&path, json!({ "source": "throw \"no\"" })).await.is(200);
    assert_eq!(
        (&unsaved["outcome"], &unsaved["status"], &unsaved["version"]),
        (&json!("error"), &json!(500), &json!(0))
    );
    assert!(unsaved["error"]["message"].as_str().unwrap().contains("no"), "{unsaved}");
    owner.post(&path, json!({ "source": "let a = ;" })).await.problem(422, "invalid_source");
    let logged = owner.get(&format!("/scripts/{}/logs", id(&script))).await.is(200);
    assert_eq!(logged["total"], 2);
    assert_eq!(logged["items"][0]["origin"], json!({ "kind": "test" }));

    let fields = [
        (json!({ "method": "G T" }), "method"),
        (json!({ "path": "x" }), "path"),
        (json!({ "path": "/a?b" }), "path"),
        (json!({ "host": "a b" }), "host"),
        (json!({ "headers": { "a b": "c" } }), "headers.a b"),
        (json!({ "headers": { "a": "b\r\nc: d" } }), "headers.a"),
        (json!({ "body": "a", "body_base64": "YQ==" }), "body_base64"),
        (json!({ "body_base64": "?" }), "body_base64"),
        (json!({ "verb": "GET" }), "verb"),
    ];
    for (body, field) in fields {
        assert_eq!(owner.post(&path, body).await.invalid_fields(), [field]);
    }
    let module = owner.make_module(&app, "lib", "fn f() { 1 }").await;
    let refused = owner.post(&format!("/scripts/{}/invoke", id(&module)), json!({})).await;
    refused.problem(422, "module_not_invokable");
}

async fn a_module_cannot_take_the_name_of_another_script(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_endpoint(&app, "page", "1").await;
    let lib = owner.make_module(&app, "lib", "fn f() { 1 }").await;
    let path = format!("/scripts/{}", id(&lib));
    owner.patch(&path, json!({ "name": "page" })).await.problem(409, "script_name_taken");
    owner.patch(&path, json!({ "name": "lib2" })).await.is(200);
}

async fn more_sources_than_can_be_checked_at_once_are_told_to_come_back(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let body = json!({ "app_id": id(&app), "kind": "endpoint", "source": "1" });
    let ask = async || owner.post("/scripts:check", body.clone()).await;
    // Others keep the app's lane full, so that sooner or later a call finds it so, however busy the machine is.
    let others: Vec<_> = (0..200).map(|_| tokio::spawn(check_for_ever(Arc::clone(&world.executor), &app))).collect();
    let refused = async {
        loop {
            let answer = ask().await;
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await.expect("the lane is full");
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(503, "overloaded");
    others.iter().for_each(tokio::task::JoinHandle::abort);
    let admitted = async { while ask().await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(60), admitted).await.expect("the lane empties");
}

/// Has the executor check the longest of sources for an app, again and again.
fn check_for_ever(executor: Arc<Executor>, app: &Value) -> impl Future<Output = ()> + use<> {
    let app_id: AppId = id(app).parse().unwrap();
    let source: ScriptSource = "let a = 1 + 2;\n".repeat(8_000).parse().unwrap();
    async move {
        loop {
            let (name, limits) = ("other".parse().unwrap(), LimitPolicy::default().defaults);
            let (source, others) = (source.clone(), Arc::default());
            executor.check(app_id, name, ScriptKind::Endpoint, source, limits, others).await.ok();
            tokio::task::yield_now().await;
        }
    }
}

/// A PATCH that was checked, and waits for another node's unit of work `meanwhile`, which the test commits then.
async fn overtaken(meanwhile: impl AsyncFnOnce(&mut Tx, &Value)) -> (World, Value, Answer) {
    let test = TestStore::postgres().await;
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_module(&app, "lib", "fn f() { 1 }").await;
    let script = owner.make_endpoint(&app, "page", "1").await;
    let editor = world.member("ada", &app, AppRole::Editor).await;
    let other_node = Store::open(&test.config).await.unwrap();
    let mut tx = other_node.begin().await.unwrap();
    let path = format!("/scripts/{}", id(&script));
    let edit = editor.patch(&path, json!({ "source": "import \"lib\" as lib; lib::f()" }));
    let commit = async {
        test.until_somebody_waits_for_a_lock().await;
        meanwhile(&mut tx, &app).await;
        tx.commit().await.unwrap();
    };
    let (answer, ()) = futures_util::future::join(edit, commit).await;
    let saved = owner.get(&path).await.is(200);
    (world, saved, answer)
}

#[test]
fn a_change_that_another_overtook_is_checked_again() {
    crate::run(async || {
        let (_world, saved, answer) = overtaken(async |tx, app| {
            let app_id = id(app).parse().unwrap();
            let all = scripts::list(tx, app_id, 9, None).await.unwrap();
            let lib = all.into_iter().flatten().find(|script| script.name.as_str() == "lib").unwrap();
            scripts::delete(tx, lib.id).await.unwrap();
        })
        .await;
        answer.problem(422, "invalid_source");
        assert_eq!(saved["version"], 1);
    });
}

#[test]
fn rights_are_those_of_the_moment_of_the_change() {
    crate::run(async || {
        let (_world, saved, answer) = overtaken(async |tx, _| {
            tx.execute_unchecked("UPDATE app_members SET role = 'viewer'").await.unwrap();
        })
        .await;
        answer.problem(403, "forbidden");
        assert_eq!(saved["version"], 1);
        let (_world, saved, answer) = overtaken(async |tx, _| {
            tx.execute_unchecked("DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE username = 'ada')")
                .await
                .unwrap();
        })
        .await;
        answer.problem(401, "unauthenticated");
        assert_eq!(saved["version"], 1);
    });
}

on_both! {
    a_module_cannot_take_the_name_of_another_script,
    more_sources_than_can_be_checked_at_once_are_told_to_come_back,
    an_edit_changes_the_very_next_response,
    a_script_shows_everything_it_was_made_with,
    bad_scripts_are_refused_by_field,
    of_two_edits_of_one_reading_the_second_is_refused,
    concurrent_edits_without_a_precondition_all_become_versions,
    scripts_that_are_made_at_once_all_come_to_be,
    of_two_scripts_of_one_name_made_at_once_one_comes_to_be,
    of_edits_of_one_reading_made_at_once_one_is_saved,
    versions_are_kept_shown_and_restored,
    a_changed_module_is_live_in_all_that_imports_it,
    imports_must_lead_to_modules_and_never_back,
    a_module_in_use_keeps_its_name_kind_and_existence,
    an_endpoint_with_routes_stays_one_and_goes_with_them,
    a_check_tells_what_saving_would_and_saves_nothing,
    a_test_runs_saved_or_unsaved_source_with_a_made_up_request,
}
