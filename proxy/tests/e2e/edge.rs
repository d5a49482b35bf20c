//! An edge node: it serves apps, and hands the API and the dashboard on to a full one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::cloud::{Database, Home, OWNER, PATIENCE, Process, TestCloud, text};

/// A full node, and an edge node on the same store.
async fn full_and_edge() -> (TestCloud, Process) {
    let mut full = TestCloud::start_with(Home::new(Database::postgres()), |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        command.env("PICLOUD_NODE_LISTEN", "127.0.0.1:0").env("PICLOUD_EVENT_LEASE_MS", "3000");
    });
    full.sign_in(OWNER.1).await;
    let edge = full.another_node(|command| {
        command.env("PICLOUD_NODE_ROLE", "edge").env_remove("PICLOUD_NODE_LISTEN");
    });
    (full, edge)
}

/// Somebody at an address of one's own, who asks the edge node.
struct Visitor {
    client: Client,
    origin: String,
    token: Option<String>,
}

impl Visitor {
    fn new(edge: &Process, from: IpAddr) -> Self {
        let client = Client::builder().timeout(PATIENCE).local_address(from).build().unwrap();
        Self { client, origin: format!("http://{}", edge.address("http")), token: None }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut call = self.client.request(method, format!("{}/api/v1/{path}", self.origin));
        // What whoever would be somebody else says.
        let forged = r#"{"remote_ip":"203.0.113.1","is_https":true,"authority":"pi.test","cookies_count":true}"#;
        call = call.header("picloud-peer", forged).header("x-forwarded-for", "203.0.113.1");
        if let Some(token) = &self.token {
            call = call.bearer_auth(token);
        }
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn visit(&self, path: &str) -> (u16, String) {
        let answer =
            self.client.get(format!("{}{path}", self.origin)).header("host", "shop.test").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self).await {
            assert!(begun.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_node_hands_the_api_on_and_serves_apps_while_no_full_node_lives() {
    let (mut full, edge) = full_and_edge().await;
    let mut visitor = Visitor::new(&edge, [127, 0, 0, 2].into());
    let credentials = json!({ "username": OWNER.0, "password": OWNER.1 });
    let (status, session) = visitor.call(Method::POST, "admin/auth/login", Some(credentials)).await;
    assert_eq!(status, 200, "{session}");
    visitor.token = Some(text(&session["token"]));
    let (_, sessions) = visitor.call(Method::GET, "admin/auth/me/sessions", None).await;
    assert_eq!(
        sessions["items"][0]["remote_ip"], "127.0.0.2",
        "neither the edge's address nor what was made up: {sessions}"
    );

    // A change through the edge, with a body that takes several packets, is live at the edge as well.
    let app = full.app("shop", "shop.test").await;
    let source = format!("// {}\n\"sold\"", "a".repeat(50_000));
    let script = json!({ "app_id": app, "name": "main", "kind": "endpoint", "source": source });
    let (status, script) = visitor.call(Method::POST, "admin/scripts", Some(script)).await;
    assert_eq!(status, 201, "{script}");
    let script = text(&script["id"]);
    let route = json!({ "host_kind": "any", "path_kind": "exact", "path": "/", "method": "GET" });
    let routes = format!("admin/scripts/{script}/routes");
    assert_eq!(visitor.call(Method::POST, &routes, Some(route)).await.0, 201);
    visitor.until("the edge serves it", async |visitor| visitor.visit("/").await == (200, "sold".to_owned())).await;
    let restricted = json!({ "execute_access": "restricted" });
    assert_eq!(visitor.call(Method::PATCH, &format!("admin/scripts/{script}"), Some(restricted)).await.0, 200);

    // Both are told of.
    let (_, nodes) = visitor.call(Method::GET, "admin/nodes", None).await;
    let nodes: Vec<_> = nodes["nodes"].as_array().unwrap().iter().collect();
    let of = |role: &str| *nodes.iter().find(|node| node["role"] == role).unwrap();
    assert_eq!((nodes.len(), &of("edge")["is_live"], &of("edge")["is_this"]), (2, &json!(true), &json!(false)));
    assert!(of("full")["is_this"] == true && of("full")["address"].is_string());

    // Somebody watches through the edge, and leaves.
    let tail = format!("{}/api/v1/admin/apps/shop/logs/tail", visitor.origin);
    let mut tail = visitor.client.get(tail).bearer_auth(visitor.token.as_ref().unwrap()).send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("event: execution") {
        visitor.visit("/").await;
        seen += std::str::from_utf8(&tail.chunk().await.unwrap().unwrap()).unwrap();
    }
    drop(tail);

    full.signal("-KILL");
    assert!(!full.ended().success());
    let (status, problem) = visitor.call(Method::GET, "admin/apps", None).await;
    assert_eq!((status, &problem["code"]), (503, &json!("manager_unavailable")), "{problem}");
    assert_eq!(visitor.visit("/").await, (200, "sold".to_owned()));
    // Who may run a restricted script the store knows.
    let execute = format!("execute/{script}");
    visitor
        .until("it is restricted here, too", async |visitor| {
            Visitor { token: None, client: visitor.client.clone(), origin: visitor.origin.clone() }
                .call(Method::GET, &execute, None)
                .await
                .0
                == 401
        })
        .await;
    assert_eq!(visitor.call(Method::GET, &execute, None).await.0, 200);

    // One that is there again, at another address, is found.
    full.restart();
    visitor
        .until("the API is back", async |visitor| visitor.call(Method::GET, "admin/apps", None).await.0 == 200)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_node_handles_events_and_makes_ticks_while_no_full_node_lives() {
    let (mut full, edge) = full_and_edge().await;
    let app = full.app("shop", "shop.test").await;
    let sender = full.script(&app, "sender", "endpoint", "queue::send(\"orders\", 1)").await;
    full.route(&sender, "exact", "/send", "GET").await;
    let counts = full.script(&app, "counts", "endpoint", "`${kv::get(\"orders\", 0)} ${kv::get(\"ticks\", 0)}`").await;
    full.route(&counts, "exact", "/counts", "GET").await;
    for (name, on, config) in
        [("orders", "queue", json!({ "queue": "orders" })), ("ticks", "cron", json!({ "expression": "* * * * * *" }))]
    {
        let handler = full.script(&app, name, "endpoint", &format!("kv::incr(\"{name}\", 1);")).await;
        full.trigger(&handler, on, config, json!({})).await;
    }
    let visitor = Visitor::new(&edge, [127, 0, 0, 1].into());
    visitor.until("the edge serves it", async |visitor| visitor.visit("/counts").await.0 == 200).await;
    full.signal("-KILL");
    assert!(!full.ended().success());
    let counts = async |visitor: &Visitor| {
        let (status, counts) = visitor.visit("/counts").await;
        assert_eq!(status, 200, "{counts}");
        let (orders, ticks) = counts.split_once(' ').unwrap();
        (orders.parse::<u64>().unwrap(), ticks.parse::<u64>().unwrap())
    };
    let (orders, ticks) = counts(&visitor).await;
    assert_eq!(visitor.visit("/send").await.0, 200);
    visitor
        .until("both are handled", async |visitor| {
            let now = counts(visitor).await;
            now.0 > orders && now.1 > ticks + 1
        })
        .await;
}

#[test]
fn what_an_edge_node_cannot_do_without_is_told_by_the_setting() {
    let home = Home::new(Database::Sqlite);
    let (started, said) = home.run(&["serve", "--dev", "--node-role", "edge"], "");
    assert!(!started && said.contains("node_role is edge, which needs a database_url"), "{said}");
    let (started, said) = home.run(&["config", "check", "--node-role", "half"], "");
    assert!(!started && said.contains("full or edge"), "{said}");
}
