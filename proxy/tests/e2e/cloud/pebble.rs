//! Pebble, the ACME server that Let's Encrypt tests by, with its DNS; both at a loopback address of their own, where a cloud
//! listens as well, so that no two tests meet. It refuses nonces at random and dawdles, as it does to whoever it tests.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use instant_acme::{Account, AccountCredentials, BodyWrapper, BytesResponse, HttpClient};
use rcgen::{CertificateParams, KeyPair, SanType};
use reqwest::{Client, ClientBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::bind::Bind;
use super::{PATIENCE, TestCloud};
use crate::certificate::TlsClient;

const ACME: u16 = 14_000;
const MANAGEMENT: u16 = 15_000;
const DNS: u16 = 8_053;
const DNS_MANAGEMENT: u16 = 8_055;
const HTTP: u16 = 5_002;
const TLS: u16 = 5_001;

/// What is asked of Pebble beyond its defaults.
#[derive(Debug, Default)]
pub struct Demands {
    /// Further keys of its settings.
    pub settings: Vec<(&'static str, Value)>,
    /// Further variables of its environment.
    pub environment: Vec<(&'static str, &'static str)>,
    /// A zone that it looks records up in, by BIND instead of its own DNS.
    pub zone: Option<&'static str>,
}

/// A running Pebble; ended when dropped.
pub struct Pebble {
    /// The address of everything.
    pub(super) ip: Ipv4Addr,
    dir: tempfile::TempDir,
    acme: Child,
    dns: Child,
    bind: Option<Bind>,
    certificate: String,
    client: Client,
    demands: Demands,
}

impl Pebble {
    /// Starts one.
    pub async fn start(demands: Demands) -> Self {
        // Of 127.0.0.0/8, away from 127.0.0.1: who draws the same as another test cannot listen, and fails at once.
        let ip = Ipv4Addr::new(127, rand::random_range(1..=254), rand::random(), rand::random_range(2..=254));
        let dir = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(ip.into())];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(dir.path().join("server.pem"), certificate.pem()).expect("a writable directory");
        std::fs::write(dir.path().join("server.key"), key.serialize_pem()).expect("a writable directory");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = certificate.pem();
        let client = trusting(&certificate).build().expect("a client");
        let dns = start_dns(ip);
        let bind = match demands.zone {
            Some(zone) => Some(Bind::start(zone).await),
            None => None,
        };
        let acme = start_acme(ip, &dir, &demands, resolver(ip, bind.as_ref()));
        let pebble = Self { ip, dir, acme, dns, bind, certificate, client, demands };
        for port in [ACME, MANAGEMENT, DNS_MANAGEMENT] {
            pebble.until_listening(port).await;
        }
        pebble
    }

    async fn until_listening(&self, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect((self.ip, port)).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "pebble does not listen on {}:{port}", self.ip);
            tokio::task::yield_now().await;
        }
    }

    /// Ends it, as if the authority had gone.
    pub fn stop(&mut self) {
        end(&mut self.acme);
    }

    /// Starts it again: it remembers nothing, neither accounts nor orders.
    pub async fn restart(&mut self) {
        self.stop();
        self.acme = start_acme(self.ip, &self.dir, &self.demands, resolver(self.ip, self.bind.as_ref()));
        self.until_listening(ACME).await;
        self.until_listening(MANAGEMENT).await;
    }

    /// Has a key of its settings be otherwise from its next start on.
    pub fn demand(&mut self, key: &'static str, value: Value) {
        self.demands.settings.push((key, value));
    }

    /// Deactivates an account, as its holder may (RFC 8555, 7.3.6).
    pub async fn deactivate(&self, credentials: &str) {
        let credentials: AccountCredentials = serde_json::from_str(credentials).expect("credentials");
        let direct = Account::builder_with_http(Box::new(Direct(self.client.clone())));
        let account = direct.from_credentials(credentials).await.expect("an account");
        // Nonces are refused at random, and the library takes no notice of what is answered here.
        for _ in 0..6 {
            let _ = account.clone().deactivate().await;
        }
    }

    /// Where its directory is.
    pub fn directory(&self) -> String {
        format!("https://{}:{ACME}/dir", self.ip)
    }

    /// A file of what it is trusted by.
    pub fn root_file(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// Has a cloud listen where Pebble looks for answers, and order from it. Its DNS leads every name there.
    pub fn configure(&self, command: &mut Command) {
        self.configure_without_authority(command);
        command.env("PICLOUD_ACME_DIRECTORY", self.directory()).env("PICLOUD_ACME_ROOT", self.root_file());
        let file = self.dir.path().join("picloud.toml");
        std::fs::write(&file, self.acme_table()).expect("a writable directory");
        command.env("PICLOUD_CONFIG", file);
    }

    /// The same but for the authority.
    pub fn configure_without_authority(&self, command: &mut Command) {
        command.env("PICLOUD_HTTP", format!("{}:{HTTP}", self.ip)).env("PICLOUD_HTTPS", format!("{}:{TLS}", self.ip));
        command.env("PICLOUD_AUTOMATIC_CERTIFICATES", "true");
    }

    /// Its BIND, where it has one.
    pub fn bind(&self) -> &Bind {
        self.bind.as_ref().expect("a zone was demanded")
    }

    /// Tells its DNS something, such as `add-a`.
    pub async fn tell_dns(&self, what: &str, body: &Value) {
        let url = format!("http://{}:{DNS_MANAGEMENT}/{what}", self.ip);
        let answer = self.client.post(url).body(body.to_string()).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{what} {body}: {}", answer.status());
    }

    /// Has it look for all names where that other one does.
    pub async fn look_where(&self, other: &Self) {
        self.tell_dns("set-default-ipv4", &json!({ "ip": other.ip.to_string() })).await;
    }

    /// Where pages would be looked for at the address beside its own.
    pub fn neighbour_http(&self) -> SocketAddr {
        let [a, b, c, d] = self.ip.octets();
        (Ipv4Addr::new(a, b, c, d ^ 1), HTTP).into()
    }

    /// A hook that sets and clears records of its DNS, and writes beside itself what it was told.
    pub fn dns_hook(&self, dir: &Path) -> PathBuf {
        let hook = dir.join("dns-hook");
        let text = format!(
            r#"#!/bin/bash
set -eu
echo "$1 $2 $3" >>"$0.log"
case $1 in
  set) path=set-txt; body="{{\"host\":\"$2.\",\"value\":\"$3\"}}" ;;
  clear) path=clear-txt; body="{{\"host\":\"$2.\"}}" ;;
esac
exec 3<>/dev/tcp/{}/{DNS_MANAGEMENT}
printf 'POST /%s HTTP/1.0\r\ncontent-length: %s\r\n\r\n%s' "$path" "${{#body}}" "$body" >&3
grep -q '200 OK' <&3
"#,
            self.ip
        );
        std::fs::write(&hook, text).expect("a writable directory");
        std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).expect("a file of our own");
        hook
    }

    /// The settings by which a cloud looks at names as Pebble does.
    pub fn acme_table(&self) -> String {
        let resolver = resolver(self.ip, self.bind.as_ref()).to_string();
        format!("[acme]\nresolver = {resolver:?}\noutside_http_port = {HTTP}\noutside_https_port = {TLS}\n")
    }

    /// A client that trusts what it signs, by its main root.
    pub async fn trusting(&self) -> TlsClient {
        TlsClient::new(&[&self.root(0).await], &[])
    }

    /// One of its roots, as it is since its last start.
    pub async fn root(&self, number: usize) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.root_pem(number).await.as_bytes()).expect("a root")
    }

    /// The same in PEM.
    pub async fn root_pem(&self, number: usize) -> String {
        let url = format!("https://{}:{MANAGEMENT}/roots/{number}", self.ip);
        self.client.get(url).send().await.expect("an answer").text().await.expect("a root")
    }

    /// What becomes a client that trusts its address.
    pub fn trusted_client(&self) -> ClientBuilder {
        trusting(&self.certificate)
    }
}

