//! The corpus in `tests/golden`: `<topic>/<name>.rhai` is run for the request in `<name>.json`, which also says what must
//! come of it. Adding a case is writing these two files. Only what the expectation names is compared, but for a response's
//! headers, which must be complete.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use picloud_executor::{Completion, ExecutorConfig};
use picloud_shared::execution::{LogLevel, Outcome};
use picloud_shared::request::{Params, RequestHead, ScriptRequest};
use picloud_shared::script::{LimitPolicy, Limits, Sandbox};
use serde::Deserialize;
use serde_json::Value;

use crate::world::{Published, World, config, publish, request};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    request: Given,
    /// Sources by name.
    #[serde(default)]
    modules: BTreeMap<String, String>,
    #[serde(default)]
    sandbox: Sandbox,
    /// Settings of the app by name.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Its secrets by name; null for one that cannot be read.
    #[serde(default)]
    secrets: BTreeMap<String, Option<String>>,
    timeout_ms: Option<u64>,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    params: Vec<(String, String)>,
    host_params: Vec<(String, String)>,
    rest: Option<String>,
    body: String,
    /// In place of `body`, for bytes that are no text.
    body_bytes: Vec<u8>,
    remote_ip: Option<std::net::IpAddr>,
}

impl Default for Given {
    fn default() -> Self {
        let text = String::new;
        Self {
            method: "GET".to_owned(),
            url: "https://shop.example.com/".to_owned(),
            headers: Vec::new(),
            params: Vec::new(),
            host_params: Vec::new(),
            rest: None,
            body: text(),
            body_bytes: Vec::new(),
            remote_ip: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default = "success")]
    outcome: Outcome,
    status: Option<u16>,
    #[serde(default)]
    headers: Option<Vec<(String, String)>>,
    body: Option<String>,
    body_bytes: Option<Vec<u8>>,
    json: Option<Value>,
    message: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    limit: Option<String>,
    logs: Option<Vec<Line>>,
}

fn success() -> Outcome {
    Outcome::Success
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Line {
    level: LogLevel,
    message: String,
    data: Option<Value>,
}

impl Given {
    fn request(self) -> ScriptRequest {
        let mut made = request(&self.method, &self.url);
        let mut head = RequestHead::clone(&made.head);
        for (name, value) in self.headers {
            head.headers.append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        head.remote_ip = self.remote_ip.unwrap_or(head.remote_ip);
        made.head = Arc::new(head);
        made.params = params(self.params);
        made.host_params = params(self.host_params);
        made.rest = self.rest.map(Into::into);
        made.body = if self.body_bytes.is_empty() { self.body.into() } else { self.body_bytes.into() };
        made
    }
}

fn params(pairs: Vec<(String, String)>) -> Params {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn limits(sandbox: &Sandbox, timeout_ms: Option<u64>) -> Limits {
    let limits = LimitPolicy::default().resolve(sandbox, timeout_ms).unwrap();
    Limits { timeout: limits.timeout.max(Duration::from_millis(1)), ..limits }
}

fn differences(expected: &Expected, got: &Completion) -> Vec<String> {
    let mut found = Vec::new();
    let mut same = |what: &str, expected: String, got: String| {
        if expected != got {
            found.push(format!("{what}: expected {expected}, got {got}"));
        }
    };
    same("outcome", expected.outcome.to_string(), got.outcome.to_string());
    if let Some(response) = &got.response {
        let body = String::from_utf8_lossy(&response.body);
        if let Some(status) = expected.status {
            same("status", status.to_string(), response.status.as_str().to_owned());
        }
        if let Some(headers) = &expected.headers {
            let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            };
            let (mut expected, mut got) = (headers.clone(), response.headers.iter().map(pair).collect::<Vec<_>>());
            expected.sort();
            got.sort();
            same("headers", format!("{expected:?}"), format!("{got:?}"));
        }
        if let Some(expected) = &expected.body {
            same("body", expected.clone(), body.clone().into_owned());
        }
        if let Some(expected) = &expected.body_bytes {
            same("body", format!("{expected:?}"), format!("{:?}", &*response.body));
        }
        if let Some(expected) = &expected.json {
            let got = serde_json::from_str::<Value>(&body).map_or_else(|_| body.into_owned(), |json| json.to_string());
            same("json", expected.to_string(), got);
        }
    }
    let failure = got.failure.as_ref();
    let fields: [(&str, Option<String>, Option<String>); 4] = [
        ("message", expected.message.clone(), failure.map(|failure| failure.message.clone())),
        ("line", expected.line.map(|n| n.to_string()), failure.and_then(|f| f.line).map(|n| n.to_string())),
        ("column", expected.column.map(|n| n.to_string()), failure.and_then(|f| f.column).map(|n| n.to_string())),
        ("limit", expected.limit.clone(), failure.and_then(|failure| failure.limit.clone())),
    ];
    for (what, expected, got) in fields {
        if let Some(expected) = expected {
            same(what, expected, got.unwrap_or_else(|| "nothing".to_owned()));
        }
    }
    if expected.outcome == Outcome::Success && failure.is_some() {
        same("failure", "nothing".to_owned(), format!("{failure:?}"));
    }
    if let Some(expected) = &expected.logs {
        let line = |line: &picloud_shared::execution::LogLine| Line {
            level: line.level,
            message: line.message.clone(),
            data: line.data.clone(),
        };
        let got: Vec<Line> = got.logs.iter().map(line).collect();
        same("logs", format!("{expected:#?}"), format!("{got:#?}"));
    }
    found
}

/// A case may hold values as deep as scripts may log them, which is more than serde_json reads of itself.
fn read_case(text: &str) -> serde_json::Result<Case> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.disable_recursion_limit();
    let case = Case::deserialize(&mut json)?;
    json.end().map(|()| case)
}

fn run(world: &World, script: &Path) -> Vec<String> {
    let source = fs::read_to_string(script).unwrap();
    let case = match fs::read_to_string(script.with_extension("json")) {
        Ok(text) => match read_case(&text) {
            Ok(case) => case,
            Err(error) => return vec![format!("the .json cannot be read: {error}")],
        },
        Err(error) => return vec![format!("the .json is missing: {error}")],
    };
    let limits = limits(&case.sandbox, case.timeout_ms);
    let mut scripts = vec![("main", source.as_str())];
    scripts.extend(case.modules.iter().map(|(name, source)| (name.as_str(), source.as_str())));
    let published: Published = publish(&scripts, limits).with_settings(&case.env, &case.secrets);
    let request = case.request.request();
    // Once just compiled, once from the cache: both must be the same.
    for _ in 0..2 {
        let found = differences(&case.expect, &world.run(published.call_with("main", request.clone())));
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

#[test]
fn every_script_of_the_corpus_gives_what_stands_beside_it() {
    check_all(&World::new());
}

#[test]
fn every_script_of_the_corpus_gives_the_same_on_a_worker() {
    check_all(&World::with(ExecutorConfig { inline_threads: 0, ..config() }));
}

fn check_all(world: &World) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let list = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let scripts: Vec<PathBuf> = list(&root)
        .iter()
        .flat_map(|topic| list(topic))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rhai"))
        .collect();
    assert!(scripts.len() > 40, "the corpus is missing: {}", root.display());
    let mut failures = String::new();
    for script in &scripts {
        for difference in run(world, script) {
            failures.push_str(&format!("{}\n    {difference}\n", script.strip_prefix(&root).unwrap().display()));
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}
