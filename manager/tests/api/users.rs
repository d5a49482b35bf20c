//! Users: made, changed and deleted through the API, and the guards that keep the instance governable.

use picloud_manager::repo::role::InstanceRole;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::world::{Answer, Client, OWNER, PASSWORD, World, id};

const NEW_PASSWORD: &str = "another quiet phrase";

fn new_user(username: &str, role: &str) -> Value {
    json!({ "username": username, "instance_role": role })
}

async fn log_in(world: &World, username: &str, password: &str) -> Answer {
    world.stranger().post("/auth/login", json!({ "username": username, "password": password })).await
}

async fn path_of(client: &Client) -> String {
    format!("/admins/{}", id(&client.get("/auth/me").await.is(200)))
}

async fn a_user_is_made_found_changed_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let body = json!({ "username": "Ada", "email": "ada@example.com", "instance_role": "member" });
    let made = owner.post("/admins", body).await;
    let etag = made.etag();
    let made = made.is(201);
    let password = made["password"].as_str().unwrap();
    assert_eq!((made["username"].as_str(), made["is_active"].as_bool()), (Some("ada"), Some(true)));
    assert_eq!(made["last_login_at"], Value::Null);
    log_in(&world, "ada", password).await.is(200);

    let path = format!("/admins/{}", id(&made));
    let found = owner.get(&path).await;
    assert_eq!(found.etag(), etag);
    let found = found.is(200);
    assert!(found.get("password").is_none() && !found["last_login_at"].is_null());
    let changed = owner.if_match(&etag).patch(&path, json!({ "email": null, "instance_role": "admin" })).await;
    assert_ne!(changed.etag(), etag);
    let changed = changed.is(200);
    assert_eq!((&changed["email"], &changed["instance_role"]), (&Value::Null, &json!("admin")));
    owner.if_match(&etag).patch(&path, json!({ "username": "eve" })).await.problem(412, "precondition_failed");
    owner.if_match(&etag).delete(&path).await.problem(412, "precondition_failed");
    let list = owner.get("/admins?limit=1").await.is(200);
    assert_eq!(list["items"][0]["username"], OWNER);
    let next = format!("/admins?limit=1&cursor={}", list["next_cursor"].as_str().unwrap());
    assert_eq!(owner.get(&next).await.is(200)["items"], json!([changed]));
    owner.delete(&path).await.is(204);
    owner.get(&path).await.problem(404, "not_found");
    log_in(&world, "ada", password).await.problem(401, "wrong_credentials");
}

async fn bad_users_are_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let with = |field: &str, value: Value| {
        let mut body = new_user("ada", "member");
        body[field] = value;
        body
    };
    for (body, field) in [
        (with("username", json!("a")), "username"),
        (with("username", json!("a\u{0}b")), "username"),
        (with("email", json!("nowhere")), "email"),
        (with("instance_role", json!("root")), "instance_role"),
        (with("password", json!("short")), "password"),
        (with("password", json!("password1234")), "password"),
        (with("password", json!("adaadaadaada")), "password"),
        (with("is_active", json!(false)), "is_active"),
        (with("id", json!("0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a")), "id"),
        (json!({ "username": "ada" }), "instance_role"),
    ] {
        assert_eq!(owner.post("/admins", body.clone()).await.invalid_fields(), [field], "{body}");
    }
    owner.post("/admins", new_user(OWNER, "member")).await.problem(409, "username_taken");
    let ada = owner.post("/admins", new_user("ada", "member")).await.is(201);
    let path = format!("/admins/{}", id(&ada));
    owner.patch(&path, json!({ "username": OWNER })).await.problem(409, "username_taken");
    for field in ["created_at", "last_login_at", "password", "password_hash", "id"] {
        let body = Value::Object([(field.to_owned(), json!("x"))].into_iter().collect());
        assert_eq!(owner.patch(&path, body).await.invalid_fields(), [field]);
    }
    assert_eq!(owner.get("/admins").await.is(200)["items"].as_array().unwrap().len(), 2);
}

