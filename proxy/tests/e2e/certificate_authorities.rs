//! Several authorities and their practice grounds: who is asked first, who next, who is left alone, and what the history says of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use picloud_shared::clock::{Clock, SystemClock, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::certificate_troubles::{says, until};
use crate::certificates::start_prepared;
use crate::cloud::{Database, Demands, Fate, Front, Home, OWNER, Pebble, TestCloud, WallClock, text};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// One that answers at once; what is told of authorities that dawdle is told elsewhere.
async fn quick(settings: Vec<(&'static str, Value)>) -> Pebble {
    Pebble::start(Demands { settings, environment: vec![("PEBBLE_VA_NOSLEEP", "1")], ..Demands::default() }).await
}

async fn claim(cloud: &TestCloud, name: &str) {
    cloud.must(Method::POST, "apps/shop/domains", Some(json!({ "pattern": name }))).await;
}

/// The history of a certificate, the newest first: by whom, and what came of it.
async fn attempts(cloud: &TestCloud, certificate: &Value) -> Vec<(String, String)> {
    let shown = cloud.must(Method::GET, &format!("certificates/{}", text(&certificate["id"])), None).await;
    let attempts = shown["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| (text(&attempt["authority"]), text(&attempt["outcome"]))).collect()
}

fn done(by: &str, outcome: &str) -> (String, String) {
    (by.to_owned(), outcome.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_authority_refuses_or_is_away_for_the_next_one_signs() {
    let first = quick(vec![("domainBlocklist", json!(["blocked.example.com"]))]).await;
    let second = quick(Vec::new()).await;
    second.look_where(&first).await;
    let front = Front::open(&first).await;
    let (one, other) = (front.directory(), second.directory());
    let more = format!("[[acme.authorities]]\ndirectory = {other:?}\nroot = {:?}", second.root_file());
    let cloud = start_prepared(Home::new(Database::Sqlite), &first, &one, &more, |_| {}).await;
    cloud.app("shop", "shop.example.com").await;
    cloud.until_shown(&first.trusting().await, "shop.example.com").await;
    claim(&cloud, "blocked.example.com").await;
    cloud.until_shown(&second.trusting().await, "blocked.example.com").await;
    let blocked = until(&cloud, "blocked.example.com", |found| found["state"] == "valid").await;
    assert_eq!(attempts(&cloud, &blocked).await, [done(&other, "succeeded"), done(&one, "failed")]);
    assert_eq!(blocked["last_error"], Value::Null);

    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    front.rule(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Fate::Refused(503, "retry-after: 3600")
    });
    claim(&cloud, "away.example.com").await;
    cloud.until_shown(&second.trusting().await, "away.example.com").await;
    let away = until(&cloud, "away.example.com", |found| found["state"] == "valid").await;
    assert_eq!(attempts(&cloud, &away).await, [done(&other, "succeeded"), done(&one, "failed")]);
    let so_far = asked.load(Ordering::Relaxed);
    assert!(so_far > 0);

    // For an hour it is left alone, by other names too.
    claim(&cloud, "later.example.com").await;
    cloud.until_shown(&second.trusting().await, "later.example.com").await;
    let later = until(&cloud, "later.example.com", |found| found["state"] == "valid").await;
    assert_eq!(attempts(&cloud, &later).await, [done(&other, "succeeded")]);
    assert_eq!(asked.load(Ordering::Relaxed), so_far);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_only_authority_that_is_away_is_left_alone_by_all_names_until_its_pause_ends() {
    let pebble = quick(Vec::new()).await;
    let front = Front::open(&pebble).await;
    let home = Home::new(Database::Sqlite);
    let clock = WallClock::new(home.dir());
    let mut cloud = start_prepared(home, &pebble, &front.directory(), "", |command| clock.configure(command)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // Years, of which a day counts.
    front.rule(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Fate::Refused(503, "retry-after: 99999999")
    });
    cloud.app("shop", "shop.example.com").await;
    let failing = until(&cloud, "shop.example.com", |found| found["state"] == "failing").await;
    let so_far = asked.load(Ordering::Relaxed);
    assert!(so_far > 0);
    claim(&cloud, "later.example.com").await;
    let waiting = until(&cloud, "later.example.com", |found| says(found, "asked not to be asked yet")).await;
    assert_eq!((waiting["state"].as_str(), waiting["failures"].as_u64()), (Some("claimed"), Some(0)), "{waiting}");
    assert_eq!(asked.load(Ordering::Relaxed), so_far, "it is not asked for the other either");
    for certificate in [&failing, &waiting] {
        let next: Timestamp = text(&certificate["next_attempt_at"]).parse().unwrap();
        let wait = next.since(SystemClock.now());
        assert!(wait > HOUR * 23 && wait < HOUR * 25, "{certificate}");
    }

    // Whoever wants it tried all the same has it tried.
    cloud.must(Method::POST, &format!("certificates/{}/renew", text(&waiting["id"])), None).await;
    until(&cloud, "later.example.com", |found| found["state"] == "failing").await;
    assert!(asked.load(Ordering::Relaxed) > so_far);
    front.let_go();
    clock.ahead(HOUR * 27);
    let client = pebble.trusting().await;
    for name in ["shop.example.com", "later.example.com"] {
        cloud.until_shown(&client, name).await;
    }
    cloud.sign_in(OWNER.1).await;
    assert_eq!(front.done("/order-plz"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_twice_is_rehearsed_before_it_is_ordered_again() {
    // Nobody listens on the ports that they look at.
    let astray = || vec![("httpPort", json!(5_999)), ("tlsPort", json!(5_998))];
    let (mut earnest, mut practice) = (quick(astray()).await, quick(astray()).await);
    practice.look_where(&earnest).await;
    let (front, rehearsals) = (Front::open(&earnest).await, Front::open(&practice).await);
    let (one, staging) = (front.directory(), rehearsals.directory());
    let home = Home::new(Database::Sqlite);
    let clock = WallClock::new(home.dir());
    // Both are trusted by the roots of one file.
    let both = [earnest.root_file(), practice.root_file()].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let roots = home.dir().join("roots.pem");
    std::fs::write(&roots, both).unwrap();
    let file = home.dir().join("authorities.toml");
    let table = format!("[[acme.authorities]]\ndirectory = {one:?}\nstaging = {staging:?}\nroot = {roots:?}\n");
    std::fs::write(&file, format!("{}\n{table}", earnest.acme_table())).unwrap();
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        earnest.configure_without_authority(command);
        command.env("PICLOUD_CONFIG", file);
        clock.configure(command);
    });
    cloud.sign_in(OWNER.1).await;
    cloud.app("shop", "shop.example.com").await;
    let failed = async |times: u64| until(&cloud, "shop.example.com", |found| found["failures"] == times).await;
    failed(1).await;
    clock.ahead(MINUTE * 2);
    failed(2).await;
    assert_eq!((front.done("/order-plz"), rehearsals.done("/order-plz")), (4, 0), "by each challenge twice");

    // Past the hour in which five failures are the most.
    clock.ahead(HOUR * 2);
    let failing = failed(3).await;
    assert!(says(&failing, "by http-01: ") && says(&failing, "by tls-alpn-01: "), "{failing}");
    assert_eq!((front.done("/order-plz"), rehearsals.done("/order-plz")), (4, 2), "nothing in earnest");
    assert_eq!(attempts(&cloud, &failing).await[..2], [done(&staging, "failed"), done(&staging, "failed")]);

    // What was wrong is mended: it is tried there once more, and then ordered.
    for pebble in [&mut earnest, &mut practice] {
        pebble.demand("httpPort", json!(5_002));
        pebble.restart().await;
    }
    clock.ahead(HOUR * 5);
    cloud.until_shown(&earnest.trusting().await, "shop.example.com").await;
    let valid = until(&cloud, "shop.example.com", |found| found["state"] == "valid").await;
    assert_eq!(attempts(&cloud, &valid).await[..2], [done(&one, "succeeded"), done(&staging, "succeeded")]);
    assert_eq!((front.done("/order-plz"), rehearsals.done("/order-plz")), (5, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_its_authority_forgot_is_replaced_by_another_attempt() {
    let mut pebble = quick(Vec::new()).await;
    let front = Front::open(&pebble).await;
    let home = Home::new(Database::Sqlite);
    let clock = WallClock::new(home.dir());
    let cloud = start_prepared(home, &pebble, &front.directory(), "", |command| clock.configure(command)).await;
    front.rule(|path| if path.starts_with("/finalize-order/") { Fate::CutOff } else { Fate::Passes });
    cloud.app("shop", "shop.example.com").await;
    until(&cloud, "shop.example.com", |found| found["state"] == "failing").await;
    // It remembers neither the order nor the account.
    pebble.restart().await;
    front.let_go();
    clock.ahead(MINUTE * 2);
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
    let valid = until(&cloud, "shop.example.com", |found| found["state"] == "valid").await;
    let one = front.directory();
    assert_eq!(attempts(&cloud, &valid).await, [done(&one, "succeeded"), done(&one, "failed")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_says_when_it_will_have_issued_is_waited_for() {
    let pebble = quick(Vec::new()).await;
    let front = Front::open(&pebble).await;
    let home = Home::new(Database::Sqlite);
    let clock = WallClock::new(home.dir());
    let cloud = start_prepared(home, &pebble, &front.directory(), "", |command| clock.configure(command)).await;
    front.rule(|path| if path.starts_with("/my-order/") { Fate::StillIssuing(3 * 60 * 60) } else { Fate::Passes });
    cloud.app("shop", "shop.example.com").await;
    let waiting = until(&cloud, "shop.example.com", |found| says(found, "has not issued the certificate yet")).await;
    let next: Timestamp = text(&waiting["next_attempt_at"]).parse().unwrap();
    assert!(next.since(SystemClock.now()) > HOUR * 2, "{waiting}");
    assert_eq!((waiting["state"].as_str(), waiting["failures"].as_u64()), (Some("ordering"), Some(0)), "{waiting}");
    let one = front.directory();
    assert_eq!(attempts(&cloud, &waiting).await, [done(&one, "running")]);
    front.let_go();
    clock.ahead(HOUR * 3 + MINUTE);
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
    let valid = until(&cloud, "shop.example.com", |found| found["state"] == "valid").await;
    assert_eq!(attempts(&cloud, &valid).await, [done(&one, "succeeded")]);
    assert_eq!(front.done("/order-plz"), 1);
}
