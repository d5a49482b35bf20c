//! Watching executions as they are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use picloud_manager::repo::executions::insert::{NewExecution, insert_batch};
use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::execution::{Origin, Outcome};
use picloud_shared::id::ExecutionId;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Client, World, id};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open stream of events.
pub struct Events {
    body: Body,
    text: String,
}

impl Events {
    pub async fn open(client: &Client, path: &str) -> Self {
        let response = client.open(path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Self { body: response.into_body(), text: String::new() };
        assert_eq!(events.block().await.as_deref(), Some(": watching"));
        events
    }

    /// What stands before the next empty line; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("something comes")?;
            self.text += std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap();
        }
    }

    /// The next event but for comments: its name, its id and its data.
    pub async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            let block = self.block().await?;
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim_start().to_owned()
            };
            return Some((field("event:"), field("id:"), serde_json::from_str(&field("data:")).unwrap()));
        }
    }
}

async fn site(owner: &Client, slug: &str) -> (Value, Value) {
    let app = owner.make_app(slug).await;
    owner.make_domain(&app, &format!("{slug}.example.com")).await;
    let script = owner.make_endpoint(&app, "page", "log::info(\"seen\"); ctx.request.path").await;
    let route = json!({ "host_kind": "any", "path_kind": "prefix", "path": "/*", "method": "ANY" });
    owner.post(&format!("/scripts/{}/routes", id(&script)), route).await.is(201);
    (app, script)
}

async fn executions_are_seen_as_they_are_kept_and_those_of_other_apps_are_not(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    site(&owner, "shop").await;
    let (_, foreign) = site(&owner, "blog").await;
    let mut events = Events::open(&owner, "/apps/shop/logs/tail").await;
    for path in ["/one", "/two"] {
        assert_eq!(world.fetch("GET", &format!("http://blog.example.com{path}")).await, path);
        assert_eq!(world.fetch("GET", &format!("http://shop.example.com{path}")).await, path);
        // In the order of ids, which say nothing of it within one millisecond.
        world.clock.advance(Duration::from_millis(1));
    }
    let mut seen = Vec::new();
    for path in ["/one", "/two"] {
        let (event, event_id, data) = events.next().await.unwrap();
        assert_eq!((event.as_str(), event_id.as_str()), ("execution", data["id"].as_str().unwrap()));
        assert_eq!(data["request"]["url"], format!("http://shop.example.com{path}"));
        assert_ne!(data["script_id"], foreign["id"]);
        seen.push(data);
    }
    seen.reverse();
    assert_eq!(owner.get("/apps/shop/logs").await.is(200)["items"], json!(seen), "as the list tells of them");
}

async fn a_stream_ends_when_its_watcher_may_not_watch_any_longer(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (app, _) = site(&owner, "shop").await;
    let ada = world.member("ada", &app, AppRole::Viewer).await;
    let bob = world.member("bob", &app, AppRole::Viewer).await;
    let key = json!({ "name": "tail", "scopes": ["logs:read"] });
    let key = owner.post("/api-keys", key).await.is(201);
    let by_key = world.stranger().bearer(key["key"].as_str().unwrap());
    let open = async |client: &Client| Events::open(client, "/apps/shop/logs/tail").await;
    let (mut signed_out, mut removed, mut revoked) = (open(&ada).await, open(&bob).await, open(&by_key).await);
    let mut stays = open(&owner).await;
    ada.post("/auth/logout", json!({})).await.is(204);
    let bob_id = bob.get("/auth/me").await.is(200);
    owner.delete(&format!("/apps/shop/members/{}", id(&bob_id))).await.is(204);
    owner.delete(&format!("/api-keys/{}", id(&key))).await.is(204);
    // What is kept right after they were shut out is not for them any more.
    assert_eq!(world.fetch("GET", "http://shop.example.com/still").await, "/still");
    for ended in [&mut signed_out, &mut removed, &mut revoked] {
        assert_eq!(ended.next().await, None);
    }
    assert_eq!(stays.next().await.unwrap().2["request"]["url"], "http://shop.example.com/still");
    owner.delete("/apps/shop?force=true").await.is(204);
    assert_eq!(stays.next().await, None, "with the app it ends, too");
}

async fn a_session_that_only_watches_ends_as_one_that_is_not_used(store: &Store) {
    let world = World::start(store).await;
    let (idle, used) = (world.owner().await, world.owner().await);
    site(&idle, "shop").await;
    let mut of_idle = Events::open(&idle, "/apps/shop/logs/tail").await;
    let mut of_used = Events::open(&used, "/apps/shop/logs/tail").await;
    world.clock.advance(Duration::from_secs(23 * 60 * 60));
    used.get("/auth/me").await.is(200);
    world.clock.advance(Duration::from_secs(2 * 60 * 60));
    assert_eq!(of_idle.next().await, None);
    idle.get("/auth/me").await.problem(401, "unauthenticated");
    assert_eq!(world.fetch("GET", "http://shop.example.com/still").await, "/still");
    assert_eq!(of_used.next().await.unwrap().2["request"]["url"], "http://shop.example.com/still");
}

