//! What befalls authorities, accounts and clocks is got over by itself: what was served is served on, the state tells what is
//! wrong, and nobody has to do anything once it is over.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use picloud_manager::certificate_store::Certificates;
use picloud_manager::secret::key_file::SecretKey;
use picloud_manager::store::{DatabaseConfig, Store};
use picloud_shared::certificate::CertificateStore;
use picloud_shared::clock::{Clock, SystemClock, Timestamp};
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::certificate::TlsClient;
use crate::certificate_troubles::{says, until};
use crate::certificates::{start_by_file, start_prepared};
use crate::cloud::{Database, Demands, Fate, Front, Home, OWNER, PATIENCE, Pebble, TestCloud, WallClock, text};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A cloud that goes by a clock of its own, and orders from the front.
async fn start_by_clock(pebble: &Pebble, front: &Front) -> (TestCloud, WallClock) {
    let home = Home::new(Database::Sqlite);
    let clock = WallClock::new(home.dir());
    let cloud = start_prepared(home, pebble, &front.directory(), "", |command| clock.configure(command)).await;
    (cloud, clock)
}

async fn claim(cloud: &TestCloud, name: &str) {
    cloud.must(Method::POST, "apps/shop/domains", Some(json!({ "pattern": name }))).await;
}

fn moment(value: &Value) -> Timestamp {
    text(value).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_was_away_or_refused_is_asked_again_by_itself() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let (mut cloud, clock) = start_by_clock(&pebble, &front).await;
    cloud.app("shop", "shop.example.com").await;
    let client = pebble.trusting().await;
    cloud.until_shown(&client, "shop.example.com").await;
    let troubles = [
        ("/dir", Fate::CutOff, "connection"),
        ("/", Fate::Refused(500, "content-type: text/html"), "500"),
        ("/nonce-plz", Fate::CutOff, "connection"),
        ("/order-plz", Fate::Refused(403, "content-type: text/html"), "403"),
        ("/finalize-order/", Fate::Refused(503, "content-type: text/html"), "503"),
        ("/certZ/", Fate::CutOff, "connection"),
    ];
    let mut passed = Duration::ZERO;
    for (number, (step, fate, words)) in troubles.into_iter().enumerate() {
        let name = format!("trouble-{number}.example.com");
        front.rule(move |path| if path.starts_with(step) { fate } else { Fate::Passes });
        let orders = front.done("/order-plz");
        claim(&cloud, &name).await;
        let failing = until(&cloud, &name, |found| found["state"] == "failing").await;
        assert!(says(&failing, words), "{step} {fate:?}: {failing}");
        cloud.shows(&client, "shop.example.com").await.unwrap();
        front.let_go();
        // A minute, and a tenth of it by which waits are varied.
        passed += MINUTE + Duration::from_secs(7);
        clock.ahead(passed);
        cloud.until_shown(&client, &name).await;
        let valid = until(&cloud, &name, |found| found["state"] == "valid").await;
        assert_eq!((valid["failures"].as_u64(), &valid["last_error"]), (Some(0), &Value::Null));
        assert_eq!(front.done("/order-plz") - orders, 1, "an order that was broken off at {step} is gone on with");
    }
    cloud.sign_in(OWNER.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_the_store_does_not_take_at_once_is_kept_and_no_other_is_ordered() {
    let database = Database::postgres();
    let Database::Postgres(postgres) = &database else { unreachable!() };
    let mut session = postgres.session();
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let home = Home::new(database);
    let clock = WallClock::new(home.dir());
    let cloud = start_prepared(home, &pebble, &front.directory(), "", |command| clock.configure(command)).await;
    let client = pebble.trusting().await;
    let refusing = |when: &str| {
        let body = format!("BEGIN IF {when} THEN RAISE EXCEPTION 'not now'; END IF; RETURN NEW; END");
        format!("CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
    };

    // A sequence counts what is rolled back, too.
    session.run("CREATE SEQUENCE tries");
    session.run(&refusing("nextval('tries') <= 2"));
    session.run("CREATE TRIGGER refuse BEFORE UPDATE OF chain ON certificates FOR EACH ROW EXECUTE FUNCTION refuse()");
    cloud.app("shop", "shop.example.com").await;
    cloud.until_shown(&client, "shop.example.com").await;
    assert_eq!((front.done("/order-plz"), front.done("/certZ/")), (1, 1), "it was kept at the third try");

    session.run(&refusing("true"));
    claim(&cloud, "late.example.com").await;
    let failing = until(&cloud, "late.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "not now"), "{failing}");
    session.run("DROP TRIGGER refuse ON certificates");
    clock.ahead(MINUTE * 2);
    cloud.until_shown(&client, "late.example.com").await;
    let orders = front.done("/order-plz") + front.done("/finalize-order/");
    assert_eq!(orders, 4, "what was signed is fetched again");
    let valid = until(&cloud, "late.example.com", |found| found["state"] == "valid").await;
    let shown = cloud.must(Method::GET, &format!("certificates/{}", text(&valid["id"])), None).await;
    let outcomes: Vec<&str> =
        shown["attempts"].as_array().unwrap().iter().filter_map(|attempt| attempt["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["succeeded"], "{shown}");
}

/// What a hook was told to set, and to clear.
fn told(hook: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let log = std::fs::read_to_string(hook.with_extension("log")).unwrap();
    let of = |word| log.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect();
    (of("set "), of("clear "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_an_order_ends_its_dns_records_go() {
    let pebble = Pebble::start(Demands { environment: vec![("PEBBLE_VA_NOSLEEP", "1")], ..Demands::default() }).await;
    let front = Front::open(&pebble).await;
    let home = Home::new(Database::Sqlite);
    let (hook, clock) = (pebble.dns_hook(home.dir()), WallClock::new(home.dir()));
    let dns = format!("[acme.dns]\nhook = {hook:?}");
    let mut cloud = start_prepared(home, &pebble, &front.directory(), &dns, |command| clock.configure(command)).await;
    let client = pebble.trusting().await;
    let all_gone = async |names: usize| {
        let begun = Instant::now();
        loop {
            let (set, cleared) = told(&hook);
            let at = |record: &String| record.split(' ').next().unwrap().to_owned();
            assert_eq!(set.iter().map(at).collect::<BTreeSet<_>>().len(), names, "{set:?}");
            if set == cleared {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{:?} stay", set.difference(&cleared));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    front.rule(|path| {
        if path.starts_with("/finalize-order/") { Fate::Refused(403, "content-type: text/html") } else { Fate::Passes }
    });
    cloud.app("shop", "*.refused.example.com").await;
    until(&cloud, "*.refused.example.com", |found| found["state"] == "failing").await;
    all_gone(1).await;

    // In the midst of an order the process dies; who goes on knows of what it had set.
    for (number, (step, fate)) in
        [("/chalZ/", Fate::HeldBefore), ("/finalize-order/", Fate::HeldBefore)].into_iter().enumerate()
    {
        let name = format!("crash-{number}.example.com");
        front.rule(move |path| if path.starts_with(step) { fate } else { Fate::Passes });
        claim(&cloud, &format!("*.{name}")).await;
        front.until_held(number + 1).await;
        cloud.signal("-KILL");
        cloud.ended();
        front.let_go();
        cloud.restart();
        cloud.until_shown(&client, &format!("any.{name}")).await;
        all_gone(number + 2).await;
    }

    // One that is to be gone on with goes with its claim.
    front.rule(|path| if path.starts_with("/finalize-order/") { Fate::CutOff } else { Fate::Passes });
    claim(&cloud, "*.dropped.example.com").await;
    until(&cloud, "*.dropped.example.com", |found| found["state"] == "failing").await;
    let (set, cleared) = told(&hook);
    assert_eq!(set.difference(&cleared).count(), 1, "its authority may still look: {set:?} {cleared:?}");
    let domains = cloud.must(Method::GET, "apps/shop/domains", None).await;
    let dropped = domains["items"].as_array().unwrap().iter().find(|one| one["pattern"] == "*.dropped.example.com");
    let path = format!("apps/shop/domains/{}", text(&dropped.unwrap()["id"]));
    cloud.must(Method::DELETE, &path, None).await;
    all_gone(4).await;
    drop(clock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_does_not_answer_is_given_up_and_asked_again_by_itself() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let (cloud, clock) = start_by_clock(&pebble, &front).await;
    front.rule(|path| if path.starts_with("/order-plz") { Fate::HeldBefore } else { Fate::Passes });
    cloud.app("shop", "shop.example.com").await;
    front.until_held(1).await;
    let failing = until(&cloud, "shop.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "did not answer within 30 s"), "{failing}");
    front.let_go();
    clock.ahead(MINUTE * 2);
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_authority_looked_for_in_vain_is_shown_again_by_itself() {
    // Nobody listens on either of the ports that it looks at.
    let settings = vec![("httpPort", json!(5_999)), ("tlsPort", json!(5_998))];
    let mut pebble = Pebble::start(Demands { settings, ..Demands::default() }).await;
    let front = Front::open(&pebble).await;
    let (cloud, clock) = start_by_clock(&pebble, &front).await;
    cloud.app("shop", "shop.example.com").await;
    let failing = until(&cloud, "shop.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "by http-01: ") && says(&failing, "by tls-alpn-01: "), "{failing}");

    // Where only the order can still be asked for what was found, that is enough to go on to the next challenge.
    let has_looked = AtomicBool::new(false);
    front.rule(move |path| {
        if path.starts_with("/order-plz") {
            has_looked.store(false, Ordering::SeqCst);
        } else if path.starts_with("/chalZ/") {
            has_looked.store(true, Ordering::SeqCst);
        }
        let is_cut_off = path.starts_with("/authZ/") && has_looked.load(Ordering::SeqCst);
        if is_cut_off { Fate::CutOff } else { Fate::Passes }
    });
    claim(&cloud, "other.example.com").await;
    let failing = until(&cloud, "other.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "by http-01: ") && says(&failing, "by tls-alpn-01: "), "{failing}");

    // Pebble may tell what went wrong before it calls the order invalid.
    front.rule(|path| if path.starts_with("/my-order/") { Fate::StillPending } else { Fate::Passes });
    claim(&cloud, "third.example.com").await;
    let failing = until(&cloud, "third.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "by http-01: ") && says(&failing, "by tls-alpn-01: "), "{failing}");
    front.let_go();

    pebble.demand("httpPort", json!(5_002));
    // It remembers no account either.
    pebble.restart().await;
    clock.ahead(MINUTE * 2);
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_place_of_an_account_that_was_deactivated_another_is_made() {
    let pebble = Pebble::start(Demands::default()).await;
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &pebble.directory(), "").await;
    cloud.app("shop", "shop.example.com").await;
    let client = pebble.trusting().await;
    cloud.until_shown(&client, "shop.example.com").await;
    let data = cloud.home.dir().join("data");
    let store = Store::open(&DatabaseConfig::Sqlite { dir: data.clone() }).await.unwrap();
    let key = SecretKey::open(&store, &data.join("secret.key")).await.unwrap();
    let certificates = Certificates::new(store, std::sync::Arc::new(SystemClock), &key);
    let account = async || certificates.account(&pebble.directory()).await.unwrap().expect("an account");
    let first = account().await;
    pebble.deactivate(&first).await;
    claim(&cloud, "other.example.com").await;
    cloud.until_shown(&client, "other.example.com").await;
    assert_ne!(account().await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_forward_and_back_leaves_what_is_served_and_orders_no_more_than_one() {
    let settings = vec![("certificateValidityPeriod", json!(90 * 24 * 60 * 60))];
    let pebble = Pebble::start(Demands { settings, ..Demands::default() }).await;
    let front = Front::open(&pebble).await;
    let (mut cloud, clock) = start_by_clock(&pebble, &front).await;
    cloud.app("shop", "shop.example.com").await;
    claim(&cloud, "pi.local").await;
    let client = pebble.trusting().await;
    cloud.until_shown(&client, "shop.example.com").await;
    until(&cloud, "pi.local", |found| found["state"] == "valid").await;
    let (good, root) = cloud.home.run(&["trust"], "");
    assert!(good, "{root}");
    let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
    let at_home = || TlsClient::new(&[&root], &[]);
    cloud.until_shown(&at_home(), "pi.local").await;

    // Past two thirds of its life: it is renewed, and its successor, which the authority's clock has begun just now, is not.
    clock.ahead(DAY * 61);
    let begun = Instant::now();
    while front.done("/order-plz") < 2 {
        cloud.shows(&client, "shop.example.com").await.unwrap();
        assert!(begun.elapsed() < PATIENCE, "it is renewed");
    }
    cloud.sign_in(OWNER.1).await;
    let then = SystemClock.now().plus(DAY * 61);
    until(&cloud, "pi.local", |found| moment(&found["not_after"]) > then).await;
    let odd = until(&cloud, "shop.example.com", |found| says(found, "the clock stands wrong")).await;
    let next = moment(&odd["next_attempt_at"]).since(SystemClock.now().plus(DAY * 61));
    assert_eq!(odd["state"], "valid");
    assert!(next > HOUR * 23, "once a day at most: {odd}");
    cloud.shows(&client, "shop.example.com").await.unwrap();

    // Set right, it leaves nothing behind: neither a wait of months, nor certificates that begin in months.
    clock.ahead(Duration::ZERO);
    cloud.sign_in(OWNER.1).await;
    let even = until(&cloud, "shop.example.com", |found| found["last_error"].is_null()).await;
    assert!(moment(&even["next_attempt_at"]).since(SystemClock.now()) < HOUR * 13, "{even}");
    cloud.until_shown(&at_home(), "pi.local").await;
    cloud.shows(&client, "shop.example.com").await.unwrap();

    // As on a machine without a battery: what was served stays, and what is claimed is ordered.
    clock.behind(DAY * 400);
    cloud.sign_in(OWNER.1).await;
    claim(&cloud, "other.example.com").await;
    cloud.until_shown(&client, "other.example.com").await;
    cloud.shows(&client, "shop.example.com").await.unwrap();
    assert_eq!(front.done("/order-plz"), 3);

    // In the midst of an order.
    clock.ahead(Duration::ZERO);
    cloud.sign_in(OWNER.1).await;
    front.rule(|path| if path.starts_with("/finalize-order/") { Fate::HeldBefore } else { Fate::Passes });
    claim(&cloud, "third.example.com").await;
    front.until_held(1).await;
    clock.ahead(HOUR * 2);
    front.let_go();
    cloud.until_shown(&client, "third.example.com").await;
    assert_eq!(front.done("/order-plz"), 4);
}
