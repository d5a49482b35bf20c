//! Routes whose callers do not wait, on the real program and over its kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::cloud::{Database, Home, OWNER, TestCloud, on_both_databases, text};

impl TestCloud {
    /// Binds an async route of any host to a script; gives its id.
    async fn async_route(&self, script: &str, path_kind: &str, path: &str, method: &str) -> String {
        let route = json!({"host_kind": "any", "path_kind": path_kind, "path": path, "method": method, "async": true});
        text(&self.must(Method::POST, &format!("scripts/{script}/routes"), Some(route)).await["id"])
    }

    /// A shop whose `POST /orders` is answered at once and handled by that; gives the script's id.
    async fn async_shop(&self, source: &str) -> String {
        let app = self.app("shop", "shop.test").await;
        let script = self.script(&app, "orders", "endpoint", source).await;
        self.async_route(&script, "exact", "/orders", "POST").await;
        script
    }

    /// Posts an order: status and JSON.
    async fn order(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let answer = self.request(Method::POST, "shop.test", "/orders").body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn kept(&self, key: &str) -> Value {
        self.must(Method::GET, &format!("apps/shop/kv/default/{key}"), None).await["value"].clone()
    }

    async fn keep(&self, key: &str, value: Value) {
        self.must(Method::PUT, &format!("apps/shop/kv/default/{key}"), Some(json!({ "value": value }))).await;
    }
}

on_both_databases! {
    async fn the_caller_is_answered_at_once_and_the_script_sees_the_request_and_the_event(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = cloud.app("shop", "shop.test").await;
        let source = r#"
            while !kv::has("go") {}
            let r = ctx.request;
            let e = ctx.event;
            kv::set("request", [r.method, r.path, r.url, r.params.id, r.query.q, r.headers["x-a"], r.cookies.session,
                r.headers.authorization, r.body.n, r.text, r.remote_ip]);
            kv::set("event", [e.id, e.source, e.op, e.attempt, e.payload == (), e.batch.len()]);
            #{ status: 201, body: "reaches nobody" }
        "#;
        let script = cloud.script(&app, "orders", "endpoint", source).await;
        let patient = json!({ "timeout_ms": 30_000, "sandbox": { "max_operations": 50_000_000 } });
        cloud.must(Method::PATCH, &format!("scripts/{script}"), Some(patient)).await;
        let route = cloud.async_route(&script, "param", "/orders/:id", "POST").await;
        let request = cloud.request(Method::POST, "shop.test", "/orders/a%20b?q=%C3%A9").header("x-a", "1").header("x-a", "2");
        let request = request.header("cookie", "session=hunter2").header("authorization", "Bearer hunter2");
        let answer = request.json(&json!({ "n": 7 })).send().await.unwrap();
        // Its script waits for what is done below.
        assert_eq!(answer.status(), 202);
        let headers = answer.headers().clone();
        assert_eq!((headers["content-type"].as_bytes(), headers["cache-control"].as_bytes()), (&b"application/json"[..], &b"no-store"[..]));
        assert!(!headers.contains_key("x-execution-id"));
        let body: Value = answer.json().await.unwrap();
        let id = text(&body["event_id"]);
        assert_eq!((headers["x-event-id"].to_str().unwrap(), body), (&*id, json!({ "event_id": id })));
        cloud.until_event_is(&id, "running").await;
        cloud.keep("go", json!(true)).await;
        let event = cloud.until_event_is(&id, "done").await;
        let url = "http://shop.test/orders/a%20b?q=%C3%A9";
        let expected = json!(["POST", "/orders/a%20b", url, "a b", "é", "1, 2", "hunter2", "Bearer hunter2", 7,
            "{\"n\":7}", "127.0.0.1"]);
        assert_eq!(cloud.kept("request").await, expected);
        assert_eq!(cloud.kept("event").await, json!([id, "http", "async", 1, true, 1]));
        // The one record is the run's: the request has none.
        assert_eq!((&event["source"], &event["op"], &event["script_id"]), (&json!("http"), &json!("async"), &json!(script)));
        let page = cloud.until("apps/shop/logs", |page| page["items"] != json!([])).await;
        let [record] = &page["items"].as_array().unwrap()[..] else { panic!("{page}") };
        assert_eq!(record["origin"], json!({ "kind": "route", "route_id": route }));
        assert_eq!((&record["id"], &record["status"]), (&event["attempts"][0]["execution_id"], &json!(201)));
        assert_eq!(record["request"]["event"], json!({ "id": id, "attempt": 1 }));
        assert!(!page.to_string().contains("hunter2"), "{page}");
    }

    async fn a_binary_body_arrives_whole_and_what_is_too_long_to_be_kept_is_refused(database: Database) {
        let cloud = TestCloud::start(database).await;
        let script = cloud.async_shop(r#"kv::set("digest", hash::sha256(ctx.request.bytes))"#).await;
        let roomy = json!({ "sandbox": { "max_array_size": 50_000 } });
        cloud.must(Method::PATCH, &format!("scripts/{script}"), Some(roomy)).await;
        let bytes: Vec<u8> = (0..50_000_u32).map(|n| (n % 251) as u8).collect();
        let (status, answer) = cloud.order(bytes.clone()).await;
        assert_eq!(status, 202, "{answer}");
        cloud.until_event_is(&text(&answer["event_id"]), "done").await;
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(cloud.kept("digest").await, json!(digest));
        for large in [vec![b'x'; 256 * 1024], vec![b'x'; 256 * 1024 + 1], vec![0xff; 200_000], vec![0; 50_000]] {
            let (length, (status, problem)) = (large.len(), cloud.order(large).await);
            assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")), "{length}: {problem}");
        }
        let events = cloud.must(Method::GET, "apps/shop/events", None).await;
        assert_eq!(events["items"].as_array().unwrap().len(), 1);
    }

    async fn what_is_refused_at_other_routes_is_refused_here_and_makes_no_event(database: Database) {
        let cloud = TestCloud::start(database).await;
        cloud.async_shop("1").await;
        for (method, path, status) in [("DELETE", "/orders", 405), ("OPTIONS", "/orders", 204), ("POST", "/nowhere", 404)] {
            let answer = cloud.request(method.parse().unwrap(), "shop.test", path).send().await.unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
        }
        assert_eq!(cloud.must(Method::GET, "apps/shop/events", None).await["items"], json!([]));
    }

    async fn every_request_that_was_answered_is_handled_after_kills_amid_them(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        cloud.async_shop(r#"kv::incr("done-" + ctx.request.query.n, 1)"#).await;
        let mut acknowledged: Vec<(String, String)> = Vec::new();
        for round in 0..3 {
            let begun = Arc::new(AtomicU32::new(0));
            let callers: Vec<_> = (0..8)
                .map(|caller| {
                    let (begun, client, address) = (Arc::clone(&begun), Client::new(), cloud.address("http"));
                    tokio::spawn(async move {
                        let mut answered = Vec::new();
                        for number in 0.. {
                            let n = format!("{round}-{caller}-{number}");
                            begun.fetch_add(1, Ordering::Relaxed);
                            let request = client.post(format!("http://{address}/orders?n={n}")).header("host", "shop.test");
                            match request.timeout(Duration::from_secs(10)).send().await {
                                Ok(response) if response.status() == 202 => {
                                    let id = response.headers()["x-event-id"].to_str().unwrap().to_owned();
                                    answered.push((n, id));
                                }
                                Ok(response) => panic!("{}", response.status()),
                                Err(_) => return answered,
                            }
                        }
                        unreachable!("the callers end when the program is killed")
                    })
                })
                .collect();
            // In the thick of it, each time elsewhere.
            while begun.load(Ordering::Relaxed) < 40 + 7 * round && !callers.iter().any(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            cloud.signal("-KILL");
            assert!(!cloud.ended().success());
            for caller in callers {
                acknowledged.extend(caller.await.unwrap());
            }
            cloud.restart();
        }
        assert!(acknowledged.len() > 60, "{}", acknowledged.len());
        for (n, id) in acknowledged {
            let event = cloud.until_event_is(&id, "done").await;
            let lost = event["attempts"].as_array().unwrap().iter().filter(|a| a["outcome"] == "lost").count() as u64;
            let done = cloud.kept(&format!("done-{n}")).await.as_u64().unwrap();
            assert!((1..=1 + lost).contains(&done), "{n} was handled {done} times, and {lost} attempts were lost");
        }
    }

    async fn a_flood_fills_three_quarters_of_the_quota_and_leaves_scripts_and_other_apps_alone(database: Database) {
        let mut cloud = TestCloud::start_with(Home::new(database), |command| {
            command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
            command.env("PICLOUD_EVENTS_MAX", "8");
        });
        cloud.sign_in(OWNER.1).await;
        let script = cloud.async_shop("while !kv::has(\"go\") {}").await;
        let patient = json!({ "timeout_ms": 30_000, "sandbox": { "max_operations": 50_000_000 } });
        cloud.must(Method::PATCH, &format!("scripts/{script}"), Some(patient)).await;
        let mut events = Vec::new();
        for _ in 0..6 {
            let (status, answer) = cloud.order("1").await;
            assert_eq!(status, 202, "{answer}");
            events.push(text(&answer["event_id"]));
        }
        let refused = cloud.request(Method::POST, "shop.test", "/orders").send().await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"30".parse().unwrap()));
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "queue_full");
        // The app itself may send still.
        cloud.must(Method::POST, "apps/shop/queues/mail", Some(json!({ "payload": 1 }))).await;
        // Another app's are handled while those of the first hold on to all that they may.
        let blog = cloud.app("blog", "blog.test").await;
        let quick = cloud.script(&blog, "quick", "endpoint", "1").await;
        cloud.async_route(&quick, "exact", "/", "POST").await;
        let answer = cloud.request(Method::POST, "blog.test", "/").send().await.unwrap();
        let id = answer.headers()["x-event-id"].to_str().unwrap().to_owned();
        cloud.until(&format!("apps/blog/events/{id}"), |event| event["state"] == "done").await;
        cloud.keep("go", json!(true)).await;
        for id in events {
            cloud.until_event_is(&id, "done").await;
        }
        assert_eq!(cloud.order("1").await.0, 202);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_disk_full_callers_are_told_that_nothing_is_kept_and_all_recovers_by_itself() {
    let cloud = TestCloud::start(Database::Sqlite).await;
    cloud.async_shop("1").await;
    cloud.limit_files(Some(1));
    let refused = cloud.request(Method::POST, "shop.test", "/orders").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "store_unavailable");
    cloud.limit_files(None);
    let (status, answer) = cloud.order("1").await;
    assert_eq!(status, 202, "{answer}");
    cloud.until_event_is(&text(&answer["event_id"]), "done").await;
    assert_eq!(cloud.must(Method::GET, "apps/shop/events", None).await["items"].as_array().unwrap().len(), 1);
}
