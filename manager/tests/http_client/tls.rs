//! Servers are who they say they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::server::answer;
use crate::stage::Stage;

fn serve(name: &str) -> (SocketAddr, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = stream.unwrap();
            let mut tls = Stream::new(&mut connection, &mut stream);
            if tls.read(&mut [0; 4096]).is_ok() {
                let _ = tls.write_all(&answer("200 OK", "", b"secure"));
            }
        }
    });
    (address, cert.der().clone())
}

#[test]
fn a_certificate_must_be_trusted_and_of_the_host() {
    let (address, root) = serve("a.test");
    let trusting = Stage::with(address.to_string(), vec![root]);
    let doubting = Stage::allowing(address.to_string());
    let port = address.port();
    for stage in [&trusting, &doubting] {
        for name in ["a.test", "b.test"] {
            stage.dns.set(name, &[&["127.0.0.1"]]);
        }
    }
    assert_eq!(trusting.gives(&format!("http::get(\"https://a.test:{port}/\").text")), "secure");
    for (stage, host) in [(&trusting, "b.test"), (&trusting, "127.0.0.1"), (&doubting, "a.test")] {
        assert_eq!(stage.throws(&format!("http::get(\"https://{host}:{port}/\")")), "tls", "{host}");
    }
}