async fn nobody_makes_or_changes_a_user_above_themselves(store: &Store) {
    let world = World::start(store).await;
    let owner = path_of(&world.owner().await).await;
    let admin = world.user("bob", InstanceRole::Admin).await;
    let own = path_of(&admin).await;
    admin.post("/admins", new_user("eve", "owner")).await.problem(403, "above_own_role");
    admin.patch(&own, json!({ "instance_role": "owner" })).await.problem(403, "above_own_role");
    for body in [json!({ "is_active": false }), json!({ "instance_role": "member" }), json!({ "email": null })] {
        admin.patch(&owner, body).await.problem(403, "above_own_role");
    }
    admin.delete(&owner).await.problem(403, "above_own_role");
    admin.post(&format!("{owner}/reset-password"), json!({})).await.problem(403, "above_own_role");
    let peer = admin.post("/admins", new_user("ada", "admin")).await.is(201);
    admin.patch(&format!("/admins/{}", id(&peer)), json!({ "instance_role": "member" })).await.is(200);

    let member = world.user("eve", InstanceRole::Member).await;
    let own = path_of(&member).await;
    for answer in [
        member.get("/admins").await,
        member.get(&own).await,
        member.post("/admins", new_user("x1", "member")).await,
        member.patch(&own, json!({ "instance_role": "owner" })).await,
        member.delete(&own).await,
        member.post(&format!("{own}/reset-password"), json!({})).await,
    ] {
        assert_eq!(answer.problem(403, "forbidden")["capability"], "InstanceManageUsers");
    }
}

async fn the_last_active_owner_stays_an_active_owner(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let own = path_of(&owner).await;
    let refuses = async || {
        for body in [json!({ "is_active": false }), json!({ "instance_role": "admin" })] {
            owner.patch(&own, body).await.problem(409, "last_owner");
        }
        owner.delete(&own).await.problem(409, "last_owner");
    };
    refuses().await;
    owner.patch(&own, json!({ "email": "olive@example.com", "is_active": true })).await.is(200);
    let second = owner.post("/admins", new_user("ada", "owner")).await.is(201);
    let second = format!("/admins/{}", id(&second));
    owner.patch(&second, json!({ "is_active": false })).await.is(200);
    // One who cannot sign in is no help.
    refuses().await;
    owner.patch(&second, json!({ "is_active": true })).await.is(200);
    owner.patch(&own, json!({ "instance_role": "member" })).await.is(200);
    owner.get("/admins").await.problem(403, "forbidden");
}

async fn of_two_owners_who_demote_each_other_at_once_one_remains(store: &Store) {
    let world = World::start(store).await;
    let (one, other) = (world.owner().await, world.user("ada", InstanceRole::Owner).await);
    let (path_of_one, path_of_other) = (path_of(&one).await, path_of(&other).await);
    let demotion = json!({ "instance_role": "member" });
    let (first, second) =
        tokio::join!(one.patch(&path_of_other, demotion.clone()), other.patch(&path_of_one, demotion.clone()));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    // Whoever comes second is no owner any more.
    assert_eq!(statuses, [200, 403]);
}

async fn a_deactivated_user_is_out_at_once_and_in_again_when_activated(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let ada = world.user("ada", InstanceRole::Admin).await;
    let key = json!({ "name": "ci", "scopes": ["apps:read"] });
    let key = ada.post("/api-keys", key).await.is(201)["key"].as_str().unwrap().to_owned();
    let by_key = world.stranger().bearer(&key);
    by_key.get("/apps").await.is(200);
    let path = path_of(&ada).await;
    owner.patch(&path, json!({ "is_active": false })).await.is(200);
    ada.get("/apps").await.problem(401, "unauthenticated");
    by_key.get("/apps").await.problem(401, "unauthenticated");
    log_in(&world, "ada", PASSWORD).await.problem(401, "wrong_credentials");
    owner.patch(&path, json!({ "is_active": true })).await.is(200);
    ada.get("/apps").await.problem(401, "unauthenticated");
    by_key.get("/apps").await.is(200);
    log_in(&world, "ada", PASSWORD).await.is(200);
}

