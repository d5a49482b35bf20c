//! Several nodes on one PostgreSQL, of which any may die at any moment, and the database with them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::cloud::{Database, Home, OWNER, PATIENCE, Process, TestCloud};
use crate::crash_oracle::Oracle;

/// How long there are kills, unless `PICLOUD_CHAOS_SECONDS` says otherwise: with 300, one each 20 seconds.
const SECONDS: u64 = 40;

/// Kills in that time.
const KILLS: u32 = 15;

/// Visits in that time, so that the store has all of their events still at the end.
const VISITS: u32 = 3_600;

/// Who visits at once.
const VISITORS: u32 = 3;

/// Where nodes listen; none where one is dead.
#[derive(Clone)]
struct Addresses(Arc<Mutex<Vec<Option<SocketAddr>>>>);

impl Addresses {
    fn set(&self, node: usize, address: Option<SocketAddr>) {
        self.0.lock().unwrap()[node] = address;
    }

    /// The address of one that lives, another each time.
    fn any(&self, turn: u32) -> Option<SocketAddr> {
        let nodes = self.0.lock().unwrap();
        let live: Vec<_> = nodes.iter().flatten().collect();
        (!live.is_empty()).then(|| *live[turn as usize % live.len()])
    }

    fn all(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().iter().flatten().copied().collect()
    }
}

/// Three nodes.
struct Nodes {
    cloud: TestCloud,
    others: Vec<Option<Process>>,
    addresses: Addresses,
}

impl Nodes {
    async fn start(database: Database) -> Self {
        let mut cloud = TestCloud::start_with(Home::new(database), |command| {
            command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
            command.env("PICLOUD_EVENT_LEASE_MS", "3000");
        });
        cloud.sign_in(OWNER.1).await;
        let others: Vec<_> = (0..2).map(|_| Some(cloud.another_node(|_| {}))).collect();
        let first = std::iter::once(Some(cloud.address("http")));
        let all = first.chain(others.iter().flatten().map(|node| Some(node.address("http")))).collect();
        Self { cloud, others, addresses: Addresses(Arc::new(Mutex::new(all))) }
    }

    /// Kills a node, and starts it again.
    fn kill(&mut self, node: usize) {
        let address = match node.checked_sub(1) {
            None => {
                self.cloud.signal("-KILL");
                self.addresses.set(node, None);
                assert!(!self.cloud.ended().success());
                self.cloud.restart();
                self.cloud.address("http")
            }
            Some(other) => {
                let mut killed = self.others[other].take().unwrap();
                killed.signal("-KILL");
                self.addresses.set(node, None);
                assert!(!killed.ended().success());
                let again = self.cloud.another_node(|_| {});
                self.others[other].insert(again).address("http")
            }
        };
        self.addresses.set(node, Some(address));
    }

    /// Which version each node serves.
    async fn versions(&self, client: &Client) -> Vec<Value> {
        let mut versions = Vec::new();
        for address in self.addresses.all() {
            let ready =
                client.get(format!("http://{address}/readyz")).header("host", "localhost").send().await.unwrap();
            versions.push(ready.json::<Value>().await.unwrap()["snapshot_version"].clone());
        }
        versions
    }
}

/// Visits the shop until it is told to end; the names that were acknowledged, with the answers, and how many visits failed.
async fn visit(
    (visitor, pause): (u32, Duration),
    addresses: Addresses,
    is_over: Arc<AtomicBool>,
) -> (Vec<(String, String)>, usize) {
    let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let (mut answered, mut failed) = (Vec::new(), 0);
    for number in 0_u32.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(pause).await;
        let Some(address) = addresses.any(visitor + number) else { continue };
        let n = format!("{visitor}-{number}");
        let request = client.get(format!("http://{address}/?n={n}")).header("host", "shop.test");
        match request.send().await {
            Ok(response) if response.status() == 200 => match response.text().await {
                Ok(id) => answered.push((n, id)),
                Err(_) => failed += 1,
            },
            // The store may be away, or the node may have died amid it.
            Ok(response) if response.status().is_server_error() => failed += 1,
            Err(_) => failed += 1,
            Ok(response) => panic!("{}", response.status()),
        }
    }
    (answered, failed)
}

