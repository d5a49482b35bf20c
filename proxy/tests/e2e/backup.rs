//! Backups: taken beside a cloud that works, restored into either database, and refused where they are not what was written.

mod broken_off;
mod scheduled;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::cloud::{Database, Home, OWNER, PATIENCE, PostgresDatabase, TestCloud, on_both_databases, run};

/// Keeps what its address names, by key and as a document.
const WRITER: &str = r#"
    let key = ctx.request.query.key;
    let notes = docs::collection("notes");
    if ctx.request.method == "POST" {
        kv::set(key, "kept");
        notes.insert(#{ key: key });
        // One database writes it by an exponent, the other does not.
        log::info("kept", #{ number: 1e16 });
        return "kept";
    }
    kv::get(key, "nothing") + " " + notes.find(#{ key: key }).items.len()
"#;
const PASSPHRASE: &str = "correct horse battery\n";

/// Writers that go on until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    writers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(cloud: &TestCloud) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let writer = |writer: usize| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let (client, address) = (Client::new(), cloud.address("http"));
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{writer}-{number}");
                    let request = client.post(format!("http://{address}/?key={key}")).header("host", "shop.test");
                    let answer = request.timeout(Duration::from_secs(30)).send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    acknowledged.lock().unwrap().push(key);
                }
            })
        };
        let writers = (0..4).map(writer).collect();
        Self { stop, acknowledged, writers }
    }

    fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Returns once so many writes were acknowledged.
    async fn reaches(&self, count: usize) {
        while self.acknowledged.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
    }
}

/// A cloud that has the script, an index, and a secret.
async fn start(database: Database) -> TestCloud {
    let cloud = TestCloud::start(database).await;
    let script = cloud.publish(WRITER).await;
    cloud.route(&script, "exact", "/", "POST").await;
    let first = cloud.request(Method::POST, "shop.test", "/?key=first").send().await.unwrap();
    assert_eq!(first.status(), 200);
    let indexes = "apps/shop/docs/notes/indexes";
    cloud.must(Method::PUT, indexes, Some(json!({ "fields": ["key"] }))).await;
    let begun = Instant::now();
    while cloud.must(Method::GET, indexes, None).await["indexes"][0]["state"] != "ready" {
        assert!(begun.elapsed() < PATIENCE, "the index is not built");
    }
    cloud.must(Method::PUT, "apps/shop/secrets/PAYMENT", Some(json!({ "value": "sealed by the key" }))).await;
    cloud
}

/// Runs a command that must succeed; what it says as JSON.
fn must(home: &Home, arguments: &[&str], input: &str) -> Value {
    let (good, said) = home.run(arguments, input);
    assert!(good, "{arguments:?}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"))
}

