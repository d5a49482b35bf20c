//! BIND with one zone that may be written to by a key: a DNS server as operators have it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tokio::net::TcpStream;

use super::PATIENCE;

/// The key, in base64.
const SECRET: &str = "c2l4dGVlbiBieXRlcyBhcmUgZmV3LCB0aGlydHktdHdvIQ==";

/// A running BIND; ended when dropped.
pub struct Bind {
    child: Child,
    dir: tempfile::TempDir,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Bind {
    /// Starts one that has the zone.
    pub async fn start(zone: &str) -> Self {
        // It listens on addresses of interfaces alone, which the others of 127.0.0.0/8 are not, and takes no port 0.
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("a bound socket's address");
        drop(free);
        let (ip, port) = (address.ip(), address.port());
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().display();
        let config = format!(
            r#"options {{
    directory "{place}"; pid-file none; session-keyfile none; lock-file none; dnssec-validation no; recursion no;
    listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};
}};
controls {{ }};
key "picloud" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "{zone}" {{ type primary; file "zone.db"; update-policy {{ grant picloud zonesub TXT; }}; }};
"#
        );
        let records =
            format!("$TTL 60\n@ IN SOA ns.{zone}. host.{zone}. 1 60 60 600 60\n@ IN NS ns.{zone}.\nns IN A {ip}\n");
        write(&dir.path().join("named.conf"), &config);
        write(&dir.path().join("zone.db"), &records);
        write(&dir.path().join("key"), SECRET);
        let mut command = Command::new("/usr/sbin/named");
        command.arg("-g").arg("-c").arg(dir.path().join("named.conf")).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("named (Debian's package bind9): {error}"));
        let bind = Self { child, dir, address };
        let begun = Instant::now();
        while TcpStream::connect(bind.address).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "BIND does not listen on {}", bind.address);
            tokio::task::yield_now().await;
        }
        bind
    }

    /// The file of the key that may write to the zone.
    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("key")
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a writable directory");
}
