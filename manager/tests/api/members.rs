//! Members of apps.

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::world::{Client, World, id};

async fn id_of(client: &Client) -> String {
    id(&client.get("/auth/me").await.is(200)).to_owned()
}

async fn a_member_is_added_promoted_and_removed_and_each_counts_at_once(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let ada = world.user("ada", InstanceRole::Member).await;
    let path = format!("/apps/shop/members/{}", id_of(&ada).await);
    ada.get("/apps/shop").await.problem(404, "not_found");
    let added = owner.post("/apps/shop/members", json!({ "username": "ada", "role": "viewer" })).await;
    let etag = added.etag();
    let added = added.is(201);
    let fields: Vec<&str> = added.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["email", "instance_role", "is_active", "joined_at", "role", "user_id", "username"]);
    assert_eq!(ada.get("/apps/shop").await.is(200)["my_role"], "viewer");
    ada.post("/apps/shop/domains", json!({ "pattern": "a.localhost" })).await.problem(403, "forbidden");

    owner.if_match("\"0\"").patch(&path, json!({ "role": "editor" })).await.problem(412, "precondition_failed");
    let found = owner.get(&path).await;
    let added_id = added["user_id"].clone();
    assert_eq!((found.etag(), found.is(200)), (etag.clone(), added));
    owner.if_match(&etag).patch(&path, json!({ "role": "app_admin" })).await.is(200);
    assert_eq!(ada.get("/apps/shop").await.is(200)["my_role"], "app_admin");
    ada.post("/apps/shop/domains", json!({ "pattern": "a.localhost" })).await.is(201);
    owner.if_match(&etag).delete(&path).await.problem(412, "precondition_failed");
    owner.delete(&path).await.is(204);
    ada.get("/apps/shop").await.problem(404, "not_found");
    owner.get(&path).await.problem(404, "not_found");
    owner.delete(&path).await.problem(404, "not_found");
    let audit = owner.get("/audit?action=member.").await.is(200);
    for row in audit["items"].as_array().unwrap() {
        assert_eq!(
            (&row["object_kind"], &row["object_id"]),
            (&json!("member"), &added_id),
            "by id, whatever the name was"
        );
        for told in [&row["before"], &row["after"]].into_iter().filter(|told| !told.is_null()) {
            assert_eq!((&told["user_id"], &told["username"]), (&added_id, &json!("ada")));
        }
    }
    assert_eq!(audit["items"].as_array().unwrap().len(), 3);
    owner.patch(&path, json!({ "role": "viewer" })).await.problem(404, "not_found");
}

async fn members_are_listed_in_pages_with_whoever_made_the_app(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    for name in ["ada", "bob"] {
        world.member(name, &app, AppRole::Editor).await;
    }
    let first = owner.get("/apps/shop/members?limit=2").await.is(200);
    let next = format!("/apps/shop/members?limit=2&cursor={}", first["next_cursor"].as_str().unwrap());
    let second = owner.get(&next).await.is(200);
    let names: Vec<&str> = [&first, &second]
        .iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|member| member["username"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["olive", "ada", "bob"]);
    assert_eq!((&first["items"][0]["role"], &second["next_cursor"]), (&json!("app_admin"), &Value::Null));
}

async fn whoever_cannot_be_added_is_told_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    world.member("ada", &app, AppRole::Editor).await;
    let gone = id_of(&world.user("gone", InstanceRole::Member).await).await;
    owner.patch(&format!("/admins/{gone}"), json!({ "is_active": false })).await.is(200);
    let nobody = "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a";
    for (body, field) in [
        (json!({ "username": "nobody", "role": "viewer" }), "username"),
        (json!({ "user_id": nobody, "role": "viewer" }), "user_id"),
        (json!({ "username": "gone", "role": "viewer" }), "username"),
        (json!({ "user_id": gone, "role": "viewer" }), "user_id"),
        (json!({ "role": "viewer" }), "username"),
        (json!({ "username": "ada", "user_id": gone, "role": "viewer" }), "username"),
        (json!({ "username": "ada", "role": "owner" }), "role"),
        (json!({ "username": "ada", "role": "viewer", "app_id": id(&app) }), "app_id"),
    ] {
        assert_eq!(owner.post("/apps/shop/members", body.clone()).await.invalid_fields(), [field], "{body}");
    }
    let again = owner.post("/apps/shop/members", json!({ "username": "Ada", "role": "viewer" })).await;
    again.problem(409, "already_member");
}

async fn an_app_admin_adds_by_name_and_learns_nothing_of_ids(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let admin = world.member("ada", &app, AppRole::AppAdmin).await;
    let bob = id_of(&world.user("bob", InstanceRole::Member).await).await;
    for someone in [bob.as_str(), "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a"] {
        let refused = admin.post("/apps/shop/members", json!({ "user_id": someone, "role": "viewer" })).await;
        assert_eq!(refused.problem(403, "forbidden")["capability"], "InstanceManageUsers");
    }
    admin.post("/apps/shop/members", json!({ "username": "bob", "role": "viewer" })).await.is(201);
    admin.get("/admins").await.problem(403, "forbidden");
    // The owner stays what an owner is, member or not.
    let olive = id_of(&owner).await;
    admin.patch(&format!("/apps/shop/members/{olive}"), json!({ "role": "viewer" })).await.is(200);
    assert_eq!(owner.get("/apps/shop").await.is(200)["my_role"], "app_admin");
    owner.delete(&format!("/apps/shop/members/{olive}")).await.is(204);
    owner.get("/apps/shop/members").await.is(200);
}

on_both! {
    a_member_is_added_promoted_and_removed_and_each_counts_at_once,
    members_are_listed_in_pages_with_whoever_made_the_app,
    whoever_cannot_be_added_is_told_by_field,
    an_app_admin_adds_by_name_and_learns_nothing_of_ids,
}
