//! The audit log: what it tells, to whom, and that nobody changes it unseen.

use picloud_manager::audit_chain::{AuditChain, AuditViolation, Verified};
use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use picloud_manager::{FirstOwner, ManagerConfig};
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Client, PASSWORD, SECRET_KEY, World, config, id, name};

async fn log(owner: &Client, query: &str) -> Vec<Value> {
    owner.get(&format!("/audit?{query}")).await.is(200)["items"].as_array().unwrap().clone()
}

fn actions(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["action"].as_str().unwrap()).collect()
}

async fn each_change_tells_who_made_it_by_what_from_where_and_what_became_of_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let made = owner.post("/api-keys", json!({ "name": "ci", "scopes": ["apps:write"] })).await.is(201);
    let key = world.stranger().at("198.51.100.7").bearer(made["key"].as_str().unwrap());
    let app = key.make_app("shop").await;
    owner.patch("/apps/shop", json!({ "name": "Store" })).await.is(200);
    let rows = log(&owner, &format!("app_id={}", id(&app))).await;
    assert_eq!(actions(&rows), ["app.update", "app.create"]);
    let (update, create) = (&rows[0], &rows[1]);
    assert_eq!((&create["key_id"], &create["remote_ip"]), (&made["id"], &json!("198.51.100.7")));
    assert_eq!((&update["key_id"], &update["remote_ip"]), (&Value::Null, &json!("192.0.2.7")));
    let me = owner.get("/auth/me").await.is(200);
    for row in &rows {
        assert_eq!((&row["username"], &row["user_id"]), (&json!("olive"), &me["id"]));
        assert_eq!((&row["object_kind"], &row["object_id"]), (&json!("app"), &app["id"]));
    }
    let named = |name| json!({ "slug": "shop", "name": name, "redacted_headers": [], "record_bodies": true, "hsts_max_age_s": null });
    assert_eq!((&update["before"], &update["after"]), (&named("shop"), &named("Store")));
    assert_eq!(update["seq"].as_u64().unwrap(), create["seq"].as_u64().unwrap() + 1);
}

async fn no_secret_is_in_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let ada = owner.post("/admins", json!({ "username": "ada", "instance_role": "member" })).await.is(201);
    let reset = owner.post(&format!("/admins/{}/reset-password", id(&ada)), json!({})).await.is(200);
    let key = owner.post("/api-keys", json!({ "name": "ci", "scopes": ["apps:read"] })).await.is(201);
    let all = serde_json::to_string(&log(&owner, "limit=200").await).unwrap();
    for secret in [&ada["password"], &reset["password"], &key["key"], &json!(PASSWORD)] {
        assert!(!all.contains(secret.as_str().unwrap()));
    }
    assert!(!all.contains("argon2"));
}

async fn setting_up_leaves_the_address_and_the_session(store: &Store) {
    let world = World::start_with(store, ManagerConfig { first_owner: None, ..config() }).await;
    let link = world.manager.setup_link().unwrap();
    let body = json!({ "token": link.rsplit('=').next().unwrap(), "username": "ada", "password": PASSWORD });
    let session = world.stranger().post("/auth/setup", body).await.is(201);
    let owner = world.stranger().bearer(session["token"].as_str().unwrap());
    let rows = log(&owner, "limit=2").await;
    assert_eq!(actions(&rows), ["session.create", "user.create"]);
    assert_eq!((&rows[0]["username"], &rows[1]["username"]), (&json!("ada"), &Value::Null));
    assert!(rows.iter().all(|row| row["remote_ip"] == "192.0.2.7"));
}

