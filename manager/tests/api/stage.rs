//! Every call of the OpenAPI document, made by whoever is to make it on things of an app that are there for it.

use std::collections::BTreeMap;

use axum::body::Body;
use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::certificates::found_authority;
use crate::documented::DOCUMENT;
use crate::world::{Answer, Client, OWNER, PASSWORD, World, id};

/// Who makes the calls: two roles on the instance, three in the app, an app_admin of another app, and a stranger.
pub const CALLERS: [&str; 7] = ["olive", "admin", "app-admin", "editor", "viewer", "outsider", "nobody"];

/// Each call of the document that the manager answers: its method, and its path below the API's root.
pub fn operations() -> BTreeMap<String, (String, String)> {
    let mut operations = BTreeMap::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/api/v1/admin") else { continue };
        for (method, call) in item.as_object().unwrap() {
            let operation = call["operationId"].as_str().unwrap().to_owned();
            operations.insert(operation, (method.to_uppercase(), path.to_owned()));
        }
    }
    operations
}

/// The document that each target has.
const DOCUMENT_ID: &str = "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a";

/// An app with one of everything, and a user who is no caller.
pub struct Target {
    pub slug: String,
    pub app: Value,
    pub script: Value,
    pub route: Value,
    pub trigger: Value,
    /// A message that waits in the queue `parked`, which has no trigger.
    pub event: Value,
    pub dead_letter: Value,
    pub domain: Value,
    pub user: Value,
    pub certificate: Value,
}

/// A call as it goes out.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    /// JSON, or nothing at all.
    pub body: Option<Value>,
}

impl Call {
    /// The call on that key and that session, where it names one.
    pub fn of(mut self, key: &str, session: &str) -> Self {
        self.path = self.path.replace("{key}", key).replace("{session}", session);
        self
    }

    pub async fn by(&self, client: &Client) -> Answer {
        match &self.body {
            Some(body) => client.send_json(&self.method, &self.path, body.to_string()).await,
            None => client.send(client.request(&self.method, &self.path).body(Body::empty()).unwrap()).await,
        }
    }
}

pub struct Stage {
    pub world: World,
    pub owner: Client,
    pub callers: Vec<(&'static str, Client)>,
    pub operations: BTreeMap<String, (String, String)>,
    targets: u32,
}

impl Stage {
    pub async fn set(store: &Store) -> Self {
        let world = World::start(store).await;
        let owner = world.owner().await;
        let elsewhere = owner.make_app("elsewhere").await;
        let mut callers = Vec::new();
        for name in CALLERS {
            let client = match name {
                OWNER => owner.clone(),
                "nobody" => world.stranger(),
                "outsider" => world.member(name, &elsewhere, AppRole::AppAdmin).await,
                "admin" => world.user(name, InstanceRole::Admin).await,
                _ => world.user(name, InstanceRole::Member).await,
            };
            callers.push((name, client));
        }
        world.user("joiner", InstanceRole::Member).await;
        found_authority(&world, "a root").await;
        Self { world, owner, callers, operations: operations(), targets: 0 }
    }

    pub async fn target(&mut self) -> Target {
        self.targets += 1;
        let slug = format!("target-{}", self.targets);
        let owner = &self.owner;
        let app = owner.make_app(&slug).await;
        let members = [("app-admin", AppRole::AppAdmin), ("editor", AppRole::Editor), ("viewer", AppRole::Viewer)];
        for (name, role) in members {
            self.world.join(name, &app, role).await;
        }
        let domain = owner.make_domain(&app, &format!("{slug}.localhost")).await;
        let script = owner.make_endpoint(&app, "page", "1").await;
        let route = owner.make_route(&script, "/").await;
        let trigger = json!({ "script_id": id(&script), "source": "queue", "config": { "queue": "jobs" } });
        let trigger = owner.post(&format!("/apps/{slug}/triggers"), trigger).await.is(201);
        // It fails while the rest is made.
        owner.make_failing(&app, "failing").await;
        owner.send_message(&slug, "failing", json!(1)).await;
        let event = json!({ "id": owner.send_message(&slug, "parked", json!(1)).await });
        let victim = json!({ "username": format!("victim-{}", self.targets), "instance_role": "member" });
        let user = owner.post("/admins", victim).await.is(201);
        let member = json!({ "user_id": id(&user), "role": "viewer" });
        owner.post(&format!("/apps/{slug}/members"), member).await.is(201);
        let certificate = owner.post("/certificates", uploadable(&slug)).await.is(201);
        let entry = json!({ "value": 1 }).to_string();
        owner.send_json("PUT", &format!("/apps/{slug}/kv/default/a"), entry).await.is(200);
        for place in ["env/a", "secrets/a"] {
            let value = json!({ "value": "some text" }).to_string();
            owner.send_json("PUT", &format!("/apps/{slug}/{place}"), value).await.is(200);
        }
        let document = json!({ "document": { "n": 1 } }).to_string();
        owner.send_json("PUT", &format!("/apps/{slug}/docs/default/{DOCUMENT_ID}"), document).await.is(200);
        let dead_letter = owner.until_dead(&slug, 1).await.remove(0);
        Target { slug, app, script, route, trigger, event, dead_letter, domain, user, certificate }
    }

    /// An app that is not there, with nothing in it.
    pub fn nowhere(&self) -> Target {
        let thing = |n: u8| json!({ "id": format!("0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b{n:02}") });
        let [app, script, route, domain, user, certificate] = [1, 2, 3, 4, 5, 6].map(thing);
        let [trigger, event, dead_letter] = [7, 8, 9].map(thing);
        let slug = "nowhere".to_owned();
        Target { slug, app, script, route, trigger, event, dead_letter, domain, user, certificate }
    }

