//! A PostgreSQL cluster of one test's own, which it may stop and start.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use picloud_manager::store::DatabaseConfig;

/// A running or stopped cluster; removed when dropped.
pub struct OwnCluster {
    bin: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
}

impl OwnCluster {
    /// A new cluster, running.
    pub fn start() -> Self {
        let pattern = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten();
        let mut bins: Vec<PathBuf> = pattern.map(|entry| entry.unwrap().path().join("bin")).collect();
        bins.sort();
        let bin = bins.pop().expect("this test needs PostgreSQL's own binaries: apt-get install postgresql");
        let dir = tempfile::Builder::new().prefix("picloud-own-pg").tempdir_in("/tmp").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if let Some((user, group)) = unprivileged() {
            std::os::unix::fs::chown(dir.path(), Some(user), Some(group)).unwrap();
        }
        let cluster = Self { bin, dir, port };
        cluster.run("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        cluster.start_again();
        cluster
    }

    /// Starts the stopped cluster.
    pub fn start_again(&self) {
        let settings =
            format!("-p {} -c listen_addresses=127.0.0.1 -c fsync=off -k {}", self.port, self.dir.path().display());
        self.run("pg_ctl", &["start", "-w", "-o", &settings, "-l", "log"]);
    }

    /// Stops it in order, which ends all connections.
    pub fn stop(&self) {
        self.run("pg_ctl", &["stop", "-w", "-m", "fast"]);
    }

    /// Stops it as a crash would.
    pub fn crash(&self) {
        self.run("pg_ctl", &["stop", "-w", "-m", "immediate"]);
    }

    /// How to open a store in it.
    pub fn config(&self) -> DatabaseConfig {
        self.config_by(self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How to open a store in it by way of another address.
    pub fn config_by(&self, address: SocketAddr) -> DatabaseConfig {
        let url = format!("postgres://postgres@{address}/postgres?sslmode=disable");
        DatabaseConfig::Postgres { url: url.parse().unwrap() }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-D").arg(self.dir.path().join("data")).args(arguments).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        assert!(command.status().unwrap().success(), "{program} {arguments:?}");
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        let stop = self.bin.join("pg_ctl");
        let mut command = Command::new(stop);
        command.args(["stop", "-m", "immediate", "-D"]).arg(self.dir.path().join("data")).current_dir("/");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        command.status().ok();
    }
}

/// PostgreSQL refuses to run as root; then it runs as its own user.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap_or(65_534)
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}
