//! Pingora with nothing of PiCloud in it: the floor that `make bench` measures PiCloud against.
//!
//! `bare_pingora proxy|app HTTP_ADDRESS HTTPS_ADDRESS CERTIFICATE KEY` answers `GET` with a fixed text and echoes the
//! body of a `POST`, either from `ProxyHttp::request_filter` (`proxy`) or from an `HttpServerApp` (`app`).

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, header};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora::server::{Server, ShutdownWatch};
use pingora::services::listening::Service;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use std::sync::Arc;

const HELLO: Bytes = Bytes::from_static(b"Hello, World!");

/// Answers one request, the same way under both of Pingora's interfaces.
async fn answer(session: &mut ServerSession) -> pingora::Result<()> {
    let (content_type, body) = if session.req_header().method == Method::POST {
        ("application/json", read_body(session).await?)
    } else {
        ("text/plain; charset=utf-8", HELLO)
    };
    let mut head = ResponseHeader::build(200, Some(2))?;
    head.insert_header(header::CONTENT_TYPE, content_type)?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(body, true).await
}

/// Collects the request's body; one chunk, as small bodies are, is not copied.
async fn read_body(session: &mut ServerSession) -> pingora::Result<Bytes> {
    let Some(first) = session.read_request_body().await? else { return Ok(Bytes::new()) };
    let mut rest = Vec::new();
    while let Some(chunk) = session.read_request_body().await? {
        rest.extend_from_slice(&chunk);
    }
    Ok(if rest.is_empty() { first } else { [&first[..], &rest[..]].concat().into() })
}

struct BareProxy;

#[async_trait]
impl ProxyHttp for BareProxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> pingora::Result<bool> {
        answer(session.as_downstream_mut()).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Err(Error::new(ErrorType::InternalError))
    }
}

struct BareApp;

#[async_trait]
impl HttpServerApp for BareApp {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive(if *shutdown.borrow() { None } else { Some(60) });
        answer(&mut session).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

/// Where a server listens, from the command line.
struct Endpoints {
    http: String,
    https: String,
    certificate: String,
    key: String,
}

impl Endpoints {
    fn add_to<A>(&self, mut service: Service<A>) -> anyhow::Result<Service<A>> {
        service.add_tcp(&self.http);
        let mut tls = TlsSettings::intermediate(&self.certificate, &self.key)?;
        tls.enable_h2();
        service.add_tls_with_settings(&self.https, None, tls);
        Ok(service)
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let interface = next("proxy or app")?;
    let endpoints = Endpoints {
        http: next("HTTP address")?,
        https: next("HTTPS address")?,
        certificate: next("certificate")?,
        key: next("key")?,
    };

    let threads = std::thread::available_parallelism()?.get();
    let mut server = Server::new_with_opt_and_conf(None, ServerConf { threads, ..ServerConf::default() });
    server.bootstrap();
    match interface.as_str() {
        "proxy" => {
            let service = http_proxy_service(&server.configuration, BareProxy);
            server.add_service(endpoints.add_to(service)?);
        }
        "app" => {
            server.add_service(endpoints.add_to(Service::new("bare app".to_owned(), BareApp))?);
        }
        other => bail!("the interface is proxy or app, not {other}"),
    };
    server.run_forever()
}