    /// Makes a call on the target. What it names of the caller's own is made by `own`.
    pub async fn make(&self, operation: &str, client: &Client, own: Option<&Client>, target: &Target) -> Answer {
        let call = self.call(operation, target);
        let (mut key, mut session) = (id(&target.app).to_owned(), id(&target.app).to_owned());
        if let Some(own) = own.filter(|_| call.path.contains("{key}")) {
            let made = own.post("/api-keys", json!({ "name": "own", "scopes": ["apps:read"] })).await.is(201);
            id(&made).clone_into(&mut key);
        }
        if let Some(own) = own.filter(|_| call.path.contains("{session}")) {
            id(&other_session(own).await).clone_into(&mut session);
        }
        call.of(&key, &session).by(client).await
    }

    /// A call on the target. A key or a session of the caller's own stands in its path as `{key}` and `{session}` yet.
    pub fn call(&self, operation: &str, target: &Target) -> Call {
        let (method, template) = &self.operations[operation];
        let path = template
            .replace("{app}", &target.slug)
            .replace("{script}", id(&target.script))
            .replace("{route}", id(&target.route))
            .replace("{trigger}", id(&target.trigger))
            .replace("{queue}", "parked")
            .replace("{event}", id(&target.event))
            .replace("{dead_letter}", id(&target.dead_letter))
            .replace("{domain}", id(&target.domain))
            .replace("{certificate}", id(&target.certificate))
            .replace("{user}", id(&target.user))
            .replace("{collection}", "default")
            .replace("{entry}", "a")
            .replace("{name}", "a")
            .replace("{document}", DOCUMENT_ID)
            .replace("{version}", "1");
        let query = match operation {
            "list_scripts" => format!("?app={}", target.slug),
            "delete_app" => "?force=true".to_owned(),
            _ => String::new(),
        };
        let has_body = !["GET", "DELETE"].contains(&method.as_str());
        let body = has_body.then(|| self.body(operation, target));
        Call { method: method.clone(), path: path + &query, body }
    }

    fn body(&self, operation: &str, target: &Target) -> Value {
        let app_id = id(&target.app);
        let pattern = json!({ "host_kind": "any", "path_kind": "exact", "path": "/new", "method": "GET" });
        let unused = format!("new-{}-{}", operation.replace('_', "-"), self.targets);
        match operation {
            "log_in" => json!({ "username": OWNER, "password": PASSWORD }),
            "set_up" => json!({ "token": "x", "username": "eve", "password": PASSWORD }),
            "change_password" => json!({ "current_password": "wrong", "new_password": "another quiet phrase" }),
            "create_user" => json!({ "username": unused, "instance_role": "member" }),
            "update_me" | "update_user" => json!({ "email": format!("{unused}@example.com") }),
            "create_api_key" => json!({ "name": "ci", "scopes": ["apps:read"] }),
            "upload_certificate" => uploadable(&target.slug),
            "preflight_certificate" => json!({ "name": format!("{}.example.com", target.slug) }),
            "deploy_app" => {
                let route = json!({ "host_kind": "any", "path_kind": "exact", "path": "/", "method": "GET" });
                let page = json!({ "name": "page", "kind": "endpoint", "source": "1", "routes": [route] });
                json!({ "format": 1, "scripts": [page] })
            }
            "import_app" => json!({ "format": 1, "app": { "slug": unused, "name": "New" }, "scripts": [] }),
            "update_settings" => json!({ "execute_access": "restricted" }),
            "create_app" => json!({ "slug": unused, "name": "New" }),
            "check_slug" => json!({ "slug": unused }),
            "update_app" => json!({ "name": "New" }),
            "add_member" => json!({ "username": "joiner", "role": "viewer" }),
            "update_member" => json!({ "role": "editor" }),
            "claim_domain" => json!({ "pattern": format!("new.{}.localhost", target.slug) }),
            "create_script" => json!({ "app_id": app_id, "name": "new", "kind": "endpoint", "source": "1" }),
            "check_script" => json!({ "app_id": app_id, "kind": "endpoint", "source": "1" }),
            "update_script" => json!({ "description": "new" }),
            "create_route" => pattern,
            "update_route" => json!({ "method": "POST" }),
            "check_route" => json!({ "app_id": app_id, "route": pattern }),
            "create_trigger" => json!({ "script_id": id(&target.script), "source": "dead_letter" }),
            "update_trigger" => json!({ "max_attempts": 7 }),
            "send_message" | "fire_trigger" => json!({ "payload": 2 }),
            "set_kv_entry" => json!({ "value": 2 }),
            "set_env" | "set_secret" => json!({ "value": "another text" }),
            "set_document" => json!({ "document": { "n": 2 } }),
            "set_document_indexes" => json!({ "fields": ["n"] }),
            "match_request" => json!({ "url": format!("http://{}.localhost/", target.slug), "method": "GET" }),
            _ => json!({}),
        }
    }
}

/// The newest session of the caller's but for the one that asks.
pub async fn other_session(client: &Client) -> Value {
    let sessions = client.get("/auth/me/sessions").await.is(200)["items"].clone();
    sessions.as_array().unwrap().iter().find(|session| session["is_current"] == false).unwrap().clone()
}

/// A certificate and its key.
fn uploadable(slug: &str) -> Value {
    let made = rcgen::generate_simple_self_signed([format!("{slug}.example.com")]).unwrap();
    json!({ "chain": made.cert.pem(), "key": made.signing_key.serialize_pem() })
}
