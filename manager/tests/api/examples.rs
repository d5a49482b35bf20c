//! The examples of the OpenAPI document: a story that makes the calls, and is told in `manager/src/api/openapi/examples.json`.
//!
//! `UPDATE_GOLDEN=1` tells it anew; the document, which is built with it, then wants its golden copy written too.

mod told;

use std::time::Duration;

use picloud_manager::ManagerConfig;
use picloud_manager::certificate_store::Certificates;
use picloud_manager::store::Store;
use picloud_shared::certificate::{CertificateSource, CertificateStore};
use picloud_shared::clock::Clock;
use serde_json::{Value, json};

use crate::certificates::found_authority;
use crate::tail::Events;
use crate::world::{Client, PASSWORD, SECRET_KEY, World, config, id};
use told::Told;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi/examples.json");
const NOTHING: Value = Value::Null;

/// The first minutes of an instance with two apps.
struct Story {
    world: World,
    told: Told,
    /// The owner, signed in.
    olive: Client,
}

#[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
async fn the_examples_are_what_was_sent_and_answered(store: &Store) {
    let mut story = Story::begin(store).await;
    story.people().await;
    let shop = story.an_app().await;
    let greet = story.its_scripts(&shop).await;
    story.its_routes(&shop, &greet).await;
    story.its_executions(&greet).await;
    story.its_data().await;
    story.its_triggers(&greet).await;
    story.its_queues().await;
    story.its_dead_letters(&shop).await;
    story.it_as_a_whole().await;
    story.certificates().await;
    story.the_instance().await;
    let told = story.told.to_json();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &told).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert!(golden == told, "the calls differ from {GOLDEN}; UPDATE_GOLDEN=1 rewrites it");
}

on_both! { the_examples_are_what_was_sent_and_answered }

impl Story {
    async fn begin(store: &Store) -> Self {
        let world = World::start_with(store, ManagerConfig { first_owner: None, ..config() }).await;
        let (mut told, guest) = (Told::default(), world.stranger());
        let owner = |token: &str| json!({ "token": token, "username": "olive", "password": PASSWORD });
        told.call(&guest, "POST /auth/setup", owner("a guess"), 401).await;
        let link = world.manager.setup_link().unwrap();
        told.call(&guest, "POST /auth/setup", owner(link.rsplit('=').next().unwrap()), 201).await;
        let credentials = |password: &str| json!({ "username": "olive", "password": password });
        told.call(&guest, "POST /auth/login", credentials("not my pass phrase"), 401).await;
        let session = told.call(&guest, "POST /auth/login", credentials(PASSWORD), 200).await;
        let olive = guest.bearer(session["token"].as_str().unwrap());
        Self { world, told, olive }
    }

    /// Makes a call as the owner, and tells of it.
    async fn call(&mut self, call: &str, body: Value, status: u16) -> Value {
        self.told.call(&self.olive, call, body, status).await
    }

    async fn people(&mut self) {
        self.told.call(&self.world.stranger(), "GET /auth/me", NOTHING, 401).await;
        let me = self.call("GET /auth/me", NOTHING, 200).await;
        self.call("PATCH /auth/me", json!({ "email": "olive@example.com" }), 200).await;
        self.call("GET /auth/me/sessions", NOTHING, 200).await;
        let change = json!({ "current_password": PASSWORD, "new_password": "another quiet phrase" });
        self.call("POST /auth/me/password", change, 204).await;

        let ada = json!({ "username": "ada", "email": "ada@example.com", "instance_role": "member" });
        let made = self.call("POST /admins", ada.clone(), 201).await;
        self.call("POST /admins", ada, 409).await;
        self.call("GET /admins", NOTHING, 200).await;
        let path = format!("/admins/{}", id(&made));
        self.call(&format!("GET {path}"), NOTHING, 200).await;
        self.call(&format!("PATCH {path}"), json!({ "instance_role": "admin" }), 200).await;
        self.call(&format!("POST {path}/reset-password"), json!({}), 200).await;
        self.call(&format!("PATCH /admins/{}", id(&me)), json!({ "is_active": false }), 409).await;
        self.call(&format!("DELETE /admins/{}", id(&me)), NOTHING, 409).await;

        let scopes = ["apps:read", "scripts:read", "scripts:write"];
        let key = json!({ "name": "laptop", "scopes": scopes, "expires_at": "2030-01-01T00:00:00.000Z" });
        let key = self.call("POST /api-keys", key, 201).await;
        self.call("GET /api-keys", NOTHING, 200).await;
        let by_key = self.world.stranger().bearer(key["key"].as_str().unwrap());
        let new = json!({ "slug": "shop", "name": "Shop" });
        self.told.call(&by_key, "POST /apps", new, 403).await;
    }