async fn a_reset_password_lets_the_user_in_and_whoever_was_in_out(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let ada = world.user("ada", InstanceRole::Admin).await;
    let path = format!("{}/reset-password", path_of(&ada).await);
    let reset = owner.post(&path, json!({})).await.is(200);
    let password = reset["password"].as_str().unwrap();
    ada.get("/auth/me").await.problem(401, "unauthenticated");
    log_in(&world, "ada", PASSWORD).await.problem(401, "wrong_credentials");
    log_in(&world, "ada", password).await.is(200);
    let given = owner.post(&path, json!({ "password": NEW_PASSWORD })).await.is(200);
    assert!(given.get("password").is_none(), "who gave it knows it");
    log_in(&world, "ada", NEW_PASSWORD).await.is(200);
    assert_eq!(owner.post(&path, json!({ "password": "ada ada" })).await.invalid_fields(), ["password"]);
    let own = format!("{}/reset-password", path_of(&owner).await);
    owner.post(&own, json!({})).await.problem(409, "own_password");
    let nobody = "/admins/0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a/reset-password";
    owner.post(nobody, json!({})).await.problem(404, "not_found");
}

async fn a_changed_password_ends_the_other_sessions(store: &Store) {
    let world = World::start(store).await;
    let (here, there) = (world.owner().await, world.owner().await);
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    let path = "/auth/me/password";
    let wrong = here.post(path, change("a wrong password", NEW_PASSWORD)).await;
    assert_eq!(wrong.invalid_fields(), ["current_password"]);
    let weak = here.post(path, change(PASSWORD, "oliveoliveolive")).await;
    assert_eq!(weak.invalid_fields(), ["new_password"]);
    there.get("/auth/me").await.is(200);
    here.post(path, change(PASSWORD, NEW_PASSWORD)).await.is(204);
    here.get("/auth/me").await.is(200);
    there.get("/auth/me").await.problem(401, "unauthenticated");
    log_in(&world, OWNER, PASSWORD).await.problem(401, "wrong_credentials");
    log_in(&world, OWNER, NEW_PASSWORD).await.is(200);
}

async fn whoever_has_a_session_only_cannot_guess_the_password_by_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let guess = json!({ "current_password": "a wrong password", "new_password": NEW_PASSWORD });
    for _ in 0..5 {
        assert_eq!(owner.post("/auth/me/password", guess.clone()).await.invalid_fields(), ["current_password"]);
    }
    let refused = owner.post("/auth/me/password", guess).await;
    assert_eq!(refused.header("retry-after"), "1");
    let problem = refused.problem(429, "throttled");
    assert_eq!(problem["detail"], "too many attempts with a wrong password; try again in 1 s");
}

async fn people_change_their_own_email_and_see_what_they_may_do(store: &Store) {
    let world = World::start(store).await;
    let member = world.user("ada", InstanceRole::Member).await;
    let me = member.get("/auth/me").await;
    let etag = me.etag();
    assert_eq!(me.is(200)["my_capabilities"], json!([]));
    let changed = member.if_match(&etag).patch("/auth/me", json!({ "email": "ada@example.com" })).await.is(200);
    assert_eq!(changed["email"], "ada@example.com");
    member.if_match(&etag).patch("/auth/me", json!({ "email": null })).await.problem(412, "precondition_failed");
    for field in ["username", "instance_role", "is_active", "password"] {
        let body = Value::Object([(field.to_owned(), json!("owner"))].into_iter().collect());
        assert_eq!(member.patch("/auth/me", body).await.invalid_fields(), [field]);
    }
    let mine = world.owner().await.get("/auth/me").await.is(200)["my_capabilities"].clone();
    assert_eq!(mine, json!(["InstanceManageUsers", "InstanceManageSettings", "InstanceRead", "AppCreate"]));
}

on_both! {
    a_user_is_made_found_changed_and_deleted,
    bad_users_are_refused_by_field,
    nobody_makes_or_changes_a_user_above_themselves,
    the_last_active_owner_stays_an_active_owner,
    of_two_owners_who_demote_each_other_at_once_one_remains,
    a_deactivated_user_is_out_at_once_and_in_again_when_activated,
    a_reset_password_lets_the_user_in_and_whoever_was_in_out,
    a_changed_password_ends_the_other_sessions,
    whoever_has_a_session_only_cannot_guess_the_password_by_it,
    people_change_their_own_email_and_see_what_they_may_do,
}
