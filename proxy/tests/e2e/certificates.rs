//! Certificates by themselves, from a real ACME server: by each challenge, through crashes and failures.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use picloud_shared::certificate::topmost_issuer;
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::certificate::TlsClient;
use crate::cloud::{
    Database, Demands, Fate, Front, Home, OWNER, PATIENCE, Pebble, TestCloud, WallClock, on_both_databases, text,
};
use crate::raw::RawClient;

/// A cloud that orders from that Pebble, with its owner signed in.
pub async fn start(home: Home, pebble: &Pebble) -> TestCloud {
    start_with(home, pebble, |_| {}).await
}

/// The same with an internal listener, and its origin.
pub async fn start_with_internal(pebble: &Pebble) -> (TestCloud, String) {
    let internal = |command: &mut Command| {
        command.env("PICLOUD_INTERNAL", "127.0.0.1:0");
    };
    let cloud = start_with(Home::new(Database::Sqlite), pebble, internal).await;
    let origin = cloud.internal().to_owned();
    (cloud, origin)
}

async fn start_with(home: Home, pebble: &Pebble, prepare: impl FnOnce(&mut Command)) -> TestCloud {
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        pebble.configure(command);
        prepare(command);
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
    start_prepared(home, pebble, directory, more, |_| {}).await
}

/// The same with further settings.
pub async fn start_prepared(
    home: Home,
    pebble: &Pebble,
    directory: &str,
    more: &str,
    prepare: impl FnOnce(&mut Command),
) -> TestCloud {
    let file = settings_file(&home, pebble, directory, more);
    let mut cloud = TestCloud::start_with(home, |command| {
        prepare(command);
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

/// Visits by clients of both kinds, one after the other until they are told to stop: on new connections, each of which looks at
/// the certificate, and on one that stays. How many there were, all of them answered.
async fn visit_until(
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    root: CertificateDer<'static>,
    is_kept: bool,
    shown: Arc<Mutex<HashSet<Vec<u8>>>>,
) -> usize {
    let mut visits = 0;
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let mut visitor = match kept.take() {
            Some(visitor) => visitor,
            None => {
                // A new client each time: one that resumes a session is shown no certificate.
                let client = TlsClient::new(&[&root], &[]);
                let stream = client.connect(address, "shop.example.com").await.unwrap();
                shown.lock().unwrap().insert(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec());
                RawClient::over(stream)
            }
        };
        visitor.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await.unwrap();
        let answer = visitor.read_answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "sold"));
        visits += 1;
        kept = is_kept.then_some(visitor);
    }
    visits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_lived_certificates_are_renewed_under_load_and_no_request_fails() {
    let settings = vec![("certificateValidityPeriod", json!(16))];
    let pebble = Pebble::start(Demands { settings, ..Demands::default() }).await;
    let cloud = start(Home::new(Database::Sqlite), &pebble).await;
    let app = cloud.app("shop", "shop.example.com").await;
    let script = cloud.script(&app, "main", "endpoint", "\"sold\"").await;
    cloud.route(&script, "exact", "/", "GET").await;
    let root = pebble.root(0).await;
    cloud.until_shown(&TlsClient::new(&[&root], &[]), "shop.example.com").await;
    let (stop, shown) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(HashSet::new())));
    let visitors: Vec<_> = [false, false, false, false, true, true]
        .into_iter()
        .map(|is_kept| {
            let (stop, shown) = (Arc::clone(&stop), Arc::clone(&shown));
            tokio::spawn(visit_until(stop, cloud.address("https"), root.clone(), is_kept, shown))
        })
        .collect();
    let begun = Instant::now();
    // The first, and two that came after it.
    while shown.lock().unwrap().len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "it is renewed: {} of 3", shown.lock().unwrap().len());
        assert!(!visitors.iter().any(tokio::task::JoinHandle::is_finished), "a visit failed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        assert!(visitor.await.unwrap() > 10, "there was load all the time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_21_hosts_that_an_app_claims_at_once_20_are_ordered_few_at_a_time_and_the_last_has_its_day() {
    let pebble = Pebble::start(Demands { environment: vec![("PEBBLE_VA_NOSLEEP", "1")], ..Demands::default() }).await;
    let front = Front::open(&pebble).await;
    let home = Home::new(Database::Sqlite);
    let clock = WallClock::new(home.dir());
    let mut cloud = start_prepared(home, &pebble, &front.directory(), "", |command| clock.configure(command)).await;
    cloud.must(Method::POST, "apps", Some(json!({"slug": "shop", "name": "shop"}))).await;
    for number in 0..21 {
        let claim = json!({ "pattern": format!("host-{number}.example.com") });
        cloud.must(Method::POST, "apps/shop/domains", Some(claim)).await;
    }
    let client = pebble.trusting().await;
    let begun = Instant::now();
    let waiting = loop {
        let all = cloud.must(Method::GET, "certificates?limit=200", None).await;
        let all: Vec<_> = all["items"].as_array().unwrap().iter().filter(|one| one["source"] == "automatic").collect();
        let served = all.iter().filter(|one| one["state"] == "valid").count();
        if let Some(waiting) = all.iter().find(|one| !one["last_error"].is_null())
            && served == 20
        {
            break (*waiting).clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{served} of 20 are there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(waiting["last_error"], "the app had its 20 new certificates of one day");
    assert_eq!((waiting["state"].as_str(), front.done("/order-plz")), (Some("claimed"), 20));
    assert!(front.most_at_once() <= 4, "{} orders at once", front.most_at_once());
    let name = text(&waiting["names"][0]);
    cloud.shows(&client, &name).await.unwrap_err();
    clock.ahead(Duration::from_secs(25 * 60 * 60));
    cloud.until_shown(&client, &name).await;
    cloud.sign_in(OWNER.1).await;
    assert_eq!(front.done("/order-plz"), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kind_of_certificate_that_is_asked_for_is_ordered() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let more = "profile = \"shortlived\"";
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &front.directory(), more).await;
    cloud.app("shop", "shop.example.com").await;
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
    assert_eq!(front.orders_said("profile"), ["shortlived"]);
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
async fn what_a_node_was_at_when_it_died_another_goes_on_with() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let mut cloud = start_by_file(Home::new(Database::postgres()), &pebble, &front.directory(), "").await;
    front.rule(|path| if path.starts_with("/finalize-order/") { Fate::HeldBefore } else { Fate::Passes });
    cloud.app("shop", "shop.example.com").await;
    front.until_held(1).await;
    let second = cloud.another_node(|command| {
        command.env("PICLOUD_HTTP", "127.0.0.1:0").env("PICLOUD_HTTPS", "127.0.0.1:0");
    });
    cloud.signal("-KILL");
    cloud.ended();
    front.let_go();
    // Once the lease of the dead is over.
    let (client, begun) = (pebble.trusting().await, Instant::now());
    while let Err(error) = client.connect(second.address("https"), "shop.example.com").await {
        assert!(begun.elapsed() < PATIENCE, "the other node does not serve it: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(front.done("/order-plz"), 1);
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
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let replaced = front.orders_said("replaces");
    assert_eq!(replaced.len(), 1, "the first replaced nothing");
    let (key, serial) = replaced[0].split_once('.').unwrap();
    assert!(!key.is_empty() && !serial.is_empty(), "{replaced:?}");
}
