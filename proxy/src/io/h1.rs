//! HTTP/1 connections: heads are read here, whole and strictly, and only then handed to Pingora's session.

use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::CONNECTION;
use http::request::Parts;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;
use pingora_timeout::timeout;
use tokio::io::AsyncReadExt;

use super::Handler;
use super::exchange::Exchange;
use super::farewell;
use super::server::Shared;
use super::transport::watch_chunks;
use crate::client::Client;
use crate::http::{ChunkScanner, Head, HeadScanner, Refusal, ScannedHead, check_expectation};

/// What a small request's head takes.
const HEAD_BUFFER_BYTES: usize = 4 * 1024;

/// What came of waiting for a head.
enum Arrival {
    Head(ScannedHead),
    Refused(Refusal),
    /// The client left, stayed idle for too long, or we drain.
    Ended,
}

pub(super) async fn serve<H: Handler>(mut stream: Stream, client: &Arc<Client>, shared: &Arc<Shared<H>>) {
    let mut buf = BytesMut::new();
    let mut first = true;
    loop {
        let scanned = match arrival(&mut stream, &mut buf, first, shared).await {
            Arrival::Head(scanned) => scanned,
            Arrival::Refused(refusal) => return farewell::refuse(stream, refusal, shared).await,
            Arrival::Ended => return,
        };
        first = false;
        match answer(stream, buf, scanned, client, shared).await {
            Some(next) => (stream, buf) = next,
            None => return,
        }
    }
}

async fn arrival<H>(stream: &mut Stream, buf: &mut BytesMut, first: bool, shared: &Shared<H>) -> Arrival {
    let limits = &shared.limits;
    let mut scanner = HeadScanner::new(limits.head_bytes, limits.target_bytes);
    if buf.is_empty() && !first_bytes(stream, buf, first, shared).await {
        return Arrival::Ended;
    }
    match scanner.scan(buf) {
        Ok(Some(head)) => return Arrival::Head(head),
        Ok(None) => {}
        Err(refusal) => return Arrival::Refused(refusal),
    }
    let rest = async {
        loop {
            match stream.read_buf(buf).await {
                Ok(0) | Err(_) => return Arrival::Ended,
                Ok(_) => {}
            }
            match scanner.scan(buf) {
                Ok(Some(head)) => return Arrival::Head(head),
                Ok(None) => {}
                Err(refusal) => return Arrival::Refused(refusal),
            }
        }
    };
    timeout(limits.head_timeout, rest).await.unwrap_or(Arrival::Refused(Refusal::HeadTimeout))
}

/// Waits for a request to begin. A connection that had an answer already is closed at once when we drain.
async fn first_bytes<H>(stream: &mut Stream, buf: &mut BytesMut, first: bool, shared: &Shared<H>) -> bool {
    buf.reserve(HEAD_BUFFER_BYTES);
    if first {
        return tokio::select! {
            biased;
            read = stream.read_buf(buf) => matches!(read, Ok(1..)),
            () = shared.silent_for_too_long() => false,
        };
    }
    tokio::select! {
        biased;
        read = timeout(shared.limits.idle_timeout, stream.read_buf(buf)) => matches!(read, Ok(Ok(1..))),
        () = shared.draining.cancelled() => false,
    }
}

async fn answer<H: Handler>(
    mut stream: Stream,
    buf: BytesMut,
    scanned: ScannedHead,
    client: &Arc<Client>,
    shared: &Arc<Shared<H>>,
) -> Option<(Stream, BytesMut)> {
    // The scanner let only visible ASCII through.
    let target = String::from_utf8_lossy(&buf[scanned.target]).into_owned();
    if scanned.chunked {
        let mut chunks = ChunkScanner::default();
        if let Err(refusal) = chunks.scan(&buf[scanned.len..]) {
            farewell::refuse(stream, refusal, shared).await;
            return None;
        }
        stream = watch_chunks(stream, chunks);
    }
    let mut session = ServerSession::new_http1(stream);
    session.set_pipelining_enabled(true);
    session.set_close_on_response_before_downstream_finish(false);
    session.set_pipelined_prefix(buf);
    let read = session.read_request().await;
    if !matches!(read, Ok(true)) {
        return farewell::refuse_session(session, Refusal::MalformedHead, shared).await;
    }
    // Settles how the body is framed while the session still has the headers.
    session.is_body_done();
    let parts = take_head(&mut session);
    let head = Head { method: parts.method, version: parts.version, target, authority: None, headers: parts.headers };
    let awaits_continue = match check_expectation(head.version, &head.headers) {
        Ok(awaits) => awaits,
        Err(refusal) => return farewell::refuse_session(session, refusal, shared).await,
    };
    if asks_to_close(&head.headers) {
        session.set_keepalive(None);
    }
    let mut exchange = Exchange::new(session, &head, awaits_continue, shared);
    shared.handler.handle(client, head, &mut exchange).await;
    exchange.into_next().await
}

/// Pingora's session looks at the first `connection` line only.
fn asks_to_close(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Takes the head out of a session instead of copying it. What stays tells HEAD from the rest, which is all that
/// writing the answer asks of it.
fn take_head(session: &mut ServerSession) -> Parts {
    let method: &[u8] = if session.req_header().method == http::Method::HEAD { b"HEAD" } else { b"GET" };
    let mut rest = RequestHeader::build_no_case(method, b"/", Some(0)).expect("a constant request is valid");
    rest.set_version(session.req_header().version);
    std::mem::replace(session.req_header_mut(), rest).into()
}
