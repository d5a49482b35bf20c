//! hyper with nothing around it: the other floor that `make bench` measures PiCloud against.
//!
//! `bare_hyper HTTP_ADDRESS HTTPS_ADDRESS CERTIFICATE KEY` answers `GET` with a fixed text and echoes the body of a
//! `POST`, over HTTP/1.1, and over HTTP/2 where TLS agreed on it.

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let (content_type, body) = if request.method() == Method::POST {
        ("application/json", request.into_body().collect().await?.to_bytes())
    } else {
        ("text/plain; charset=utf-8", Bytes::from_static(b"Hello, World!"))
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// A connection that ends with an error is the client's affair: the measurement counts answers.
async fn serve_http1<I>(stream: I)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let _ =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn serve_tls(stream: TcpStream, tls: TlsAcceptor) {
    let Ok(stream) = tls.accept(stream).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let http2 = http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
    } else {
        serve_http1(stream).await;
    }
}

fn tls_acceptor(certificate: &str, key: &str) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let plain = TcpListener::bind(next("HTTP address")?).await?;
    let encrypted = TcpListener::bind(next("HTTPS address")?).await?;
    let tls = tls_acceptor(&next("certificate")?, &next("key")?)?;

    tokio::spawn(async move {
        while let Ok((stream, _)) = encrypted.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(serve_tls(stream, tls.clone()));
        }
    });
    loop {
        let (stream, _) = plain.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve_http1(stream));
    }
}