/// HTTP to it as an ACME client of a test speaks it.
struct Direct(Client);

impl HttpClient for Direct {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body in memory").to_bytes();
            let asked = client.request(head.method, head.uri.to_string()).headers(head.headers).body(body).send();
            let answer = asked.await.expect("an answer");
            let mut response = http::Response::builder().status(answer.status());
            response.headers_mut().expect("a status").extend(answer.headers().clone());
            let body = answer.bytes().await.expect("a body");
            Ok(response.body(Full::new(body)).expect("an answer").into())
        })
    }
}

fn trusting(certificate: &str) -> ClientBuilder {
    let trusted = reqwest::Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
    Client::builder().tls_certs_only([trusted]).timeout(PATIENCE)
}

impl Drop for Pebble {
    fn drop(&mut self) {
        end(&mut self.acme);
        end(&mut self.dns);
    }
}

fn end(child: &mut Child) {
    // One that has ended already cannot be killed.
    let _ = child.kill();
    let _ = child.wait();
}

fn start_dns(ip: Ipv4Addr) -> Child {
    let mut command = Command::new("pebble-challtestsrv");
    command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
    command.arg("-dns01").arg(format!("{ip}:{DNS}")).arg("-management").arg(format!("{ip}:{DNS_MANAGEMENT}"));
    command.arg("-defaultIPv4").arg(ip.to_string());
    spawn(&mut command)
}

