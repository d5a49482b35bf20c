//! `picloud doctor` on instances that are well and on such that are not: each fault finds its line, and what to do.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Database, Home, PostgresDatabase, TestCloud, on_both_databases, picloud, run};
use crate::relay::Relay;

/// What the doctor found.
struct Found {
    /// Whether it ended with 0.
    good: bool,
    report: Value,
}

impl Found {
    fn of(command: &mut Command) -> Self {
        let (good, said) = run(command, "");
        // What it says on standard error comes after the report.
        let mut values = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
        let report = values.next().and_then(Result::ok).unwrap_or_else(|| panic!("no report in {said}"));
        Self { good, report }
    }

    fn checks(&self) -> &[Value] {
        self.report["checks"].as_array().unwrap()
    }

    /// That something is so, with all of these words in what was found or in what to do.
    #[track_caller]
    fn tells(&self, about: &str, state: &str, words: &[&str]) {
        let is_it = |check: &&Value| {
            let text = format!("{} {}", check["found"], check["fix"]);
            check["about"] == about && check["state"] == state && words.iter().all(|word| text.contains(word))
        };
        assert!(self.checks().iter().any(|check| is_it(&check)), "no {state} {about} {words:?} in {:#}", self.report);
        assert!(state != "wrong" || (!self.good && self.report["state"] == "wrong"), "{:#}", self.report);
    }

    /// What is wrong.
    fn wrong(&self) -> Vec<&str> {
        let wrong = self.checks().iter().filter(|check| check["state"] == "wrong");
        wrong.map(|check| check["about"].as_str().unwrap()).collect()
    }
}

/// Has the doctor look at data, for a server with such addresses for plain HTTP.
fn doctor(home: &Home, http: &str, prepare: impl FnOnce(&mut Command)) -> Found {
    let mut command = home.command(&["doctor", "--json", "--dev"]);
    command.env("PICLOUD_HTTP", http);
    prepare(&mut command);
    Found::of(&mut command)
}

/// The files of a directory as they are.
fn files(dir: &Path) -> BTreeMap<String, (u64, SystemTime)> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let told = entries.map(|entry| {
        let found = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), (found.len(), found.modified().unwrap()))
    });
    told.collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

