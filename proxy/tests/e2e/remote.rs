//! The commands that work on a running cloud by its API, as an operator at another machine runs them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Database, OWNER, PATIENCE, TestCloud, on_both_databases, picloud, run, text};

/// Somebody with a key, away from the cloud's own directory.
struct Remote {
    server: String,
    key: String,
    dir: tempfile::TempDir,
}

impl Remote {
    /// One with a key that may do all of this.
    fn of(cloud: &TestCloud) -> Self {
        let mut remote = Self {
            server: format!("http://{}", cloud.address("http")),
            key: String::new(),
            dir: tempfile::tempdir().unwrap(),
        };
        let scopes = "apps:read,apps:write,scripts:read,scripts:write,scripts:execute,logs:read,data:read,data:write,\
            triggers:write";
        let (good, key) = remote.with_password(&["keys", "create", "laptop", "--scope", scopes], OWNER.1);
        assert!(good && key.starts_with("pck_"), "{key}");
        key.trim().clone_into(&mut remote.key);
        remote
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = picloud();
        command.args(arguments).current_dir(self.dir.path()).env("PICLOUD_SERVER", &self.server);
        if !self.key.is_empty() {
            command.env("PICLOUD_KEY", &self.key);
        }
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> (bool, String) {
        run(&mut self.command(arguments), input)
    }

    /// A command of the owner's that takes a password.
    fn with_password(&self, arguments: &[&str], password: &str) -> (bool, String) {
        self.run(&[arguments, &["--username", OWNER.0, "--password-stdin"]].concat(), &format!("{password}\n"))
    }

    /// What a command that succeeds says on standard output and on standard error.
    fn says(&self, arguments: &[&str]) -> (String, String) {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn must(&self, arguments: &[&str]) -> String {
        let (good, said) = self.run(arguments, "");
        assert!(good, "{arguments:?}: {said}");
        said
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let (good, said) = self.run(arguments, "");
        assert!(!good, "{arguments:?}: {said}");
        said
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

/// Somebody who follows the logs of the app, as the command prints them.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(remote: &Remote) -> Self {
        let mut command = remote.command(&["logs", "shop", "--follow"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, lines }
    }

    /// The next line that holds this.
    fn see(&self, wanted: &str) -> String {
        let mut lines = std::iter::repeat_with(|| self.lines.recv_timeout(PATIENCE).expect("it goes on"));
        lines.find(|line| line.contains(wanted)).expect("it repeats for ever")
    }

    /// Ends it; what it printed that nobody looked at.
    fn end(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

/// What a command prints as JSON of the app `shop`, once it is as it is to be.
fn until(remote: &Remote, arguments: &[&str], is_it: impl Fn(&Value) -> bool) -> Value {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let said = remote.must(&[arguments, &["--app", "shop", "--json"]].concat());
        let value = serde_json::from_str(&said).unwrap();
        if is_it(&value) {
            return value;
        }
        assert!(std::time::Instant::now() < end, "{arguments:?}: {said}");
    }
}

/// An app of ten scripts, each of which answers its number and the deployment's.
fn write_ten(dir: &Path, deployment: u32) {
    fs::create_dir_all(dir.join("scripts")).unwrap();
    let mut file = "slug = \"shop\"\nname = \"Shop\"\ndomains = [\"shop.test\"]\n".to_owned();
    for number in 0..10 {
        file += &format!("[scripts.s{number}]\nroutes = [{{ method = \"GET\", path = \"/{number}\" }}]\n");
        fs::write(dir.join(format!("scripts/s{number}.rhai")), format!("\"{number} of {deployment}\"")).unwrap();
    }
    fs::write(dir.join("picloud.app.toml"), file).unwrap();
}

on_both_databases! {
    async fn ten_scripts_are_deployed_as_one_or_not_at_all(database: Database) {
        let cloud = TestCloud::start(database).await;
        let remote = Remote::of(&cloud);
        let dir = remote.path("shop");
        write_ten(&dir, 1);
        assert!(remote.refused(&["deploy", "shop"]).contains("not_found"), "there is no such app");
        let said = remote.must(&["deploy", "shop", "--create", "--dry-run"]);
        assert!(said.contains("+ app shop") && said.contains("22 would be created"), "{said}");
        remote.must(&["deploy", "shop", "--create"]);
        for number in 0..10 {
            assert_eq!(cloud.visit("shop.test", &format!("/{number}")).await, (200, format!("{number} of 1")));
        }
        assert!(remote.must(&["deploy", "shop"]).contains("as the files say already"));

        // A mistake in one of them, and none is changed.
        write_ten(&dir, 2);
        fs::write(dir.join("scripts/s7.rhai"), "let x = ;").unwrap();
        let said = remote.refused(&["deploy", "shop"]);
        assert!(said.contains("scripts/s7.rhai: line 1") && said.contains("nothing is changed"), "{said}");
        fs::write(dir.join("scripts/s7.rhai"), "\"7 of 2\"").unwrap();
        let said = remote.must(&["deploy", "shop", "--dry-run"]);
        assert!(said.contains("~ script s7") && said.contains("10 would be changed"), "{said}");
        for number in 0..10 {
            assert_eq!(cloud.visit("shop.test", &format!("/{number}")).await.1, format!("{number} of 1"));
        }
        remote.must(&["deploy", "shop"]);
        for number in 0..10 {
            assert_eq!(cloud.visit("shop.test", &format!("/{number}")).await.1, format!("{number} of 2"));
        }

        // What is no longer in the directory is no longer there.
        write_ten(&dir, 2);
        let file = fs::read_to_string(dir.join("picloud.app.toml")).unwrap();
        let (before, _) = file.split_once("[scripts.s9]").unwrap();
        fs::write(dir.join("picloud.app.toml"), before).unwrap();
        fs::remove_file(dir.join("scripts/s9.rhai")).unwrap();
        let said = remote.must(&["deploy", "shop"]);
        assert!(said.contains("- script s9") && said.contains("- route GET /9"), "{said}");
        assert_eq!(cloud.visit("shop.test", "/9").await.0, 404);
        assert_eq!(cloud.visit("shop.test", "/8").await.0, 200);
    }

    async fn an_app_goes_out_as_files_and_comes_back_as_itself(database: Database) {
        let cloud = TestCloud::start(database).await;
        let remote = Remote::of(&cloud);
        write_ten(&remote.path("shop"), 1);
        remote.must(&["deploy", "shop", "--create"]);
        remote.must(&["export", "shop", "copy"]);
        assert!(remote.must(&["deploy", "copy", "--app", "shop"]).contains("as the files say already"));
        assert!(remote.refused(&["export", "shop", "copy"]).contains("--overwrite"));
        remote.must(&["export", "shop", "copy", "--overwrite"]);

        let document = remote.must(&["export", "shop"]);
        fs::write(remote.path("shop.json"), &document).unwrap();
        assert!(remote.refused(&["import", "shop.json"]).contains("slug_taken"));
        let said = remote.refused(&["import", "shop.json", "--slug", "shop2"]);
        assert!(said.contains("domains[0]") && said.contains("domain_claimed"), "{said}");
        assert!(said.contains("conflict: shop.test of the app shop"), "{said}");
        let said = remote.refused(&["deploy", "shop", "--app", "shop2", "--create"]);
        assert!(said.contains("picloud.app.toml: domains[0]"), "{said}");
        assert!(said.contains("conflict: shop.test of the app shop"), "{said}");
        remote.must(&["import", "shop.json", "--slug", "shop2", "--without-domains"]);
        let copy: Value = serde_json::from_str(&remote.must(&["export", "shop2"])).unwrap();
        let mut wanted: Value = serde_json::from_str(&document).unwrap();
        wanted["app"]["slug"] = json!("shop2");
        wanted["domains"] = json!([]);
        assert_eq!(copy, wanted);
        let (good, said) = remote.run(&["import", "-", "--slug", "shop3", "--without-domains"], &document);
        assert!(good, "{said}");
        let listed = remote.must(&["apps"]);
        assert!(["shop ", "shop2 ", "shop3 "].iter().all(|slug| listed.contains(slug)), "{listed}");
        let said = remote.refused(&["apps", "delete", "shop3"]);
        assert!(said.contains("--force") && !said.contains('?'), "it is not empty: {said}");
        assert_eq!(remote.must(&["apps", "delete", "shop3", "--force"]), "deleted the app shop3\n");

        // What the files leave out is what a new app has.
        for settings in [json!({"name": "Shop"}), json!({"record_bodies": false, "redacted_headers": ["x-a"]})] {
            cloud.must(Method::PATCH, "apps/shop", Some(settings)).await;
            let document = remote.must(&["export", "shop"]);
            remote.must(&["export", "shop", "copy", "--overwrite"]);
            remote.must(&["apps", "delete", "shop", "--force"]);
            remote.must(&["deploy", "copy", "--create"]);
            assert_eq!(remote.must(&["export", "shop"]), document);
        }
    }

    async fn an_app_gets_another_name_and_another_slug_and_its_old_one_leads_there(database: Database) {
        let cloud = TestCloud::start(database).await;
        let remote = Remote::of(&cloud);
        assert_eq!(remote.must(&["apps", "create", "shop"]), "created the app shop\n");
        assert!(remote.refused(&["apps", "rename", "shop"]).contains("--slug"), "it says what to do");
        assert!(remote.must(&["apps", "rename", "shop", "--name", "Corner shop"]).contains("is shop, called Corner shop"));
        let said = remote.must(&["apps", "rename", "shop", "--slug", "store"]);
        assert!(said.contains("is store, called Corner shop"), "{said}");
        assert!(remote.must(&["apps", "rename", "shop", "--name", "Store"]).contains("is store, called Store"), "by its old slug");
        // What is destroyed is named first; anything else goes there, and is told of.
        let said = remote.refused(&["apps", "delete", "shop", "--force"]);
        assert!(said.contains("shop is now called store: picloud apps delete store"), "{said}");
        assert!(remote.must(&["apps"]).contains("store "), "it is there still");
        let told = |arguments: &[&str]| {
            let (_, complaint) = remote.says(arguments);
            assert_eq!(complaint, "picloud: shop is now called store\n", "{arguments:?}");
        };
        fs::write(remote.path("hello.rhai"), "1").unwrap();
        told(&["scripts", "push", "shop", "hello.rhai"]);
        told(&["scripts", "invoke", "shop", "hello"]);
        told(&["export", "shop"]);
        let said = remote.refused(&["apps", "create", "shop"]);
        assert!(said.contains("slug_historical") && said.contains("--takeover") && !said.contains('"'), "{said}");
        remote.must(&["apps", "create", "market"]);
        assert!(remote.refused(&["apps", "rename", "market", "--slug", "shop"]).contains("slug_historical"));
        remote.must(&["apps", "rename", "market", "--slug", "shop", "--takeover"]);
        remote.must(&["apps", "create", "market", "--takeover"]);
        let (good, said) = remote.run(&["import", "-", "--slug", "copy", "--dry-run"], &remote.must(&["export", "store"]));
        assert!(good && said.contains("+ app copy") && said.contains("would be created"), "{said}");
        let listed = remote.must(&["apps"]);
        assert!(!listed.contains("copy") && ["shop ", "market ", "store "].iter().all(|slug| listed.contains(slug)), "{listed}");
    }

    async fn a_deployment_by_a_slug_of_before_replaces_no_app(database: Database) {
        let cloud = TestCloud::start(database).await;
        let remote = Remote::of(&cloud);
        let dir = remote.path("shop");
        write_ten(&dir, 1);
        remote.must(&["deploy", "shop", "--create"]);
        remote.must(&["apps", "rename", "shop", "--slug", "store"]);
        let store = remote.must(&["export", "store"]);
        write_ten(&dir, 2);
        let file = fs::read_to_string(dir.join("picloud.app.toml")).unwrap();
        fs::write(dir.join("picloud.app.toml"), file.replace("shop.test", "market.test")).unwrap();

        for dry_run in [&[][..], &["--dry-run"]] {
            let said = remote.refused(&[&["deploy", "shop"][..], dry_run].concat());
            assert!(said.contains("shop is now called store: deploy with --app store\n"), "{said}");
            let said = remote.refused(&[&["deploy", "shop", "--create"][..], dry_run].concat());
            assert!(said.contains("deploy with --app store, or add --takeover"), "{said}");
        }
        let said = remote.must(&["deploy", "shop", "--create", "--takeover", "--dry-run"]);
        assert!(said.contains("+ app shop") && said.contains("22 would be created"), "{said}");
        assert!(remote.refused(&["deploy", "shop"]).contains("shop is now called store"), "a trial takes nothing over");
        remote.must(&["deploy", "shop", "--create", "--takeover"]);
        assert_eq!(remote.must(&["export", "store"]), store, "it is as it was");
        assert_eq!(cloud.visit("shop.test", "/1").await, (200, "1 of 1".to_owned()));
        assert_eq!(cloud.visit("market.test", "/1").await, (200, "1 of 2".to_owned()));
        assert!(remote.must(&["deploy", "shop", "--create", "--takeover"]).contains("as the files say already"));

        // Whoever means the renamed app says so.
        write_ten(&dir, 2);
        let said = remote.must(&["deploy", "shop", "--app", "store"]);
        assert!(said.contains("~ script s1") && said.contains("10 changes, live now"), "{said}");
        assert_eq!(cloud.visit("shop.test", "/1").await, (200, "1 of 2".to_owned()));
    }

    async fn scripts_are_pulled_pushed_and_tried(database: Database) {
        let cloud = TestCloud::start(database).await;
        let remote = Remote::of(&cloud);
        remote.must(&["apps", "create", "shop"]);
        let none = remote.says(&["scripts", "list", "shop"]);
        assert_eq!(none, (String::new(), "picloud: there are no scripts yet\n".to_owned()));
        assert_eq!(remote.says(&["scripts", "list", "shop", "--json"]), ("[]\n".to_owned(), String::new()));
        fs::write(remote.path("hello.rhai"), "log::info(\"by \" + ctx.request.method); #{ status: 201, body: \"made\" }\n").unwrap();
        assert!(remote.must(&["scripts", "push", "shop", "hello.rhai"]).contains("created hello, version 1"));
        let said = remote.must(&["scripts", "invoke", "shop", "hello", "--method", "POST", "--header", "x-a: b"]);
        assert!(said.contains("201 success") && said.contains("by POST") && said.ends_with("made\n"), "{said}");
        assert!(said.contains(" ms\n") && !said.contains('µ'), "the unit of the logs: {said}");
        assert_eq!(remote.must(&["scripts", "pull", "shop", "hello"]), fs::read_to_string(remote.path("hello.rhai")).unwrap());
        fs::write(remote.path("hello.rhai"), "throw \"no\"").unwrap();
        assert!(remote.must(&["scripts", "push", "shop", "hello.rhai"]).contains("version 2"));
        let said = remote.refused(&["scripts", "invoke", "shop", "hello"]);
        assert!(said.contains("line 1: ") && said.contains("did not succeed"), "{said}");
        fs::write(remote.path("broken.rhai"), "let = 1").unwrap();
        assert!(remote.refused(&["scripts", "push", "shop", "broken.rhai"]).contains("invalid_source"));
        assert!(remote.refused(&["scripts", "pull", "shop", "gone"]).contains("no script gone"));
        let scripts: Value = serde_json::from_str(&remote.must(&["scripts", "list", "shop", "--json"])).unwrap();
        assert_eq!(scripts[0]["name"], "hello");
        let said = remote.must(&["logs", "shop", "--script", "hello"]);
        assert!(said.contains("201 success") && said.contains("info by POST") && said.contains("error"), "{said}");
    }

    async fn settings_and_secrets_are_set_and_a_secret_is_told_to_the_script_alone(database: Database) {
        let cloud = TestCloud::start(database).await;
        let remote = Remote::of(&cloud);
        remote.must(&["apps", "create", "shop"]);
        let none = remote.says(&["secrets", "list", "--app", "shop"]);
        assert_eq!(none, (String::new(), "picloud: there are no secrets yet\n".to_owned()));
        assert!(remote.refused(&["env", "list"]).contains("--app"));
        remote.must(&["env", "set", "MODE", "-v", "--app", "shop"]);
        let (good, said) = remote.run(&["env", "--app", "shop", "set", "MOTD", "--value-stdin"], "two\nlines\n");
        assert!(good && said == "set MOTD of the app shop\n", "{said}");
        let listed: Value = serde_json::from_str(&remote.must(&["env", "list", "--app", "shop", "--json"])).unwrap();
        assert_eq!((&listed[0]["value"], &listed[1]["value"]), (&Value::from("-v"), &Value::from("two\nlines")));
        let set = ["secrets", "set", "KEY", "--app", "shop"];
        assert!(remote.refused(&set).contains("--value-stdin"), "what is piped in unasked is not read");
        let (good, said) = remote.run(&[&set[..], &["--value-stdin"]].concat(), "hunter2\n");
        assert!(good && !said.contains("hunter2"), "{said}");
        let (good, said) = remote.run(&[&set[..], &["--value-stdin"]].concat(), "abc");
        assert!(!good && said.contains("4 to 8192 bytes"), "{said}");
        fs::write(remote.path("page.rhai"), "log::info(secrets::get(\"KEY\")); secrets::get(\"KEY\") + env::get(\"MODE\")").unwrap();
        remote.must(&["scripts", "push", "shop", "page.rhai"]);
        let said = remote.must(&["scripts", "invoke", "shop", "page"]);
        assert!(said.ends_with("hunter2-v\n") && said.contains("info [secret KEY]"), "{said}");
        assert!(!remote.must(&["logs", "shop"]).contains("hunter2"));
        let said = remote.must(&["secrets", "list", "--app", "shop"]);
        assert!(said.contains("KEY") && !said.contains("hunter2"), "{said}");
        remote.must(&["secrets", "delete", "KEY", "--app", "shop"]);
        remote.must(&["env", "delete", "MODE", "--app", "shop"]);
        assert!(remote.refused(&["secrets", "delete", "KEY", "--app", "shop"]).contains("not_found"));
    }

    async fn triggers_handle_messages_and_what_fails_is_a_dead_letter_until_something_is_made_of_it(database: Database) {
        let cloud = TestCloud::start(database).await;
        let remote = Remote::of(&cloud);
        remote.must(&["apps", "create", "shop"]);
        fs::write(remote.path("mail.rhai"), "if ctx.event.payload.to == () { throw \"to whom?\" } kv::set(\"to\", ctx.event.payload.to)")
            .unwrap();
        remote.must(&["scripts", "push", "shop", "mail.rhai"]);
        let json = |arguments: &[&str]| -> Value {
            let said = remote.must(&[arguments, &["--app", "shop", "--json"]].concat());
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
        };
        let none = remote.says(&["triggers", "list", "--app", "shop"]);
        assert_eq!(none, (String::new(), "picloud: there are no triggers yet\n".to_owned()));
        for wrong in [
            &["triggers", "create", "mail", "--app", "shop"][..],
            &["triggers", "create", "mail", "--queue", "Mail", "--app", "shop"],
            &["triggers", "create", "mail", "--queue", "mail", "--dead-letters", "--app", "shop"],
            &["triggers", "create", "gone", "--queue", "mail", "--app", "shop"],
            &["triggers", "create", "mail", "--dead-letters", "--batch-size", "2", "--app", "shop"],
            &["triggers", "create", "mail", "--docs", "orders", "--kv", "orders", "--app", "shop"],
            &["triggers", "create", "mail", "--docs", "orders", "--cron", "0 3 * * *", "--app", "shop"],
            &["triggers", "create", "mail", "--cron", "0 3 31 2 *", "--app", "shop"],
            &["triggers", "create", "mail", "--cron", "0 3 * * *", "--time-zone", "Atlantis", "--app", "shop"],
            &["triggers", "create", "mail", "--cron", "0 3 * * *", "--misfire", "never", "--app", "shop"],
            &["triggers", "create", "mail", "--dead-letters", "--time-zone", "UTC", "--app", "shop"],
            &["triggers", "create", "mail", "--docs", "orders", "--prefix", "a", "--app", "shop"],
            &["triggers", "create", "mail", "--docs", "orders", "--ops", "insert,set", "--app", "shop"],
            &["triggers", "create", "mail", "--docs", "Orders", "--app", "shop"],
            &["triggers", "update", "mail", "--app", "shop"],
            &["queues", "send", "mail", "{", "--app", "shop"],
            &["dead-letters", "replay", "--app", "shop"],
        ] {
            remote.refused(wrong);
        }
        assert_eq!(json(&["triggers", "list"]), json!([]));
        let made = json(&["triggers", "create", "mail", "--queue", "mail", "--disabled", "--max-attempts", "3", "--backoff-base-ms", "5"]);
        assert_eq!((&made["config"]["queue"], &made["enabled"], &made["max_attempts"]), (&json!("mail"), &json!(false), &json!(3)));
        assert_eq!(made["backoff"], json!({ "base_ms": 5, "cap_ms": 3_600_000 }));
        remote.must(&["queues", "send", "mail", r#"{ "to": "ada" }"#, "--dedup-key", "1", "--app", "shop"]);
        remote.must(&["queues", "send", "mail", r#"{ "to": "ada" }"#, "--dedup-key", "1", "--app", "shop"]);
        assert_eq!(json(&["queues", "list"])[0]["waiting"], 1);
        let said = remote.must(&["triggers", "update", "mail", "--enable", "--max-attempts", "1", "--app", "shop"]);
        assert!(said.starts_with("changed the trigger "), "{said}");
        let listed = remote.must(&["triggers", "list", "--app", "shop"]);
        assert!(listed.contains("queue   mail  mail    true"), "{listed}");
        until(&remote, &["queues", "list"], |queues| *queues == json!([]));

        let (good, said) = remote.run(&["triggers", "fire", "mail", "--payload-stdin", "--app", "shop"], "{ \"note\": 1 }\n");
        assert!(good && said.starts_with("made the event "), "{said}");
        let letters = until(&remote, &["dead-letters", "list"], |letters| *letters != json!([]));
        let letter = letters[0]["id"].as_str().unwrap();
        let said = remote.must(&["dead-letters", "list", "--script", "mail", "--app", "shop"]);
        assert!(said.contains("to whom?") && said.contains(letter), "{said}");
        let said = remote.must(&["dead-letters", "show", letter, "--app", "shop"]);
        assert!(said.contains(r#"payload: {"note":1}"#) && said.contains("attempt_count: 1"), "{said}");
        remote.must(&["dead-letters", "replay", letter, "--payload", r#"{ "to": "bob" }"#, "--app", "shop"]);
        assert!(remote.refused(&["dead-letters", "replay", letter, "--app", "shop"]).contains("already_resolved"));
        until(&remote, &["queues", "list"], |queues| *queues == json!([]));
        assert_eq!(json(&["dead-letters", "list"]), json!([]));
        assert_eq!(json(&["dead-letters", "list", "--resolved"])[0]["resolution"], "replayed");

        for _ in 0..2 {
            remote.must(&["queues", "send", "mail", "--app", "shop"]);
        }
        until(&remote, &["dead-letters", "list"], |letters| letters.as_array().unwrap().len() == 2);
        let resolve_all = ["dead-letters", "resolve", "--all", "--app", "shop"];
        let said = remote.must(&[&resolve_all[..], &["--source", "dead_letter"]].concat());
        assert_eq!(said, "resolved: 0\n");
        assert_eq!(remote.must(&resolve_all), "resolved: 2\n");
        for (given, source, config) in [
            (&["--docs", "orders", "--ops", "insert,delete"][..], "docs", json!({ "collection": "orders", "ops": ["insert", "delete"] })),
            (&["--kv", "users", "--prefix", "a/", "--ops", "set"], "kv", json!({ "collection": "users", "prefix": "a/", "ops": ["set"] })),
            (
                &["--cron", "0 3 * * *", "--time-zone", "Europe/Zurich"],
                "cron",
                json!({ "expression": "0 3 * * *", "time_zone": "Europe/Zurich", "misfire": "once" }),
            ),
        ] {
            let made = json(&[&["triggers", "create", "mail"][..], given].concat());
            assert_eq!((&made["source"], &made["config"]), (&json!(source), &config));
            let id = made["id"].as_str().unwrap();
            let of = config["collection"].as_str().or(config["expression"].as_str()).unwrap();
            assert!(remote.must(&["triggers", "list", "--app", "shop"]).contains(of));
            if source == "cron" {
                let changed = json(&["triggers", "update", id, "--misfire", "all"]);
                assert_eq!((&changed["config"]["expression"], &changed["config"]["misfire"]), (&json!("0 3 * * *"), &json!("all")));
            }
            remote.must(&["triggers", "delete", id, "--app", "shop"]);
        }
        remote.must(&["triggers", "delete", "mail", "--app", "shop"]);
        assert!(remote.refused(&["triggers", "delete", "mail", "--app", "shop"]).contains("no trigger of the app shop"));
    }

    async fn logs_are_followed_as_they_come(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        let script = cloud.publish("log::info(\"seen \" + ctx.request.query.n); 1").await;
        let remote = Remote::of(&cloud);
        cloud.visit("shop.test", "/?n=before").await;
        let following = Following::start(&remote);
        let see = |wanted: &str| following.see(wanted);
        see("seen before");
        cloud.visit("shop.test", "/?n=during").await;
        see("seen during");
        // Another app's executions, and nothing that moves the terminal.
        let other = cloud.app("other", "other.test").await;
        let stranger = cloud.script(&other, "main", "endpoint", "log::info(\"stranger\"); 1").await;
        cloud.route(&stranger, "exact", "/", "GET").await;
        cloud.visit("other.test", "/").await;
        cloud.edit(&script, "log::info(\"\\x1b[2J\" + ctx.request.query.n); 1").await;
        cloud.visit("shop.test", "/?n=escape").await;
        let line = see("escape");
        assert!(!line.contains('\u{1b}'), "{line:?}");
        let rest = following.end();
        assert!(!rest.iter().any(|line| line.contains("stranger")), "{rest:?}");
        cloud.signal("-TERM");
        assert!(cloud.ended().success(), "watchers keep no process");
    }
}

#[tokio::test]
async fn what_another_node_answers_is_followed_as_well() {
    let cloud = TestCloud::start(Database::postgres()).await;
    cloud.publish("log::info(\"seen \" + ctx.request.query.n); 1").await;
    let remote = Remote::of(&cloud);
    let other = cloud.another_node(|_| {});
    let following = Following::start(&remote);
    cloud.visit("shop.test", "/?n=here").await;
    following.see("seen here");
    let there = format!("http://{}/?n=there", other.address("http"));
    let answer = reqwest::Client::new().get(there).header("host", "shop.test").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    following.see("seen there");
    let rest = following.end();
    assert!(!rest.iter().any(|line| line.contains("seen")), "once each: {rest:?}");
}

#[tokio::test]
async fn whoever_finds_no_place_to_watch_comes_again() {
    let cloud = TestCloud::start(Database::Sqlite).await;
    cloud.publish("log::info(\"seen\"); 1").await;
    let remote = Remote::of(&cloud);
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(cloud.call(Method::GET, "apps/shop/logs/tail", None).await);
    }
    let mut child =
        remote.command(&["logs", "shop", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut complaints = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = complaints.next().unwrap().unwrap();
    assert!(said.contains("too_many_streams") && said.contains("again in 1 s"), "{said}");
    drop(streams);
    cloud.visit("shop.test", "/").await;
    let mut seen = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(seen.any(|line| line.contains("seen")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_watcher_does_not_keep_a_process_that_is_to_end() {
    let mut cloud = TestCloud::start(Database::Sqlite).await;
    cloud.publish("1").await;
    let mut stream = cloud.call(Method::GET, "apps/shop/logs/tail", None).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(stream.chunk().await.unwrap().is_some_and(|begun| begun.starts_with(b": watching")));
    cloud.visit("shop.test", "/").await;
    let event = stream.chunk().await.unwrap().unwrap();
    assert!(event.starts_with(b"event: execution"), "{event:?}");
    cloud.signal("-TERM");
    assert!(stream.chunk().await.unwrap().is_none(), "the answer ends as an answer does");
    assert!(cloud.ended().success());
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said() {
    let cloud = TestCloud::start(Database::Sqlite).await;
    let mut remote = Remote::of(&cloud);
    let (good, said) = run(picloud().args(["apps"]), "");
    assert!(!good && said.contains("--server"), "{said}");
    let key = std::mem::take(&mut remote.key);
    assert!(remote.refused(&["apps"]).contains("PICLOUD_KEY"));
    fs::write(remote.path("key"), format!("{key}\n")).unwrap();
    remote.must(&["apps", "--key-file", "key"]);
    fs::write(remote.path("key"), "pck_no\nkey").unwrap();
    let said = remote.refused(&["apps", "--key-file", "key"]);
    assert!(said.contains("is no key") && !said.contains("pck_no"), "{said}");
    for unknown in ["pck_none", &format!("{}x", &key[..key.len() - 1])] {
        fs::write(remote.path("key"), unknown).unwrap();
        let said = remote.refused(&["apps", "--key-file", "key"]);
        assert!(said.contains("this API key is unknown, revoked or expired") && !said.contains("POST"), "{said}");
    }
    fs::write(remote.path("key"), "a password").unwrap();
    let said = remote.refused(&["apps", "--key-file", "key"]);
    assert!(said.contains("keys begin with pck_") && !said.contains("a password"), "{said}");
    let (good, said) = remote.run(&["keys", "list", "--username", OWNER.0], OWNER.1);
    assert!(!good && said.contains("--password-stdin"), "{said}");
    let (good, said) = remote.with_password(&["keys", "list"], "not the password");
    assert!(!good && said.contains("wrong_credentials"), "{said}");
    let (good, said) = remote.with_password(&["keys", "list", "--json"], OWNER.1);
    let keys: Value = serde_json::from_str(&said).unwrap();
    assert!(good && keys[0]["name"] == "laptop", "{said}");
    let (good, said) = remote.with_password(&["keys", "revoke", "desktop"], OWNER.1);
    assert!(!good && said.contains("no key desktop") && said.contains("keys list"), "{said}");
    let (good, said) = remote.with_password(&["keys", "revoke", "laptop"], OWNER.1);
    assert!(good && said == format!("revoked the key laptop, {}\n", text(&keys[0]["id"])), "{said}");
    let (good, said) = remote.with_password(&["keys", "list"], OWNER.1);
    assert!(good && said == "picloud: there are no keys yet\n", "{said}");
    remote.key = key;
    assert!(remote.refused(&["apps"]).contains("revoked"), "a revoked key");
    let sessions = cloud.must(Method::GET, "auth/me/sessions", None).await;
    assert_eq!(sessions["items"].as_array().map(Vec::len), Some(1), "commands leave no session behind: {sessions}");

    // What answers is no PiCloud: the data plane's host of an app, and nobody.
    cloud.publish("1").await;
    remote.server = "http://127.0.0.1:9".to_owned();
    assert!(remote.refused(&["apps"]).contains("cannot be reached"));
    remote.server = format!("http://ada:hunter2@{}", cloud.address("http"));
    let said = remote.refused(&["apps"]);
    assert!(said.contains("PICLOUD_SERVER") && !said.contains("hunter2"), "{said}");
    remote.server = cloud.address("http").to_string();
    let said = remote.refused(&["apps"]);
    assert!(said.contains(&format!("PICLOUD_SERVER, is {}", remote.server)), "{said}");
    // The address that a browser shows is one that does.
    remote.server = format!("http://{}/admin/", cloud.address("http"));
    assert!(remote.refused(&["apps"]).contains("revoked"));
}

/// Whoever answers in a PiCloud's place, and sends elsewhere, does not get the key sent there.
#[tokio::test]
async fn the_key_goes_to_no_other_server() {
    use std::io::Write as _;
    let (thief, bait) =
        (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let elsewhere = format!("http://{}/", thief.local_addr().unwrap());
    let server = format!("http://{}", bait.local_addr().unwrap());
    let sent = elsewhere.clone();
    std::thread::spawn(move || {
        let (mut client, _) = bait.accept().unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        write!(client, "HTTP/1.1 308 Moved\r\nlocation: {sent}\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let (good, said) =
        run(picloud().args(["apps"]).env("PICLOUD_SERVER", &server).env("PICLOUD_KEY", "pck_secret"), "");
    assert!(!good && said.contains(&elsewhere) && said.contains("--server"), "{said}");
    thief.set_nonblocking(true).unwrap();
    assert_eq!(thief.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}