async fn streams_are_few_and_their_places_come_free(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    site(&owner, "shop").await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(Events::open(&owner, "/apps/shop/logs/tail").await);
    }
    let refused = owner.get("/apps/shop/logs/tail").await.problem(429, "too_many_streams");
    assert_eq!(refused["most"], 8);
    open.pop();
    open.push(Events::open(&owner, "/apps/shop/logs/tail").await);
    world.manager.end_streams();
    for events in &mut open {
        assert_eq!(events.next().await, None, "a process that is to end waits for none");
    }
}

async fn who_watches_too_slowly_is_told_how_much_was_missed(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    site(&owner, "shop").await;
    let mut events = Events::open(&owner, "/apps/shop/logs/tail").await;
    for _ in 0..100 {
        world.fetch("GET", "http://shop.example.com/").await;
    }
    owner.get("/apps/shop/logs").await.is(200);
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < 100 {
        match events.next().await.unwrap() {
            (event, _, _) if event == "execution" => seen += 1,
            (event, _, data) => {
                assert_eq!(event, "missed");
                missed += data["count"].as_u64().unwrap();
            }
        }
    }
    assert!(missed > 0 && seen >= 64, "{seen} {missed}");
}

/// Only PostgreSQL has several nodes.
#[test]
fn what_any_node_keeps_is_seen_once_as_it_is_kept_and_what_was_kept_before_is_not() {
    crate::run(async || {
        let test = TestStore::postgres().await;
        let here = World::start(&test.store).await;
        let owner = here.owner().await;
        site(&owner, "shop").await;
        let there = World::start(&test.store).await;
        let fetch = async |world: &World, path: &str| {
            assert_eq!(world.fetch("GET", &format!("http://shop.example.com{path}")).await, path);
            world.clock.advance(Duration::from_millis(1));
        };
        there.clock.set(here.clock.now());
        for (node, owner) in [(&there, there.owner().await), (&here, owner.clone())] {
            fetch(node, "/before").await;
            // Listing writes what waits.
            owner.get("/apps/shop/logs").await.is(200);
        }
        let mut events = Events::open(&owner, "/apps/shop/logs/tail").await;
        let mut see = async |paths: &[&str]| {
            let mut seen = BTreeSet::new();
            for _ in paths {
                let (name, _, data) = events.next().await.unwrap();
                let url = data["request"]["url"].as_str().unwrap().to_owned();
                assert_eq!(name, "execution");
                assert!(seen.insert(url.clone()), "{url} came again");
            }
            let wanted = paths.iter().map(|path| format!("http://shop.example.com{path}")).collect();
            assert_eq!(seen, wanted);
        };
        fetch(&there, "/there").await;
        fetch(&here, "/here").await;
        see(&["/here", "/there"]).await;
        // A clock that is some seconds behind, and one that is ahead.
        there.clock.set(here.clock.now().minus(Duration::from_secs(10)));
        fetch(&there, "/behind").await;
        see(&["/behind"]).await;
        there.clock.set(here.clock.now().plus(Duration::from_secs(60)));
        fetch(&there, "/ahead").await;
        see(&["/ahead"]).await;
        fetch(&there, "/last").await;
        see(&["/last"]).await;
    });
}

/// More than are held in memory, kept by another node within one look.
#[test]
fn of_a_flood_each_row_is_seen_once_or_counted() {
    crate::run(async || {
        let test = TestStore::postgres().await;
        let world = World::start(&test.store).await;
        let owner = world.owner().await;
        let (app, script) = site(&owner, "shop").await;
        let mut events = Events::open(&owner, "/apps/shop/logs/tail").await;
        let keep = async |count: usize| {
            let rows: Vec<_> = (0..count).map(|_| kept(&app, &script, world.clock.now())).collect();
            let mut tx = test.store.begin_logs().await.unwrap();
            for some in rows.chunks(4_000) {
                insert_batch(&mut tx, some).await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        let mut seen = BTreeSet::new();
        for (count, passes_s) in [(12_000, 0), (12_000, 10), (3, 10), (25_000, 1), (1, 0)] {
            keep(count).await;
            let (mut shown, mut missed) = (0, 0);
            while shown + missed < count {
                match events.next().await.unwrap() {
                    (event, id, _) if event == "execution" => {
                        shown += 1;
                        assert!(seen.insert(id.clone()), "{id} came again");
                    }
                    (_, _, data) => missed += usize::try_from(data["count"].as_u64().unwrap()).unwrap(),
                }
            }
            assert_eq!((shown + missed, shown), (count, count.min(64)), "of {count}");
            world.clock.advance(Duration::from_secs(passes_s));
        }
    });
}

fn kept(app: &Value, script: &Value, at: Timestamp) -> NewExecution {
    NewExecution {
        id: ExecutionId::generate(at),
        app_id: id(app).parse().unwrap(),
        script_id: id(script).parse().unwrap(),
        version: 1,
        origin: Origin::ById,
        started_at: at,
        duration: Duration::from_millis(1),
        outcome: Outcome::Success,
        status: 200,
        sample_weight: 1,
        request: "{}".to_owned(),
        response: None,
        error: None,
        logs: "[]".to_owned(),
    }
}

on_both! {
    executions_are_seen_as_they_are_kept_and_those_of_other_apps_are_not,
    a_stream_ends_when_its_watcher_may_not_watch_any_longer,
    a_session_that_only_watches_ends_as_one_that_is_not_used,
    streams_are_few_and_their_places_come_free,
    who_watches_too_slowly_is_told_how_much_was_missed,
}
