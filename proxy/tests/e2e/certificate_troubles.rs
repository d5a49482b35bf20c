//! What an operator sees of certificates when something is wrong, and over the API and the command line.

use std::time::{Duration, Instant};

use picloud_shared::clock::{Clock, SystemClock};
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::certificate::TlsClient;
use crate::certificates::{start, start_by_file, start_with_internal};
use crate::cloud::{Database, Demands, Fate, Front, Home, OWNER, PATIENCE, Pebble, TestCloud, text};

/// The certificate for a name, once it is as it should be.
pub async fn until(cloud: &TestCloud, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let all = cloud.must(Method::GET, "certificates?limit=200", None).await;
        let found = all["items"].as_array().unwrap().iter().find(|one| one["names"][0] == name).cloned();
        match found {
            Some(found) if is_so(&found) => return found,
            found => assert!(begun.elapsed() < PATIENCE, "{name} does not become as it should be: {found:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the last error tells of that.
pub fn says(certificate: &Value, words: &str) -> bool {
    certificate["last_error"].as_str().is_some_and(|error| error.contains(words))
}

async fn renew(cloud: &TestCloud, certificate: &Value) {
    cloud.must(Method::POST, &format!("certificates/{}/renew", text(&certificate["id"])), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_fails_leaves_what_is_served_and_is_told_of() {
    let mut pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &front.directory(), "").await;
    cloud.app("shop", "shop.example.com").await;
    let valid = until(&cloud, "shop.example.com", |found| found["state"] == "valid").await;
    assert_eq!(valid["source"], "automatic");
    let client = pebble.trusting().await;
    cloud.shows(&client, "shop.example.com").await.unwrap();

    front.rule(|_| Fate::Refused(503, "retry-after: 300"));
    renew(&cloud, &valid).await;
    let failing = until(&cloud, "shop.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "503"), "{failing}");
    let next: picloud_shared::clock::Timestamp = text(&failing["next_attempt_at"]).parse().unwrap();
    assert!(next.since(SystemClock.now()) > Duration::from_secs(200), "as it asked: {failing}");
    assert_eq!(failing["not_after"], valid["not_after"]);
    cloud.shows(&client, "shop.example.com").await.unwrap();

    front.rule(|_| Fate::Refused(200, "content-type: text/html"));
    renew(&cloud, &failing).await;
    let nonsense = until(&cloud, "shop.example.com", |found| found["failures"] == 2).await;
    assert!(says(&nonsense, "not understood"), "{nonsense}");
    cloud.shows(&client, "shop.example.com").await.unwrap();
    front.let_go();

    pebble.stop();
    renew(&cloud, &nonsense).await;
    let gone = until(&cloud, "shop.example.com", |found| found["failures"] == 3).await;
    assert!(says(&gone, "502"), "{gone}");
    cloud.shows(&client, "shop.example.com").await.unwrap();

    // It comes back and knows nobody any more: another account is made, and all is well.
    pebble.restart().await;
    renew(&cloud, &gone).await;
    let mended = until(&cloud, "shop.example.com", |found| found["state"] == "valid").await;
    assert_eq!((mended["failures"].as_u64(), &mended["last_error"]), (Some(0), &Value::Null));
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
    let shown = cloud.must(Method::GET, &format!("certificates/{}", text(&mended["id"])), None).await;
    let outcomes: Vec<&str> =
        shown["attempts"].as_array().unwrap().iter().filter_map(|attempt| attempt["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["succeeded", "failed", "failed", "failed", "succeeded"], "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_an_authority_refuses_keeps_no_other_from_its_certificate() {
    let settings = vec![("domainBlocklist", json!(["blocked.example.com"]))];
    let pebble = Pebble::start(Demands { settings, ..Demands::default() }).await;
    let cloud = start(Home::new(Database::Sqlite), &pebble).await;
    cloud.app("shop", "blocked.example.com").await;
    cloud.must(Method::POST, "apps/shop/domains", Some(json!({ "pattern": "shop.example.com" }))).await;
    let failing = until(&cloud, "blocked.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "rejectedIdentifier"), "{failing}");
    cloud.until_shown(&pebble.trusting().await, "shop.example.com").await;
    let domains = cloud.must(Method::GET, "apps/shop/domains", None).await;
    let states: Vec<&Value> =
        domains["items"].as_array().unwrap().iter().map(|domain| &domain["certificate"]["state"]).collect();
    assert_eq!(states, ["failing", "valid"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_to_another_server_is_never_ordered() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &front.directory(), "").await;
    let stranger = TcpListener::bind(pebble.neighbour_http()).await.unwrap();
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = stranger.accept().await {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
        }
    });
    let address = pebble.neighbour_http().ip().to_string();
    pebble.tell_dns("add-a", &json!({ "host": "astray.example.com", "addresses": [address] })).await;
    let asked = json!({ "name": "astray.example.com" });
    let found = cloud.must(Method::POST, "certificates:preflight", Some(asked)).await;
    assert_eq!(found["passed"], false, "{found}");
    let is_of = |found: &Value, check: &str| {
        found["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check).cloned().unwrap()
    };
    let http = is_of(&found, "http");
    assert!(text(&http["detail"]).contains("another server answers"), "{http}");
    let here = cloud.must(Method::POST, "certificates:preflight", Some(json!({ "name": "shop.example.com" }))).await;
    assert_eq!(
        (&is_of(&here, "http")["verdict"], &is_of(&here, "https")["verdict"]),
        (&json!("passed"), &json!("passed")),
        "{here}"
    );

    pebble.tell_dns("set-servfail", &json!({ "host": "dark.example.com" })).await;
    let dark = cloud.must(Method::POST, "certificates:preflight", Some(json!({ "name": "dark.example.com" }))).await;
    assert_eq!(is_of(&dark, "resolution")["verdict"], "doubtful", "{dark}");
    let wild = cloud.must(Method::POST, "certificates:preflight", Some(json!({ "name": "*.example.com" }))).await;
    assert_eq!(wild["passed"], false, "{wild}");
    assert!(text(&is_of(&wild, "dns")["detail"]).contains("[acme.dns]"));
    cloud.app("wild", "*.example.com").await;
    let failing = until(&cloud, "*.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "[acme.dns]"), "{failing}");
    cloud.must(Method::POST, "apps/wild/domains", Some(json!({ "pattern": "astray.example.com" }))).await;
    let failing = until(&cloud, "astray.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "another server answers"), "{failing}");
    assert_eq!(front.done("/order-plz"), 0, "nothing was ordered");
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_name_that_leads_into_the_network_nobody_learns_what_answers_there() {
    let pebble = Pebble::start(Demands::default()).await;
    let home = Home::new(Database::Sqlite);
    // One that is trusted as everybody does is none of one's own; it is not asked, so it need not be there.
    let public = "[[acme.authorities]]\ndirectory = \"https://127.0.0.1:9/dir\"\n";
    let file = home.dir().join("picloud.toml");
    std::fs::write(&file, format!("{}\n{public}", pebble.acme_table())).unwrap();
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        pebble.configure_without_authority(command);
        command.env("PICLOUD_CONFIG", file);
    });
    cloud.sign_in(OWNER.1).await;
    let inside = std::net::TcpListener::bind(pebble.neighbour_http()).unwrap();
    inside.set_nonblocking(true).unwrap();
    let address = pebble.neighbour_http().ip().to_string();
    pebble.tell_dns("add-a", &json!({ "host": "inside.example.com", "addresses": [address] })).await;
    let asked = json!({ "name": "inside.example.com" });
    let found = cloud.must(Method::POST, "certificates:preflight", Some(asked)).await;
    let checks: Vec<&Value> = found["findings"].as_array().unwrap().iter().map(|finding| &finding["check"]).collect();
    assert_eq!(checks, ["resolution", "caa"], "{found}");
    cloud.app("shop", "inside.example.com").await;
    let failing = until(&cloud, "inside.example.com", |found| found["state"] == "failing").await;
    assert!(says(&failing, "nobody outside of your network can reach"), "{failing}");
    assert_eq!(inside.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody was connected to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploaded_certificate_serves_the_next_handshake_until_it_is_deleted() {
    let pebble = Pebble::start(Demands::default()).await;
    let cloud = start(Home::new(Database::Sqlite), &pebble).await;
    let made = rcgen::generate_simple_self_signed(["up.example.com".to_owned()]).unwrap();
    let upload = json!({ "chain": made.cert.pem(), "key": made.signing_key.serialize_pem() });
    let certificate = cloud.must(Method::POST, "certificates", Some(upload)).await;
    assert_eq!((certificate["source"].as_str(), certificate["state"].as_str()), (Some("manual"), Some("valid")));
    let client = TlsClient::new(&[made.cert.der()], &[]);
    cloud.until_shown(&client, "up.example.com").await;
    let path = format!("certificates/{}", text(&certificate["id"]));
    let (status, refused) = cloud.api(Method::POST, &format!("{path}/renew"), None).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("certificate_uploaded")));
    let other = rcgen::generate_simple_self_signed(["up.example.com".to_owned()]).unwrap();
    let mismatched = json!({ "chain": made.cert.pem(), "key": other.signing_key.serialize_pem() });
    let (status, refused) = cloud.api(Method::POST, "certificates", Some(mismatched)).await;
    assert_eq!((status, refused["errors"][0]["field"].as_str()), (422, Some("key")));
    cloud.must(Method::DELETE, &path, None).await;
    let begun = Instant::now();
    while cloud.shows(&TlsClient::new(&[made.cert.der()], &[]), "up.example.com").await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "a deleted certificate is shown no longer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_is_shown_to_be_ours_by_a_hook() {
    let pebble = Pebble::start(Demands::default()).await;
    let home = Home::new(Database::Sqlite);
    let hook = pebble.dns_hook(home.dir());
    let dns = format!("[acme.dns]\nhook = {hook:?}");
    let cloud = start_by_file(home, &pebble, &pebble.directory(), &dns).await;
    cloud.app("shop", "*.shop.example.com").await;
    let client = pebble.trusting().await;
    cloud.until_shown(&client, "any.shop.example.com").await;
    assert!(
        cloud.shows(&client, "shop.example.com").await.is_err()
            && cloud.shows(&client, "a.b.shop.example.com").await.is_err()
    );
    let begun = Instant::now();
    loop {
        let told = std::fs::read_to_string(hook.with_extension("log")).unwrap();
        let of = |line: &str| told.matches(line).count();
        assert_eq!(of("set _acme-challenge.shop.example.com"), 1, "{told}");
        if of("clear ") == 1 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_is_shown_to_be_ours_by_dynamic_updates() {
    let pebble = Pebble::start(Demands { zone: Some("zone.example.com"), ..Demands::default() }).await;
    let (server, key) = (pebble.bind().address, pebble.bind().key_file());
    let dns = format!("[acme.dns]\nserver = \"{server}\"\nkey_name = \"picloud\"\nkey_file = {key:?}");
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &pebble.directory(), &dns).await;
    cloud.app("shop", "*.zone.example.com").await;
    cloud.until_shown(&pebble.trusting().await, "any.zone.example.com").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_asks_the_api_by_a_key() {
    let pebble = Pebble::start(Demands::default()).await;
    let cloud = start(Home::new(Database::Sqlite), &pebble).await;
    cloud.app("shop", "shop.example.com").await;
    until(&cloud, "shop.example.com", |found| found["state"] == "valid").await;
    let scopes = json!({ "name": "cli", "scopes": ["instance:read", "instance:write"] });
    let key = text(&cloud.must(Method::POST, "api-keys", Some(scopes)).await["key"]);
    let key_file = cloud.home.dir().join("key");
    std::fs::write(&key_file, key).unwrap();
    let (server, key_file) = (format!("http://{}", cloud.address("http")), key_file.display().to_string());
    let run = |arguments: &[&str]| {
        let arguments = [&["certs"], arguments, &["--server", &server, "--key-file", &key_file]].concat();
        cloud.home.run(&arguments, "")
    };
    let (good, said) = run(&["list"]);
    assert!(good && said.contains("shop.example.com  valid  automatic  "), "{said}");
    let (good, said) = run(&["show", "shop.example.com"]);
    let issuer = |line: &str| line.starts_with("issuer ") && line.contains(" Pebble Intermediate CA");
    assert!(good && said.lines().any(issuer), "{said}");
    let (good, said) = run(&["preflight", "shop.example.com"]);
    assert!(good && said.contains("passed   resolution"), "{said}");
    let (good, said) = run(&["preflight", "*.example.com"]);
    assert!(!good && said.contains("an order for *.example.com would fail"), "{said}");
    let (good, said) = run(&["renew", "shop.example.com"]);
    assert!(good && said.starts_with("the attempt for shop.example.com begins"), "{said}");
    cloud.must(Method::POST, "apps/shop/domains", Some(json!({ "pattern": "pi.local" }))).await;
    until(&cloud, "pi.local", |found| found["state"] == "valid").await;
    let (good, root) = run(&["root"]);
    assert!(good && root == cloud.home.run(&["trust"], "").1, "{root}");
    let (good, said) = run(&["show", "nobody.example.com"]);
    assert!(!good && said.contains("no certificate is for nobody.example.com"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_soon_is_a_warning_of_readiness() {
    let pebble = Pebble::start(Demands::default()).await;
    let (cloud, internal) = start_with_internal(&pebble).await;
    let ready = async || {
        let answer = reqwest::get(format!("{internal}/readyz")).await.unwrap();
        assert_eq!(answer.status(), 200, "a warning is no reason not to be ready");
        let ready: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        ready["warnings"].as_array().unwrap().clone()
    };
    assert_eq!(ready().await, Vec::<Value>::new());
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["soon.example.com".to_owned()]).unwrap();
    let now = time::OffsetDateTime::from_unix_timestamp(SystemClock.now().as_millis() / 1000).unwrap();
    (params.not_before, params.not_after) = (now - time::Duration::days(87), now + time::Duration::days(3));
    let upload = json!({ "chain": params.self_signed(&key).unwrap().pem(), "key": key.serialize_pem() });
    cloud.must(Method::POST, "certificates", Some(upload)).await;
    let begun = Instant::now();
    loop {
        let warnings = ready().await;
        if let [warning] = &warnings[..] {
            assert!(text(warning).starts_with("the certificate for soon.example.com ends at "), "{warning}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{warnings:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outside = cloud.visit(&cloud.address("http").to_string(), "/readyz").await.1;
    assert!(outside.contains("certificates that end soon: 1") && !outside.contains("soon.example.com"), "{outside}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_trusts_the_instances_root_trusts_the_names_of_its_home() {
    let pebble = Pebble::start(Demands::default()).await;
    let front = Front::open(&pebble).await;
    let cloud = start_by_file(Home::new(Database::Sqlite), &pebble, &front.directory(), "").await;
    cloud.app("home", "pi.local").await;
    let internal = until(&cloud, "pi.local", |found| found["state"] == "valid").await;
    assert_eq!(
        (internal["source"].as_str(), internal["issuer"].as_str()),
        (Some("internal"), Some("PiCloud intermediate"))
    );
    let (good, root) = cloud.home.run(&["trust"], "");
    assert!(good, "{root}");
    let downloaded = cloud.call(Method::GET, "certificates:internal-root", None).await.text().await.unwrap();
    assert_eq!(downloaded, root);
    let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
    let client = TlsClient::new(&[&root], &[]);
    cloud.until_shown(&client, "pi.local").await;
    // It goes with its claim.
    let domains = cloud.must(Method::GET, "apps/home/domains", None).await;
    let claim = text(&domains["items"][0]["id"]);
    cloud.must(Method::DELETE, &format!("apps/home/domains/{claim}"), None).await;
    let begun = Instant::now();
    while cloud.shows(&TlsClient::new(&[&root], &[]), "pi.local").await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "what nobody claims is shown no longer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(front.done("/order-plz"), 0, "no public authority was asked");
}
