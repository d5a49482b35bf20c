//! With the store damaged: what cannot be read is left out, and nothing is changed without its audit row.

use picloud_manager::repo::role::InstanceRole;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{World, id};

async fn a_row_that_cannot_be_read_is_left_out_and_the_rest_serves(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let (shop, blog) = (owner.make_app("shop").await, owner.make_app("blog").await);
    for app in [&shop, &blog] {
        owner.make_domain(app, &format!("{}.localhost", app["slug"].as_str().unwrap())).await;
        for name in ["one", "two"] {
            let script = owner.make_endpoint(app, name, &format!("\"{name}\"")).await;
            owner.make_route(&script, &format!("/{name}")).await;
        }
    }
    test.tamper(
        "UPDATE scripts SET name = 'No Name' WHERE name = 'one' AND app_id = (SELECT id FROM apps WHERE slug = 'shop')",
    )
    .await;
    let again = World::start(&test.store).await;
    assert_eq!(again.fetch("GET", "http://shop.localhost/one").await, "no_route");
    assert_eq!(again.fetch("GET", "http://shop.localhost/two").await, "two");
    assert_eq!(again.fetch("GET", "http://blog.localhost/one").await, "one");
    // The damaged app can still be worked on, and its next publish leaves the same row out.
    let owner = again.owner().await;
    owner.make_domain(&shop, "second.localhost").await;
    assert_eq!(again.fetch("GET", "http://second.localhost/two").await, "two");
}

async fn an_event_that_cannot_be_read_keeps_no_other_waiting_and_is_not_lost(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let shop = owner.make_app("shop").await;
    for (concurrency, queue) in [(1, "one-by-one"), (4, "many")] {
        let damaged = owner.send_message("shop", queue, json!("damaged")).await;
        let damage = match test.sqlite_dir() {
            // What PostgreSQL would not take: no text at all.
            Some(_) if queue == "many" => "UPDATE events SET op = CAST(X'FF' AS TEXT) WHERE state = 'waiting'",
            _ => "UPDATE events SET op = 'of_a_newer_version' WHERE state = 'waiting'",
        };
        test.tamper_with_data(damage).await;
        let good = owner.send_message("shop", queue, json!("good")).await;
        let script = owner.make_endpoint(&shop, queue, "1").await;
        let config = json!({ "queue": queue, "concurrency": concurrency });
        let trigger = json!({ "script_id": id(&script), "source": "queue", "config": config });
        owner.post("/apps/shop/triggers", trigger).await.is(201);
        owner.get_until(&format!("/apps/shop/events/{good}"), |event| event["state"] == "done").await;
        let listed = owner.get("/apps/shop/events").await.is(200);
        let listed = listed["items"].as_array().unwrap();
        assert!(
            listed.iter().any(|event| event["id"] == good) && listed.iter().all(|event| event["id"] != damaged),
            "{listed:?}"
        );
        test.tamper_with_data("UPDATE events SET op = 'message', due_at = 1 WHERE state = 'waiting'").await;
        // Whatever comes wakes the lane.
        owner.send_message("shop", queue, json!("another")).await;
        owner.get_until(&format!("/apps/shop/events/{damaged}"), |event| event["state"] == "done").await;
    }
}

async fn what_cannot_be_read_ends_with_its_trigger_and_keeps_nothing_from_becoming_a_dead_letter(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let shop = owner.make_app("shop").await;
    let script = owner.make_endpoint(&shop, "main", "throw \"never\"").await;
    let backoff = json!({ "base_ms": 60_000, "cap_ms": 60_000 });
    let config = json!({ "collection": "default", "ops": ["set"] });
    let trigger = json!({ "script_id": id(&script), "source": "kv", "config": config, "backoff": backoff });
    let trigger = owner.post("/apps/shop/triggers", trigger).await.is(201);
    for n in 0..130 {
        owner.send_json("PUT", &format!("/apps/shop/kv/default/{n}"), json!({ "value": n }).to_string()).await.is(200);
    }
    // The first is to be tried again in a while, and the others come after it.
    let waits = |event: &Value| event["attempt"] == 1 && event["state"] == "waiting";
    let events = |page: &Value| page["items"].as_array().unwrap().clone();
    owner.get_until("/apps/shop/events?limit=200", |page| events(page).iter().any(waits)).await;
    let first = "SELECT seq FROM events ORDER BY seq LIMIT 120";
    test.tamper_with_data(&format!("UPDATE events SET op = 'of_a_newer_version' WHERE seq IN ({first})")).await;
    owner.delete(&format!("/apps/shop/triggers/{}", id(&trigger))).await.is(204);
    // A node that starts looks at once for what nobody handles.
    let other = World::start(&test.store).await;
    let letters = other.owner().await;
    letters.get_until("/apps/shop/dead-letters?limit=200", |page| events(page).len() == 10).await;
    // What ended counts no more.
    letters.get_until("/apps/shop/queues", |queues| queues["events"] == 10).await;
    let left = letters.get("/apps/shop/events?limit=200").await.is(200);
    assert!(events(&left).iter().all(|event| event["state"] == "dead"), "{left}");
}

