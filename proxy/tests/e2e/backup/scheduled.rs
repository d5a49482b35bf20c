//! Backups that the instance takes by itself, and how it tells of those that are none.

use super::*;

on_both_databases! {
    async fn a_schedule_takes_one_for_all_nodes_tries_it_out_and_tells_its_age(database: Database) {
        let home = Home::new(database);
        let dir = home.dir().join("backups");
        let cloud = TestCloud::start_with(home, |command| {
            command.env("PICLOUD_BACKUP_DIR", &dir).env("PICLOUD_BACKUP_EVERY_HOURS", "1");
            command.env("PICLOUD_INTERNAL", "127.0.0.1:0");
        });
        until_told(cloud.internal(), "picloud_backup_age_seconds ").await;
        if cloud.home.database_url().is_some() {
            let other = cloud.another_node(|_| {});
            until_told(other.internal(), "picloud_backup_age_seconds ").await;
        }
        until_told(cloud.internal(), "picloud_backup_failures_total 0").await;
        let files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(path(&files[0]).ends_with(".backup"), "{files:?}");
        doctor(&cloud.home, &dir, "ok", "the newest one that can be restored is of");
        doctor(&cloud.home, &dir, "ok", &format!("they go to {}", dir.display()));
        let told = must(&cloud.home, &["restore", path(&files[0]), "--check", "--json"], "");
        assert_eq!((&told["backup"]["with_key"], &told["backup"]["with_logs"]), (&json!(false), &json!(false)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_can_take_none_is_counted_and_keeps_nobody_from_serving() {
    let home = Home::new(Database::Sqlite);
    let dir = home.dir().join("a file");
    fs::write(&dir, "in the way").unwrap();
    let cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_BACKUP_DIR", &dir).env("PICLOUD_BACKUP_EVERY_HOURS", "1");
        command.env("PICLOUD_INTERNAL", "127.0.0.1:0");
    });
    until_told(cloud.internal(), "picloud_backup_failures_total 1").await;
    until_doctor_tells(&cloud.home, &dir, "wrong", "was not taken, or cannot be restored");
    doctor(&cloud.home, &dir, "wrong", "is no folder");
    let (good, said) = cloud.home.run(&["config", "check", "--backup-keep", "0"], "");
    assert!(!good && said.contains("backup_keep is 0"), "{said}");
    let (good, said) = cloud.home.run(&["config", "check", "--backup-dir", "somewhere"], "");
    assert!(!good && said.contains("belong together"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_backup_that_cannot_be_restored_is_told_and_is_none() {
    let cloud = start(Database::postgres()).await;
    let home = killed(cloud);
    let mut damaging = Command::new("psql");
    damaging.args(["--no-psqlrc", "--dbname", home.database_url().unwrap(), "--command"]);
    // Sessions go on to refer to them, which no backup's restore lets pass.
    damaging.arg("SET session_replication_role = replica; DELETE FROM users");
    assert!(damaging.status().unwrap().success());
    let dir = home.dir().join("backups");
    let cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_BACKUP_DIR", &dir).env("PICLOUD_BACKUP_EVERY_HOURS", "1");
        command.env("PICLOUD_INTERNAL", "127.0.0.1:0");
    });
    until_told(cloud.internal(), "picloud_backup_failures_total 1").await;
    until_doctor_tells(&cloud.home, &dir, "wrong", "refer to others that are not there");
    let good = |path: PathBuf| path.extension().is_some_and(|extension| extension == "backup");
    assert!(!fs::read_dir(&dir).unwrap().any(|entry| good(entry.unwrap().path())));
}

/// What the doctor finds of backups that go to that directory.
fn backup_checks(home: &Home, dir: &Path) -> Vec<Value> {
    let mut command = home.command(&["doctor", "--json", "--dev"]);
    command.env("PICLOUD_BACKUP_DIR", dir).env("PICLOUD_BACKUP_EVERY_HOURS", "1").env("PICLOUD_HTTP", "127.0.0.1:0");
    let (_, said) = run(&mut command, "");
    let report = serde_json::Deserializer::from_str(&said).into_iter::<Value>().next().unwrap().unwrap();
    report["checks"].as_array().unwrap().iter().filter(|check| check["about"] == "backup").cloned().collect()
}

fn is_told(checks: &[Value], state: &str, words: &str) -> bool {
    checks.iter().any(|check| check["state"] == state && check["found"].as_str().unwrap().contains(words))
}

/// That the doctor finds that of backups.
#[track_caller]
fn doctor(home: &Home, dir: &Path, state: &str, words: &str) {
    let checks = backup_checks(home, dir);
    assert!(is_told(&checks, state, words), "no {state} {words} in {checks:?}");
}

/// Returns once the doctor finds that of backups: it is noted just after it is counted.
fn until_doctor_tells(home: &Home, dir: &Path, state: &str, words: &str) {
    let begun = Instant::now();
    while !is_told(&backup_checks(home, dir), state, words) {
        assert!(begun.elapsed() < PATIENCE, "the doctor does not tell {words}");
    }
}

/// Returns once the metrics have a line that begins so.
async fn until_told(internal: &str, line: &str) {
    let begun = Instant::now();
    loop {
        let page = reqwest::get(format!("{internal}/metrics")).await.unwrap().text().await.unwrap();
        if page.lines().any(|found| found.starts_with(line)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{line} is not in {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