    async fn an_app(&mut self) -> Value {
        let app = self.call("POST /apps", json!({ "slug": "shop", "name": "Shop" }), 201).await;
        self.call("PATCH /apps/shop", json!({ "name": "Corner shop", "redacted_headers": ["x-token"] }), 200).await;
        self.olive.make_app("market").await;
        self.olive.patch("/apps/market", json!({ "slug": "bazaar" })).await.is(200);
        self.call("POST /apps/slug:check", json!({ "slug": "market" }), 200).await;
        self.call("POST /apps", json!({ "slug": "market", "name": "Market" }), 409).await;
        self.call("PATCH /apps/shop", json!({ "slug": "bazaar" }), 409).await;
        self.call("GET /apps", NOTHING, 200).await;
        self.call("GET /apps/shop", NOTHING, 200).await;
        self.call("GET /apps/nowhere", NOTHING, 404).await;

        let member = self.call("POST /apps/shop/members", json!({ "username": "ada", "role": "viewer" }), 201).await;
        self.call("POST /apps/shop/members", json!({ "username": "ada", "role": "viewer" }), 409).await;
        self.call("GET /apps/shop/members", NOTHING, 200).await;
        let path = format!("/apps/shop/members/{}", member["user_id"].as_str().unwrap());
        self.call(&format!("GET {path}"), NOTHING, 200).await;
        self.call(&format!("PATCH {path}"), json!({ "role": "editor" }), 200).await;

        let pattern = json!({ "pattern": "shop.example.com" });
        self.call("POST /apps/shop/domains", pattern.clone(), 201).await;
        self.call("POST /apps/bazaar/domains", pattern, 409).await;
        self.manage_a_certificate(&app).await;
        self.call("GET /apps/shop/domains", NOTHING, 200).await;
        app
    }

    /// As the data plane does once it has taken a claim up.
    async fn manage_a_certificate(&self, app: &Value) {
        let World { store, clock, .. } = &self.world;
        let store = Certificates::new(store.clone(), clock.clone(), &SECRET_KEY);
        let (name, app) = ("shop.example.com".parse().unwrap(), id(app).parse().unwrap());
        store.manage(&name, Some(app), CertificateSource::Automatic, Some(clock.now())).await.unwrap();
    }

    async fn its_scripts(&mut self, app: &Value) -> Value {
        let module = json!({ "app_id": id(app), "name": "prices", "kind": "module", "source": "fn of(what) { 250 }" });
        self.olive.post("/scripts", module).await.is(201);
        let source = "import \"prices\" as prices;\n#{ hello: ctx.request.params.name, tea: prices::of(\"tea\") }";
        let body = |source: &str| json!({ "app_id": id(app), "name": "greet", "kind": "endpoint", "source": source });
        self.call("POST /scripts:check", body(source), 200).await;
        self.call("POST /scripts", body("#{ hello: }"), 422).await;
        let made = self.call("POST /scripts", body(source), 201).await;
        self.call("POST /scripts", body(source), 409).await;
        self.call("GET /scripts?app=shop", NOTHING, 200).await;
        let path = format!("/scripts/{}", id(&made));
        self.call(&format!("GET {path}"), NOTHING, 200).await;
        let stale = self.olive.get(&path).await.etag();
        let source = format!("{source}\n// Tea is dear.");
        let change = json!({ "source": source, "description": "Greets whoever comes.", "timeout_ms": 250 });
        self.call(&format!("PATCH {path}"), change.clone(), 200).await;
        self.told.call(&self.olive.if_match(&stale), &format!("PATCH {path}"), change, 412).await;
        self.call(&format!("GET {path}/versions"), NOTHING, 200).await;
        self.call(&format!("GET {path}/versions/1"), NOTHING, 200).await;
        self.call(&format!("POST {path}/versions/1/restore"), NOTHING, 200).await;
        let listed = self.olive.get("/scripts?app=shop").await.is(200);
        let module = listed["items"].as_array().unwrap().iter().find(|script| script["kind"] == "module").unwrap();
        self.call(&format!("DELETE /scripts/{}", id(module)), NOTHING, 409).await;
        made
    }

