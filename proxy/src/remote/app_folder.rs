//! An app as files: `picloud.app.toml`, and one file in `scripts` for each script. Read into the document that a deployment takes,
//! and written from the one that an export gives. What stands in the file goes to the server as it is, which says what is
//! wrong with it; only what can be told from the rest is filled in.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use picloud_shared::name::ScriptName;
use picloud_shared::script::ScriptSource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The file of all that is no source.
pub const APP_FILE: &str = "picloud.app.toml";
const SCRIPTS: &str = "scripts";
const EXTENSION: &str = "rhai";
/// More than an app's routes and settings take.
const MAX_APP_FILE_BYTES: usize = 8 * 1024 * 1024;

type Object = Map<String, Value>;

/// What stands in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct AppFile {
    /// The app's own settings.
    #[serde(flatten)]
    app: Object,
    #[serde(skip_serializing_if = "Option::is_none")]
    domains: Option<Value>,
    /// What a script has beside its name and source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    scripts: BTreeMap<String, Object>,
}

/// A document, and which script of it is which.
#[derive(Debug)]
pub struct AppFolder {
    /// What a deployment takes.
    pub document: Value,
    names: Vec<ScriptName>,
}

impl AppFolder {
    /// Reads the files.
    ///
    /// # Errors
    /// What cannot be read, and what has a name that no script can have.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let AppFile { app, domains, scripts: mut settings } = read_app_file(dir)?;
        let (mut scripts, mut names) = (Vec::new(), Vec::new());
        for (name, path) in source_files(&dir.join(SCRIPTS))? {
            let source = read_text(&path, ScriptSource::MAX_BYTES)?;
            let mut script = settings.remove(name.as_str()).unwrap_or_default();
            script.entry("kind").or_insert_with(|| json!("endpoint"));
            for route in script.get_mut("routes").and_then(Value::as_array_mut).into_iter().flatten() {
                fill_in(route);
            }
            script.insert("name".to_owned(), json!(name));
            script.insert("source".to_owned(), json!(source));
            scripts.push(script);
            names.push(name);
        }
        if let Some(name) = settings.keys().next() {
            let file = dir.join(APP_FILE);
            bail!("{} tells of the script {name:?}, and there is no {SCRIPTS}/{name}.{EXTENSION}", file.display());
        }
        let mut document = json!({ "format": 1, "app": app, "scripts": scripts });
        if let Some(domains) = domains {
            document["domains"] = domains;
        }
        Ok(Self { document, names })
    }

    /// The slug that the file tells.
    pub fn slug(&self) -> Option<&str> {
        self.document["app"]["slug"].as_str()
    }

    /// Where in the files a field of the document is.
    pub fn place_of(&self, field: &str) -> String {
        let script = field.strip_prefix("scripts[").and_then(|rest| {
            let (index, rest) = rest.split_once(']')?;
            Some((self.names.get(index.parse::<usize>().ok()?)?, rest))
        });
        match script {
            Some((name, ".source")) => format!("{SCRIPTS}/{name}.{EXTENSION}"),
            Some((name, rest)) => format!("{APP_FILE}: scripts.{name}{rest}"),
            None => format!("{APP_FILE}: {}", field.strip_prefix("app.").unwrap_or(field)),
        }
    }
}

fn read_app_file(dir: &Path) -> anyhow::Result<AppFile> {
    let path = dir.join(APP_FILE);
    let text = read_text(&path, MAX_APP_FILE_BYTES)?;
    toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))
}

/// The scripts' files, in the order of their names.
fn source_files(dir: &Path) -> anyhow::Result<BTreeMap<ScriptName, PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let name = name.parse().with_context(|| format!("{} names no script", path.display()))?;
            files.insert(name, path);
        }
    }
    Ok(files)
}

