//! What a program that is killed again and again has promised, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use picloud_shared::clock::Timestamp;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cloud::{PATIENCE, TestCloud, on_both_databases, text};

/// Kills amid the load.
const ROUNDS: u32 = 20;

/// Requests that run at once.
const VISITORS: u32 = 4;

/// Keeps an entry and a document and sends a message, all by the name that the address gives; answers the message's id.
const WRITER: &str = r#"
    let n = ctx.request.query.n;
    kv::collection("items").set(n, n);
    docs::collection("notes").insert(#{ n: n });
    queue::send("orders", #{ n: n })
"#;

/// Handles messages: those whose names end in 7 always fail, those that end in 3 fail once.
const ORDERS: &str = r#"
    let n = ctx.event.payload.n;
    if n.ends_with("7") { throw "always"; }
    if n.ends_with("3") && ctx.event.attempt == 1 { throw "once"; }
    kv::collection("done").incr(ctx.event.id, 1);
"#;

/// What these throw, before they do anything else.
const THROWN: [&str; 2] = ["always", "once"];

/// Handles changes of entries: counts by event, and tells which event it was by the entry's name.
const ITEMS: &str = r#"
    kv::collection("done").incr(ctx.event.id, 1);
    kv::collection("heard").set(ctx.event.payload.key, ctx.event.id);
"#;

/// Handles ticks: counts by event, and by the time that it is for.
const TICKS: &str = r#"
    kv::collection("done").incr(ctx.event.id, 1);
    kv::collection("ticks").set(ctx.event.id, ctx.event.payload.scheduled_at);
"#;

/// What was asked of the app `shop`, and what was promised.
pub struct Oracle {
    triggers: Vec<String>,
    /// The names that were acknowledged, with what was answered.
    pub acknowledged: BTreeMap<String, String>,
}

impl Oracle {
    /// Sets up the shop, whose `GET /?n=` promises something, and what handles its events.
    pub async fn set_up(cloud: &TestCloud) -> Self {
        let app = cloud.app("shop", "shop.test").await;
        let writer = cloud.script(&app, "writer", "endpoint", WRITER).await;
        cloud.route(&writer, "exact", "/", "GET").await;
        // What a kill cuts is an attempt. Those that fail are to use theirs up, and no others.
        let patient = json!({ "max_attempts": 20, "backoff": { "base_ms": 5, "cap_ms": 20 } });
        let brief = json!({ "max_attempts": 8, "backoff": { "base_ms": 5, "cap_ms": 20 } });
        let mut triggers = Vec::new();
        for (name, source, on, config, tries) in [
            ("orders", ORDERS, "queue", json!({ "queue": "orders", "concurrency": 4 }), brief),
            ("items", ITEMS, "kv", json!({ "collection": "items", "ops": ["set"] }), patient.clone()),
            ("ticks", TICKS, "cron", json!({ "expression": "* * * * * *", "misfire": "all" }), patient),
        ] {
            let handler = cloud.script(&app, name, "endpoint", source).await;
            triggers.push(cloud.trigger(&handler, on, config, tries).await);
        }
        Self { triggers, acknowledged: BTreeMap::new() }
    }

    /// Waits until all has come to its end, and holds what is there against what was promised. `cut` are the outcomes of attempts
    /// that may have done something. Gives the figures.
    pub async fn hold(self, cloud: &TestCloud, cut: &[&str]) -> String {
        let Self { triggers, acknowledged } = self;
        // What was made after the last kill has still to come, and then there are no more ticks, so that all has an end.
        let ticked = cloud.entries("ticks").await.len();
        cloud.until("apps/shop/kv", |held| keys(held, "ticks") > ticked + 2).await;
        let never = json!({ "config": { "expression": "0 0 29 2 *", "misfire": "all" } });
        cloud.must(Method::PATCH, &format!("apps/shop/triggers/{}", triggers[2]), Some(never)).await;
        let begun = Instant::now();
        let has_ended = |event: &Value| ["done", "dead"].contains(&event["state"].as_str().unwrap());
        while !cloud.all("apps/shop/events").await.iter().all(has_ended) {
            assert!(begun.elapsed() < 2 * PATIENCE, "some events never end");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let events = cloud.all("apps/shop/events").await;
        let done = cloud.entries("done").await;
        let (items, heard, ticks) =
            (cloud.entries("items").await, cloud.entries("heard").await, cloud.entries("ticks").await);
        let letters: BTreeSet<_> =
            cloud.all("apps/shop/dead-letters").await.iter().map(|letter| text(&letter["event_id"])).collect();
        let (mut lost_attempts, mut repeated) = (0, 0);
        let mut by_id = BTreeMap::new();
        for event in events {
            let id = text(&event["id"]);
            let runs = done.get(&id).and_then(Value::as_u64).unwrap_or(0);
            match event["state"].as_str().unwrap() {
                "done" => assert!(runs >= 1, "is called done and was not handled: {event}"),
                "dead" => assert!(letters.contains(&id), "is called dead and is no dead letter: {event}"),
                state => panic!("{state}: {event}"),
            }
            // More than once only where a kill cut a lease.
            if event["attempt"] != 1 {
                let whole = cloud.must(Method::GET, &format!("apps/shop/events/{id}"), None).await;
                let attempts = whole["attempts"].as_array().unwrap();
                let is_cut = |attempt: &&Value| {
                    let threw = |text: &str| attempt["error"].as_str().is_some_and(|error| error.starts_with(text));
                    cut.contains(&attempt["outcome"].as_str().unwrap()) && !THROWN.into_iter().any(threw)
                };
                let lost = attempts.iter().filter(is_cut).count() as u64;
                assert!(runs <= 1 + lost, "handled {runs} times, and {lost} attempts were cut: {whole}");
                lost_attempts += lost;
            } else {
                assert!(runs <= 1, "handled {runs} times, and begun once: {event}");
            }
            repeated += runs.saturating_sub(1);
            by_id.insert(id, event);
        }
        let documents = cloud.all("apps/shop/docs/notes").await;
        let documents: BTreeSet<_> = documents.iter().map(|document| text(&document["document"]["n"])).collect();
        for (n, id) in &acknowledged {
            let expected = if n.ends_with('7') { "dead" } else { "done" };
            assert_eq!(by_id[id]["state"], expected, "{n}");
            assert_eq!(items.get(n), Some(&json!(n)), "the entry that was acknowledged");
            assert!(documents.contains(n), "the document that was acknowledged: {n}");
        }
        // Entries and their events are there together, whether or not anybody was told.
        assert_eq!(items.keys().collect::<Vec<_>>(), heard.keys().collect::<Vec<_>>());
        let sets = by_id.values().filter(|event| event["source"] == "kv").count();
        assert_eq!(sets, items.len(), "each entry was set once");
        // No tick is made twice, and `all` leaves none out.
        let mut times: Vec<_> = ticks.values().map(text).collect();
        times.sort();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        let second = |time: &str| serde_json::from_value::<Timestamp>(json!(time)).unwrap().as_millis() / 1000;
        let span = second(&times[times.len() - 1]) - second(&times[0]) + 1;
        assert_eq!(times.len() as i64, span, "{times:?}");
        format!(
            "{} acknowledged, {} events, {} ticks, {} dead letters, {lost_attempts} attempts cut, {repeated} repeated",
            acknowledged.len(),
            by_id.len(),
            times.len(),
            letters.len()
        )
    }
}

/// Entries of a collection, as the list of collections says.
fn keys(held: &Value, collection: &str) -> usize {
    let found = held["items"].as_array().unwrap().iter().find(|held| held["name"] == collection);
    found.map_or(0, |held| held["keys"].as_u64().unwrap() as usize)
}

impl TestCloud {
    /// All items of a list of the API, over all its pages.
    pub async fn all(&self, list: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let joint = if list.contains('?') { '&' } else { '?' };
            let page = self.must(Method::GET, &format!("{list}{joint}limit=200{cursor}"), None).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// The entries of a collection of the app `shop`.
    pub async fn entries(&self, collection: &str) -> BTreeMap<String, Value> {
        let entries = self.all(&format!("apps/shop/kv/{collection}")).await;
        entries.into_iter().map(|mut entry| (text(&entry["key"]), entry["value"].take())).collect()
    }

    /// Visits the shop on several connections, and kills the program once so many requests have begun. Gives the names that were
    /// acknowledged, with what was answered.
    pub async fn kill_amid_load(&mut self, round: u32, requests: u32) -> Vec<(String, String)> {
        let begun = Arc::new(AtomicU32::new(0));
        let visit = |visitor: u32| {
            let (begun, client, address) = (Arc::clone(&begun), Client::new(), self.address("http"));
            tokio::spawn(async move {
                let mut answered = Vec::new();
                for number in 0.. {
                    let n = format!("{round}-{visitor}-{number}");
                    begun.fetch_add(1, Ordering::Relaxed);
                    let request = client.get(format!("http://{address}/?n={n}")).header("host", "shop.test");
                    match request.timeout(Duration::from_secs(10)).send().await {
                        Ok(response) if response.status() == 200 => {
                            if let Ok(id) = response.text().await {
                                answered.push((n, id));
                            }
                        }
                        Ok(response) => panic!("{}", response.status()),
                        Err(_) => return answered,
                    }
                }
                unreachable!("the visitors end when the program is killed")
            })
        };
        let visitors: Vec<_> = (0..VISITORS).map(visit).collect();
        // One that ends before has something to say.
        while begun.load(Ordering::Relaxed) < requests && !visitors.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.signal("-KILL");
        assert!(!self.ended().success());
        let mut answered = Vec::new();
        for visitor in visitors {
            answered.extend(visitor.await.unwrap());
        }
        answered
    }
}

on_both_databases! {
    async fn what_was_acknowledged_is_there_and_every_event_is_handled_or_a_dead_letter_after_kills_amid_them(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        let mut oracle = Oracle::set_up(&cloud).await;
        for round in 0..ROUNDS {
            // In the thick of it, each time elsewhere.
            oracle.acknowledged.extend(cloud.kill_amid_load(round, 20 + 7 * round).await);
            cloud.restart();
        }
        let acknowledged = oracle.acknowledged.len();
        eprintln!("{}", oracle.hold(&cloud, &["lost"]).await);
        assert!(acknowledged as u32 > 20 * ROUNDS, "{acknowledged}");
    }
}