    async fn its_routes(&mut self, app: &Value, script: &Value) {
        let pattern = json!({ "host_kind": "any", "path_kind": "param", "path": "/greet/:name", "method": "GET" });
        let path = format!("/scripts/{}/routes", id(script));
        let made = self.call(&format!("POST {path}"), pattern.clone(), 201).await;
        self.call(&format!("POST {path}"), pattern.clone(), 409).await;
        let draft = json!({ "app_id": id(app), "route": pattern });
        self.call("POST /routes:check", draft, 200).await;
        self.call(&format!("GET {path}"), NOTHING, 200).await;
        self.call("GET /apps/shop/routes", NOTHING, 200).await;
        let question = json!({ "url": "https://shop.example.com/greet/ada", "method": "GET" });
        self.call("POST /routes:match", question, 200).await;
        let route = format!("/routes/{}", id(&made));
        self.call(&format!("GET {route}"), NOTHING, 200).await;
        let strict = json!({ "host_kind": "strict", "host": "shop.example.com" });
        self.call(&format!("PATCH {route}"), strict, 200).await;
        let domains = self.olive.get("/apps/shop/domains").await.is(200);
        let domain = id(&domains["items"][0]);
        self.call(&format!("DELETE /apps/shop/domains/{domain}"), NOTHING, 409).await;
        self.olive.patch(&route, json!({ "host_kind": "any" })).await.is(200);
        let module = json!({ "kind": "module" });
        self.call(&format!("PATCH /scripts/{}", id(script)), module, 409).await;
    }

