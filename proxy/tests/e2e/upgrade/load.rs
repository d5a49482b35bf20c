//! Upgrades under load: each request gets its own answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::certificate;

/// Clients that ask until they are told to end.
struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<u64>>,
}

impl Load {
    fn new() -> Self {
        Self { ends: Arc::default(), answered: Arc::default(), clients: Vec::new() }
    }

    /// Asks again and again by what is given the number of a request, and tells how often it had to send it again.
    fn add<F: Future<Output = u64> + Send>(&mut self, ask: impl Fn(u64) -> F + Send + 'static) {
        let (ends, answered) = (Arc::clone(&self.ends), Arc::clone(&self.answered));
        let first = self.clients.len() as u64 * 1_000_000;
        self.clients.push(tokio::spawn(async move {
            let mut again = 0;
            for number in first.. {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                again += ask(number).await;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            again
        }));
    }

    /// Waits until so many more requests were answered.
    async fn goes_on(&self, requests: u64) {
        let (begun, before) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < before + requests {
            assert!(
                begun.elapsed() < PATIENCE && !self.clients.iter().any(|client| client.is_finished()),
                "it goes on"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) -> Vec<u64> {
        self.ends.store(true, Ordering::Relaxed);
        let mut again = Vec::new();
        for client in self.clients {
            again.push(client.await.unwrap());
        }
        again
    }
}

fn post(number: u64, connection: &str) -> String {
    let body = number.to_string();
    format!(
        "POST / HTTP/1.1\r\nhost: shop.test\r\nconnection: {connection}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

on_both_databases! {
    async fn no_request_is_lost_by_upgrades_one_after_another(database: Database) {
        let mut root = None;
        let mut cloud = Upgraded::start(database, |command, dir| {
            let (files, trusted) = certificate::write(dir, "cert", &["shop.test", "pi.test"]);
            root = Some(trusted);
            command.args(["--https", "127.0.0.1:0", "--tls-chain"]).arg(&files.chain).arg("--tls-key").arg(&files.key);
            command.args(["--redirect-to-https", "false"]);
        }).await;
        let app = cloud.app("shop", "shop.test").await;
        let script = cloud.script(&app, "echo", "endpoint", "ctx.request.text").await;
        cloud.route(&script, "exact", "/", "POST").await;
        let (http, https) = (cloud.address("http"), cloud.address("https"));

        let mut load = Load::new();
        // A connection for each request: none of them is ever sent again.
        for _ in 0..2 {
            load.add(move |number| async move {
                let mut client = RawClient::connect(http).await;
                client.write_all(post(number, "close").as_bytes()).await.unwrap();
                let answer = client.read_answer().await;
                assert_eq!((answer.status, answer.body), (200, number.to_string()));
                0
            });
        }
        // One connection for as many as it takes: what was sent on one that was closed without an answer is sent on another.
        for _ in 0..2 {
            let kept = Arc::new(tokio::sync::Mutex::new(None::<RawClient>));
            load.add(move |number| {
                let kept = Arc::clone(&kept);
                async move {
                    let mut kept = kept.lock().await;
                    let mut again = 0;
                    loop {
                        let is_new = kept.is_none();
                        let mut client = match kept.take() {
                            Some(client) => client,
                            None => RawClient::connect(http).await,
                        };
                        let sent = client.write_all(post(number, "keep-alive").as_bytes()).await.is_ok();
                        if !(sent && client.is_answered().await) {
                            assert!(!is_new, "a new connection is answered");
                            again += 1;
                            continue;
                        }
                        let answer = client.read_answer().await;
                        assert_eq!((answer.status, &answer.body), (200, &number.to_string()));
                        if answer.header("connection") != Some("close") {
                            *kept = Some(client);
                        }
                        return again;
                    }
                }
            });
        }
        // HTTPS, by HTTP/2 and by HTTP/1.1, as clients do it that people use.
        for only_http_1 in [false, true] {
            let root = reqwest::Certificate::from_der(root.as_ref().unwrap().as_ref()).unwrap();
            let client = reqwest::Client::builder().tls_certs_only([root]).resolve("shop.test", https).timeout(PATIENCE);
            let client = if only_http_1 { client.http1_only() } else { client }.build().unwrap();
            load.add(move |number| {
                let client = client.clone();
                async move {
                    let mut again = 0;
                    loop {
                        let sent = client.post(format!("https://shop.test:{}/", https.port())).body(number.to_string()).send();
                        match sent.await {
                            Ok(answer) => {
                                assert_eq!(answer.status(), 200);
                                assert_eq!(answer.text().await.unwrap(), number.to_string());
                                return again;
                            }
                            // As above: closed while it was idle.
                            Err(error) => {
                                again += 1;
                                assert!(again < 3, "{error:?}");
                            }
                        }
                    }
                }
            });
        }

        load.goes_on(100).await;
        for _ in 0..3 {
            cloud.upgraded();
            load.goes_on(200).await;
        }
        let again = load.end().await;
        // For each upgrade, a connection that was closed while it was idle.
        assert!(again[2..].iter().all(|again| *again <= 3), "{again:?}");
        assert_eq!(cloud.first_ended().await.code(), Some(0));
    }

    async fn a_change_that_was_acknowledged_during_an_upgrade_is_served_by_the_new_process(database: Database) {
        let cloud = Arc::new(Upgraded::start(database, |_, _| {}).await);
        let script = cloud.publish("`0`").await;
        let ends = Arc::new(AtomicBool::new(false));
        let (changed, script, told) = (Arc::clone(&cloud), script.clone(), Arc::clone(&ends));
        let changing = tokio::spawn(async move {
            let mut version = 0_u64;
            while !told.load(Ordering::Relaxed) {
                version += 1;
                changed.edit(&script, &format!("`{version}`")).await;
                // Whoever answers may be the other one, which knows of it very soon.
                let begun = Instant::now();
                while changed.visit("shop.test", "/").await.1 != version.to_string() {
                    assert!(begun.elapsed() < Duration::from_secs(3), "{version}");
                }
            }
            version
        });
        for _ in 0..3 {
            let upgrading = Arc::clone(&cloud);
            tokio::task::spawn_blocking(move || upgrading.upgraded()).await.unwrap();
            assert!(!changing.is_finished());
        }
        ends.store(true, Ordering::Relaxed);
        let version = changing.await.unwrap();
        assert!(version > 3);
        assert_eq!(cloud.visit("shop.test", "/").await, (200, version.to_string()));
    }
}
