//! Upgrades of a program that serves: what clients see of them, and what becomes of a binary that is none.

mod load;
mod systemd;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cloud::{Database, Home, OWNER, PATIENCE, TestCloud, by_path, on_both_databases, picloud, text};
use crate::raw::RawClient;

/// A cloud that is upgraded: the process that was started first is one of several.
pub struct Upgraded {
    cloud: TestCloud,
    binary: PathBuf,
}

impl Upgraded {
    /// Starts one that has an owner, by a link to the binary that can lead elsewhere.
    async fn start(database: Database, prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        let home = Home::new(database);
        let dir = home.dir().to_owned();
        let binary = dir.join("picloud");
        symlink(env!("CARGO_BIN_EXE_picloud"), &binary).unwrap();
        let mut cloud = TestCloud::start_with(home, |command| {
            *command = by_path(command, &binary);
            command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
            prepare(command, &dir);
        });
        cloud.sign_in(OWNER.1).await;
        // What is sent on one that is closed meanwhile would have to be sent again.
        cloud.keep_no_connections();
        Self { cloud, binary }
    }

    /// Puts another binary in the place of the one that was started.
    fn install(&self, made: impl FnOnce(&Path)) {
        let new = self.binary.with_extension("new");
        made(&new);
        std::fs::rename(new, &self.binary).unwrap();
    }

    /// Puts the real one there.
    fn install_real(&self) {
        self.install(|path| symlink(env!("CARGO_BIN_EXE_picloud"), path).unwrap());
    }

    /// Puts a script there, which says its version and else does this.
    fn install_script(&self, commands: &str) {
        self.install(|path| {
            std::fs::write(path, format!("#!/bin/sh\n[ \"$1\" = --version ] && exec echo other 9\n{commands}\n"))
                .unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        });
    }

    /// Whether `picloud upgrade` succeeds, and what it says.
    fn upgrade(&self) -> (bool, String) {
        self.home.run(&["upgrade", "--upgrade-timeout-ms", "60000"], "")
    }

    /// An upgrade that must succeed.
    fn upgraded(&self) {
        let before = self.serving();
        let (done, said) = self.upgrade();
        assert!(done && self.serving() != before, "{said}");
    }

    /// The number of the process that serves.
    fn serving(&self) -> u32 {
        self.note().lines().next().unwrap().parse().unwrap()
    }

    /// What the process that serves has written down.
    fn note(&self) -> String {
        std::fs::read_to_string(self.lock()).unwrap()
    }

    fn lock(&self) -> PathBuf {
        self.home.dir().join("data/serve.lock")
    }

    /// Whether any process serves.
    fn is_served(&self) -> bool {
        File::open(self.lock()).is_ok_and(|file| file.try_lock().is_err())
    }

    /// Waits until the process that was started first has ended.
    async fn first_ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process().has_ended() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn send(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.serving().to_string()]).status().expect("kill is there");
        assert!(sent.success());
    }
}

impl Deref for Upgraded {
    type Target = TestCloud;

    fn deref(&self) -> &TestCloud {
        &self.cloud
    }
}

impl DerefMut for Upgraded {
    fn deref_mut(&mut self) -> &mut TestCloud {
        &mut self.cloud
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        // The first one is a child, which is killed by itself.
        let first = self.cloud.process().id();
        if self.is_served() && self.serving() != first {
            let _ = Command::new("kill").args(["-KILL", &self.serving().to_string()]).status();
        }
    }
}