    async fn its_executions(&mut self, script: &Value) {
        let path = format!("/scripts/{}", id(script));
        let mut events = Events::open(&self.olive, "/apps/shop/logs/tail").await;
        let answered = self.world.fetch("GET", "http://shop.example.com/greet/ada").await;
        assert_eq!(answered, r#"{"hello":"ada","tea":250}"#);
        self.world.clock.advance(Duration::from_millis(1));
        let event = events.next().await.unwrap();
        self.told.event("watch_executions", &event);
        self.call(&format!("POST {path}/invoke"), json!({ "path": "/greet/bob" }), 200).await;
        self.call(&format!("GET {path}/logs"), NOTHING, 200).await;
        self.call("GET /apps/shop/logs?limit=1", NOTHING, 200).await;
        self.call(&format!("GET /apps/shop/stats?{TWO_MINUTES}"), NOTHING, 200).await;
    }

    async fn its_data(&mut self) {
        let cart = json!({ "value": { "items": ["book"], "total": 250 }, "ttl": 3600 });
        self.call("PUT /apps/shop/kv/carts/ada", cart, 200).await;
        self.call("GET /apps/shop/kv", NOTHING, 200).await;
        self.call("GET /apps/shop/kv/carts?prefix=a", NOTHING, 200).await;
        self.call("GET /apps/shop/kv/carts/ada", NOTHING, 200).await;
        self.call("DELETE /apps/shop/kv/carts/ada", NOTHING, 204).await;
        self.call("DELETE /apps/shop/kv/carts/ada", NOTHING, 404).await;
        self.call("PUT /apps/shop/env/currency", json!({ "value": "EUR" }), 200).await;
        self.call("PUT /apps/shop/env/1st", json!({ "value": "EUR" }), 422).await;
        self.call("GET /apps/shop/env", NOTHING, 200).await;
        self.call("GET /apps/shop/env/currency", NOTHING, 200).await;
        self.call("DELETE /apps/shop/env/currency", NOTHING, 204).await;
        self.call("DELETE /apps/shop/env/currency", NOTHING, 404).await;
        self.call("PUT /apps/shop/secrets/PAYMENT_KEY", json!({ "value": "a key of the payment service" }), 200).await;
        self.call("PUT /apps/shop/secrets/PAYMENT_KEY", json!({ "value": "abc" }), 422).await;
        self.call("GET /apps/shop/secrets", NOTHING, 200).await;
        self.call("GET /apps/shop/secrets/PAYMENT_KEY", NOTHING, 200).await;
        self.call("DELETE /apps/shop/secrets/PAYMENT_KEY", NOTHING, 204).await;
        self.call("DELETE /apps/shop/secrets/PAYMENT_KEY", NOTHING, 404).await;
        let order = json!({ "document": { "customer": "ada", "items": ["book"], "total": 250 } });
        let path = "/apps/shop/docs/orders/01990c6a-27b1-7cc0-9f6e-1f2e3d4c5b6a";
        self.call(&format!("PUT {path}"), order, 200).await;
        self.call("GET /apps/shop/docs", NOTHING, 200).await;
        self.call("GET /apps/shop/docs/orders?filter=%7B%22customer%22:%22ada%22%7D&sort=-total", NOTHING, 200).await;
        self.call(&format!("GET {path}"), NOTHING, 200).await;
        self.call("PUT /apps/shop/docs/orders/indexes", json!({ "fields": ["customer", "total"] }), 200).await;
        self.world.docs.finish_indexes().await.unwrap();
        self.call("GET /apps/shop/docs/orders/indexes", NOTHING, 200).await;
        self.call(&format!("DELETE {path}"), NOTHING, 204).await;
        self.call(&format!("DELETE {path}"), NOTHING, 404).await;
    }

    async fn its_triggers(&mut self, script: &Value) {
        let config = json!({ "queue": "orders", "batch_size": 10 });
        let trigger = json!({ "script_id": id(script), "source": "queue", "config": config, "max_attempts": 3 });
        let made = self.call("POST /apps/shop/triggers", trigger.clone(), 201).await;
        self.call("POST /apps/shop/triggers", trigger, 409).await;
        self.call("GET /apps/shop/triggers", NOTHING, 200).await;
        let path = format!("/apps/shop/triggers/{}", id(&made));
        self.call(&format!("GET {path}"), NOTHING, 200).await;
        let slower = json!({ "config": { "concurrency": 4 }, "backoff": { "base_ms": 5000 } });
        self.call(&format!("PATCH {path}"), slower, 200).await;
    }

    async fn its_queues(&mut self) {
        // Nothing handles it before it was looked at.
        let triggers = self.olive.get("/apps/shop/triggers").await.is(200);
        let trigger = format!("/apps/shop/triggers/{}", id(&triggers["items"][0]));
        self.olive.patch(&trigger, json!({ "enabled": false })).await.is(200);
        let order = json!({ "payload": { "order": 17 }, "delay": 60, "dedup_key": "order-17" });
        let sent = self.call("POST /apps/shop/queues/orders", order, 202).await;
        let too_late = json!({ "payload": { "order": 18 }, "delay": 2_592_001 });
        self.call("POST /apps/shop/queues/orders", too_late, 422).await;
        self.call("GET /apps/shop/queues", NOTHING, 200).await;
        self.call("GET /apps/shop/queues/orders?state=waiting", NOTHING, 200).await;
        let message = format!("/apps/shop/queues/orders/{}", sent["event_id"].as_str().unwrap());
        self.call(&format!("DELETE {message}"), NOTHING, 204).await;
        self.call(&format!("DELETE {message}"), NOTHING, 404).await;
    }

    async fn its_dead_letters(&mut self, app: &Value) {
        let trigger = self.olive.make_failing(app, "payments").await;
        let payment = json!({ "payload": { "order": 17, "amount": 250 } });
        let fire = format!("POST /apps/shop/triggers/{}/fire", id(&trigger));
        let fired = self.call(&fire, payment, 202).await;
        let event = fired["event_id"].as_str().unwrap().to_owned();
        let letter = self.olive.until_dead("shop", 1).await.remove(0);
        self.call("GET /apps/shop/events?state=dead", NOTHING, 200).await;
        self.call(&format!("GET /apps/shop/events/{event}"), NOTHING, 200).await;
        self.call(&format!("DELETE /apps/shop/queues/payments/{event}"), NOTHING, 409).await;
        self.call("GET /apps/shop/dead-letters", NOTHING, 200).await;
        self.call("GET /apps/shop/dead-letters:count", NOTHING, 200).await;
        let path = format!("/apps/shop/dead-letters/{}", id(&letter));
        self.call(&format!("GET {path}"), NOTHING, 200).await;
        let edited = json!({ "payload": { "order": 17, "amount": 25 } });
        self.call(&format!("POST {path}/replay"), edited.clone(), 202).await;
        self.call(&format!("POST {path}/replay"), edited, 409).await;
        let letter = self.olive.until_dead("shop", 1).await.remove(0);
        let path = format!("/apps/shop/dead-letters/{}/resolve", id(&letter));
        self.call(&format!("POST {path}"), NOTHING, 204).await;
        self.call(&format!("POST {path}"), NOTHING, 409).await;
        self.olive.send_message("shop", "payments", json!({ "order": 18, "amount": 50 })).await;
        self.olive.until_dead("shop", 1).await;
        let since = "2027-01-15T08:00:00.000Z";
        self.call("POST /apps/shop/dead-letters:replay", json!({ "source": "queue", "since": since }), 200).await;
        self.olive.until_dead("shop", 1).await;
        self.call("POST /apps/shop/dead-letters:resolve", json!({ "script_id": trigger["script_id"] }), 200).await;
    }

    async fn it_as_a_whole(&mut self) {
        let mut document = self.call("GET /apps/shop/export", NOTHING, 200).await;
        self.call("DELETE /apps/shop", NOTHING, 409).await;
        let trial = "POST /apps:import?dry_run=true&slug=copy&without_domains=true";
        self.call(trial, document.clone(), 200).await;
        self.call("POST /apps:import?slug=copy", document.clone(), 409).await;
        document["app"]["slug"] = json!("copy");
        document["domains"] = json!([]);
        self.call("POST /apps:import", document.clone(), 201).await;
        document["scripts"][0]["source"] = json!("#{ hello: ctx.request.params.name }");
        self.call("PUT /apps/copy/deployment", document, 200).await;
    }

    async fn certificates(&mut self) {
        let listed = self.call("GET /certificates", NOTHING, 200).await;
        let managed = format!("/certificates/{}", id(&listed["items"][0]));
        self.call(&format!("GET {managed}"), NOTHING, 200).await;
        self.call(&format!("POST {managed}/renew"), NOTHING, 202).await;
        self.call(&format!("DELETE {managed}"), NOTHING, 409).await;
        self.call("POST /certificates:preflight", json!({ "name": "shop.example.com" }), 200).await;
        self.call("POST /certificates", uploadable(), 201).await;
        found_authority(&self.world, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").await;
        let root = self.olive.get("/certificates:internal-root").await;
        self.told.text_of("get_internal_root", &root.text());
    }

    async fn the_instance(&mut self) {
        self.call("GET /settings", NOTHING, 200).await;
        self.call("PATCH /settings", json!({ "execute_access": "restricted" }), 200).await;
        self.call("GET /limits", NOTHING, 200).await;
        self.call("GET /nodes", NOTHING, 200).await;
        self.call(&format!("GET /stats?{TWO_MINUTES}"), NOTHING, 200).await;
        self.call("GET /stats/node?resolution=day", NOTHING, 200).await;
        self.call("GET /audit?limit=2", NOTHING, 200).await;
    }
}

const TWO_MINUTES: &str = "resolution=minute&since=2027-01-15T08:00:00Z&until=2027-01-15T08:02:00Z";

/// A certificate of which all that is shown is the same each time.
fn uploadable() -> Value {
    let mut wanted = rcgen::CertificateParams::new(["pay.example.com".to_owned()]).unwrap();
    wanted.serial_number = Some(rcgen::SerialNumber::from(7_u64));
    wanted.distinguished_name.push(rcgen::DnType::CommonName, "pay.example.com");
    (wanted.not_before, wanted.not_after) = (rcgen::date_time_ymd(2027, 1, 1), rcgen::date_time_ymd(2027, 4, 1));
    let key = rcgen::KeyPair::generate().unwrap();
    json!({ "chain": wanted.self_signed(&key).unwrap().pem(), "key": key.serialize_pem() })
}