async fn a_change_to_a_store_that_went_back_is_live_with_its_answer(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let shop = owner.make_app("shop").await;
    owner.make_domain(&shop, "shop.localhost").await;
    let script = owner.make_endpoint(&shop, "page", "\"0\"").await;
    owner.make_route(&script, "/").await;
    let path = format!("/scripts/{}", id(&script));
    for edit in 1..20 {
        // As after a failover to a database that had not got the last changes.
        test.tamper("DELETE FROM config_changes WHERE version > (SELECT version - 3 FROM config_version)").await;
        test.tamper("UPDATE config_version SET version = version - 3").await;
        for text in [edit.to_string(), format!("{edit}a"), format!("{edit}b"), format!("{edit}c")] {
            owner.patch(&path, json!({ "source": format!("\"{text}\"") })).await.is(200);
            assert_eq!(world.fetch("GET", "http://shop.localhost/").await, text);
        }
    }
}

/// An app `shop` in which each thing named `bad` is damaged; the damaged script, route and domain.
async fn damaged_shop(test: &TestStore, world: &World) -> [Value; 3] {
    let owner = world.owner().await;
    let shop = owner.make_app("shop").await;
    owner.make_domain(&shop, "shop.localhost").await;
    let domain = owner.make_domain(&shop, "bad.localhost").await;
    let good = owner.make_endpoint(&shop, "good", "if ctx.request.query.bad == \"1\" { throw 1 } \"good\"").await;
    let script = owner.make_endpoint(&shop, "bad", "\"bad\"").await;
    owner.make_route(&good, "/good").await;
    let route = owner.make_route(&good, "/bad").await;
    world.fetch("GET", "http://shop.localhost/good").await;
    world.fetch("GET", "http://shop.localhost/good?bad=1").await;
    owner.get("/apps/shop/logs").await.is(200);
    test.tamper("UPDATE scripts SET sandbox = '{\"max_quarks\": 1}' WHERE name = 'bad'").await;
    test.tamper("UPDATE domains SET pattern = 'not a host' WHERE pattern = 'bad.localhost'").await;
    test.tamper("UPDATE routes SET path = 'no-slash' WHERE path = '/bad'").await;
    test.tamper_with_log("UPDATE executions SET origin = 'teleport' WHERE outcome = 'error'").await;
    [script, route, domain]
}