/// Changes of the configuration, one after the other: the last one of each kind that was acknowledged, and that was asked for.
#[derive(Debug, Default)]
struct Changes {
    asked: u32,
    env: u32,
    script: u32,
    routes: Vec<u32>,
    failed: usize,
}

async fn change(
    (app_script, token): (String, String),
    pause: Duration,
    addresses: Addresses,
    is_over: Arc<AtomicBool>,
) -> Changes {
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    let mut changes = Changes::default();
    while !is_over.load(Ordering::Relaxed) {
        tokio::time::sleep(pause).await;
        changes.asked += 1;
        let number = changes.asked;
        let Some(address) = addresses.any(number) else { continue };
        let (method, path, body) = match number % 3 {
            0 => (Method::PUT, "apps/shop/env/SEQ".to_owned(), json!({ "value": number.to_string() })),
            1 => (Method::PATCH, format!("scripts/{app_script}"), json!({ "source": format!("`{number}`") })),
            _ => {
                let path = format!("/made/{number}");
                let route = json!({ "host_kind": "any", "path_kind": "exact", "path": path, "method": "GET" });
                (Method::POST, format!("scripts/{app_script}/routes"), route)
            }
        };
        let call = client.request(method, format!("http://{address}/api/v1/admin/{path}")).bearer_auth(&token);
        match call.json(&body).send().await {
            Ok(answer) if answer.status().is_success() => match number % 3 {
                0 => changes.env = number,
                1 => changes.script = number,
                _ => changes.routes.push(number),
            },
            Ok(answer) if answer.status() != 503 => {
                panic!("{path}: {} {}", answer.status(), answer.text().await.unwrap_or_default())
            }
            _ => changes.failed += 1,
        }
    }
    changes
}

