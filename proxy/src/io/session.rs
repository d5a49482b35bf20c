//! One request on the wire, in either protocol: Pingora's session for HTTP/1, a stream of `h2` for HTTP/2. Knows how
//! each frames bodies and answers, and nothing of limits beyond the wait for one write.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::DATE;
use http::{HeaderMap, Response, StatusCode};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_http::ResponseHeader;
use pingora_timeout::timeout;

use super::exchange::ClientGone;
use super::farewell::close;

/// A body of this size is handed to `h2` at once; for a larger one the client must first have made room. So a client
/// that makes none holds at most this much of each of its streams.
const UNASKED_BYTES: usize = 1024;

/// A body that ended before its end, or is no body.
#[derive(Debug)]
pub(super) struct BrokenBody;

/// One request on the wire.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is that of most requests, and a box for it would be an allocation each"
)]
pub(super) enum Session {
    H1(HttpSession),
    H2(H2Stream),
}

/// One request of an HTTP/2 connection.
pub(super) struct H2Stream {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// Once the head was sent.
    rest: Option<SendStream<Bytes>>,
    /// How long the client may make no room for more.
    patience: Duration,
}

impl Session {
    pub(super) fn is_h2(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Whether no more of the body will come.
    pub(super) fn is_body_done(&mut self) -> bool {
        match self {
            Self::H1(session) => session.is_body_done(),
            Self::H2(stream) => stream.body.is_end_stream(),
        }
    }

    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>, BrokenBody> {
        match self {
            Self::H1(session) => session.read_body_bytes().await.map_err(|_| BrokenBody),
            Self::H2(stream) => stream.read_body().await,
        }
    }

    pub(super) async fn write_continue(&mut self) -> Result<(), ClientGone> {
        match self {
            Self::H1(session) => session.write_continue_response().await.map_err(|_| ClientGone),
            Self::H2(stream) => {
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::CONTINUE;
                stream.respond.send_informational(response).map_err(|_| ClientGone)
            }
        }
    }

    /// Has the connection end with this answer; in HTTP/2 the answer is one of many.
    pub(super) fn end_connection(&mut self) {
        if let Self::H1(session) = self {
            session.set_server_keepalive(None);
        }
    }

    /// Sends the head, with which the answer may end.
    pub(super) async fn write_head(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        ends: bool,
    ) -> Result<(), ClientGone> {
        match self {
            Self::H1(session) => {
                let (mut parts, ()) = Response::new(()).into_parts();
                parts.status = status;
                parts.headers = headers;
                session.write_response_header(Box::new(ResponseHeader::from(parts))).await.map_err(|_| ClientGone)
            }
            Self::H2(stream) => {
                headers.insert(DATE, get_cached_date());
                let mut response = Response::new(());
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                stream.rest = Some(stream.respond.send_response(response, ends).map_err(|_| ClientGone)?);
                Ok(())
            }
        }
    }

    /// Sends a part of the body, with which it may end.
    pub(super) async fn write_body(&mut self, part: Bytes, ends: bool) -> Result<(), ClientGone> {
        match self {
            Self::H1(session) => {
                if !part.is_empty() {
                    session.write_body(&part).await.map_err(|_| ClientGone)?;
                }
                if ends {
                    session.finish_body().await.map_err(|_| ClientGone)?;
                }
                Ok(())
            }
            Self::H2(stream) => stream.write_body(part, ends).await,
        }
    }

    /// Waits until the client leaves, once its body was read.
    pub(super) async fn client_gone(&mut self) {
        match self {
            Self::H1(session) => while let Ok(Some(_)) = session.read_body_or_idle(true).await {},
            Self::H2(stream) => {
                let _ = poll_fn(|cx| match &mut stream.rest {
                    Some(rest) => rest.poll_reset(cx),
                    None => stream.respond.poll_reset(cx),
                })
                .await;
            }
        }
    }

    /// Breaks off, so that the client cannot take what it has for the whole.
    pub(super) async fn break_off(&mut self) {
        match self {
            Self::H1(session) => session.shutdown().await,
            Self::H2(stream) => stream.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// What an answered HTTP/1 connection goes on with; `None` when it is closed.
    pub(super) async fn into_next(self, all_read: bool) -> Option<(Stream, BytesMut)> {
        let Self::H1(session) = self else {
            return None;
        };
        if !session.will_keepalive() || !all_read {
            close(session.into_inner(), all_read).await;
            return None;
        }
        let (stream, rest) = session.reuse().await.ok()??.into_parts();
        Some((stream, rest.unwrap_or_default()))
    }
}

impl H2Stream {
    pub(super) fn new(body: RecvStream, respond: SendResponse<Bytes>, patience: Duration) -> Self {
        Self { body, respond, rest: None, patience }
    }

    async fn read_body(&mut self) -> Result<Option<Bytes>, BrokenBody> {
        let Some(part) = self.body.data().await else {
            // Nothing here reads trailers, and they may be large.
            let _ = self.body.trailers().await;
            return Ok(None);
        };
        let part = part.map_err(|_| BrokenBody)?;
        // It fails only for more than was received.
        let _ = self.body.flow_control().release_capacity(part.len());
        Ok(Some(part))
    }

    async fn write_body(&mut self, mut part: Bytes, ends: bool) -> Result<(), ClientGone> {
        let rest = self.rest.as_mut().ok_or(ClientGone)?;
        while part.len() > UNASKED_BYTES {
            rest.reserve_capacity(part.len());
            let room = timeout(self.patience, poll_fn(|cx| rest.poll_capacity(cx))).await;
            let Ok(Some(Ok(room))) = room else {
                return Err(ClientGone);
            };
            if room == 0 {
                continue;
            }
            let sent = part.split_to(room.min(part.len()));
            rest.send_data(sent, ends && part.is_empty()).map_err(|_| ClientGone)?;
            if part.is_empty() {
                return Ok(());
            }
        }
        rest.send_data(part, ends).map_err(|_| ClientGone)
    }
}
