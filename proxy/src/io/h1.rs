//! HTTP/1 connections: heads are read here, whole and strictly, and only then handed to Pingora's session.

use bytes::BytesMut;
use http::HeaderMap;
use http::header::CONNECTION;
use http::request::Parts;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_http::RequestHeader;
use pingora_timeout::timeout;
use tokio::io::AsyncReadExt;

use super::Handler;
use super::alarm::Alarm;
use super::draining::Watch;
use super::exchange::Exchange;
use super::farewell;
use super::peer::Peer;
use super::server::{Service, Shared};
use super::session::Session;
use super::transport::{Transport, watch_chunks};
use crate::http::{ChunkScanner, Head, HeadScanner, Refusal, ScannedHead, check_authority, check_expectation};

/// What a small request's head takes.
const HEAD_BUFFER_BYTES: usize = 4 * 1024;

/// What came of waiting for a head.
enum Arrival {
    Head(ScannedHead),
    Refused(Refusal),
    /// The client left, stayed idle for too long, or we drain.
    Ended,
}

pub(super) async fn serve<H: Handler>(transport: Transport, peer: &Peer, service: &Service<H>) {
    let shared = &service.shared;
    let mut stream: Stream = Box::new(transport);
    let mut buf = BytesMut::with_capacity(HEAD_BUFFER_BYTES);
    if !first_bytes(&mut stream, &mut buf, shared).await {
        return;
    }
    let (mut idle, mut draining) = (Alarm::new(shared.limits.idle_timeout), shared.draining.watch());
    loop {
        let scanned = match arrival(&mut stream, &mut buf, peer, shared).await {
            Arrival::Head(scanned) => scanned,
            Arrival::Refused(refusal) => return farewell::refuse(stream, refusal, shared).await,
            Arrival::Ended => return,
        };
        match answer(stream, buf, scanned, peer, service).await {
            Some(next) => (stream, buf) = next,
            None => return,
        }
        if buf.is_empty() {
            idle.set(shared.limits.idle_timeout);
            if !next_bytes(&mut stream, &mut buf, &mut idle, &mut draining).await {
                return;
            }
        }
    }
}

/// Waits for the first request of a connection to begin.
async fn first_bytes(stream: &mut Stream, buf: &mut BytesMut, shared: &Shared) -> bool {
    tokio::select! {
        biased;
        read = stream.read_buf(buf) => matches!(read, Ok(1..)),
        () = shared.silent_for_too_long() => false,
    }
}

/// Waits for another request to begin. As the connection had an answer already, it is closed at once when we drain.
async fn next_bytes(stream: &mut Stream, buf: &mut BytesMut, idle: &mut Alarm, draining: &mut Watch<'_>) -> bool {
    buf.reserve(HEAD_BUFFER_BYTES);
    tokio::select! {
        biased;
        read = stream.read_buf(buf) => matches!(read, Ok(1..)),
        () = draining.begins() => false,
        () = idle.due() => false,
    }
}

/// Reads a head to its end, of which the beginning was read.
async fn arrival(stream: &mut Stream, buf: &mut BytesMut, peer: &Peer, shared: &Shared) -> Arrival {
    let limits = &shared.limits;
    let mut scanner = HeadScanner::new(limits.head_bytes, limits.target_bytes);
    match scanner.scan(buf) {
        Ok(Some(head)) => return Arrival::Head(head),
        Ok(None) => {}
        Err(refusal) => return Arrival::Refused(refusal),
    }
    let mut memory = shared.head_memory.place(&peer.guest.holdings().heads);
    let rest = async {
        loop {
            let before = buf.capacity();
            match stream.read_buf(buf).await {
                Ok(0) | Err(_) => return Arrival::Ended,
                // Whoever sends a large head slowly takes up memory meanwhile.
                Ok(_) if !memory.take(buf.capacity() - before) => return Arrival::Refused(Refusal::NoRoomForRequest),
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

async fn answer<H: Handler>(
    mut stream: Stream,
    buf: BytesMut,
    scanned: ScannedHead,
    peer: &Peer,
    service: &Service<H>,
) -> Option<(Stream, BytesMut)> {
    let shared = &service.shared;
    let mut checked = check_authority(&buf, &scanned);
    if scanned.chunked && checked.is_ok() {
        let mut chunks = ChunkScanner::default();
        checked = chunks.scan(&buf[scanned.len..]);
        stream = watch_chunks(stream, chunks);
    }
    if let Err(refusal) = checked {
        farewell::refuse(stream, refusal, shared).await;
        return None;
    }
    let mut session = HttpSession::new(stream);
    session.set_read_timeout(None);
    session.set_pipelining_enabled(true);
    session.set_close_on_response_before_downstream_finish(false);
    session.set_pipelined_prefix(buf);
    if !matches!(session.read_request().await, Ok(Some(_))) {
        farewell::refuse_session(session, Refusal::MalformedHead, shared).await;
        return None;
    }
    // Settles how the body is framed while the session still has the headers.
    session.is_body_done();
    let target = session.get_headers_raw_bytes().slice(scanned.target);
    let parts = take_head(&mut session);
    let head = Head::http_1(parts.method, parts.version, target, parts.headers);
    let awaits_continue = match check_expectation(head.version, &head.headers) {
        Ok(awaits) => awaits,
        Err(refusal) => {
            farewell::refuse_session(session, refusal, shared).await;
            return None;
        }
    };
    if asks_to_close(&head.headers) {
        session.set_server_keepalive(None);
    }
    let mut exchange = Exchange::new(Session::H1(session), &head, awaits_continue, peer, shared);
    match exchange.hold(&head, true) {
        Ok(()) => service.handler.handle(&peer.client, head, &mut exchange).await,
        Err(refusal) => {
            // A client that left has nobody to tell.
            let _ = exchange.refuse(refusal).await;
        }
    }
    exchange.into_next().await
}

/// Pingora's session looks at the first `connection` line only.
fn asks_to_close(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Takes the head out of a session instead of copying it. What stays tells HEAD from the rest, which is all that
/// writing the answer asks of it.
fn take_head(session: &mut HttpSession) -> Parts {
    let method: &[u8] = if session.req_header().method == http::Method::HEAD { b"HEAD" } else { b"GET" };
    let mut rest = RequestHeader::build_no_case(method, b"/", Some(0)).expect("a constant request is valid");
    rest.set_version(session.req_header().version);
    std::mem::replace(session.req_header_mut(), rest).into()
}
