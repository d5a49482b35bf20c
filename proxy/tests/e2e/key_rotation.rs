//! The secret key replaced by the command, beside nodes that run, and killed on the way.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use picloud_manager::key_rotation::Rotation;
use picloud_manager::store::{DatabaseConfig, Store};
use picloud_shared::clock::SystemClock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::certificate::{self, TlsClient};
use crate::cloud::{Database, Home, OWNER, PATIENCE, TestCloud, on_both_databases, picloud};

/// A cloud that serves HTTPS by a certificate that somebody uploaded, and a client that trusts it.
async fn start(database: Database) -> (TestCloud, TlsClient) {
    let home = Home::new(database);
    let (files, _) = certificate::write(home.dir(), "dashboard", &["localhost"]);
    let log = File::create(log_file(&home)).unwrap();
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        command.env("PICLOUD_TLS_CHAIN", files.chain).env("PICLOUD_TLS_KEY", files.key);
        command.env("PICLOUD_HTTPS", "127.0.0.1:0").env("PICLOUD_INTERNAL", "127.0.0.2:0").stderr(log);
    });
    cloud.sign_in(OWNER.1).await;
    let made = rcgen::generate_simple_self_signed(["up.example.com".to_owned()]).unwrap();
    let upload = json!({ "chain": made.cert.pem(), "key": made.signing_key.serialize_pem() });
    cloud.must(Method::POST, "certificates", Some(upload)).await;
    let client = TlsClient::new(&[made.cert.der()], &[]);
    cloud.until_shown(&client, "up.example.com").await;
    (cloud, client)
}

fn log_file(home: &Home) -> PathBuf {
    home.dir().join("log")
}

/// What the log says of a key that was replaced.
fn told_of_another_key(cloud: &TestCloud) -> usize {
    std::fs::read_to_string(log_file(&cloud.home))
        .unwrap()
        .matches("secret key was replaced: this node goes on")
        .count()
}

