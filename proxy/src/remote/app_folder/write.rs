//! Writes an exported document as files: nothing of another app, nothing through a link, and all of it or nothing.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, bail};
use picloud_shared::name::ScriptName;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};

use super::{APP_FILE, Object, SCRIPTS, read_app_file, refuse_link, source_path, told};

/// In which order things are written; what is not here comes behind.
const ORDER: [&str; 31] = [
    "slug",
    "name",
    "record_bodies",
    "redacted_headers",
    "hsts_max_age_s",
    "domains",
    "secrets",
    "env",
    "scripts",
    "triggers",
    "kind",
    "description",
    "script",
    "source",
    "enabled",
    "max_attempts",
    "timeout_ms",
    "sandbox",
    "execute_access",
    "routes",
    "config",
    "expression",
    "time_zone",
    "queue",
    "collection",
    "backoff",
    "method",
    "path",
    "path_kind",
    "host",
    "host_kind",
];

/// Writes an exported document as files; gives their number. Where they may replace others, the files of scripts go that the
/// app file there told of and the document does not have; what else is there stays.
///
/// # Errors
/// What is no such document, and files that are there already, unless they may be replaced.
pub fn write(dir: &Path, document: &Value, overwrite: bool) -> anyhow::Result<usize> {
    let mut file = document["app"].as_object().cloned().context("the server's answer holds no app")?;
    // TOML has no null. All else is written, for what is left out stays as it is where the app is there already.
    file.retain(|_, value| !value.is_null());
    for member in ["domains", "secrets", "env", "triggers"] {
        if let Some(told) = document.get(member).filter(|told| !told.is_null()) {
            file.insert(member.to_owned(), told.clone());
        }
    }
    for trigger in file.get_mut("triggers").and_then(Value::as_array_mut).into_iter().flatten() {
        drop_empty(trigger);
    }
    let (mut scripts, mut sources) = (Object::new(), Vec::new());
    for script in document["scripts"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let mut script = script.as_object().cloned().unwrap_or_default();
        // Parsed, so that no server chooses where on this machine is written.
        let name: ScriptName = serde_json::from_value(script.remove("name").unwrap_or_default())
            .context("the server's answer names a script as none can be named")?;
        let Some(Value::String(source)) = script.remove("source") else { bail!("the server's answer lacks a source") };
        sources.push((source_path(dir, &name), source));
        for route in script.get_mut("routes").and_then(Value::as_array_mut).into_iter().flatten() {
            leave_out(route);
        }
        let mut script = Value::Object(script);
        drop_empty(&mut script);
        if let Value::Object(mut script) = script {
            if script.get("kind") == Some(&json!("endpoint")) {
                script.remove("kind");
            }
            scripts.insert(name.to_string(), Value::Object(script));
        }
    }
    let names: Vec<_> = scripts.keys().cloned().collect();
    if !scripts.is_empty() {
        file.insert(SCRIPTS.to_owned(), Value::Object(scripts));
    }
    let text = toml::to_string_pretty(&Written(&Value::Object(file)));
    let text = text.context("the server's answer cannot be written as TOML")?;
    // The app file comes last: it tells which scripts' files are this app's until they are gone.
    let files: Vec<_> = sources.into_iter().chain([(dir.join(APP_FILE), text)]).collect();
    let mut gone = Vec::new();
    if !overwrite && let Some((there, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        bail!("{} is there already; replace it with --overwrite", there.display());
    }
    refuse_link(&dir.join(SCRIPTS))?;
    if dir.join(APP_FILE).exists() {
        let others = read_app_file(dir)?.scripts.into_keys().filter(|name| !names.contains(name));
        gone.extend(others.filter_map(|name| Some(source_path(dir, &name.parse().ok()?))));
    }
    fs::create_dir_all(dir.join(SCRIPTS)).with_context(|| format!("cannot create {}", dir.display()))?;
    // All is written before anything is replaced, so that a disk that is full leaves what was there.
    let written: Vec<_> = files
        .iter()
        .map(|(path, text)| write_beside(path, text).with_context(|| format!("cannot write {}", path.display())))
        .collect::<anyhow::Result<_>>()?;
    for path in gone.iter().filter(|path| path.symlink_metadata().is_ok()) {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    for ((path, _), new) in files.iter().zip(written) {
        let placed = if overwrite { new.persist(path) } else { new.persist_noclobber(path) };
        placed.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(files.len())
}

/// Leaves out what reading fills in.
fn leave_out(route: &mut Value) {
    if let Value::Object(route) = route {
        let told = told(route);
        route.retain(|member, value| !told.iter().any(|(name, word)| name == member && value == word));
    }
}

/// A file in the same directory, which vanishes unless it takes the other's place.
fn write_beside(path: &Path, text: &str) -> io::Result<tempfile::TempPath> {
    let dir = path.parent().unwrap_or(Path::new("."));
    // As readable as any other file, but for what the user keeps from others anyway.
    let mode = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".picloud-").permissions(mode).tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    Ok(file.into_temp_path())
}

/// A value of which the members are written in [`ORDER`].
struct Written<'v>(&'v Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(name, _)| place(name));
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.into_iter().try_for_each(|(name, value)| map.serialize_entry(name, &Written(value)))?;
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Written)),
            other => other.serialize(serializer),
        }
    }
}

