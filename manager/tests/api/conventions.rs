//! What holds for every call of a kind, whichever it is: what is edited tells its ETag and honours `If-Match`, lists are read page by
//! page, and a POST that is sent again by its key is done once. The calls are found in the document.

use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::documented::{operation, resolved};
use crate::stage::{Stage, Target};
use crate::world::{Answer, id};

/// What is made and taken away, and never edited.
const NEVER_EDITED: [&str; 5] =
    ["revoke_session", "revoke_api_key", "release_domain", "delete_certificate", "delete_message"];

/// What a call says of itself.
fn documented(stage: &Stage, name: &str) -> &'static Value {
    let (method, template) = &stage.operations[name];
    operation(method, &format!("/api/v1/admin{template}")).unwrap()
}

fn takes(call: &Value, parameter: &str) -> bool {
    call["parameters"].as_array().into_iter().flatten().any(|known| known["name"] == parameter)
}

/// The call that reads what another one edits.
fn reading(stage: &Stage, name: &str) -> String {
    match name {
        "deploy_app" => return "export_app".to_owned(),
        "restore_version" => return "get_script".to_owned(),
        _ => {}
    }
    let (_, template) = &stage.operations[name];
    let found = stage.operations.iter().find(|(_, (method, other))| method == "GET" && other == template);
    found.unwrap_or_else(|| panic!("nothing reads what {name} edits")).0.clone()
}

async fn whatever_is_edited_tells_its_etag_and_honours_if_match(store: &Store) {
    let mut stage = Stage::set(store).await;
    let names: Vec<String> = stage.operations.keys().cloned().collect();
    let mut edited = 0;
    for name in names {
        let method = stage.operations[&name].0.clone();
        if !takes(documented(&stage, &name), "if-match") {
            let is_edit = ["PATCH", "PUT", "DELETE"].contains(&method.as_str());
            assert!(!is_edit || NEVER_EDITED.contains(&name.as_str()), "{name} does not honour If-Match");
            continue;
        }
        let target = stage.target().await;
        let (edit, read) = (stage.call(&name, &target), stage.call(&reading(&stage, &name), &target));
        let before = read.by(&stage.owner).await;
        let etag = before.etag();
        let before = before.is(200);
        let stale = edit.by(&stage.owner.if_match("\"0123456789abcdef\"")).await;
        stale.problem(412, "precondition_failed");
        let after = read.by(&stage.owner).await;
        assert_eq!((after.etag(), after.is(200)), (etag.clone(), before), "{name} was refused");
        let done = edit.by(&stage.owner.if_match(&etag)).await;
        assert!(done.status.is_success(), "{name}: {}", done.text());
        if done.status != 204 {
            assert_eq!(read.by(&stage.owner).await.etag(), done.etag(), "{name} tells the next ETag");
        }
        edited += 1;
    }
    assert!(edited >= 14, "{edited}");
}

/// The items of a list, but for what is written behind, and its cursor.
fn page(answer: Answer) -> (Vec<Value>, Option<String>) {
    let mut page = answer.is(200);
    let mut items = std::mem::take(page["items"].as_array_mut().unwrap());
    let is_behind = |name: &str| ["last_seen_at", "last_used_at", "expires_at"].contains(&name);
    items.iter_mut().for_each(|item| item.as_object_mut().unwrap().retain(|name, _| !is_behind(name)));
    (items, page["next_cursor"].as_str().map(str::to_owned))
}