/// What readiness says of the store, and a line of the metrics.
async fn told(cloud: &TestCloud) -> (Value, String) {
    let internal = format!("http://127.0.0.2:{}", cloud.announced("listening http://127.0.0.2:").unwrap());
    let internal = internal.trim_end_matches(" internal");
    let ask = async |path: &str| {
        let answer = reqwest::get(format!("{internal}/{path}")).await.unwrap();
        assert_eq!(answer.status(), 200, "endpoints are answered");
        answer.text().await.unwrap()
    };
    let ready: Value = serde_json::from_str(&ask("readyz").await).unwrap();
    let metrics = ask("metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("picloud_secret_key_replaced ")).unwrap();
    (json!([ready["store"], ready["warnings"]]), line.to_owned())
}

/// The same, once what a probe found is no longer told to others.
async fn until_told(cloud: &TestCloud, store: &str) -> (Value, String) {
    let begun = Instant::now();
    loop {
        let told = told(cloud).await;
        if told.0[0] == store {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE, "{told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn key_file(cloud: &TestCloud) -> PathBuf {
    cloud.home.dir().join("data/secret.key")
}

async fn set_entry(cloud: &TestCloud) -> (u16, Value) {
    cloud.api(Method::PUT, "apps/default/kv/default/a", Some(json!({ "value": 1 }))).await
}

async fn new_app(cloud: &TestCloud, slug: &str) -> (u16, Value) {
    cloud.api(Method::POST, "apps", Some(json!({ "slug": slug, "name": slug }))).await
}

/// That the cloud starts again, serves what it served, and changes what it is told to.
async fn works_again(cloud: &mut TestCloud, client: &TlsClient, slug: &str) {
    cloud.signal("-KILL");
    cloud.ended();
    cloud.restart();
    cloud.shows(client, "up.example.com").await.unwrap();
    let (status, said) = new_app(cloud, slug).await;
    assert_eq!(status, 201, "{said}");
    let (good, said) = cloud.home.run(&["audit", "verify"], "");
    assert!(good && said.contains("the audit log is whole"), "{said}");
}

on_both_databases! {
    async fn the_secret_key_is_replaced_beside_a_node_that_runs(database: Database) {
        let (mut cloud, client) = start(database).await;
        let before = std::fs::read(key_file(&cloud)).unwrap();
        let all_is_well = (json!(["reachable", []]), "picloud_secret_key_replaced 0".to_owned());
        assert_eq!(told(&cloud).await, all_is_well);
        let (good, said) = cloud.home.run(&["admin", "rotate-key"], "");
        assert!(good && said.contains("1 keys, accounts and secrets are sealed by it"), "{said}");
        assert_ne!(std::fs::read(key_file(&cloud)).unwrap(), before);

        // What is served is served on, and nothing is changed by the old key.
        cloud.shows(&client, "up.example.com").await.unwrap();
        let (status, refused) = new_app(&cloud, "early").await;
        assert_eq!((status, refused["code"].as_str()), (503, Some("key_replaced")), "{refused}");
        let (status, refused) = set_entry(&cloud).await;
        assert_eq!((status, refused["code"].as_str()), (503, Some("key_replaced")), "{refused}");
        assert_eq!(cloud.api(Method::GET, "apps/default/kv/default/a", None).await.0, 404, "it is read on");
        let (ready, metric) = until_told(&cloud, "key_replaced").await;
        assert!(ready[1][0].as_str().unwrap().contains("give this node the new key file"), "{ready}");
        assert_eq!((ready[1].as_array().unwrap().len(), metric.as_str()), (1, "picloud_secret_key_replaced 1"));
        let begun = Instant::now();
        while told_of_another_key(&cloud) == 0 {
            assert!(begun.elapsed() < PATIENCE, "the log says nothing of it");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..3 {
            assert_eq!(new_app(&cloud, "early").await.0, 503);
        }
        works_again(&mut cloud, &client, "late").await;
        assert_eq!(set_entry(&cloud).await.0, 200);
        assert_eq!(told_of_another_key(&cloud), 1);
        assert_eq!(told(&cloud).await, all_is_well);

        let again = std::fs::read(key_file(&cloud)).unwrap();
        std::fs::write(key_file(&cloud), before).unwrap();
        let (good, said) = cloud.home.run(&["admin", "list"], "");
        assert!(!good && said.contains("picloud admin rotate-key"), "{said}");
        std::fs::write(key_file(&cloud), again).unwrap();
        works_again(&mut cloud, &client, "later").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_is_told_that_it_has_the_old_key() {
    let (cloud, _) = start(Database::postgres()).await;
    let copy = cloud.home.dir().join("copy.key");
    std::fs::copy(key_file(&cloud), &copy).unwrap();
    let second = cloud.another_node(|command| {
        command.env("PICLOUD_SECRET_KEY_FILE", &copy).env("PICLOUD_HTTPS", "127.0.0.1:0");
    });
    let (good, said) = cloud.home.run(&["admin", "rotate-key"], "");
    assert!(good && said.contains("copy the file to every other node"), "{said}");
    let login = json!({ "username": OWNER.0, "password": OWNER.1 });
    let url = format!("http://{}/api/v1/admin/auth/login", second.address("http"));
    let answer = reqwest::Client::new().post(url).json(&login).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let refused: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(refused["code"], "key_replaced", "{refused}");
    drop(second);
    let run = || {
        let mut command = picloud();
        let database = cloud.home.database_url().unwrap();
        command.args(["admin", "list"]).env("PICLOUD_SECRET_KEY_FILE", &copy).env("PICLOUD_DATABASE_URL", database);
        crate::cloud::run(&mut command, "")
    };
    let (good, said) = run();
    assert!(!good && said.contains("copy the file from the node that did so"), "{said}");
    std::fs::copy(key_file(&cloud), &copy).unwrap();
    let (good, said) = run();
    assert!(good && said.contains(OWNER.0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_store_takes_the_key_the_old_one_goes_on() {
    let database = Database::postgres();
    let Database::Postgres(postgres) = &database else { unreachable!() };
    let mut session = postgres.session();
    let (mut cloud, client) = start(database).await;
    // Its last statement but one waits for this, with everything sealed anew.
    session.run("BEGIN; LOCK TABLE instance IN SHARE MODE");
    let mut command = cloud.home.command(&["admin", "rotate-key"]);
    let mut rotation = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    session.run(
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND query LIKE 'UPDATE instance%') LOOP PERFORM pg_sleep(0.01); \
         PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
    );
    let pid = rotation.id().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    rotation.wait().unwrap();
    session.run("ROLLBACK");
    let names = std::fs::read_dir(cloud.home.dir().join("data")).unwrap();
    let keys = names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("secret.key"));
    assert_eq!(keys.count(), 2, "the next key is there and counts for nothing");
    works_again(&mut cloud, &client, "shop").await;
    let (good, said) = cloud.home.run(&["admin", "rotate-key"], "");
    assert!(good, "{said}");
    works_again(&mut cloud, &client, "other").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_file_is_in_its_place_the_new_key_is_found() {
    let (mut cloud, client) = start(Database::Sqlite).await;
    let data = cloud.home.dir().join("data");
    let store = Store::open(&DatabaseConfig::Sqlite { dir: data.clone() }).await.unwrap();
    let rotation = Rotation::prepare(&store, Arc::new(SystemClock), &data.join("secret.key")).await.unwrap();
    drop(rotation.commit().await.unwrap());
    store.close().await;
    works_again(&mut cloud, &client, "shop").await;
}
