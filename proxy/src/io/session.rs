//! One request on the wire, in either protocol: a connection of HTTP/1, or a stream of `h2` for HTTP/2. Knows how
//! each frames bodies and answers, and nothing of limits beyond the wait for one write.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::DATE;
use http::{HeaderMap, Response, StatusCode};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_timeout::timeout;

use super::exchange::ClientGone;
use super::h1::Wire;

/// A body of this size is handed to `h2` at once; for a larger one the client must first have made room. So a client
/// that makes none holds at most this much of each of its streams.
const UNASKED_BYTES: usize = 1024;

/// A body that ended before its end, or is no body.
#[derive(Debug)]
pub(super) struct BrokenBody;

/// What follows an answer's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerBody {
    Nothing,
    /// So many bytes.
    Length(u64),
    /// Parts, until there are no more.
    Parts,
}

/// One request on the wire.
pub(super) enum Session<'c> {
    H1(&'c mut Wire),
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

impl Session<'_> {
    pub(super) fn is_h2(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Whether no more of the body will come.
    pub(super) fn is_body_done(&mut self) -> bool {
        match self {
            Self::H1(wire) => wire.is_body_done(),
            Self::H2(stream) => stream.body.is_end_stream(),
        }
    }

    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>, BrokenBody> {
        match self {
            Self::H1(wire) => wire.read_body().await,
            Self::H2(stream) => stream.read_body().await,
        }
    }

    pub(super) async fn write_continue(&mut self) -> Result<(), ClientGone> {
        match self {
            Self::H1(wire) => wire.write_continue().await,
            Self::H2(stream) => {
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::CONTINUE;
                stream.respond.send_informational(response).map_err(|_| ClientGone)
            }
        }
    }

    /// Has the connection end with this answer; in HTTP/2 the answer is one of many.
    pub(super) fn end_connection(&mut self) {
        if let Self::H1(wire) = self {
            wire.end_connection();
        }
    }

    /// Sends the head, with which the answer may end.
    pub(super) async fn write_head(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        body: AnswerBody,
        is_1_0: bool,
    ) -> Result<(), ClientGone> {
        match self {
            Self::H1(wire) => wire.write_head(status, &headers, body, is_1_0).await,
            Self::H2(stream) => {
                headers.insert(DATE, get_cached_date());
                let mut response = Response::new(());
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                stream.rest =
                    Some(stream.respond.send_response(response, body == AnswerBody::Nothing).map_err(|_| ClientGone)?);
                Ok(())
            }
        }
    }

    /// Sends a part of the body, with which it may end.
    pub(super) async fn write_body(&mut self, part: Bytes, ends: bool) -> Result<(), ClientGone> {
        match self {
            Self::H1(wire) => wire.write_body(&part, ends).await,
            Self::H2(stream) => stream.write_body(part, ends).await,
        }
    }

    /// Waits until the client leaves, once its body was read.
    pub(super) async fn client_gone(&mut self) {
        match self {
            Self::H1(wire) => wire.client_gone().await,
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
            Self::H1(wire) => wire.close(true).await,
            Self::H2(stream) => stream.respond.send_reset(Reason::INTERNAL_ERROR),
        }
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