on_both_databases! {
    async fn an_instance_that_is_well_is_told_to_be_so_running_and_stopped_and_is_left_as_it_is(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        cloud.publish("1").await;
        let http = cloud.address("http").to_string();
        let found = doctor(&cloud.home, &http, |_| {});
        assert!(found.good && found.wrong().is_empty(), "{:#}", found.report);
        found.tells("ports", "ok", &[&http, "is served by PiCloud, process"]);
        found.tells("key", "ok", &["is the key of this store"]);
        found.tells("database", "ok", &["the schema is"]);
        found.tells("dns", "ok", &["shop.test"]);
        found.tells("backup", "ok", &["none are taken by themselves", "not set"]);
        if cloud.home.database_url().is_some() {
            found.tells("clock", "ok", &["the database's differ by"]);
        } else {
            found.tells("database", "ok", &["main.db", "is whole"]);
        }
        cloud.must(Method::GET, "apps/shop", None).await;

        cloud.signal("-TERM");
        assert_eq!(cloud.ended().code(), Some(0));
        let data = cloud.home.dir().join("data");
        let before = files(&data);
        let found = doctor(&cloud.home, &http, |_| {});
        assert!(found.good, "{:#}", found.report);
        found.tells("ports", "ok", &[&http, "is free"]);
        assert_eq!(files(&data), before, "it changes nothing");
        let (good, said) = run(cloud.home.command(&["doctor", "--dev"]).env("PICLOUD_HTTP", &http), "");
        assert!(good && said.contains("\n0 wrong, "), "{said}");
    }

    async fn a_key_that_is_not_the_stores_or_is_open_to_all_is_found(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        cloud.signal("-TERM");
        cloud.ended();
        let key = cloud.home.dir().join("data/secret.key");
        let own = fs::read(&key).unwrap();
        set_mode(&key, 0o644);
        doctor(&cloud.home, "127.0.0.1:0", |_| {}).tells("key", "wrong", &["mode 644", "chmod 600"]);
        set_mode(&key, 0o600);
        fs::write(&key, "A".repeat(43)).unwrap();
        let found = doctor(&cloud.home, "127.0.0.1:0", |_| {});
        found.tells("key", "wrong", &["is not this store's", "secret_key_file"]);
        assert!(!found.report.to_string().contains("AAAAAAAA"), "a key is not shown");
        fs::remove_file(&key).unwrap();
        doctor(&cloud.home, "127.0.0.1:0", |_| {}).tells("key", "wrong", &["is not there"]);
        assert!(!key.exists(), "none is made");
        fs::write(&key, own).unwrap();
        set_mode(&key, 0o600);
        assert!(doctor(&cloud.home, "127.0.0.1:0", |_| {}).good);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_others_may_enter_and_a_damaged_database_are_found() {
    let mut cloud = TestCloud::start(Database::Sqlite).await;
    cloud.publish("1").await;
    cloud.signal("-TERM");
    cloud.ended();
    let data = cloud.home.dir().join("data");
    set_mode(&data, 0o755);
    set_mode(&data.join("data.db"), 0o644);
    let found = doctor(&cloud.home, "127.0.0.1:0", |_| {});
    found.tells("permissions", "wrong", &["mode 755", "chmod 700"]);
    found.tells("permissions", "wrong", &["data.db", "mode 644", "chmod 600"]);
    set_mode(&data, 0o700);
    set_mode(&data.join("data.db"), 0o600);

    let file = data.join("main.db");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    doctor(&cloud.home, "127.0.0.1:0", |_| {}).tells("database", "wrong", &["main.db", "damaged", "restore"]);
}

#[test]
fn a_port_that_somebody_else_has_is_found_with_who_that_is() {
    let home = Home::new(Database::Sqlite);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let found = doctor(&home, &address, |_| {});
    found.tells("ports", "wrong", &[&address, &format!("process {}", std::process::id()), "set http"]);
    found.tells("database", "warning", &["there is no instance"]);
    assert!(!home.dir().join("data").exists(), "none is made");
    // An address that is another machine's.
    doctor(&home, "192.0.2.1:8080", |_| {}).tells("ports", "wrong", &["no address of this machine", "ip address"]);
}

#[test]
fn a_certificate_that_has_expired_and_a_key_that_is_anothers_are_found() {
    let home = Home::new(Database::Sqlite);
    let write = |name: &str, until: i32| {
        let mut wanted = rcgen::CertificateParams::new(["shop.test".to_owned()]).unwrap();
        (wanted.not_before, wanted.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let key = rcgen::KeyPair::generate().unwrap();
        let (chain, file) = (home.dir().join(format!("{name}.pem")), home.dir().join(format!("{name}.key")));
        fs::write(&chain, wanted.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&file, key.serialize_pem()).unwrap();
        set_mode(&file, 0o600);
        (chain, file)
    };
    let (old, fresh) = (write("old", 2021), write("fresh", 2999));
    let with = |chain: &Path, key: &Path| {
        doctor(&home, "127.0.0.1:0", |command| {
            command.args(["--https", "127.0.0.1:0", "--public-base-url", "https://shop.test", "--tls-chain"]);
            command.arg(chain).arg("--tls-key").arg(key);
            command.args(["--automatic-certificates", "false"]);
        })
    };
    with(&old.0, &old.1).tells("certificates", "wrong", &["shop.test", "expired at 2021-01-01", "reload"]);
    with(&fresh.0, &fresh.1).tells("certificates", "ok", &["shop.test", "2999"]);
    with(&fresh.0, &old.1).tells("certificates", "wrong", &["is no key for", "belong together"]);
    set_mode(&fresh.1, 0o644);
    with(&fresh.0, &fresh.1).tells("permissions", "wrong", &["fresh.key", "chmod o="]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_has_stopped_is_found_and_its_password_is_not_shown() {
    let mut database = PostgresDatabase::create();
    let mut relay = Relay::start(database.server()).await;
    database.go_through(relay.address());
    let mut cloud = TestCloud::start(Database::Postgres(database)).await;
    cloud.signal("-TERM");
    cloud.ended();
    relay.cut().await;
    let found = doctor(&cloud.home, "127.0.0.1:0", |_| {});
    found.tells("database", "wrong", &["cannot be used", "start PostgreSQL", "database_url"]);
    assert!(!found.report.to_string().contains("postgres:postgres"), "{:#}", found.report);
}

#[test]
fn a_disk_that_is_full_is_found_with_what_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    // A file system of 20 MiB, of which 15 are taken, that only this command sees. Not every machine lets one make it.
    let inside = "mount -t tmpfs -o size=20m tmpfs \"$0\" && head -c 15728640 /dev/zero > \"$0/filler\" && exec \"$@\"";
    let unshared = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", inside]).arg(dir.path()).arg(program);
        command
    };
    if !unshared("true").status().is_ok_and(|ended| ended.success()) {
        eprintln!("skipped: this machine lets nobody make a file system");
        return;
    }
    let mut command = unshared(picloud().get_program().to_str().unwrap());
    command.args(["doctor", "--json", "--dev", "--http", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
    let found = Found::of(&mut command);
    found.tells("disk", "wrong", &["5 MiB of 20 MiB are free", "log_max_bytes"]);
    found.tells("disk", "warning", &["tmpfs", "switched off"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_looked_up_where_the_settings_say_and_one_that_leads_nowhere_is_told() {
    let cloud = TestCloud::start(Database::Sqlite).await;
    cloud.must(Method::POST, "apps", Some(json!({ "slug": "shop", "name": "Shop" }))).await;
    let claim = json!({ "pattern": "shop.example.com" });
    cloud.must(Method::POST, "apps/shop/domains", Some(claim)).await;
    // Nobody answers there.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = cloud.home.dir().join("picloud.toml");
    fs::write(&file, format!("[acme]\nresolver = \"{}\"\n", silent.local_addr().unwrap())).unwrap();
    let found = doctor(&cloud.home, &cloud.address("http").to_string(), |command| {
        command.args(["--public-base-url", "https://pi.example.com", "--automatic-certificates", "true"]);
        command.arg("--config").arg(&file);
        command.args(["--acme-directory", "https://127.0.0.1:1/dir"]);
    });
    found.tells("dns", "warning", &["shop.example.com", "cannot be told"]);
    found.tells("dns", "warning", &["pi.example.com", "cannot be told"]);
    found.tells("clock", "ok", &["compared with nobody's"]);
}