/// Leaves out what says nothing: null, and what is empty. TOML has no null.
fn drop_empty(value: &mut Value) {
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(drop_empty);
            members.retain(|_, value| !says_nothing(value));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::AppFolder;
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let document = json!({
            "format": 1,
            "app": {"slug": "shop", "name": "My \"shop\"", "redacted_headers": [], "record_bodies": false, "hsts_max_age_s": null},
            "domains": [],
            "scripts": [{
                "name": "hello", "kind": "module", "description": "", "timeout_ms": null,
                "sandbox": {"max_operations": null, "max_string_size": 5}, "execute_access": "open", "source": "1\n",
                "routes": [{"host_kind": "strict", "host": "a.b", "path_kind": "exact", "path": "/:x", "method": "GET", "async": true}],
            }],
        });
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(&dir.path().join("new"), &document, false).unwrap(), 2);
        let read = AppFolder::read(&dir.path().join("new")).unwrap().document;
        let mut wanted = document.clone();
        drop_empty(&mut wanted["scripts"][0]);
        wanted["app"] = json!({"slug": "shop", "name": "My \"shop\"", "redacted_headers": [], "record_bodies": false});
        assert_eq!(read, wanted);
        let error = write(&dir.path().join("new"), &document, false).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        write(&dir.path().join("new"), &document, true).unwrap();
    }

    #[test]
    fn the_app_file_is_written_in_the_order_in_which_it_is_read_and_without_what_goes_without_saying() {
        let document = json!({
            "format": 1,
            "app": {"slug": "shop", "name": "Shop", "redacted_headers": ["x-a"], "record_bodies": true, "hsts_max_age_s": 5},
            "domains": ["shop.test"],
            "secrets": ["PAYMENT_KEY"],
            "env": {"GREETING": "hello"},
            "triggers": [{
                "script": "hello", "source": "queue", "config": {"queue": "orders", "batch_size": 1, "concurrency": 1},
                "enabled": true, "max_attempts": 5, "backoff": {"base_ms": 1000, "cap_ms": 60000}, "timeout_ms": null,
            }],
            "scripts": [
                {
                    "name": "hello", "kind": "endpoint", "description": "Greets", "timeout_ms": 250,
                    "sandbox": {"max_operations": 500}, "execute_access": "restricted", "source": "1",
                    "routes": [{"host_kind": "any", "host": null, "path_kind": "exact", "path": "/", "method": "GET"}],
                },
                {"name": "prices", "kind": "module", "execute_access": "open", "routes": [], "source": "2"},
            ],
        });
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &document, false).unwrap();
        let expected = r#"slug = "shop"
name = "Shop"
record_bodies = true
redacted_headers = ["x-a"]
hsts_max_age_s = 5
domains = ["shop.test"]
secrets = ["PAYMENT_KEY"]

[env]
GREETING = "hello"