async fn it_is_filtered_and_paged(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let ada = world.user("ada", InstanceRole::Admin).await;
    let since = world.clock_text();
    let app = ada.make_app("shop").await;
    let script = ada.make_endpoint(&app, "page", "1").await;
    owner.patch(&format!("/scripts/{}", id(&script)), json!({ "source": "2" })).await.is(200);
    let until = world.clock_text();
    owner.delete(&format!("/scripts/{}", id(&script))).await.is(204);

    let adas = ada.get("/auth/me").await.is(200);
    let by = |query: String| {
        let owner = owner.clone();
        async move { actions(&log(&owner, &query).await).into_iter().map(str::to_owned).collect::<Vec<_>>() }
    };
    assert_eq!(by(format!("user_id={}&since={since}", id(&adas))).await, ["script.create", "app.create"]);
    assert_eq!(by(format!("object_id={}", id(&script))).await, ["script.delete", "script.update", "script.create"]);
    assert_eq!(by("action=script.update".to_owned()).await, ["script.update"]);
    assert_eq!(by(format!("action=script.&since={since}&until={until}")).await, ["script.update", "script.create"]);
    assert_eq!(by("action=script".to_owned()).await, [""; 0]);
    assert_eq!(by(format!("object_kind=app&app_id={}", id(&app))).await, ["app.create"]);

    let (mut seen, mut path) = (Vec::new(), "/audit?limit=3".to_owned());
    loop {
        let page = owner.get(&path).await.is(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|row| row["seq"].as_u64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/audit?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, (1..=seen[0]).rev().collect::<Vec<_>>());
    for (query, field) in [("cursor=x", "cursor"), ("user_id=x", "user_id"), ("since=x", "since"), ("who=x", "who")] {
        assert_eq!(owner.get(&format!("/audit?{query}")).await.invalid_fields(), [field], "{query}");
    }
}

async fn it_is_read_by_owners_and_admins_and_written_by_nobody(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    world.user("bob", InstanceRole::Admin).await.get("/audit").await.is(200);
    let member = world.member("ada", &app, AppRole::AppAdmin).await;
    assert_eq!(member.get("/audit").await.problem(403, "forbidden")["capability"], "InstanceRead");
    for method in ["POST", "PATCH", "DELETE"] {
        owner.send_json(method, "/audit", "{}").await.problem(405, "method_not_allowed");
    }
}

async fn what_a_user_did_is_told_when_the_user_is_gone(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let ada = world.user("ada", InstanceRole::Admin).await;
    ada.make_app("shop").await;
    let me = ada.get("/auth/me").await.is(200);
    owner.delete(&format!("/admins/{}", id(&me))).await.is(204);
    let rows = log(&owner, &format!("user_id={}&action=app.", id(&me))).await;
    assert_eq!((actions(&rows), &rows[0]["username"]), (vec!["app.create"], &json!("ada")));
}

fn chain() -> AuditChain {
    AuditChain::new(&SECRET_KEY)
}

async fn verify(store: &Store) -> Result<Verified, AuditViolation> {
    chain().verify(store, None).await
}

async fn an_untouched_log_is_whole_and_its_noted_end_is_found_later(store: &Store) {
    assert_eq!(verify(store).await.unwrap().rows, 0);
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    // Values that the two databases keep in different orders and forms.
    owner.make_endpoint(&owner.get("/apps/shop").await.is(200), "page", "1").await;
    let noted = verify(store).await.unwrap();
    owner.delete("/apps/shop?force=true").await.is(204);
    let later = chain().verify(store, Some(&noted.end)).await.unwrap();
    assert_eq!(later.rows, noted.rows + 1);
    assert!(later.end.starts_with(&format!("{}:", later.rows)), "{}", later.end);
    let unknown = chain().verify(store, Some("3:00")).await;
    assert!(matches!(unknown, Err(AuditViolation::NotThere(_))), "{unknown:?}");
}

async fn whatever_is_done_to_the_log_is_noticed(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    for slug in ["a", "b", "c"] {
        owner.make_app(slug).await;
    }
    let last = verify(&test.store).await.unwrap().rows;
    let after = |slug| {
        let fields =
            json!({ "slug": slug, "name": "b", "redacted_headers": [], "record_bodies": true, "hsts_max_age_s": null });
        format!("after = '{fields}'")
    };
    let (victim, row) = (last - 1, format!("WHERE seq = {}", last - 1));
    let changes = [
        ("action = 'app.delete'", "action = 'app.create'"),
        ("username = 'eve'", "username = 'olive'"),
        ("at = at + 1", "at = at - 1"),
        ("remote_ip = '192.0.2.8'", "remote_ip = '192.0.2.7'"),
        (&after("x"), &after("b")),
        ("before = '{}'", "before = NULL"),
        ("user_id = NULL", ""),
    ];
    for (change, back) in changes {
        test.tamper(&format!("UPDATE audit_log SET {change} {row}")).await;
        let found = verify(&test.store).await;
        assert!(matches!(found, Err(AuditViolation::Changed(seq)) if seq == victim), "{change}: {found:?}");
        if !back.is_empty() {
            test.tamper(&format!("UPDATE audit_log SET {back} {row}")).await;
            verify(&test.store).await.unwrap();
        }
    }
    test.tamper(&format!("DELETE FROM audit_log {row}")).await;
    let found = verify(&test.store).await;
    assert!(matches!(found, Err(AuditViolation::Missing(seq)) if seq == victim), "{found:?}");
    test.tamper(&format!("UPDATE audit_log SET seq = {victim} WHERE seq = {last}")).await;
    let found = verify(&test.store).await;
    assert!(matches!(found, Err(AuditViolation::Changed(seq)) if seq == victim), "{found:?}");
}

async fn rows_cut_off_the_end_and_rows_put_in_are_noticed(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let app = owner.make_app("a").await;
    owner.make_endpoint(&app, "page", "1").await;
    let last = verify(&test.store).await.unwrap().rows;
    test.tamper("UPDATE audit_head SET seq = seq - 1").await;
    let found = verify(&test.store).await;
    assert!(matches!(found, Err(AuditViolation::HeadChanged)), "{found:?}");
    test.tamper("UPDATE audit_head SET seq = seq + 1").await;
    verify(&test.store).await.unwrap();
    test.tamper(
        "INSERT INTO audit_log (id, at, action, object_kind) \
         SELECT app_id, at, action, object_kind FROM audit_log WHERE app_id IS NOT NULL LIMIT 1",
    )
    .await;
    let found = verify(&test.store).await;
    assert!(matches!(found, Err(AuditViolation::Unchained(1))), "{found:?}");
    test.tamper("DELETE FROM audit_log WHERE seq IS NULL").await;
    test.tamper(&format!("DELETE FROM audit_log WHERE seq = {last}")).await;
    let found = verify(&test.store).await;
    assert!(matches!(found, Err(AuditViolation::End { expected, .. }) if expected == last), "{found:?}");
    test.tamper("DELETE FROM audit_head").await;
    let found = verify(&test.store).await;
    assert!(matches!(found, Err(AuditViolation::HeadChanged)), "{found:?}");
}

async fn a_chain_that_was_taken_away_is_not_made_anew_over_rows_that_were_changed(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let rows = verify(&test.store).await.unwrap().rows;
    test.tamper("UPDATE audit_log SET seq = NULL, seal = NULL, username = 'eve'").await;
    test.tamper("DELETE FROM audit_head").await;
    for slug in ["a", "b"] {
        let found = verify(&test.store).await;
        assert!(matches!(found, Err(AuditViolation::Unchained(count)) if count == rows), "{found:?}");
        owner.make_app(slug).await;
    }
}

async fn another_key_finds_nothing_as_it_was_written(store: &Store) {
    let world = World::start(store).await;
    world.owner().await;
    let other = picloud_manager::secret::key_file::SecretKey::generate();
    let found = AuditChain::new(&other).verify(store, None).await;
    assert!(matches!(found, Err(AuditViolation::Changed(1))), "{found:?}");
}

async fn changes_that_come_at_once_stand_one_after_the_other(store: &Store) {
    let (one, other) = (World::start(store).await, World::start(store).await);
    let (here, there) = (one.owner().await, other.owner().await);
    let before = verify(store).await.unwrap().rows;
    let makes = (0..20).map(|n| {
        let owner = if n % 2 == 0 { here.clone() } else { there.clone() };
        async move { owner.make_app(&format!("app-{n}")).await }
    });
    futures_util::future::join_all(makes).await;
    assert_eq!(verify(store).await.unwrap().rows, before + 20);
}

async fn the_first_owner_of_the_environment_is_told_of(store: &Store) {
    let first_owner = Some(FirstOwner { username: name("ada"), password: PASSWORD.parse().unwrap() });
    let world = World::start_with(store, ManagerConfig { first_owner, ..config() }).await;
    let rows = log(&world.log_in("ada").await, "action=user.create").await;
    assert_eq!((rows.len(), &rows[0]["user_id"], &rows[0]["remote_ip"]), (1, &Value::Null, &Value::Null));
}

on_both! {
    each_change_tells_who_made_it_by_what_from_where_and_what_became_of_it,
    no_secret_is_in_it,
    setting_up_leaves_the_address_and_the_session,
    it_is_filtered_and_paged,
    it_is_read_by_owners_and_admins_and_written_by_nobody,
    what_a_user_did_is_told_when_the_user_is_gone,
    an_untouched_log_is_whole_and_its_noted_end_is_found_later,
    another_key_finds_nothing_as_it_was_written,
    changes_that_come_at_once_stand_one_after_the_other,
    the_first_owner_of_the_environment_is_told_of,
}

mod damaged {
    use super::{
        a_chain_that_was_taken_away_is_not_made_anew_over_rows_that_were_changed,
        rows_cut_off_the_end_and_rows_put_in_are_noticed, whatever_is_done_to_the_log_is_noticed,
    };

    on_both! {
        damaged:
        whatever_is_done_to_the_log_is_noticed,
        rows_cut_off_the_end_and_rows_put_in_are_noticed,
        a_chain_that_was_taken_away_is_not_made_anew_over_rows_that_were_changed,
    }
}