fn names(list: &Value, member: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

async fn lists_leave_out_what_cannot_be_read_and_show_the_rest(test: &TestStore) {
    let world = World::start(&test.store).await;
    damaged_shop(test, &world).await;
    let owner = world.owner().await;
    let list = async |path: &str| owner.get(path).await.is(200);
    assert_eq!(names(&list("/scripts?app=shop").await, "name"), ["good"]);
    assert_eq!(names(&list("/apps/shop/domains").await, "pattern"), ["shop.localhost"]);
    let routes = list("/apps/shop/routes").await;
    assert_eq!(names(&routes, "path"), ["/good"]);
    let of_script = format!("/scripts/{}/routes", routes["items"][0]["script_id"].as_str().unwrap());
    assert_eq!(list(&of_script).await, routes);
    let logs = list("/apps/shop/logs").await;
    assert_eq!((names(&logs, "outcome"), &logs["total"]), (vec!["success".to_owned()], &json!(2)));
    // What cannot be read ends no page early.
    assert!(list("/scripts?app=shop&limit=1").await["next_cursor"].is_string());
}

async fn an_app_with_damaged_rows_is_worked_on_and_mended_through_the_api(test: &TestStore) {
    let world = World::start(&test.store).await;
    let [script, route, domain] = damaged_shop(test, &world).await;
    let owner = world.owner().await;
    let shop = owner.get("/apps/shop").await.is(200);
    let new = owner.make_endpoint(&shop, "new", "\"new\"").await;
    owner.patch(&format!("/scripts/{}", id(&new)), json!({ "source": "\"newer\"" })).await.is(200);
    owner.make_route(&new, "/new").await;
    owner.make_domain(&shop, "new.localhost").await;
    assert_eq!(world.fetch("GET", "http://new.localhost/new").await, "newer");
    // It takes the requests of the damaged one, which nobody can be shown.
    let twin = json!({ "host_kind": "any", "path_kind": "exact", "path": "/bad", "method": "GET" });
    let refused = owner.post(&format!("/scripts/{}/routes", id(&new)), twin).await;
    assert_eq!(refused.problem(409, "route_conflict")["conflict"], json!(null));

    for path in [
        format!("/scripts/{}", id(&script)),
        format!("/routes/{}", id(&route)),
        format!("/apps/shop/domains/{}", id(&domain)),
    ] {
        if !path.contains("domains") {
            owner.if_match("\"read-before\"").delete(&path).await.problem(412, "precondition_failed");
        }
        owner.delete(&path).await.is(204);
        owner.delete(&path).await.problem(404, "not_found");
    }
    owner.make_route(&new, "/bad").await;
    owner.make_endpoint(&shop, "bad", "1").await;
    owner.make_domain(&shop, "bad.localhost").await;
}

async fn an_app_whose_own_row_is_damaged_hides_no_other_and_goes_by_its_id(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let shop = owner.make_app("shop").await;
    let admin = world.user("ada", InstanceRole::Admin).await;
    let member = world.user("bob", InstanceRole::Member).await;
    test.tamper("UPDATE apps SET slug = 'Not A Slug' WHERE slug = 'shop'").await;
    assert_eq!(names(&owner.get("/apps").await.is(200), "slug"), ["default"]);
    let path = format!("/apps/{}", id(&shop));
    member.delete(&path).await.problem(404, "not_found");
    admin.delete(&path).await.problem(403, "forbidden");
    owner.if_match("\"read-before\"").delete(&path).await.problem(412, "precondition_failed");
    owner.delete(&path).await.is(204);
    owner.make_app("shop").await;
}

async fn a_claim_that_has_become_a_public_suffix_stays_and_can_be_given_up(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let shop = owner.make_app("shop").await;
    let domain = owner.make_domain(&shop, "shop.localhost").await;
    let script = owner.make_endpoint(&shop, "page", "\"page\"").await;
    owner.make_route(&script, "/").await;
    test.tamper("UPDATE domains SET pattern = 'co.uk', shape_key = 'co.uk' WHERE pattern = 'shop.localhost'").await;
    let again = World::start(&test.store).await;
    assert_eq!(again.fetch("GET", "http://co.uk/").await, "page");
    let refused = owner.post("/apps/default/domains", json!({ "pattern": "*.co.uk" })).await;
    assert_eq!(refused.problem(422, "public_suffix")["errors"][0]["field"], "pattern");
    owner.delete(&format!("/apps/shop/domains/{}", id(&domain))).await.is(204);
}

async fn nothing_is_changed_without_its_audit_row(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let domain = owner.make_domain(&app, "shop.localhost").await;
    let script = owner.make_endpoint(&app, "page", "\"old\"").await;
    let route = owner.make_route(&script, "/").await;
    test.tamper("DROP TABLE audit_log").await;
    let (script_path, route_path) = (format!("/scripts/{}", id(&script)), format!("/routes/{}", id(&route)));
    let pattern = json!({ "host_kind": "any", "path_kind": "exact", "path": "/new", "method": "GET" });
    let new_script = json!({ "app_id": id(&app), "name": "new", "kind": "endpoint", "source": "1" });
    for answer in [
        owner.post("/apps", json!({ "slug": "new", "name": "New" })).await,
        owner.patch("/apps/shop", json!({ "name": "New" })).await,
        owner.delete("/apps/shop?force=true").await,
        owner.post("/apps/shop/domains", json!({ "pattern": "new.localhost" })).await,
        owner.delete(&format!("/apps/shop/domains/{}", id(&domain))).await,
        owner.post("/scripts", new_script).await,
        owner.patch(&script_path, json!({ "source": "\"new\"" })).await,
        owner.delete(&script_path).await,
        owner.post(&format!("{script_path}/routes"), pattern).await,
        owner.patch(&route_path, json!({ "path": "/new" })).await,
        owner.delete(&route_path).await,
        owner.send_json("POST", "/auth/logout", "").await,
    ] {
        answer.problem(500, "internal");
    }
    assert_eq!(owner.get("/apps").await.is(200)["items"].as_array().unwrap().len(), 2);
    assert_eq!(owner.get("/apps/shop").await.is(200), app);
    assert_eq!(owner.get("/apps/shop/domains").await.is(200)["items"], json!([domain]));
    assert_eq!(owner.get("/apps/shop/routes").await.is(200)["items"], json!([route]));
    assert_eq!(owner.get(&script_path).await.is(200), script);
    assert_eq!(world.fetch("GET", "http://shop.localhost/").await, "old");
}

on_both! {
    damaged:
    a_row_that_cannot_be_read_is_left_out_and_the_rest_serves,
    an_event_that_cannot_be_read_keeps_no_other_waiting_and_is_not_lost,
    what_cannot_be_read_ends_with_its_trigger_and_keeps_nothing_from_becoming_a_dead_letter,
    lists_leave_out_what_cannot_be_read_and_show_the_rest,
    an_app_with_damaged_rows_is_worked_on_and_mended_through_the_api,
    an_app_whose_own_row_is_damaged_hides_no_other_and_goes_by_its_id,
    a_claim_that_has_become_a_public_suffix_stays_and_can_be_given_up,
    nothing_is_changed_without_its_audit_row,
    a_change_to_a_store_that_went_back_is_live_with_its_answer,
}
