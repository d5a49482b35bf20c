//! An app as files: `picloud.app.toml`, and one file in `scripts` for each script. Read into the document that a deployment takes,
//! and written from the one that an export gives. What stands in the file goes to the server as it is, which says what is
//! wrong with it; only what can be told from the rest is filled in.

mod write;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use picloud_shared::name::ScriptName;
use picloud_shared::script::ScriptSource;
use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use write::write;

/// The file of all that is no source.
pub const APP_FILE: &str = "picloud.app.toml";
const SCRIPTS: &str = "scripts";
const EXTENSION: &str = "rhai";
/// More than an app's routes and settings take.
const MAX_APP_FILE_BYTES: usize = 8 * 1024 * 1024;

type Object = Map<String, Value>;

/// What stands in the file.
#[derive(Debug, Deserialize)]
struct AppFile {
    /// The app's own settings.
    #[serde(flatten)]
    app: Object,
    domains: Option<Value>,
    triggers: Option<Value>,
    env: Option<Value>,
    secrets: Option<Value>,
    /// What a script has beside its name and source.
    #[serde(default)]
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
        let AppFile { app, domains, triggers, env, secrets, scripts: mut settings } = read_app_file(dir)?;
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
        // What the file does not tell stays as it is.
        for (member, told) in [("domains", domains), ("triggers", triggers), ("env", env), ("secrets", secrets)] {
            if let Some(told) = told {
                document[member] = told;
            }
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
    refuse_link(dir)?;
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

/// Refuses a symbolic link: a directory that somebody else made must neither have another file of this machine sent away, nor
/// have one written.
fn refuse_link(path: &Path) -> anyhow::Result<()> {
    if path.is_symlink() {
        bail!("{} is a symbolic link, which is not followed", path.display());
    }
    Ok(())
}

fn read_text(path: &Path, most: usize) -> anyhow::Result<String> {
    refuse_link(path)?;
    let mut text = Vec::new();
    // The flags are for what takes its place after that look: neither is a link followed, nor somebody waited for who writes to
    // the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = fs::File::options().read(true).custom_flags(flags.cast_signed()).open(path);
    let file = file.with_context(|| format!("cannot read {}", path.display()))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        bail!("{} is no regular file", path.display());
    }
    file.take(most as u64 + 1).read_to_end(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
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

fn source_path(dir: &Path, name: &ScriptName) -> PathBuf {
    dir.join(SCRIPTS).join(format!("{name}.{EXTENSION}"))
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
            secrets = ["PAYMENT_KEY"]
            env = { GREETING = "hello" }
            triggers = [{ script = "hello", source = "queue", config = { queue = "orders" } }]
            [scripts.hello]
            timeout_ms = 50
            routes = [{ method = "GET", path = "/" }, { method = "ANY", path = "/a/:id", host = "*.shop.test" },
                { method = "GET", path = "/files/*", host = "a.shop.test" }, { method = "GET", path = "/:x", path_kind = "exact", async = true }]
        "#;
        let dir = folder(file, &[("hello.rhai", "1"), ("util.rhai", "fn f() {}"), ("notes.txt", "no script")]);
        let folder = AppFolder::read(dir.path()).unwrap();
        assert_eq!(folder.slug(), Some("shop"));
        let route =
            |method: &str, path: &str, path_kind: &str| json!({"method": method, "path": path, "path_kind": path_kind});
        let later = |mut route: Value| {
            route["async"] = json!(true);
            route
        };
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
                    later(on(route("GET", "/:x", "exact"), "any", None)),
                ]},
                {"name": "util", "kind": "endpoint", "source": "fn f() {}"},
            ],
            "triggers": [{"script": "hello", "source": "queue", "config": {"queue": "orders"}}],
            "env": {"GREETING": "hello"},
            "secrets": ["PAYMENT_KEY"],
        });
        assert_eq!(folder.document, wanted);
        assert_eq!(folder.place_of("scripts[1].source"), "scripts/util.rhai");
        assert_eq!(folder.place_of("scripts[0].routes[1].path"), "picloud.app.toml: scripts.hello.routes[1].path");
        assert_eq!(folder.place_of("triggers[0].config.queue"), "picloud.app.toml: triggers[0].config.queue");
        assert_eq!(folder.place_of("app.nmae"), "picloud.app.toml: nmae");
        assert_eq!(folder.place_of("scripts[9].source"), "picloud.app.toml: scripts[9].source");
    }

    #[test]
    fn neither_links_nor_pipes_are_read_or_written_through() {
        use std::os::unix::fs::symlink;
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("x.rhai"), "secret").unwrap();
        let refused = |dir: &Path| format!("{:#}", AppFolder::read(dir).unwrap_err());

        let linked = folder("", &[]);
        symlink(elsewhere.path().join("x.rhai"), linked.path().join("scripts/x.rhai")).unwrap();
        assert!(refused(linked.path()).contains("scripts/x.rhai is a symbolic link"));

        // Nobody ever writes to it.
        let piped = folder("", &[]);
        let pipe = piped.path().join("scripts/x.rhai");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert!(refused(piped.path()).contains("scripts/x.rhai is no regular file"));

        let whole = tempfile::tempdir().unwrap();
        fs::write(whole.path().join(APP_FILE), "").unwrap();
        symlink(elsewhere.path(), whole.path().join(SCRIPTS)).unwrap();
        assert!(refused(whole.path()).contains("scripts is a symbolic link"));
        let document = json!({"app": {"slug": "shop"}, "domains": [], "scripts": [{"name": "x", "source": "1"}]});
        let error = write(whole.path(), &document, true).unwrap_err().to_string();
        assert!(error.contains("scripts is a symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(elsewhere.path().join("x.rhai")).unwrap(), "secret");

        // A link in the place of a script's file is replaced, and what it leads to stays.
        write(linked.path(), &document, true).unwrap();
        assert_eq!(fs::read_to_string(linked.path().join("scripts/x.rhai")).unwrap(), "1");
        assert_eq!(fs::read_to_string(elsewhere.path().join("x.rhai")).unwrap(), "secret");

        let file = tempfile::tempdir().unwrap();
        symlink(elsewhere.path().join("x.rhai"), file.path().join(APP_FILE)).unwrap();
        assert!(refused(file.path()).contains("picloud.app.toml is a symbolic link"));
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
