//! The commands that end by themselves.

use std::fs::File;
use std::process::Stdio;

use reqwest::Method;

use crate::cloud::{Database, Home, OWNER, TestCloud, on_both_databases, picloud, run, with_open_files};

on_both_databases! {
    async fn users_are_made_and_helped_from_the_command_line(database: Database) {
        let home = Home::new(database);
        let owner = ["admin", "create-user", OWNER.0, "--role", "owner", "--password-stdin"];
        let (good, said) = home.run(&["migrate"], "");
        assert!(good, "{said}");
        let (good, said) = home.run(&owner, &format!("{}\n", OWNER.1));
        assert!(good, "{said}");
        let (good, said) = home.run(&["admin", "create-user", OWNER.0], "");
        assert!(!good && said.contains("there is a user ada already"), "{said}");
        let (good, said) = home.run(&["admin", "create-user", "bob", "--password-stdin"], "short\n");
        assert!(!good && said.contains("12 to 256"), "{said}");
        assert_eq!(home.run(&["admin", "list"], "").1, "ada\towner\tactive\n");

        let mut cloud = TestCloud::start_with(home, |_| {});
        assert_eq!(cloud.announced("First of all:"), None, "an instance with a user has no set-up link");
        cloud.sign_in(OWNER.1).await;
        cloud.must(Method::GET, "auth/me", None).await;
        let (good, password) = cloud.home.run(&["admin", "reset-password", OWNER.0], "what belongs to others\n");
        assert!(good && !password.contains("others"), "{password}");
        assert_eq!(cloud.api(Method::GET, "auth/me", None).await.0, 401, "sessions are ended");
        cloud.sign_in(password.trim()).await;
        let (good, said) = cloud.home.run(&["migrate"], "");
        assert!(good && said.contains("the store has schema"), "{said}");
    }

    async fn a_command_on_the_store_makes_no_instance_where_there_is_none(database: Database) {
        let home = Home::new(database);
        let commands = [
            &["admin", "rotate-key"][..],
            &["admin", "create-user", OWNER.0],
            &["admin", "reset-password", OWNER.0],
            &["admin", "list"],
            &["audit", "verify"],
            &["trust"],
        ];
        for command in commands {
            let (good, said) = home.run(command, "");
            assert!(!good && said.contains("there is no instance in") && !said.contains("postgres:postgres"), "{command:?}: {said}");
            assert!(!home.dir().join("data").exists(), "{command:?}");
        }
        // One that was made beforehand, and that has no key yet, is one.
        assert!(home.run(&["migrate"], "").0);
        let (good, said) = home.run(&["admin", "list"], "");
        assert!(good && said.is_empty(), "{said}");
    }

    async fn the_audit_log_is_verified_from_the_command_line(database: Database) {
        let cloud = TestCloud::start(database).await;
        cloud.publish("1").await;
        let (good, said) = cloud.home.run(&["audit", "verify"], "");
        assert!(good && said.contains("the audit log is whole"), "{said}");
        let end = said.trim().rsplit(' ').next().unwrap();
        cloud.app("blog", "blog.test").await;
        let (good, said) = cloud.home.run(&["audit", "verify", "--holds", end], "");
        assert!(good, "{said}");
        let other = end.replace('a', "b").replace('0', "1");
        let (good, said) = cloud.home.run(&["audit", "verify", "--holds", &other], "");
        assert!(!good && said.contains("does not hold the row and seal"), "{said}");
    }

    async fn the_first_owner_of_the_environment_is_inert_once_there_is_a_user(database: Database) {
        let start = |home: Home, username: &str, password: Option<&str>| {
            let cloud = TestCloud::start_with(home, |command| {
                command.env("PICLOUD_ADMIN_USERNAME", username);
                command.envs(password.map(|password| ("PICLOUD_ADMIN_PASSWORD", password)));
            });
            let said = cloud.announced("Sign in:").expect("an instance with a user is signed in to").to_owned();
            (cloud.home, said)
        };
        let (mut home, said) = start(Home::new(database), OWNER.0, Some(OWNER.1));
        assert!(said.contains(OWNER.0), "{said}");
        for (username, password) in [("mallory", Some(OWNER.1)), ("no name", Some("short")), ("mallory", None)] {
            let said;
            (home, said) = start(home, username, password);
            assert!(!said.contains(username), "{said}");
        }
        assert_eq!(home.run(&["admin", "list"], "").1, "ada\towner\tactive\n");
    }
}

