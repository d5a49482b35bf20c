//! Certificates by themselves, from a real ACME server: by each challenge, through crashes and failures.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use picloud_shared::certificate::topmost_issuer;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::certificate::TlsClient;
use crate::cloud::{Database, Demands, Fate, Front, Home, OWNER, PATIENCE, Pebble, TestCloud, on_both_databases};
use crate::raw::RawClient;

/// A cloud that orders from that Pebble, with its owner signed in.
pub async fn start(home: Home, pebble: &Pebble) -> TestCloud {
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        pebble.configure(command);
    });
    cloud.sign_in(OWNER.1).await;
    cloud
}

on_both_databases! {
    async fn a_claimed_host_is_served_by_https_with_no_restart(database: Database) {
        let mut pebble = Pebble::start(Demands::default()).await;
        let mut cloud = start(Home::new(database), &pebble).await;
        let client = pebble.trusting().await;
        assert!(cloud.shows(&client, "shop.example.com").await.is_err(), "nobody has claimed it");
        let app = cloud.app("shop", "shop.example.com").await;
        let script = cloud.script(&app, "main", "endpoint", "\"sold\"").await;
        cloud.route(&script, "exact", "/", "GET").await;
        cloud.until_shown(&client, "shop.example.com").await;
        let stream = client.connect(cloud.address("https"), "shop.example.com").await.unwrap();
        let mut visitor = RawClient::over(stream);
        visitor.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await.unwrap();
        let answer = visitor.read_answer().await;
        assert!(answer.body.contains("sold") && answer.header("strict-transport-security").is_none());
        cloud.must(Method::PATCH, "apps/shop", Some(json!({ "hsts_max_age_s": 600 }))).await;
        let stream = client.connect(cloud.address("https"), "shop.example.com").await.unwrap();
        let mut visitor = RawClient::over(stream);
        visitor.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await.unwrap();
        assert_eq!(visitor.read_answer().await.header("strict-transport-security"), Some("max-age=600"));
        let plain = cloud.request(Method::GET, "shop.example.com", "/").send().await.unwrap();
        assert!(plain.headers().get("strict-transport-security").is_none(), "by plain HTTP it says nothing");
        assert!(cloud.shows(&client, "other.example.com").await.is_err(), "nobody has claimed that one");

        // It is kept, with its key, and needs no authority to be served again.
        pebble.stop();
        cloud.signal("-KILL");
        cloud.ended();
        cloud.restart();
        cloud.shows(&client, "shop.example.com").await.unwrap();
    }
}

/// A settings file with one authority, and further lines about it.
fn settings_file(home: &Home, pebble: &Pebble, directory: &str, more: &str) -> PathBuf {
    let file = home.dir().join("picloud.toml");
    let root = pebble.root_file();
    let ports = pebble.acme_table();
    let text = format!("{ports}\n[[acme.authorities]]\ndirectory = {directory:?}\nroot = {root:?}\n{more}\n");
    std::fs::write(&file, text).unwrap();
    file
}