/// Runs a command that must be refused in those words.
fn refused(home: &Home, arguments: &[&str], input: &str, words: &str) {
    let (good, said) = home.run(arguments, input);
    assert!(!good && said.contains(words), "{arguments:?}: {said}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a backup says of itself.
fn manifest(file: &Path) -> Value {
    let bytes = fs::read(file).unwrap();
    let (rest, trailer) = bytes.split_at(bytes.len() - 48);
    let length = u64::from_be_bytes(trailer[..8].try_into().unwrap());
    serde_json::from_slice(&rest[rest.len() - usize::try_from(length).unwrap()..]).unwrap()
}

/// The tables of a backup, each with how many rows it has and what they come to.
fn rows(file: &Path) -> Vec<(String, u64, String)> {
    let manifest = manifest(file);
    let part = |part: &Value| {
        (
            part["table"].as_str().unwrap().to_owned(),
            part["rows"].as_u64().unwrap(),
            part["digest"].as_str().unwrap().to_owned(),
        )
    };
    manifest["parts"].as_array().unwrap().iter().map(part).collect()
}

/// Stops the cloud as a power cut does; what outlives it.
fn killed(mut cloud: TestCloud) -> Home {
    cloud.signal("-KILL");
    cloud.ended();
    let home = cloud.stop();
    if let Some(url) = home.database_url() {
        until_left(url);
    }
    home
}

/// Returns once the server has noticed that no node is there any more.
fn until_left(url: &str) {
    let count =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'picloud'";
    let begun = Instant::now();
    loop {
        let said =
            Command::new("psql").args(["--no-psqlrc", "-tA", "--dbname", url, "--command", count]).output().unwrap();
        if said.stdout == b"0\n" {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{said:?}");
    }
}

async fn again(home: Home) -> TestCloud {
    let mut cloud = TestCloud::start_with(home, |_| {});
    cloud.sign_in(OWNER.1).await;
    cloud
}

on_both_databases! {
    async fn a_restore_of_a_backup_taken_under_load_has_all_that_was_acknowledged_before(database: Database) {
        let cloud = start(database).await;
        let load = Load::start(&cloud);
        load.reaches(200).await;
        cloud.app("late", "late.test").await;
        let before = load.acknowledged();
        let file = cloud.home.dir().join("cloud.backup");
        let told = must(&cloud.home, &["backup", path(&file), "--with-logs", "--json"], "");
        assert_eq!(told["backup"]["with_logs"], json!(true));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        load.reaches(before.len() + 50).await;
        cloud.app("later", "later.test").await;
        load.end().await;
        refused(&cloud.home, &["backup", path(&file)], "", "is there already");
        refused(&cloud.home, &["restore", path(&file), "--replace"], "", "served");

        let home = killed(cloud);
        refused(&home, &["restore", path(&file)], "", "--replace");
        must(&home, &["restore", path(&file), "--check", "--json"], "");
        let told = must(&home, &["restore", path(&file), "--replace", "--json"], "");
        assert!(Path::new(told["aside"].as_str().unwrap()).exists(), "{told}");
        assert_eq!(told["notes"], json!([]));
        let cloud = again(home).await;
        for key in &before {
            assert_eq!(cloud.visit("shop.test", &format!("/?key={key}")).await, (200, "kept 1".to_owned()), "{key}");
        }
        assert_eq!(cloud.api(Method::GET, "apps/late", None).await.0, 200);
        assert_eq!(cloud.api(Method::GET, "apps/later", None).await.0, 404, "that came after it");
        // The accounts agree with what is there, whatever the writers were at.
        let (keys, documents) = (cloud.must(Method::GET, "apps/shop/kv", None).await, cloud.must(Method::GET, "apps/shop/docs", None).await);
        let (keys, documents) = (keys["keys"].as_u64().unwrap(), documents["documents"].as_u64().unwrap());
        assert!(keys >= before.len() as u64 && documents >= before.len() as u64 && keys >= documents, "{keys} {documents}");
        let (good, said) = cloud.home.run(&["audit", "verify"], "");
        assert!(good, "{said}");
        // And what is written from now on comes after all of that.
        let queued = cloud.must(Method::POST, "apps/shop/queues/work", Some(json!({ "payload": 1 }))).await;
        assert!(queued.is_object(), "{queued}");
    }

    async fn a_backup_goes_into_the_other_database_on_a_machine_that_has_nothing_but_its_passphrase(database: Database) {
        let other = match database {
            Database::Sqlite => Database::postgres(),
            Database::Postgres(_) | Database::Cluster(..) => Database::Sqlite,
        };
        let cloud = start(database).await;
        let source = r#"secrets::get("PAYMENT")"#;
        let script = cloud.script(cloud.must(Method::GET, "apps/shop", None).await["id"].as_str().unwrap(), "paying", "endpoint", source).await;
        cloud.route(&script, "exact", "/pay", "GET").await;
        let sealed = cloud.visit("shop.test", "/pay").await;
        let file = cloud.home.dir().join("cloud.backup");
        refused(&cloud.home, &["backup", path(&file), "--with-key", "--passphrase-stdin"], "short\n", "12 characters");
        must(&cloud.home, &["backup", path(&file), "--with-key", "--passphrase-stdin", "--json"], PASSPHRASE);
        let _old = killed(cloud);

        let home = Home::new(other);
        refused(&home, &["restore", path(&file)], "", "--passphrase-stdin");
        refused(&home, &["restore", path(&file), "--passphrase-stdin"], "correct horse batterz\n", "the passphrase is not the one");
        assert!(!home.dir().join("data/main.db").exists() && !home.dir().join("data/secret.key").exists());
        let told = must(&home, &["restore", path(&file), "--passphrase-stdin", "--json"], PASSPHRASE);
        assert_eq!((&told["aside"], &told["key_aside"]), (&Value::Null, &Value::Null));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(home.dir().join("data/secret.key")).unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        let copy = home.dir().join("copy.backup");
        must(&home, &["backup", path(&copy), "--json"], "");
        assert_eq!(rows(&copy), rows(&file));
        let cloud = again(home).await;
        assert_eq!(cloud.visit("shop.test", "/pay").await, sealed);
        let (good, said) = cloud.home.run(&["audit", "verify"], "");
        assert!(good, "{said}");
    }

    async fn what_is_not_as_it_was_written_is_refused_and_replaces_nothing(database: Database) {
        let cloud = start(database).await;
        let file = cloud.home.dir().join("cloud.backup");
        must(&cloud.home, &["backup", path(&file), "--with-key", "--passphrase-stdin", "--json"], PASSPHRASE);
        let home = killed(cloud);
        let before = state(&home);
        let good = fs::read(&file).unwrap();
        let bad = home.dir().join("bad.backup");
        let fingerprint = manifest(&file)["key"].as_str().unwrap().to_owned();
        let elsewhere = format!("/{}", "x".repeat(fingerprint.len() - 1));
        let tries: Vec<(Vec<u8>, &str)> = vec![
            (Vec::new(), "is no backup"),
            (good[..good.len() - 1].to_vec(), "is no backup"),
            (good[..good.len() / 2].to_vec(), "is no backup"),
            ([&good[..], b"\n"].concat(), "is no backup"),
            (changed(&good, 20), "not as it was written"),
            (changed(&good, good.len() - 20), "its seal is broken"),
            // In what it says of itself: where a number stands, another.
            (replaced(&good, "\"rows\":1,", "\"rows\":2,"), "its seal is broken"),
            (replaced(&good, "\"schema\":", "\"schemb\":"), "not as it was written"),
            (replaced(&good, "\"schema\":1", "\"schema\":9"), "use a newer picloud"),
            (replaced(&good, "\"format\":1", "\"format\":2"), "use a newer picloud"),
            (replaced(&good, &fingerprint, &elsewhere), "its key has no fingerprint"),
        ];
        for (bytes, words) in tries {
            fs::write(&bad, bytes).unwrap();
            for arguments in [&["restore", path(&bad), "--replace"][..], &["restore", path(&bad), "--check"]] {
                refused(&home, arguments, "", words);
            }
        }
        refused(&home, &["restore", path(&home.dir().join("none")), "--replace"], "", "none");
        refused(&home, &["restore", path(home.dir()), "--replace"], "", "is no backup");
        assert_eq!(state(&home), before);
        // Another key where the backup's should be.
        let key = home.dir().join("data/secret.key");
        let own = fs::read(&key).unwrap();
        fs::write(&key, format!("{}\n", "A".repeat(43))).unwrap();
        refused(&home, &["restore", path(&file), "--replace"], "", "was made with the secret key");
        refused(&home, &["restore", path(&file), "--passphrase-stdin"], PASSPHRASE, "holds another secret key");
        fs::write(&key, own).unwrap();
        assert_eq!(state(&home), before);
        let names: Vec<PathBuf> = fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(names.iter().all(|name| !path(name).contains("check-") && !path(name).contains("partial")), "{names:?}");
        let cloud = again(home).await;
        assert_eq!(cloud.api(Method::GET, "apps/shop", None).await.0, 200);
    }
}

fn changed(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// The last place where that text stands replaced by another of its length.
fn replaced(bytes: &[u8], text: &str, by: &str) -> Vec<u8> {
    let at = bytes.windows(text.len()).rposition(|window| window == text.as_bytes()).expect("it is there");
    [&bytes[..at], by.as_bytes(), &bytes[at + text.len()..]].concat()
}

/// What is in a store that nobody serves.
fn state(home: &Home) -> Vec<(String, u64, String)> {
    let file = home.dir().join("state.backup");
    must(home, &["backup", path(&file), "--with-logs", "--json"], "");
    let rows = rows(&file);
    fs::remove_file(file).unwrap();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_broken_off_once_its_files_are_the_stores_is_finished_by_the_next_start() {
    let cloud = start(Database::Sqlite).await;
    let file = cloud.home.dir().join("cloud.backup");
    must(&cloud.home, &["backup", path(&file), "--with-key", "--passphrase-stdin", "--json"], PASSPHRASE);
    cloud.app("later", "later.test").await;
    let home = killed(cloud);
    let (data, other) = (home.dir().join("data"), Home::new(Database::Sqlite));
    must(&other, &["restore", path(&file), "--passphrase-stdin", "--json"], PASSPHRASE);
    // One before that was broken off earlier, and this one with a file in its place already.
    fs::create_dir(data.join("restoring")).unwrap();
    fs::write(data.join("restoring/main.db"), "half of it").unwrap();
    for dir in ["restored", "replaced-then"] {
        fs::create_dir(data.join(dir)).unwrap();
    }
    for name in ["main.db", "data.db", "logs.db"] {
        fs::rename(other.dir().join("data").join(name), data.join("restored").join(name)).unwrap();
    }
    fs::write(data.join("restored/aside"), "replaced-then").unwrap();
    for name in ["main.db", "main.db-wal", "main.db-shm"] {
        fs::rename(data.join(name), data.join("replaced-then").join(name)).unwrap();
    }
    fs::rename(data.join("restored/main.db"), data.join("main.db")).unwrap();

    let cloud = again(home).await;
    assert_eq!(cloud.api(Method::GET, "apps/later", None).await.0, 404);
    assert_eq!(cloud.visit("shop.test", "/?key=first").await, (200, "kept 1".to_owned()));
    assert!(data.join("replaced-then/data.db").exists());
    assert!(!data.join("restored").exists() && !data.join("restoring").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_moves_to_postgres_and_back_with_every_row_and_is_served_on_both() {
    let cloud = start(Database::Sqlite).await;
    let load = Load::start(&cloud);
    load.reaches(100).await;
    load.end().await;
    cloud.must(Method::POST, "apps/shop/queues/work", Some(json!({ "payload": { "n": 1.5e3 } }))).await;
    let postgres = PostgresDatabase::create();
    refused(&cloud.home, &["move", "--to", postgres.url()], "", "is served by another picloud");
    let home = killed(cloud);
    refused(&home, &["move", "--to", "mysql://db"], "", "--to is");
    refused(&home, &["move", "--to", "sqlite"], "", "is there already");
    let before = state(&home);
    let told = must(&home, &["move", "--to", postgres.url(), "--json"], "");
    assert_eq!(told["rows"], before.iter().map(|(_, rows, _)| rows).sum::<u64>());
    assert_eq!(state(&home), before, "what it was moved from is as it was");
    refused(&home, &["move", "--to", postgres.url()], "", "only moves to where there is none");

    let on = |arguments: &[&str], dir: &str| {
        let mut command = home.command(arguments);
        command.env("PICLOUD_DATABASE_URL", postgres.url()).env("PICLOUD_DATA_DIR", home.dir().join(dir));
        command.env("PICLOUD_SECRET_KEY_FILE", home.dir().join("data/secret.key"));
        let (good, said) = run(&mut command, "");
        assert!(good, "{said}");
    };
    let moved = home.dir().join("moved.backup");
    on(&["backup", path(&moved), "--with-logs"], "data");
    assert_eq!(rows(&moved), before);

    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_DATABASE_URL", postgres.url());
    });
    cloud.sign_in(OWNER.1).await;
    assert_eq!(cloud.visit("shop.test", "/?key=0-0").await, (200, "kept 1".to_owned()));
    // A number of its own, greater than all before.
    cloud.must(Method::POST, "apps/shop/queues/work", Some(json!({ "payload": 2 }))).await;
    let home = killed(cloud);
    let on = |arguments: &[&str], url: Option<&str>| {
        let mut command = home.command(arguments);
        command.env("PICLOUD_DATA_DIR", home.dir().join("back"));
        command.env("PICLOUD_SECRET_KEY_FILE", home.dir().join("data/secret.key"));
        command.envs(url.map(|url| ("PICLOUD_DATABASE_URL", url)));
        run(&mut command, "")
    };
    let (there, back) = (home.dir().join("there.backup"), home.dir().join("back.backup"));
    until_left(postgres.url());
    let (good, said) = on(&["move", "--to", "sqlite"], Some(postgres.url()));
    assert!(good, "{said}");
    for (file, url) in [(&there, Some(postgres.url())), (&back, None)] {
        let (good, said) = on(&["backup", path(file), "--with-logs"], url);
        assert!(good, "{said}");
    }
    assert_eq!(rows(&back), rows(&there));
    let key = home.dir().join("data/secret.key");
    let data = home.dir().join("back");
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_DATA_DIR", data).env("PICLOUD_SECRET_KEY_FILE", key);
    });
    cloud.sign_in(OWNER.1).await;
    assert_eq!(cloud.visit("shop.test", "/?key=0-0").await, (200, "kept 1".to_owned()));
    cloud.must(Method::POST, "apps/shop/queues/work", Some(json!({ "payload": 3 }))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_waits_a_moment_for_the_connections_of_a_node_that_ends() {
    let home = killed(start(Database::Sqlite).await);
    let postgres = PostgresDatabase::create();
    let mut node = postgres.session();
    node.run("SET application_name = 'picloud'");
    let mut command = home.command(&["move", "--to", postgres.url()]);
    let moving = std::thread::spawn(move || run(&mut command, ""));
    // Returns once the move has seen the node.
    postgres.session().run(
        "DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_stat_clear_snapshot(); EXIT WHEN EXISTS (SELECT 1 FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'picloud copy' AND query LIKE '%pg_stat_%'); \
         PERFORM pg_sleep(0.01); END LOOP; END $$",
    );
    drop(node);
    let (good, said) = moving.join().unwrap();
    assert!(good, "{said}");
}
