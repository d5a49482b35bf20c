//! Backups, restores and moves that are broken off, disturbed, or begun where somebody else has put something.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::{Child, Stdio};

use super::*;

/// A command that works until it is killed.
fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills a command once something is so, or once it has ended by itself.
fn kill_when(mut child: Child, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "it neither comes so far nor ends");
    }
    let _ = child.kill();
    child.wait().unwrap();
}

fn said(url: &str, query: &str) -> String {
    let said = Command::new("psql").args(["--no-psqlrc", "-tA", "--dbname", url, "--command", query]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// A number for each kind of user that is no user of this machine.
const NOBODY: u32 = 65_534;

/// Whether this test may give files to others.
fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

on_both_databases! {
    async fn a_restore_that_is_killed_anywhere_leaves_the_old_store_or_the_new_one(database: Database) {
        let cloud = start(database).await;
        let file = cloud.home.dir().join("cloud.backup");
        must(&cloud.home, &["backup", path(&file), "--with-logs", "--json"], "");
        cloud.app("later", "later.test").await;
        let home = killed(cloud);
        let (data, old, new) = (home.dir().join("data"), state(&home), rows(&file));
        assert_ne!(old, new);
        let restore = ["restore", path(&file), "--replace", "--json"];
        for step in ["restoring", "restoring/data.db", "restoring/logs.db-wal", "restored"] {
            kill_when(spawn(home.command(&restore)), || data.join(step).exists());
            let now = state(&home);
            assert!(now == old || now == new, "after {step}: {now:?}");
        }
        must(&home, &restore, "");
        assert_eq!(state(&home), new);
        let left: Vec<PathBuf> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.iter().all(|left| !left.ends_with("restoring") && !path(left).contains("check")), "{left:?}");
    }

    async fn what_root_restores_is_whose_the_directory_is(database: Database) {
        if !is_root() {
            eprintln!("skipped: only root gives files to others");
            return;
        }
        let cloud = start(Database::Sqlite).await;
        let file = cloud.home.dir().join("cloud.backup");
        must(&cloud.home, &["backup", path(&file), "--with-key", "--passphrase-stdin", "--json"], PASSPHRASE);
        let home = Home::new(database);
        let data = home.dir().join("data");
        fs::create_dir(&data).unwrap();
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        let restore = ["restore", path(&file), "--passphrase-stdin", "--replace", "--json"];
        let told = must(&home, &restore, PASSPHRASE);
        assert_eq!(told["aside"], Value::Null, "{told}");
        let told = must(&home, &restore, PASSPHRASE);
        assert!(told["aside"].is_string(), "{told}");
        for file in fs::read_dir(&data).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            assert_eq!(file.metadata().unwrap().uid(), NOBODY, "{file:?}");
        }
        assert!(data.join("secret.key").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_leaves_what_it_moves_as_it_was_and_can_be_done_again() {
    let home = killed(start(Database::Sqlite).await);
    let postgres = PostgresDatabase::create();
    let before = state(&home);
    let there = ["move", "--to", postgres.url(), "--json"];
    let copying = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'picloud copy' AND query LIKE 'COPY%'";
    kill_when(spawn(home.command(&there)), || said(postgres.url(), copying) != "0");
    assert_eq!(state(&home), before);
    let (good, told) = home.run(&there, "");
    assert!(good || told.contains("only moves to where there is none"), "{told}");

    let back = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("PICLOUD_DATABASE_URL", postgres.url()).env("PICLOUD_DATA_DIR", home.dir().join("back"));
        command.env("PICLOUD_SECRET_KEY_FILE", home.dir().join("data/secret.key"));
        command
    };
    let moving = ["move", "--to", "sqlite", "--json"];
    kill_when(spawn(back(&moving)), || home.dir().join("back/restoring/data.db").exists());
    let (good, told) = run(&mut back(&moving), "");
    assert!(good || told.contains("only moves to where there is none"), "{told}");
    let file = home.dir().join("back.backup");
    let (good, told) = run(back(&["backup", path(&file), "--with-logs"]).env_remove("PICLOUD_DATABASE_URL"), "");
    assert!(good, "{told}");
    assert_eq!(rows(&file), before);
    let file = home.dir().join("there.backup");
    let (good, told) = run(&mut back(&["backup", path(&file), "--with-logs"]), "");
    assert!(good, "{told}");
    assert_eq!(rows(&file), before, "it stays where it was moved from");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_during_which_a_node_starts_is_refused() {
    let postgres = PostgresDatabase::create();
    let url = postgres.url().to_owned();
    let (mut holding, mut node) = (postgres.session(), postgres.session());
    let home = killed(start(Database::Postgres(postgres)).await);
    holding.run("BEGIN; LOCK TABLE acme_accounts IN ACCESS EXCLUSIVE MODE");
    let mut command = home.command(&["move", "--to", "sqlite"]);
    let moving = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'picloud copy' AND wait_event_type = 'Lock' AND datname = current_database()";
    let begun = Instant::now();
    while said(&url, waiting) == "0" {
        assert!(begun.elapsed() < PATIENCE, "it does not come to the table");
    }
    node.run("SET application_name = 'picloud'");
    holding.run("COMMIT");
    let ended = moving.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && said.contains("is being served"), "{said}");
    assert!(!home.dir().join("data/main.db").exists() && !home.dir().join("data/restored").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_leaves_the_key_of_the_instance_where_the_backups_stands_beside_it() {
    let home = killed(start(Database::Sqlite).await);
    let other = start(Database::Sqlite).await;
    let file = home.dir().join("other.backup");
    must(&other.home, &["backup", path(&file), "--json"], "");
    // As a restore leaves it that is killed before its store counts.
    let (key, before) = (home.dir().join("data/secret.key"), state(&home));
    let beside = key.with_added_extension(manifest(&file)["key"].as_str().unwrap());
    fs::copy(other.home.dir().join("data/secret.key"), &beside).unwrap();
    let own = fs::read(&key).unwrap();
    must(&home, &["restore", path(&file), "--check", "--json"], "");
    assert!(fs::read(&key).unwrap() == own && beside.exists());
    refused(&home, &["restore", path(&file)], "", "holds another secret key");
    assert_eq!(state(&home), before);
    // And by the same way it is restored, with the key that it replaces kept.
    let told = must(&home, &["restore", path(&file), "--replace", "--json"], "");
    assert_eq!(fs::read(told["key_aside"].as_str().unwrap()).unwrap(), own);
    assert!(fs::read(&key).unwrap() != own && !beside.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_written_into_nothing_that_somebody_else_has_put_there() {
    let home = killed(start(Database::Sqlite).await);
    let (file, partial) = (home.dir().join("cloud.backup"), home.dir().join("cloud.backup.partial"));
    let precious = home.dir().join("precious");
    fs::write(&precious, "precious").unwrap();
    let backup = ["backup", path(&file), "--json"];
    fs::hard_link(&precious, &partial).unwrap();
    refused(&home, &backup, "", "was left by no backup of this user");
    fs::remove_file(&partial).unwrap();
    symlink(&precious, &partial).unwrap();
    refused(&home, &backup, "", "cloud.backup.partial");
    fs::remove_file(&partial).unwrap();
    // Nobody reads from it.
    assert!(Command::new("mkfifo").arg(&partial).status().unwrap().success());
    refused(&home, &backup, "", "cloud.backup.partial");
    fs::remove_file(&partial).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    if is_root() {
        fs::write(&partial, "").unwrap();
        chown(&partial, Some(NOBODY), None).unwrap();
        refused(&home, &backup, "", "was left by no backup of this user");
        fs::remove_file(&partial).unwrap();
    }
    // What one of this user has left that was cut short is taken over.
    fs::write(&partial, "half of it").unwrap();
    must(&home, &backup, "");
    assert!(!partial.exists());
    // A name that is no text is one all the same.
    let odd = home.dir().join(OsStr::from_bytes(b"\xff.backup"));
    let (good, said) = run(home.command(&["backup", "--json"]).arg(&odd), "");
    assert!(good && odd.exists(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stopped_by_a_signal_leaves_nothing_of_its_own() {
    let home = killed(start(Database::Sqlite).await);
    let file = home.dir().join("cloud.backup");
    must(&home, &["backup", path(&file), "--json"], "");
    let names = || {
        let names = fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("check") || name.contains("second")).collect::<Vec<_>>()
    };
    let (check, second) = (["restore", path(&file), "--check"], home.dir().join("second.backup"));
    for arguments in [&check[..], &["backup", path(&second)]] {
        let mut child = spawn(home.command(arguments));
        let begun = Instant::now();
        while names().is_empty() && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it neither begins nor ends");
        }
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
        let ended = child.wait().unwrap();
        let left = names();
        assert!(
            ended.success() && left.iter().all(|name| name == "second.backup") || left.is_empty(),
            "{ended} {left:?}"
        );
    }
}