[scripts.hello]
description = "Greets"
timeout_ms = 250
execute_access = "restricted"

[scripts.hello.sandbox]
max_operations = 500

[[scripts.hello.routes]]
method = "GET"
path = "/"

[scripts.prices]
kind = "module"
execute_access = "open"

[[triggers]]
script = "hello"
source = "queue"
enabled = true
max_attempts = 5

[triggers.config]
queue = "orders"
batch_size = 1
concurrency = 1

[triggers.backoff]
base_ms = 1000
cap_ms = 60000
"#;
        assert_eq!(fs::read_to_string(dir.path().join(APP_FILE)).unwrap(), expected);
    }

    #[test]
    fn settings_that_are_off_are_written_for_what_is_left_out_stays_on() {
        let document = json!({
            "app": {"slug": "shop", "name": "Shop", "redacted_headers": [], "record_bodies": false, "hsts_max_age_s": null},
            "domains": [], "triggers": [], "env": {}, "secrets": [],
            "scripts": [{"name": "hello", "kind": "endpoint", "source": "1", "routes": []}],
        });
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &document, false).unwrap();
        let expected = r#"slug = "shop"
name = "Shop"
record_bodies = false
redacted_headers = []
domains = []
secrets = []
triggers = []

[env]

[scripts.hello]
"#;
        assert_eq!(fs::read_to_string(dir.path().join(APP_FILE)).unwrap(), expected);
    }

    #[test]
    fn files_of_scripts_that_are_gone_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            |name: &str, source: &str| json!({"name": name, "kind": "endpoint", "source": source, "routes": []});
        let document = |scripts: &[Value]| json!({"app": {"slug": "shop"}, "domains": [], "scripts": scripts});
        let export = |scripts: &[Value]| write(dir.path(), &document(scripts), true);
        let there = || -> Vec<String> {
            let names =
                |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            let mut names = [names(dir.path()), names(&dir.path().join(SCRIPTS))].concat();
            names.sort();
            names.into_iter().map(|name| name.into_string().unwrap()).collect()
        };
        export(&[script("a", "1"), script("b", "2")]).unwrap();
        // Of somebody who has not deployed it yet, and no script at all.
        fs::write(dir.path().join("scripts/draft.rhai"), "3").unwrap();
        fs::write(dir.path().join("notes.txt"), "n").unwrap();
        // A name that the file tells goes nowhere else.
        fs::write(dir.path().join("escape.rhai"), "4").unwrap();
        let mut file = fs::read_to_string(dir.path().join(APP_FILE)).unwrap();
        file += "[scripts.\"../escape\"]\n[scripts.never]\n";
        fs::write(dir.path().join(APP_FILE), &file).unwrap();
        export(&[script("b", "5"), script("c", "6")]).unwrap();
        let expected = ["b.rhai", "c.rhai", "draft.rhai", "escape.rhai", "notes.txt", APP_FILE, SCRIPTS];
        assert_eq!(there(), expected);
        assert_eq!(fs::read_to_string(dir.path().join("scripts/b.rhai")).unwrap(), "5");
        let mode = dir.path().join("scripts/b.rhai").metadata().unwrap().permissions().mode();
        assert_eq!(mode, dir.path().join("notes.txt").metadata().unwrap().permissions().mode());

        // What cannot be written or read replaces nothing.
        fs::write(dir.path().join(APP_FILE), "a = \n").unwrap();
        assert!(export(&[script("b", "7")]).unwrap_err().to_string().contains(APP_FILE));
        assert_eq!(fs::read_to_string(dir.path().join("scripts/b.rhai")).unwrap(), "5");
        assert_eq!(there(), expected);
    }

    #[test]
    fn no_server_chooses_where_files_are_written() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../../escape", "/etc/passwd", "a/b", ""] {
            let document = json!({"app": {"slug": "a"}, "domains": [], "scripts": [{"name": name, "source": "1"}]});
            assert!(write(&dir.path().join("new"), &document, true).is_err(), "{name}");
            assert!(!dir.path().join("new").exists(), "{name}: nothing is written");
        }
    }
}