/// How long it took until all nodes that live served what one of them served already, time and again. What a node that died meanwhile
/// or could not reach the store was behind does not count.
async fn agree(addresses: Addresses, is_over: Arc<AtomicBool>) -> Vec<Duration> {
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    let version = async |address: SocketAddr| {
        let ready = client.get(format!("http://{address}/readyz")).header("host", "localhost").send().await.ok()?;
        let ready = ready.json::<Value>().await.ok()?;
        ready["snapshot_version"].as_u64().filter(|_| ready["store"] == "reachable")
    };
    let mut took = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut behind = addresses.all();
        let mut newest = 0;
        for address in &behind {
            newest = version(*address).await.unwrap_or(0).max(newest);
        }
        let begun = Instant::now();
        let is_told = loop {
            let Some(address) = behind.last() else { break true };
            match version(*address).await {
                Some(served) if served >= newest => drop(behind.pop()),
                Some(_) => {}
                None => break false,
            }
        };
        if is_told {
            took.push(begun.elapsed());
        }
    }
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_die_in_turn_and_their_database_lose_nothing_that_was_acknowledged() {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment how long to go on")]
    let seconds = std::env::var("PICLOUD_CHAOS_SECONDS").ok().map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let span = Duration::from_secs(seconds);
    let mut nodes = Nodes::start(Database::cluster()).await;
    let mut oracle = Oracle::set_up(&nodes.cloud).await;
    let app = nodes.cloud.must(Method::GET, "apps/shop", None).await["id"].as_str().unwrap().to_owned();
    let edited = nodes.cloud.script(&app, "edited", "endpoint", "`0`").await;
    nodes.cloud.route(&edited, "exact", "/edited", "GET").await;

    let is_over = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = (0..VISITORS)
        .map(|visitor| {
            let pause = span * VISITORS / VISITS;
            tokio::spawn(visit((visitor, pause), nodes.addresses.clone(), Arc::clone(&is_over)))
        })
        .collect();
    let of_changes = (edited.clone(), nodes.cloud.token().to_owned());
    // At most a few hundred routes are made.
    let changing = tokio::spawn(change(of_changes, span / 400, nodes.addresses.clone(), Arc::clone(&is_over)));

    let agreeing = tokio::spawn(agree(nodes.addresses.clone(), Arc::clone(&is_over)));

    let begun = Instant::now();
    let (mut starts, mut database_restarts) = (Vec::new(), 0);
    for kill in 1..=KILLS {
        let due = span * kill / (KILLS + 1);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        if kill == KILLS / 3 || kill == 2 * KILLS / 3 {
            // Once in order, and once as by a crash.
            let cluster = nodes.cloud.home.cluster();
            if database_restarts == 0 {
                cluster.stop()
            } else {
                cluster.crash()
            }
            cluster.start_again();
            database_restarts += 1;
        } else {
            let started = Instant::now();
            nodes.kill((kill % 3) as usize);
            starts.push(started.elapsed());
        }
    }
    tokio::time::sleep(span.saturating_sub(begun.elapsed())).await;
    is_over.store(true, Ordering::Relaxed);
    let mut failed = 0;
    for visitor in visitors {
        let (answered, failures) = visitor.await.unwrap();
        oracle.acknowledged.extend(answered);
        failed += failures;
    }
    let changes = changing.await.unwrap();
    let agreements = agreeing.await.unwrap();
    let longest_behind = agreements.last().copied().unwrap();
    assert!(longest_behind < Duration::from_secs(5), "a node was behind for {longest_behind:?}");

    // Quiet now: all nodes come to serve the same.
    let (quiet, client) = (Instant::now(), Client::new());
    while !nodes.versions(&client).await.windows(2).all(|pair| pair[0] == pair[1]) {
        assert!(
            quiet.elapsed() < Duration::from_secs(5),
            "the nodes do not agree: {:?}",
            nodes.versions(&client).await
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let agreed = quiet.elapsed();

    let asked = changes.asked;
    let env = nodes.cloud.must(Method::GET, "apps/shop/env/SEQ", None).await;
    let env: u32 = env["value"].as_str().unwrap().parse().unwrap();
    assert!((changes.env..=asked).contains(&env), "SEQ is {env} after {changes:?}");
    let routes = nodes.cloud.all("apps/shop/routes").await;
    for made in &changes.routes {
        let path = format!("/made/{made}");
        assert!(routes.iter().any(|route| route["path"] == path.as_str()), "{path} was acknowledged and is not there");
    }
    for address in nodes.addresses.all() {
        let get = client.get(format!("http://{address}/edited")).header("host", "shop.test");
        let served: u32 = get.send().await.unwrap().text().await.unwrap().parse().unwrap();
        assert!((changes.script..=asked).contains(&served), "{address} serves {served} after {changes:?}");
    }
    let listed = nodes.cloud.must(Method::GET, "nodes", None).await;
    let live = listed["nodes"].as_array().unwrap().iter().filter(|node| node["is_live"] == true).count();
    assert!(live >= 3, "{listed}");
    guesses_count_together(&nodes, &client).await;

    let longest = starts.iter().max().copied().unwrap_or_default();
    // What the database broke off may have done a part of its work.
    let figures = oracle.hold(&nodes.cloud, &["lost", "error", "timeout"]).await;
    eprintln!(
        "{seconds} s, {} kills (longest until it served again {longest:?}), {database_restarts} restarts of the database: {figures}; \
         {failed} visits failed; of {asked} changes {} failed; agreed after {agreed:?}, and amid it {} times after {longest_behind:?} at most, \
         99 of 100 after {:?}",
        starts.len(),
        changes.failed,
        agreements.len(),
        agreements[agreements.len() * 99 / 100]
    );
}

/// Whoever guesses at all nodes has no more guesses than whoever does so at one.
async fn guesses_count_together(nodes: &Nodes, client: &Client) {
    let mut answers = Vec::new();
    for guess in 0..9 {
        let address = nodes.addresses.any(guess).unwrap();
        let guess = json!({ "username": OWNER.0, "password": format!("guess number {guess}") });
        let call = client.post(format!("http://{address}/api/v1/admin/auth/login")).json(&guess);
        answers.push(call.send().await.unwrap().status().as_u16());
    }
    assert_eq!(answers[..5], [401; 5], "{answers:?}");
    assert!(answers[5..].contains(&429), "{answers:?}");
}