/// A cloud that orders from the authority of a settings file.
pub async fn start_by_file(home: Home, pebble: &Pebble, directory: &str, more: &str) -> TestCloud {
    let file = settings_file(&home, pebble, directory, more);
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        pebble.configure_without_authority(command);
        command.env("PICLOUD_CONFIG", file);
    });
    cloud.sign_in(OWNER.1).await;
    cloud
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_page_is_not_found_a_handshake_shows_the_name_to_be_ours() {
    // Nobody listens on the port that it looks for pages on.
    let pebble = Pebble::start(Demands { settings: vec![("httpPort", json!(5_999))], ..Demands::default() }).await;
    let cloud = start(Home::new(Database::Sqlite), &pebble).await;
    cloud.app("shop", "shop.example.com").await;
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_wants_to_know_its_customer_is_told() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let settings =
        vec![("externalAccountBindingRequired", json!(true)), ("externalAccountMACKeys", json!({ "kid-1": key }))];
    let pebble = Pebble::start(Demands { settings, ..Demands::default() }).await;
    let home = Home::new(Database::Sqlite);
    let key_file = home.dir().join("eab.key");
    std::fs::write(&key_file, key).unwrap();
    let more = format!("eab_kid = \"kid-1\"\neab_key_file = {key_file:?}");
    let cloud = start_by_file(home, &pebble, &pebble.directory(), &more).await;
    cloud.app("shop", "shop.example.com").await;
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preferred_chain_is_chosen() {
    let environment = vec![("PEBBLE_ALTERNATE_ROOTS", "2")];
    let pebble = Pebble::start(Demands { environment, ..Demands::default() }).await;
    let other = pebble.root_pem(2).await;
    let preferred = topmost_issuer(&other).unwrap();
    let home = Home::new(Database::Sqlite);
    let cloud = start_by_file(home, &pebble, &pebble.directory(), &format!("preferred_chain = {preferred:?}")).await;
    cloud.app("shop", "shop.example.com").await;
    let trusts_the_other = TlsClient::new(&[&pebble.root(2).await], &[]);
    cloud.until_shown(&trusts_the_other, "shop.example.com").await;
    assert!(
        cloud.shows(&pebble.trusting().await, "shop.example.com").await.is_err(),
        "it does not lead to the usual root"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_lived_certificates_are_renewed_and_no_request_fails() {
    let settings = vec![("certificateValidityPeriod", json!(16))];
    let pebble = Pebble::start(Demands { settings, ..Demands::default() }).await;
    let cloud = start(Home::new(Database::Sqlite), &pebble).await;
    let app = cloud.app("shop", "shop.example.com").await;
    let script = cloud.script(&app, "main", "endpoint", "\"sold\"").await;
    cloud.route(&script, "exact", "/", "GET").await;
    let root = pebble.root(0).await;
    cloud.until_shown(&TlsClient::new(&[&root], &[]), "shop.example.com").await;
    let begun = Instant::now();
    let mut shown = HashSet::new();
    let mut visits = 0;
    // The first, and two that came after it.
    while shown.len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "it is renewed: {} of 3 after {visits} visits", shown.len());
        // A new client each time: one that resumes a session is shown no certificate.
        let client = TlsClient::new(&[&root], &[]);
        let stream = client.connect(cloud.address("https"), "shop.example.com").await.unwrap();
        shown.insert(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec());
        let mut visitor = RawClient::over(stream);
        visitor.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n\r\n").await.unwrap();
        assert_eq!(visitor.read_answer().await.status, 200);
        visits += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_names_are_asked_for_only_claimed_ones_are_ordered() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &front.directory(), "").await;
    let client = pebble.trusting().await;
    for number in 0..50 {
        let name = format!("flood-{number}.example.com");
        assert!(cloud.shows(&client, &name).await.is_err(), "{name}");
        assert_eq!(cloud.visit(&name, "/").await.0, 404, "{name}");
    }
    cloud.app("shop", "shop.example.com").await;
    cloud.until_shown(&client, "shop.example.com").await;
    assert_eq!(front.done("/order-plz"), 1, "of the flood nothing was ordered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_any_two_steps_leads_to_no_second_order_but_one() {
    let pebble = Pebble::start(Demands { environment: vec![("PEBBLE_VA_SLEEPTIME", "1")], ..Demands::default() }).await;
    let front = Front::open(&pebble).await;
    let mut cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &front.directory(), "").await;
    cloud.app("shop", "first.example.com").await;
    let client = pebble.trusting().await;
    cloud.until_shown(&client, "first.example.com").await;
    let steps = ["/order-plz", "/authZ/", "/chalZ/", "/my-order/", "/finalize-order/", "/certZ/"];
    for (number, (step, fate)) in
        steps.iter().flat_map(|step| [(*step, Fate::HeldBefore), (*step, Fate::HeldAfter)]).enumerate()
    {
        let before = front.done("/order-plz");
        let name = format!("crash-{number}.example.com");
        front.rule(move |path| if path.starts_with(step) { fate } else { Fate::Passes });
        cloud.must(Method::POST, "apps/shop/domains", Some(json!({ "pattern": name }))).await;
        front.until_held(number + 1).await;
        cloud.signal("-KILL");
        cloud.ended();
        front.let_go();
        cloud.restart();
        cloud.until_shown(&client, &name).await;
        let orders = front.done("/order-plz") - before;
        assert!((1..=2).contains(&orders), "{orders} orders after a crash at {step} ({fate:?})");
        // What was placed and written down is gone on with, unless the authority looked while nobody was there.
        let is_gone_on_with = matches!(step, "/authZ/" | "/finalize-order/" | "/certZ/");
        assert!(!is_gone_on_with || orders == 1, "{orders} orders after a crash at {step} ({fate:?})");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_order_each_name_once() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let cloud = start_by_file(Home::new(Database::postgres()), &pebble, &front.directory(), "").await;
    // Authorities never get to the second: what it orders, the first must answer for.
    let _second = cloud.another_node(|command| {
        command.env("PICLOUD_HTTP", "127.0.0.1:0").env("PICLOUD_HTTPS", "127.0.0.1:0");
    });
    cloud.must(Method::POST, "apps", Some(json!({"slug": "shop", "name": "shop"}))).await;
    let names: Vec<String> = (0..20).map(|number| format!("host-{number}.example.com")).collect();
    for name in &names {
        cloud.must(Method::POST, "apps/shop/domains", Some(json!({ "pattern": name }))).await;
    }
    let client = pebble.trusting().await;
    for name in &names {
        cloud.until_shown(&client, name).await;
    }
    assert_eq!(front.done("/order-plz"), names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_when_its_authority_wants_it_and_says_what_it_replaces() {
    let settings = vec![("certificateValidityPeriod", json!(600))];
    let pebble = Pebble::start(Demands { settings, ..Demands::default() }).await;
    let front = Front::open(&pebble).await;
    // It was to be renewed long ago, as when an authority has to revoke.
    front.wants_renewal("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &front.directory(), "").await;
    cloud.app("shop", "shop.example.com").await;
    let begun = Instant::now();
    while front.done("/order-plz") < 2 {
        assert!(begun.elapsed() < PATIENCE, "it is renewed after 30 s, a twentieth of its life");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (key, serial) = front.replaced()[0].split_once('.').map(|(key, serial)| (key.len(), serial.len())).unwrap();
    assert!(key > 0 && serial > 0, "{:?}", front.replaced());
    assert_eq!(front.replaced().len(), 1, "the first replaced nothing");
}