#[tokio::test]
async fn a_directory_is_served_by_one_process_and_by_the_next_when_that_has_ended() {
    let mut cloud = TestCloud::start(Database::Sqlite).await;
    let holder = std::fs::read_to_string(cloud.home.dir().join("data/serve.lock")).unwrap();
    let (started, said) = cloud.home.run(&["serve", "--dev", "--http", "127.0.0.1:0"], "");
    assert!(
        !started && said.contains(&format!("is served by another picloud, process {}", holder.lines().next().unwrap())),
        "{said}"
    );
    // What works beside a server goes on working.
    let (good, said) = cloud.home.run(&["admin", "list"], "");
    assert!(good && said.contains(OWNER.0), "{said}");
    cloud.signal("-KILL");
    cloud.ended();
    cloud.restart();
    cloud.sign_in(OWNER.1).await;
}

#[test]
fn half_a_first_owner_is_refused_at_the_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = picloud();
    command.args(["serve", "--dev", "--http", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
    let (started, said) = run(command.env("PICLOUD_ADMIN_USERNAME", OWNER.0), "");
    assert!(!started && said.contains("PICLOUD_ADMIN_USERNAME and PICLOUD_ADMIN_PASSWORD belong together"), "{said}");
}

#[test]
fn the_configuration_is_checked_and_shown_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picloud.toml");
    std::fs::write(&file, "http = \":8080\"\nsesion_ttl_hours = 3\n").unwrap();
    let (good, said) = run(picloud().args(["config", "check", "--config"]).arg(&file), "");
    assert!(!good && said.contains("sesion_ttl_hours") && said.contains("session_ttl_hours"), "{said}");

    std::fs::write(&file, "http = \":8080\"\nsession_ttl_hours = 3\nmax_connections = 7\n").unwrap();
    let (good, said) = run(picloud().args(["config", "check", "--config"]).arg(&file), "");
    assert!(good, "{said}");
    let mut show = picloud();
    show.args(["config", "show", "--max-connections", "9", "--config"]).arg(&file);
    show.env("PICLOUD_SESSION_TTL_HOURS", "5").env("PICLOUD_DATABASE_URL", "postgres://ada:hunter2@db/cloud");
    let (good, said) = run(&mut show, "");
    assert!(good && said.contains("session_ttl_hours = 5") && said.contains("max_connections = 9"), "{said}");
    assert!(said.contains("ada@db") && !said.contains("hunter2"), "{said}");
    let shown = dir.path().join("shown.toml");
    std::fs::write(&shown, said).unwrap();
    let (good, said) = run(picloud().args(["config", "check", "--config"]).arg(&shown), "");
    assert!(good, "what is shown is a file that works: {said}");
}