fn read_text(path: &Path, most: usize) -> anyhow::Result<String> {
    let mut text = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() > most {
        bail!("{} is longer than {most} bytes", path.display());
    }
    String::from_utf8(text).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// What a route's path and host say of themselves: `/users/:id` is a path with a parameter, `/files/*` a prefix, and
/// `*.example.com` a wildcard.
fn told(route: &Object) -> [(&'static str, &'static str); 2] {
    let path = route.get("path").and_then(Value::as_str).unwrap_or_default();
    let path_kind = match path {
        path if path.ends_with("/*") => "prefix",
        path if path.split('/').any(|segment| segment.starts_with(':')) => "param",
        _ => "exact",
    };
    let host_kind = match route.get("host").and_then(Value::as_str) {
        None => "any",
        Some(host) if host.starts_with("*.") => "wildcard",
        Some(_) => "strict",
    };
    [("path_kind", path_kind), ("host_kind", host_kind)]
}

fn fill_in(route: &mut Value) {
    if let Value::Object(route) = route {
        for (member, word) in told(route) {
            route.entry(member).or_insert_with(|| json!(word));
        }
    }
}

/// Leaves out what [`fill_in`] puts back.
fn leave_out(route: &mut Value) {
    if let Value::Object(route) = route {
        let told = told(route);
        route.retain(|member, value| !told.iter().any(|(name, word)| name == member && value == word));
    }
}

/// Writes an exported document as files; gives their number. Where they may replace others, the files of scripts go that the
/// app file there told of and the document does not have; what else is there stays.
///
/// # Errors
/// What is no such document, and files that are there already, unless they may be replaced.
pub fn write(dir: &Path, document: &Value, overwrite: bool) -> anyhow::Result<usize> {
    let mut file = AppFile {
        app: document["app"].as_object().cloned().context("the server's answer holds no app")?,
        domains: Some(document["domains"].clone()),
        scripts: BTreeMap::new(),
    };
    let mut sources = Vec::new();
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
            file.scripts.insert(name.to_string(), script);
        }
    }
    // No headers are a setting too, and null is none.
    file.app.retain(|_, value| !value.is_null());
    file.app.values_mut().for_each(drop_empty);
    let text = toml::to_string_pretty(&file).context("the server's answer cannot be written as TOML")?;
    // The app file comes last: it tells which scripts' files are this app's until they are gone.
    let files: Vec<_> = sources.into_iter().chain([(dir.join(APP_FILE), text)]).collect();
    let mut gone = Vec::new();
    if !overwrite && let Some((there, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        bail!("{} is there already; replace it with --overwrite", there.display());
    }
    if dir.join(APP_FILE).exists() {
        let names = read_app_file(dir)?.scripts.into_keys().filter(|name| !file.scripts.contains_key(name));
        gone.extend(names.filter_map(|name| Some(source_path(dir, &name.parse().ok()?))));
    }
    fs::create_dir_all(dir.join(SCRIPTS)).with_context(|| format!("cannot make {}", dir.display()))?;
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

fn source_path(dir: &Path, name: &ScriptName) -> PathBuf {
    dir.join(SCRIPTS).join(format!("{name}.{EXTENSION}"))
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
    use super::*;

    fn folder(app_file: &str, scripts: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(APP_FILE), app_file).unwrap();
        fs::create_dir(dir.path().join(SCRIPTS)).unwrap();
        for (name, source) in scripts {
            fs::write(dir.path().join(SCRIPTS).join(name), source).unwrap();
        }
        dir
    }

    #[test]
    fn files_become_the_document_that_a_deployment_takes() {
        let file = r#"
            slug = "shop"
            domains = ["shop.test"]
            [scripts.hello]
            timeout_ms = 50
            routes = [{ method = "GET", path = "/" }, { method = "ANY", path = "/a/:id", host = "*.shop.test" },
                { method = "GET", path = "/files/*", host = "a.shop.test" }, { method = "GET", path = "/:x", path_kind = "exact" }]
        "#;
        let dir = folder(file, &[("hello.rhai", "1"), ("util.rhai", "fn f() {}"), ("notes.txt", "no script")]);
        let folder = AppFolder::read(dir.path()).unwrap();
        assert_eq!(folder.slug(), Some("shop"));
        let route =
            |method: &str, path: &str, path_kind: &str| json!({"method": method, "path": path, "path_kind": path_kind});
        let on = |mut route: Value, host_kind: &str, host: Option<&str>| {
            route["host_kind"] = json!(host_kind);
            if let Some(host) = host {
                route["host"] = json!(host);
            }
            route
        };
        let wanted = json!({
            "format": 1,
            "app": {"slug": "shop"},
            "domains": ["shop.test"],
            "scripts": [
                {"name": "hello", "kind": "endpoint", "source": "1", "timeout_ms": 50, "routes": [
                    on(route("GET", "/", "exact"), "any", None),
                    on(route("ANY", "/a/:id", "param"), "wildcard", Some("*.shop.test")),
                    on(route("GET", "/files/*", "prefix"), "strict", Some("a.shop.test")),
                    on(route("GET", "/:x", "exact"), "any", None),
                ]},
                {"name": "util", "kind": "endpoint", "source": "fn f() {}"},
            ],
        });
        assert_eq!(folder.document, wanted);
        assert_eq!(folder.place_of("scripts[1].source"), "scripts/util.rhai");
        assert_eq!(folder.place_of("scripts[0].routes[1].path"), "picloud.app.toml: scripts.hello.routes[1].path");
        assert_eq!(folder.place_of("app.nmae"), "picloud.app.toml: nmae");
        assert_eq!(folder.place_of("scripts[9].source"), "picloud.app.toml: scripts[9].source");
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let document = json!({
            "format": 1,
            "app": {"slug": "shop", "name": "My \"shop\"", "redacted_headers": [], "record_bodies": false, "hsts_max_age_s": null},
            "domains": [],
            "scripts": [{
                "name": "hello", "kind": "module", "description": "", "timeout_ms": null,
                "sandbox": {"max_operations": null, "max_string_size": 5}, "execute_access": "open", "source": "1\n",
                "routes": [{"host_kind": "strict", "host": "a.b", "path_kind": "exact", "path": "/:x", "method": "GET"}],
            }],
        });
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(&dir.path().join("new"), &document, false).unwrap(), 2);
        let read = AppFolder::read(&dir.path().join("new")).unwrap().document;
        let mut wanted = document.clone();
        drop_empty(&mut wanted["scripts"][0]);
        wanted["app"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
        wanted["domains"] = json!([]);
        assert_eq!(read, wanted);
        let error = write(&dir.path().join("new"), &document, false).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        write(&dir.path().join("new"), &document, true).unwrap();
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

    #[test]
    fn files_that_make_no_app_are_refused_by_name() {
        let long = "é".repeat(ScriptSource::MAX_BYTES / 2 + 1);
        let refused = |dir: &tempfile::TempDir| format!("{:#}", AppFolder::read(dir.path()).unwrap_err());
        let said = refused(&folder("", &[("Bad Name.rhai", "1")]));
        assert!(said.contains("Bad Name.rhai"), "{said}");
        let said = refused(&folder("", &[("long.rhai", &long)]));
        assert!(said.contains("long.rhai is longer than 131072 bytes"), "{said}");
        let said = refused(&folder("[scripts.gone]\n", &[]));
        assert!(said.contains("gone"), "{said}");
        let said = refused(&folder("a = \n", &[]));
        assert!(said.contains(APP_FILE), "{said}");
        let said = refused(&tempfile::tempdir().unwrap());
        assert!(said.contains(APP_FILE), "{said}");
    }
}