/// Who knows the names: the zone's own server, if there is one.
fn resolver(ip: Ipv4Addr, bind: Option<&Bind>) -> SocketAddr {
    bind.map_or_else(|| (ip, DNS).into(), |bind| bind.address)
}

fn start_acme(ip: Ipv4Addr, dir: &tempfile::TempDir, demands: &Demands, dns: SocketAddr) -> Child {
    let mut settings = json!({
        "listenAddress": format!("{ip}:{ACME}"),
        "managementListenAddress": format!("{ip}:{MANAGEMENT}"),
        "certificate": dir.path().join("server.pem"),
        "privateKey": dir.path().join("server.key"),
        "httpPort": HTTP,
        "tlsPort": TLS,
    });
    for (key, value) in &demands.settings {
        settings[*key] = value.clone();
    }
    let file = dir.path().join("pebble.json");
    std::fs::write(&file, json!({ "pebble": settings }).to_string()).expect("a writable directory");
    let mut command = Command::new("pebble");
    command.arg("-config").arg(&file).arg("-dnsserver").arg(dns.to_string());
    command.env_clear().env("PEBBLE_WFE_NONCEREJECT", "30").env("PEBBLE_VA_SLEEPTIME", "2");
    command.envs(demands.environment.iter().copied());
    spawn(&mut command)
}

fn spawn(command: &mut Command) -> Child {
    let name = command.get_program().to_owned();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let child_of = child.as_mut().unwrap_or_else(|error| panic!("{name:?} (Debian's package pebble): {error}"));
    let output = BufReader::new(child_of.stdout.take().expect("a pipe"));
    // Read to the end, so that it never writes in vain.
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
    child.expect("it was looked at above")
}

impl TestCloud {
    /// Whether a handshake for that name shows a certificate that the client trusts.
    pub async fn shows(&self, client: &TlsClient, name: &str) -> Result<(), std::io::Error> {
        client.connect(self.address("https"), name).await.map(drop)
    }

    /// Returns once handshakes for that name show a certificate that the client trusts.
    pub async fn until_shown(&self, client: &TlsClient, name: &str) {
        let begun = Instant::now();
        while let Err(error) = self.shows(client, name).await {
            assert!(begun.elapsed() < PATIENCE, "{name} is not shown as it should be: {error}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
