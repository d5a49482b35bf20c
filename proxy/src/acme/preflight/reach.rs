//! Whether the ports of a name lead here: a page and a handshake that only this program knows are asked for by the name's
//! addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use picloud_shared::certificate::{Check, Finding, Verdict};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::finding;
use crate::acme::agent::Shared;
use crate::tls::{ACME_TLS, Probe};

/// How long a look at one address may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Addresses of a name that are looked at.
const MOST_ADDRESSES: usize = 8;
/// More of an answer than the page that is looked for has.
const MOST_BYTES: u64 = 4096;

/// Who answered at one address.
enum Met {
    Us,
    SomebodyElse,
    Nobody(String),
}

/// Looks at the ports that authorities would look at.
pub(super) async fn look(shared: &Shared, name: &str, addresses: &[IpAddr], http: bool, https: bool) -> Vec<Finding> {
    let probe = shared.certificates.open_probe(name);
    let outside = shared.settings.outside;
    let ways = [(http, Check::Http, outside.http), (https, Check::Https, outside.https)];
    let mut findings = Vec::new();
    for (_, check, port) in ways.into_iter().filter(|(can, ..)| *can) {
        let mut met = Vec::new();
        for address in addresses.iter().take(MOST_ADDRESSES) {
            met.push((*address, meet((*address, port).into(), check, name, &probe).await));
        }
        findings.push(told(shared, check, name, port, &met));
    }
    findings
}

/// Asks one address. What is not our answer is somebody else's.
async fn meet(address: SocketAddr, check: Check, name: &str, probe: &Probe) -> Met {
    let asked = async {
        match check {
            Check::Https => shake_hands(address, name, probe).await,
            _ => fetch(address, name, probe).await,
        }
    };
    match timeout(DEADLINE, asked).await {
        Err(_) => Met::Nobody(format!("{} did not answer within {} s", address.ip(), DEADLINE.as_secs())),
        Ok(Err(error)) => Met::Nobody(format!("{}: {error}", address.ip())),
        Ok(Ok(true)) => Met::Us,
        Ok(Ok(false)) => Met::SomebodyElse,
    }
}

fn told(shared: &Shared, check: Check, name: &str, port: u16, met: &[(IpAddr, Met)]) -> Finding {
    let strangers = met.iter().filter(|(_, met)| matches!(met, Met::SomebodyElse));
    let strangers: Vec<String> = strangers.map(|(address, _)| address.to_string()).collect();
    if !strangers.is_empty() {
        // Behind one address may be several nodes, of which another answered.
        let verdict = if shared.store.is_shared() { Verdict::Doubtful } else { Verdict::Failed };
        let text = format!(
            "On port {port} of {}, to which {name} leads, another server answers: the record is wrong, or the router forwards the \
             port elsewhere.",
            strangers.join(", ")
        );
        return finding(check, verdict, text);
    }
    let silent = met.iter().filter_map(|(_, met)| match met {
        Met::Nobody(reason) => Some(reason.as_str()),
        _ => None,
    });
    let silent: Vec<&str> = silent.collect();
    if silent.is_empty() {
        return finding(check, Verdict::Passed, format!("Port {port} of {name} leads here."));
    }
    let text = format!(
        "Port {port} of {name} cannot be reached from here ({}). That is usual where a router does not lead a machine back to \
         itself; else forward the port to this machine.",
        silent.join("; ")
    );
    finding(check, Verdict::Doubtful, text)
}

/// Whether the page that only we know is there.
async fn fetch(address: SocketAddr, host: &str, probe: &Probe) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let path = probe.path();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: picloud\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).contains(probe.text()))
}

/// Whether a handshake as authorities make it shows the certificate that only we have.
async fn shake_hands(address: SocketAddr, name: &str, probe: &Probe) -> std::io::Result<bool> {
    let stream = TcpStream::connect(address).await?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(std::io::Error::other)?.dangerous();
    let mut config = config.with_custom_certificate_verifier(Arc::new(Whoever(provider))).with_no_client_auth();
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    let server = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    // Whoever refuses such a handshake is not us.
    let Ok(shaken) = TlsConnector::from(Arc::new(config)).connect(server, stream).await else { return Ok(false) };
    let shown = shaken.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    Ok(shown.is_some_and(|shown| Some(shown) == probe.certificate()))
}

/// Takes any certificate: which one it is, is looked at afterwards, and only we have that one. Signatures are not looked at, since
/// reading a certificate with a challenge's critical extension is refused by the library.
#[derive(Debug)]
struct Whoever(Arc<CryptoProvider>);

impl ServerCertVerifier for Whoever {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