/// Two of what there is one of.
async fn furnish(stage: &Stage, target: &Target) {
    let owner = &stage.owner;
    owner.make_domain(&target.app, &format!("two.{}.localhost", target.slug)).await;
    let script = owner.make_endpoint(&target.app, "two", "2").await;
    let change = json!({ "source": "3" });
    owner.patch(&format!("/scripts/{}", id(&target.script)), change).await.is(200);
    owner.make_route(&target.script, "/two").await;
    for queue in ["failing", "parked", "second"] {
        owner.send_message(&target.slug, queue, json!(2)).await;
    }
    // Before there is who handles it, for that would be an event more.
    owner.until_dead(&target.slug, 2).await;
    let handler = json!({ "script_id": id(&target.script), "source": "dead_letter" });
    owner.post(&format!("/apps/{}/triggers", target.slug), handler).await.is(201);
    for name in ["one", "two"] {
        owner.post("/api-keys", json!({ "name": name, "scopes": ["apps:read"] })).await.is(201);
        owner.post(&format!("/scripts/{}/invoke", id(&target.script)), json!({})).await.is(200);
    }
    owner.post(&format!("/scripts/{}/invoke", id(&script)), json!({})).await.is(200);
    for place in ["default/b", "other/a"] {
        let entry = json!({ "value": 1 }).to_string();
        owner.send_json("PUT", &format!("/apps/{}/kv/{place}", target.slug), entry).await.is(200);
    }
    for place in ["env/b", "secrets/b"] {
        let value = json!({ "value": "some text" }).to_string();
        owner.send_json("PUT", &format!("/apps/{}/{place}", target.slug), value).await.is(200);
    }
    for (collection, n) in [("default", 1), ("other", 2)] {
        let path = format!("/apps/{}/docs/{collection}/0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b0{n}", target.slug);
        owner.send_json("PUT", &path, json!({ "document": { "n": n } }).to_string()).await.is(200);
    }
    stage.world.owner().await;
}

async fn every_list_is_read_page_by_page(store: &Store) {
    let mut stage = Stage::set(store).await;
    let target = stage.target().await;
    furnish(&stage, &target).await;
    stage.target().await;
    let mut lists = 0;
    for name in stage.operations.keys() {
        let documented = documented(&stage, name);
        let schema = resolved(&documented["responses"]["200"]["content"]["application/json"]["schema"]);
        if !schema["properties"]["items"].is_object() {
            continue;
        }
        assert!(schema["properties"]["next_cursor"].is_object(), "{name} has no pages");
        let call = stage.call(name, &target);
        let ask = async |query: &str| {
            let joint = if call.path.contains('?') { '&' } else { '?' };
            stage.owner.get(&format!("{}{joint}{query}", call.path)).await
        };
        let (all, end) = page(ask("limit=500").await);
        assert!(all.len() >= 2, "{name} has but {}", all.len());
        assert_eq!(end, None, "{name}");
        let (mut seen, mut query) = (Vec::new(), "limit=1".to_owned());
        loop {
            let (items, next) = page(ask(&query).await);
            assert_eq!(items.len(), 1, "{name}");
            seen.extend(items);
            let Some(next) = next else { break };
            query = format!("limit=1&cursor={next}");
        }
        assert_eq!(seen, all, "{name}");
        assert_eq!(ask("limit=0").await.invalid_fields(), ["limit"], "{name}");
        assert_eq!(ask("cursor=nowhere").await.invalid_fields(), ["cursor"], "{name}");
        lists += 1;
    }
    assert!(lists >= 12, "{lists}");
}

async fn every_post_that_is_sent_again_by_its_key_is_done_once(store: &Store) {
    let mut stage = Stage::set(store).await;
    let names: Vec<String> = stage.operations.keys().cloned().collect();
    let mut repeated = 0;
    for name in names {
        let documented = documented(&stage, &name);
        let refuses = documented["responses"]["400"]["description"].as_str();
        let refuses = refuses.is_some_and(|codes| codes.contains("`idempotency_not_supported`"));
        if stage.operations[&name].0 != "POST" || !refuses && !takes(documented, "idempotency-key") {
            continue;
        }
        // An uploaded certificate is not renewed.
        if name == "renew_certificate" {
            continue;
        }
        let target = stage.target().await;
        let call = stage.call(&name, &target);
        let keyed = stage.owner.clone().header("idempotency-key", "once");
        let first = call.by(&keyed).await;
        if refuses {
            first.problem(400, "idempotency_not_supported");
            continue;
        }
        assert!(first.status.is_success(), "{name}: {}", first.text());
        let again = call.by(&keyed).await;
        assert_eq!(again.header("idempotency-replayed"), "true", "{name}");
        assert_eq!((again.status, again.text()), (first.status, first.text()), "{name}");
        repeated += 1;
    }
    assert!(repeated >= 8, "{repeated}");
}

on_both! {
    whatever_is_edited_tells_its_etag_and_honours_if_match,
    every_list_is_read_page_by_page,
    every_post_that_is_sent_again_by_its_key_is_done_once,
}