#[test]
fn a_command_that_nobody_reads_on_ends_without_a_word_and_one_that_cannot_be_printed_says_so() {
    for args in [&["completions", "bash"][..], &["man"], &["config", "show", "--dev"]] {
        let end = |out: Stdio| {
            let ended = picloud().args(args).stdout(out).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
            let ended = ended.unwrap();
            (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
        };
        let (nobody, out) = std::io::pipe().unwrap();
        drop(nobody);
        assert_eq!(end(out.into()), (Some(141), String::new()), "{args:?}");
        let (code, said) = end(File::options().write(true).open("/dev/full").unwrap().into());
        assert!(code == Some(1) && said.starts_with("picloud: cannot print: No space left"), "{args:?}: {said}");
    }
}

#[test]
fn a_number_out_of_bounds_and_a_line_with_a_password_are_refused_in_words() {
    for (flag, value) in [("--max-connections", "0"), ("--executor-queue-capacity", "0"), ("--idle-timeout-ms", "0")] {
        let (good, said) = run(picloud().args(["config", "check", flag, value]), "");
        assert!(!good && said.contains("must be from") && !said.contains("panic"), "{flag}: {said}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picloud.toml");
    std::fs::write(&file, "access_log = true\ndatabase_url = postgres://ada:hunter2@db/cloud\n").unwrap();
    let (good, said) = run(picloud().args(["config", "check", "--config"]).arg(&file), "");
    assert!(!good && said.contains("picloud.toml:2:") && !said.contains("hunter2"), "{said}");
}

#[test]
fn the_process_that_serves_tells_how_many_connections_it_has_room_for_and_no_other_does() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let with = |command: &[&str], hard: u32| {
        let mut picloud = picloud();
        picloud.args(command).args(["--dev", "--max-connections", "1000", "--data-dir"]).arg(dir.path());
        run(&mut with_open_files(&picloud, 64, hard), "").1
    };
    // A start that ends by itself, since the address is taken.
    let serve = |hard| with(&["serve", "--http", &address], hard);
    let said = serve(400);
    assert!(said.contains("max_connections is 1000") && said.contains("room for 144"), "{said}");
    let said = serve(1256);
    assert!(!said.contains("max_connections is") && said.contains("cannot listen"), "{said}");
    let said = serve(128);
    assert!(said.contains("only 128 files may be open"), "{said}");
    let said = with(&["config", "check"], 128);
    assert_eq!(said, "the configuration can be used\n", "a shell's limit is not that of the service");
}

#[test]
fn a_start_that_cannot_be_is_explained() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let serve =
        |arguments: &[&str]| run(picloud().args(["serve", "--dev", "--data-dir"]).arg(dir.path()).args(arguments), "");
    let (good, said) = serve(&["--http", &address]);
    assert!(!good && said.contains(&format!("cannot listen on {address}")), "{said}");
    let (good, said) = serve(&["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
    assert!(!good && said.contains("there is no certificate"), "{said}");
    let files = ["--tls-chain", "/none", "--tls-key", "/none"];
    let (good, said) = serve(&[&["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"], &files[..]].concat());
    assert!(!good && said.contains("/none"), "{said}");
}

#[test]
fn the_page_on_configuration_names_every_setting_in_its_three_spellings() {
    let (_, help) = run(picloud().args(["serve", "--help"]), "");
    let flags = help.lines().filter_map(|line| line.trim().strip_prefix("--")?.split(' ').next());
    // `--role` is `--node-role` in short.
    let settings = flags.filter(|flag| !matches!(*flag, "config" | "dev" | "role"));
    let settings: Vec<String> = settings.map(str::to_owned).collect();
    let documented = documented_settings();
    assert_eq!(documented.iter().map(|row| row.flag.clone()).collect::<Vec<_>>(), settings);
    for Setting { flag, variable, key, .. } in documented {
        assert!(help.contains(&format!("[env: {variable}]")), "{variable}");
        assert_eq!(key, flag.replace('-', "_"));
    }
}

#[test]
fn the_page_on_configuration_gives_the_defaults_that_are_shown() {
    let (_, shown) = run(picloud().args(["config", "show"]), "");
    let shown: Vec<(&str, &str)> = shown.lines().filter_map(|line| line.split_once(" = ")).collect();
    let mut compared = 0;
    for Setting { key, default, .. } in documented_settings() {
        let plain = default.parse::<u64>().is_ok() || default == "false" || default.starts_with('"');
        // The others depend on the machine, the store or further settings, and are told in words.
        if plain {
            assert!(shown.contains(&(key.as_str(), default.as_str())), "{key} = {default} is not in {shown:?}");
            compared += 1;
        }
    }
    assert!(compared >= 14, "the defaults are gone from the page");
}

/// A row of the page's table.
struct Setting {
    flag: String,
    variable: String,
    key: String,
    /// Without its quotes where it is nothing but a literal.
    default: String,
}

fn documented_settings() -> Vec<Setting> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `--"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [flag, variable, key, default, ..] = cells[..] else { panic!("{row}") };
        Setting { flag: flag.into(), variable: variable.into(), key: key.into(), default: default.into() }
    })
    .collect()
}