on_both_databases! {
    async fn a_request_in_flight_ends_where_it_began_and_others_are_answered_by_the_new_process(database: Database) {
        let mut cloud = Upgraded::start(database, |_, _| {}).await;
        let app = cloud.app("shop", "shop.test").await;
        let script = cloud.script(&app, "echo", "endpoint", "ctx.request.text").await;
        cloud.route(&script, "exact", "/", "POST").await;
        let ask = b"GET /none HTTP/1.1\r\nhost: shop.test\r\n\r\n";
        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut client = RawClient::connect(cloud.address("http")).await;
            client.write_all(ask).await.unwrap();
            assert_eq!(client.read_answer().await.status, 404);
            kept.push(client);
        }
        let mut client = in_flight(&cloud).await;

        cloud.upgraded();
        let (mut asks_on, mut idle) = (kept.remove(0), kept.remove(0));
        asks_on.write_all(ask).await.unwrap();
        let answer = asks_on.read_answer().await;
        assert_eq!((answer.status, answer.header("connection")), (404, Some("close")), "it is told to go elsewhere");
        assert!(!idle.is_answered().await, "a connection without a request is closed in the end");
        let answer = cloud.request(Method::POST, "shop.test", "/").body("new").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "new"));
        assert!(cloud.process().has_ended().is_none(), "it has not got its body yet");
        client.write_all(b"whole").await.unwrap();
        let answer = client.read_answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "whole"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(cloud.first_ended().await.code(), Some(0));
        let logs = cloud.until(&format!("scripts/{script}/logs"), |logs| logs["total"] == 2).await;
        assert!(logs["items"].as_array().unwrap().iter().all(|run| run["outcome"] == "success"), "{logs}");
        cloud.upgraded();
        assert_eq!(cloud.visit("shop.test", "/none").await.0, 404);
    }

    async fn what_the_old_process_adds_is_handled_though_a_third_one_was_asked_for_in_vain(database: Database) {
        let mut cloud = Upgraded::start(database, |command, dir| {
            let settings = dir.join("picloud.toml");
            std::fs::write(&settings, "upgrade_timeout_ms = 20000\n").unwrap();
            command.arg("--config").arg(settings);
        }).await;
        let app = cloud.app("shop", "shop.test").await;
        let sender = cloud.script(&app, "sender", "endpoint", "queue::send(\"mail\", ctx.request.text)").await;
        cloud.route(&sender, "exact", "/", "POST").await;
        let handler = cloud.script(&app, "handler", "endpoint", "kv::set(\"got\", ctx.event.payload)").await;
        cloud.trigger(&handler, "queue", json!({ "queue": "mail" }), json!({})).await;
        let mut client = in_flight(&cloud).await;

        // So long the new one waits for the end of the old one.
        std::fs::write(cloud.home.dir().join("picloud.toml"), "upgrade_timeout_ms = 100\n").unwrap();
        cloud.upgraded();
        let (done, said) = cloud.upgrade();
        assert!(!done && said.contains("still finishes what it began"), "{said}");
        client.write_all(b"whole").await.unwrap();
        assert_eq!(client.read_answer().await.status, 200);
        let (begun, got) = (Instant::now(), format!("apps/{app}/kv/default/got"));
        while cloud.api(Method::GET, &got, None).await.0 == 404 {
            assert!(begun.elapsed() < PATIENCE, "it is not handled");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(cloud.must(Method::GET, &got, None).await["value"], "whole");
        assert_eq!(cloud.first_ended().await.code(), Some(0));
    }

    async fn a_new_process_that_is_to_end_lets_the_old_one_finish(database: Database) {
        let mut cloud = Upgraded::start(database, |_, _| {}).await;
        let app = cloud.app("shop", "shop.test").await;
        let script = cloud.script(&app, "echo", "endpoint", "ctx.request.text").await;
        cloud.route(&script, "exact", "/", "POST").await;
        let mut client = in_flight(&cloud).await;
        cloud.upgraded();
        let new = cloud.serving().to_string();
        cloud.send("-TERM");
        while TcpStream::connect(cloud.address("http")).await.is_ok() {}
        // It has nothing of its own to do any more, and systemd would end the other with it.
        for _ in 0..30 {
            assert!(is_running(&new));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.write_all(b"whole").await.unwrap();
        assert_eq!(client.read_answer().await.body, "whole");
        assert_eq!(cloud.first_ended().await.code(), Some(0));
        let begun = Instant::now();
        while is_running(&new) {
            assert!(begun.elapsed() < PATIENCE, "it goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn a_new_binary_that_does_not_come_to_serve_leaves_the_one_that_does(database: Database) {
        let mut cloud = Upgraded::start(database, |command, dir| {
            let settings = dir.join("picloud.toml");
            std::fs::write(&settings, "upgrade_timeout_ms = 20000\n").unwrap();
            command.arg("--config").arg(settings);
        }).await;
        cloud.publish("`1`").await;
        let first = cloud.serving();
        let settings = cloud.home.dir().join("picloud.toml");

        cloud.install(|path| std::fs::write(path, "no binary").unwrap());
        let fails = |cloud: &Upgraded, why: &str| {
            let (done, said) = cloud.upgrade();
            assert!(!done && said.contains(why), "{why}: {said}");
            assert_eq!(cloud.serving(), first);
        };
        fails(&cloud, "cannot be run");
        cloud.install_script("exit 7");
        fails(&cloud, "ended before it served: exit status: 7");
        // What cannot be tried out beforehand is found out all the same.
        cloud.install(|path| std::fs::write(path, "no binary").unwrap());
        let note = cloud.note();
        cloud.send("-QUIT");
        while cloud.note() == note {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(cloud.note().contains("cannot be started"), "{}", cloud.note());
        // The real one, with settings that are none.
        cloud.install_real();
        std::fs::write(&settings, "upgrade_timeout_ms = 20000\nmax_conections = 5\n").unwrap();
        fails(&cloud, "max_connections");
        std::fs::write(&settings, "").unwrap();
        assert_eq!(cloud.visit("shop.test", "/").await, (200, "1".to_owned()));
        assert!(cloud.process().has_ended().is_none());
        cloud.upgraded();
        assert_eq!(cloud.visit("shop.test", "/").await, (200, "1".to_owned()));
        assert_eq!(cloud.first_ended().await.code(), Some(0));
    }

    async fn what_is_being_handled_at_an_upgrade_is_handled_once(database: Database) {
        // Leases of so many seconds end within the run, unless they are renewed.
        let mut cloud = Upgraded::start(database, |command, _| {
            command.env("PICLOUD_EVENT_LEASE_MS", "4000").env("PICLOUD_SCRIPT_HTTP_ALLOW", "127.0.0.1");
        }).await;
        let app = cloud.app("shop", "shop.test").await;
        let (go, gate) = watch::channel(false);
        let source = format!(
            "kv::incr(ctx.event.payload, 1); http::get(\"http://{}/\", #{{ timeout_ms: 30000 }}); \"done\"",
            answers_after(gate).await
        );
        let handler = json!({"app_id": app, "name": "handler", "kind": "endpoint", "source": source,
            "timeout_ms": 60_000, "sandbox": {"max_operations": 50_000_000}});
        let handler = text(&cloud.must(Method::POST, "scripts", Some(handler)).await["id"]);
        for queue in ["before", "after"] {
            cloud.trigger(&handler, "queue", json!({ "queue": queue }), json!({})).await;
        }
        let entry = |key: &str| format!("apps/shop/kv/default/{key}");
        let mut events = Vec::new();
        for queue in ["before", "after"] {
            events.push(cloud.cloud.send(queue, json!(queue)).await);
            while cloud.api(Method::GET, &entry(queue), None).await.0 == 404 {}
            if queue == "before" {
                cloud.upgraded();
            }
        }
        // Longer than a lease that nobody renews, or that is read by another clock.
        tokio::time::sleep(Duration::from_secs(6)).await;
        go.send_replace(true);
        for (event, queue) in events.iter().zip(["before", "after"]) {
            let event = cloud.until_event_is(event, "done").await;
            assert_eq!(event["attempts"].as_array().map(Vec::len), Some(1), "{event}");
            assert_eq!(cloud.must(Method::GET, &entry(queue), None).await["value"], 1);
        }
        assert_eq!(cloud.first_ended().await.code(), Some(0));
    }
}

/// A request that was begun, of which five bytes are awaited.
async fn in_flight(cloud: &Upgraded) -> RawClient {
    let mut client = RawClient::connect(cloud.address("http")).await;
    let head = "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.status, 100);
    client
}

/// A server that answers each request once the gate is open.
async fn answers_after(gate: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut gate = gate.clone();
            tokio::spawn(async move {
                // Bytes that nobody reads would have the answer overtaken by a reset.
                assert!(client.read(&mut [0; 4096]).await.unwrap() > 0);
                gate.wait_for(|open| *open).await.unwrap();
                client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            });
        }
    });
    address
}

/// Whether a process runs: one that has ended may stay in the table.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_binary_that_hangs_is_ended_in_time_and_with_the_process_that_is_told_to_end() {
    let mut cloud = Upgraded::start(Database::Sqlite, |command, _| {
        command.env("PICLOUD_UPGRADE_TIMEOUT_MS", "300");
    })
    .await;
    let pid = cloud.home.dir().join("pid");
    cloud.install_script(&format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()));
    let gone = async || {
        let process = std::fs::read_to_string(&pid).unwrap();
        let begun = Instant::now();
        while is_running(process.trim()) {
            assert!(begun.elapsed() < PATIENCE, "it goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::remove_file(&pid).unwrap();
    };
    let (done, said) = cloud.upgrade();
    assert!(!done && said.contains("does not serve after"), "{said}");
    gone().await;
    assert_eq!(cloud.visit("shop.test", "/").await.0, 404);

    // Once more, and it is told to end meanwhile.
    cloud.send("-QUIT");
    while !pid.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cloud.send("-TERM");
    assert_eq!(cloud.first_ended().await.code(), Some(0));
    gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edge_nodes_reach_the_new_process_where_they_reached_the_old_one() {
    let mut cloud = Upgraded::start(Database::postgres(), |command, _| {
        command.env("PICLOUD_NODE_LISTEN", "127.0.0.1:0");
    })
    .await;
    let address = async |cloud: &Upgraded| {
        let nodes = cloud.must(Method::GET, "nodes", None).await;
        let this = nodes["nodes"].as_array().unwrap().iter().find(|node| node["is_this"] == true).cloned();
        text(&this.unwrap()["address"])
    };
    let before = address(&cloud).await;
    cloud.upgraded();
    // A socket of its own would have another port.
    assert_eq!(address(&cloud).await, before);
    assert_eq!(cloud.first_ended().await.code(), Some(0));
    TcpStream::connect(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_says_where_nobody_serves() {
    let home = Home::new(Database::Sqlite);
    let (done, said) = home.run(&["upgrade"], "");
    assert!(!done && said.contains("no picloud serves from"), "{said}");
    // What was left by one that was killed is nobody either.
    let cloud = TestCloud::start_with(home, |_| {});
    let home = cloud.stop();
    let (done, said) = home.run(&["upgrade"], "");
    assert!(!done && said.contains("no picloud serves from"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_merely_has_the_environment_of_a_successor_is_none() {
    let home = Home::new(Database::Sqlite);
    let cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_PREDECESSOR", "1");
    });
    assert_eq!(cloud.visit("shop.test", "/").await.0, 404);
    let mut command = picloud();
    command.env("PICLOUD_PREDECESSOR", std::process::id().to_string());
    command.args(["serve", "--dev", "--http", "127.0.0.1:0", "--data-dir"]).arg(cloud.home.dir().join("other"));
    let (done, said) = crate::cloud::run(&mut command, "{}");
    assert!(!done && said.contains("handed over nothing"), "{said}");
}
