//! Where a cloud keeps its data, and the telling of one story on each kind.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use reqwest::Url;
use uuid::Uuid;

use crate::own_cluster::OwnCluster;

/// Where a cloud keeps its data.
pub enum Database {
    /// Files in the cloud's own directory.
    Sqlite,
    /// A database on the server that `TEST_PG_URL` names.
    Postgres(PostgresDatabase),
    /// A cluster of its own, which may be stopped and started.
    Cluster(OwnCluster, String),
}

impl Database {
    /// An empty PostgreSQL database.
    pub fn postgres() -> Self {
        Self::Postgres(PostgresDatabase::create())
    }

    /// A PostgreSQL cluster of its own.
    pub fn cluster() -> Self {
        let cluster = OwnCluster::start();
        let url = format!("postgres://postgres@{}/postgres?sslmode=disable", cluster.address());
        Self::Cluster(cluster, url)
    }
}

/// A database of its own; removed when dropped.
pub struct PostgresDatabase {
    url: Url,
    name: String,
}

impl PostgresDatabase {
    /// Creates an empty database.
    pub fn create() -> Self {
        let name = format!("e2e_{}", Uuid::now_v7().simple());
        assert!(psql(&format!("CREATE DATABASE {name}")), "cannot create a database");
        let mut url = server();
        url.set_path(&name);
        Self { url, name }
    }

    /// Its address, as `picloud` takes it.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Where its server listens.
    pub fn server(&self) -> String {
        let host = self.url.host_str().expect("TEST_PG_URL names a host");
        format!("{host}:{}", self.url.port().unwrap_or(5432))
    }

    /// A session of one's own in it.
    pub fn session(&self) -> Session {
        let mut command = Command::new("psql");
        command.args(["--quiet", "--no-psqlrc", "--tuples-only", "--no-align", "--dbname", self.url()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql comes with PostgreSQL");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Session { child, said }
    }

    /// Reaches it by way of another address from now on.
    pub fn go_through(&mut self, address: SocketAddr) {
        self.url.set_ip_host(address.ip()).expect("an address with a host");
        self.url.set_port(Some(address.port())).expect("an address with a port");
    }
}

/// A session with a database; ended when dropped, and whatever it holds with it.
pub struct Session {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Session {
    /// Runs statements that return nothing, and returns once they are done.
    pub fn run(&mut self, statements: &str) {
        let mut input = self.child.stdin.as_ref().expect("a pipe");
        writeln!(input, "{statements};\n\\echo done").expect("psql reads");
        let mut line = String::new();
        self.said.read_line(&mut line).expect("psql answers");
        assert_eq!(line.trim(), "done", "{statements}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // A server that has gone took its databases along.
        psql(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn server() -> Url {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where PostgreSQL is")]
    let server = std::env::var("TEST_PG_URL").expect(
        "these tests need PostgreSQL: run `make test`, or `.ci/with-postgres cargo nextest run`, or set TEST_PG_URL \
         to a server on which databases may be created",
    );
    server.parse().expect("TEST_PG_URL is an address")
}

fn psql(statement: &str) -> bool {
    let mut command = Command::new("psql");
    command.args(["--quiet", "--no-psqlrc", "--dbname", server().as_str(), "--command", statement]);
    command.env("PGOPTIONS", "-c client_min_messages=warning");
    command.status().expect("psql comes with PostgreSQL").success()
}

/// Tells a story on each database: `a_fact::sqlite` and `a_fact::postgres`.
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $fact:ident($database:ident: Database) $body:block)+) => {$(
        $(#[$attribute])*
        mod $fact {
            #[allow(unused_imports, reason = "a story may need nothing of its file")]
            use super::*;
            use crate::cloud::Database;

            async fn story($database: Database) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                story(Database::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                story(Database::postgres()).await;
            }
        }
    )+};
}
pub(crate) use on_both_databases;
