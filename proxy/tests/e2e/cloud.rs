//! `TestCloud`: one running `picloud` on ports and data of its own, and short ways to publish on it and to visit it.

mod bind;
mod database;
mod front;
mod pebble;
mod process;
mod wall_clock;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::own_cluster::OwnCluster;

pub(crate) use database::on_both_databases;
pub use database::{Database, PostgresDatabase};
pub use front::{Fate, Front};
pub use pebble::{Demands, Pebble};
pub use process::{Process, by_path, picloud, run, with_open_files};
pub use wall_clock::WallClock;

/// The name and password of the owner.
pub const OWNER: (&str, &str) = ("ada", "a cloud of one's own");
/// Longer than anything takes on a loaded machine; reaching it means that something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `picloud`; dropped, it is killed and its data removed, in the order of these fields.
pub struct TestCloud {
    process: Process,
    /// Starts it, and starts it again on the same data.
    command: Command,
    client: Client,
    token: Option<String>,
    /// Its data.
    pub home: Home,
}

/// What outlives a process: its database and its directory.
pub struct Home {
    database: Database,
    dir: tempfile::TempDir,
}

impl TestCloud {
    /// Starts a cloud that has an owner, who is signed in.
    pub async fn start(database: Database) -> Self {
        let mut cloud = Self::start_with(Home::new(database), |command| {
            command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        });
        cloud.sign_in(OWNER.1).await;
        cloud
    }

    /// Starts a cloud with further settings; nobody is signed in.
    pub fn start_with(home: Home, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = home.command(&["serve", "--dev"]);
        command.env("PICLOUD_HTTP", "127.0.0.1:0");
        prepare(&mut command);
        let process = Process::start(&mut command);
        // An Err says that another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(PATIENCE).build().unwrap();
        Self { process, command, client, token: None, home }
    }

    /// Starts another node on the same data, with further settings.
    pub fn another_node(&self, prepare: impl FnOnce(&mut Command)) -> Process {
        let mut command = self.home.command(&["serve", "--dev"]);
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        prepare(&mut command);
        Process::start(&mut command)
    }

    /// Has each request from now on be sent on a connection of its own.
    pub fn keep_no_connections(&mut self) {
        self.client = Client::builder().timeout(PATIENCE).pool_max_idle_per_host(0).build().unwrap();
    }

    /// Sends the process a signal, such as `-TERM`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// What a full disk does to it: see [`Process::limit_files`].
    pub fn limit_files(&self, bytes: Option<u64>) {
        self.process.limit_files(bytes);
    }

    /// The process that was started.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until the process has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        self.process.ended()
    }

    /// Kills the process; gives what outlives it.
    pub fn stop(self) -> Home {
        self.home
    }

    /// Starts a new process on the data of one that has ended.
    pub fn restart(&mut self) {
        self.process = Process::start(&mut self.command);
    }

    /// Where it listens for `http` or `https`.
    pub fn address(&self, scheme: &str) -> SocketAddr {
        self.process.address(scheme)
    }

    /// Memory that its process has in use.
    pub fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// The origin of its internal listener.
    pub fn internal(&self) -> &str {
        self.process.internal()
    }

    /// What it announced after this word at its start.
    pub fn announced(&self, word: &str) -> Option<&str> {
        self.process.announced(word)
    }

    /// Signs the owner in.
    pub async fn sign_in(&mut self, password: &str) {
        let credentials = json!({"username": OWNER.0, "password": password});
        let session = self.must(Method::POST, "auth/login", Some(credentials)).await;
        self.use_session(&session);
    }

    /// The token of the session.
    pub fn token(&self) -> &str {
        self.token.as_deref().expect("somebody is signed in")
    }

    /// Makes all further calls of the API in this session.
    pub fn use_session(&mut self, session: &Value) {
        self.token = Some(text(&session["token"]));
    }

    /// A request to the data plane for this host.
    pub fn request(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address("http"))).header("host", host)
    }

    /// GET on the data plane: status and body.
    pub async fn visit(&self, host: &str, path: &str) -> (u16, String) {
        let answer = self.request(Method::GET, host, path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A call of the admin API.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let url = format!("http://{}/api/v1/admin/{path}", self.address("http"));
        let mut call = self.client.request(method, url);
        if let Some(token) = &self.token {
            call = call.bearer_auth(token);
        }
        if let Some(body) = body {
            call = call.json(body);
        }
        call.send().await.unwrap()
    }

    /// The same: status and JSON body (null when empty).
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.call(method, path, body.as_ref()).await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    /// A call of the admin API that must succeed.
    pub async fn must(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.api(method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Makes an app that claims `host`; gives its id.
    pub async fn app(&self, slug: &str, host: &str) -> String {
        let app = self.must(Method::POST, "apps", Some(json!({"slug": slug, "name": slug}))).await;
        self.must(Method::POST, &format!("apps/{slug}/domains"), Some(json!({"pattern": host}))).await;
        text(&app["id"])
    }

    /// Saves a script; gives its id.
    pub async fn script(&self, app: &str, name: &str, kind: &str, source: &str) -> String {
        let script = json!({"app_id": app, "name": name, "kind": kind, "source": source});
        text(&self.must(Method::POST, "scripts", Some(script)).await["id"])
    }

    /// Replaces a script's source.
    pub async fn edit(&self, script: &str, source: &str) {
        self.must(Method::PATCH, &format!("scripts/{script}"), Some(json!({"source": source}))).await;
    }

    /// Binds a route of any host to a script.
    pub async fn route(&self, script: &str, path_kind: &str, path: &str, method: &str) {
        let route = json!({"host_kind": "any", "path_kind": path_kind, "path": path, "method": method});
        self.must(Method::POST, &format!("scripts/{script}/routes"), Some(route)).await;
    }

    /// Publishes one script on `GET /` of the app `shop`, whose host is `shop.test`; gives the script's id.
    pub async fn publish(&self, source: &str) -> String {
        let app = self.app("shop", "shop.test").await;
        let script = self.script(&app, "main", "endpoint", source).await;
        self.route(&script, "exact", "/", "GET").await;
        script
    }
}

/// The text of a JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a string, not {value}")).to_owned()
}

impl Home {
    /// An empty one.
    pub fn new(database: Database) -> Self {
        Self { database, dir: tempfile::tempdir().unwrap() }
    }

    /// The cluster that it has for itself.
    pub fn cluster(&self) -> &OwnCluster {
        let Database::Cluster(cluster, _) = &self.database else { panic!("it has no cluster of its own") };
        cluster
    }

    /// The directory, for further files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether a command on this data succeeds, and what it says.
    pub fn run(&self, arguments: &[&str], input: &str) -> (bool, String) {
        run(&mut self.command(arguments), input)
    }

    /// A command on this data.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = picloud();
        command.args(arguments).env("PICLOUD_DATA_DIR", self.dir.path().join("data"));
        command.envs(self.database_url().map(|url| ("PICLOUD_DATABASE_URL", url)));
        command
    }

    /// The address of the database, where it is on a server.
    pub fn database_url(&self) -> Option<&str> {
        match &self.database {
            Database::Sqlite => None,
            Database::Postgres(database) => Some(database.url()),
            Database::Cluster(_, url) => Some(url),
        }
    }
}
