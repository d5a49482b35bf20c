//! The examples of the pages of `queue` and of triggers: each is run, on both databases, and does what stands below it.

use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::world::{Client, World, id};

const QUEUE: &str = include_str!("../../../docs/services/queue.md");
const TRIGGERS: &str = include_str!("../../../docs/services/triggers.md");

/// What stands below an example: what the script gives, or what becomes of events of these payloads.
enum Below {
    Gives(Value),
    Given(Vec<(Value, &'static str)>),
}

/// Each example of a page.
fn examples(page: &'static str) -> Vec<(&'static str, Below)> {
    let example = |block: &'static str| {
        let (source, after) = block.split_once("```\n").unwrap();
        let line = after.trim_start().lines().next().unwrap();
        let below = match line.strip_prefix("Gives `") {
            Some(given) => Below::Gives(serde_json::from_str(given.split('`').next().unwrap()).unwrap()),
            None => Below::Given(line.split("Given `").skip(1).map(payload_and_end).collect()),
        };
        (source, below)
    };
    page.split("```rhai\n").skip(1).map(example).collect()
}

fn payload_and_end(stated: &'static str) -> (Value, &'static str) {
    let (payload, end) = stated.split_once("`, it ").expect(stated);
    let end = if end.starts_with("is handled.") { "done" } else { "dead" };
    assert!(end == "done" || stated.contains("it fails."), "{stated}");
    (serde_json::from_str(payload).unwrap(), end)
}

async fn given(owner: &Client, script: &Value) -> Value {
    let path = format!("/scripts/{}/invoke", id(script));
    let tried = owner.post(&path, json!({})).await.is(200);
    assert_eq!(tried["outcome"], "success", "{tried}");
    serde_json::from_str(tried["response"]["body"].as_str().unwrap_or("null"))
        .unwrap_or_else(|_| tried["response"]["body"].clone())
}

async fn every_example_of_the_pages_does_what_stands_below_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    for (page, least, source_of_events) in [(QUEUE, 7, "queue"), (TRIGGERS, 1, "dead_letter")] {
        let examples = examples(page);
        assert!(examples.len() >= least, "the examples are gone");
        for (number, (source, below)) in examples.into_iter().enumerate() {
            let name = format!("{}-{number}", source_of_events.replace('_', "-"));
            let script = owner.make_endpoint(&app, &name, source).await;
            let payloads = match below {
                Below::Gives(expected) => {
                    assert_eq!(given(&owner, &script).await, expected, "{source}");
                    continue;
                }
                Below::Given(payloads) => payloads,
            };
            assert!(!payloads.is_empty(), "nothing stands below {source}");
            let config = if source_of_events == "queue" { json!({ "queue": name }) } else { json!({}) };
            let body = json!({
                "script_id": id(&script), "source": source_of_events, "config": config, "max_attempts": 1,
            });
            let trigger = owner.post("/apps/shop/triggers", body).await.is(201);
            for (payload, end) in payloads {
                let fire = format!("/apps/shop/triggers/{}/fire", id(&trigger));
                let fired = owner.post(&fire, json!({ "payload": payload })).await.is(202);
                let path = format!("/apps/shop/events/{}", fired["event_id"].as_str().unwrap());
                let event = owner.get_until(&path, |event| event["ended_at"].is_string()).await;
                assert_eq!(event["state"], end, "{payload}: {source}\n{event}");
            }
        }
    }
}

on_both! { every_example_of_the_pages_does_what_stands_below_it }
