//! One request being answered: its body on the way in, the answer on the way out, and what happens to the connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use pingora_timeout::timeout;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::IoLimits;
use super::farewell::{UNWANTED_BODY_BYTES, UNWANTED_BODY_TIME, close};
use super::server::Shared;
use crate::answer::Answer;
use crate::http::{Head, Refusal};

/// What one write timeout is for.
const WRITE_CHUNK_BYTES: usize = 64 * 1024;

/// The client left before the answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client left before the answer was complete")]
pub struct ClientGone;

/// One request being answered.
pub struct Exchange {
    session: ServerSession,
    is_head: bool,
    is_1_0: bool,
    is_h2: bool,
    /// What `content-length` says.
    announced: Option<u64>,
    /// The client waits for a `100 Continue` before it sends its body.
    awaits_continue: bool,
    body: BodyState,
    received: u64,
    body_memory: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    sent: Sent,
    status: Option<StatusCode>,
    body_timeout: Duration,
    body_deadline: Option<Instant>,
    write_timeout: Duration,
    draining: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    Open,
    Done,
    /// What follows on the wire cannot be told apart from the body.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Head,
    All,
}

impl Exchange {
    /// A request whose head was read; `awaits_continue` as its expectation says.
    pub(super) fn new<H>(mut session: ServerSession, head: &Head, awaits_continue: bool, shared: &Shared<H>) -> Self {
        let is_1_0 = head.version < Version::HTTP_11;
        let is_h2 = session.is_http2();
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // In HTTP/2 only the end of the stream shows whether a length was true.
        let bodiless = session.is_body_done() && !(is_h2 && announced.is_some());
        let limits: &IoLimits = &shared.limits;
        session.set_write_timeout(Some(limits.write_timeout));
        Self {
            session,
            is_head: head.method == Method::HEAD,
            is_1_0,
            is_h2,
            announced,
            awaits_continue,
            body: if bodiless { BodyState::Done } else { BodyState::Open },
            received: 0,
            body_memory: Arc::clone(&shared.body_memory),
            held: None,
            sent: Sent::Nothing,
            status: None,
            body_timeout: limits.body_timeout,
            body_deadline: None,
            write_timeout: limits.write_timeout,
            draining: shared.draining.clone(),
        }
    }

    /// The status that was sent.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// A body over `limit`, too slow, not framed as announced, or one too many.
    pub async fn read_body(&mut self, limit: usize) -> Result<Bytes, Refusal> {
        if self.body == BodyState::Done {
            return Ok(Bytes::new());
        }
        let Some(first) = self.read_chunk(limit).await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.read_chunk(limit).await? else {
            return Ok(first);
        };
        let announced = self.announced.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        let mut whole = BytesMut::with_capacity(announced.min(limit).max(first.len() + second.len()));
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.read_chunk(limit).await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Reads the next part of the body; `None` at its end. All parts share one deadline, that begins with the first.
    ///
    /// # Errors
    /// A body that goes over `limit` in all, is too slow, is not framed as announced, or for which there is no room.
    pub async fn read_chunk(&mut self, limit: usize) -> Result<Option<Bytes>, Refusal> {
        if self.body == BodyState::Done {
            return Ok(None);
        }
        let limit_bytes = limit as u64;
        if self.announced.is_some_and(|length| length > limit_bytes) {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if std::mem::take(&mut self.awaits_continue) && self.session.write_continue_response().await.is_err() {
            self.body = BodyState::Broken;
            return Err(Refusal::MalformedBody);
        }
        let deadline = *self.body_deadline.get_or_insert_with(|| Instant::now() + self.body_timeout);
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(chunk) = timeout(left, self.receive()).await else {
            self.body = BodyState::Broken;
            return Err(Refusal::BodyTimeout);
        };
        let chunk = chunk?;
        if self.received > limit_bytes {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if let Some(chunk) = &chunk
            && self.announced != Some(chunk.len() as u64)
        {
            self.hold(chunk.len())?;
        }
        Ok(chunk)
    }

    /// Counts a part of a body that more is to follow, or has: whoever sends it slowly takes up memory meanwhile.
    fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let permits = u32::try_from(bytes).map_err(|_| Refusal::NoRoomForBody)?;
        let permit = Arc::clone(&self.body_memory).try_acquire_many_owned(permits);
        let permit = permit.map_err(|_| Refusal::NoRoomForBody)?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }

    /// One non-empty part off the wire, counted; `None` at the end.
    async fn receive(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match self.session.read_request_body().await {
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(Some(chunk)) => {
                    self.received += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(None) if self.announced.is_none_or(|length| length == self.received) => {
                    self.body = BodyState::Done;
                    return Ok(None);
                }
                Ok(None) | Err(_) => {
                    self.body = BodyState::Broken;
                    return Err(Refusal::MalformedBody);
                }
            }
        }
    }

    /// Sends a whole answer.
    ///
    /// # Errors
    /// The client left, or did not take the answer in time.
    pub async fn send(&mut self, answer: Answer) -> Result<(), ClientGone> {
        let Answer { status, mut headers, body } = answer;
        let length = if status == StatusCode::RESET_CONTENT { 0 } else { body.len() };
        if may_have_length(status) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body = if self.is_head || !has_body(status) { Bytes::new() } else { body };
        self.settle_request_body().await;
        self.write_head(status, headers, body.is_empty()).await?;
        self.write_last(body).await
    }

    /// Begins an answer whose body follows in parts. `length` is what the parts come to, where known.
    ///
    /// # Errors
    /// The client left.
    pub async fn start(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        length: Option<u64>,
    ) -> Result<(), ClientGone> {
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
        match length {
            Some(length) if may_have_length(status) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            None if has_body(status) && self.is_1_0 => self.session.set_keepalive(None),
            None if has_body(status) && !self.is_h2 => {
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            _ => {}
        }
        self.settle_request_body().await;
        let ends = self.is_head || !has_body(status);
        self.write_head(status, headers, ends).await
    }

    /// Sends the next part of an answer that was started. Parts of an answer to HEAD go nowhere.
    ///
    /// # Errors
    /// The client left, or did not take it in time.
    pub async fn write(&mut self, mut part: Bytes) -> Result<(), ClientGone> {
        if self.sent != Sent::Head {
            return Ok(());
        }
        while !part.is_empty() {
            let chunk = part.split_to(part.len().min(WRITE_CHUNK_BYTES));
            self.session.write_response_body(chunk, false).await.map_err(|_| ClientGone)?;
        }
        Ok(())
    }

    /// Ends an answer that was started.
    ///
    /// # Errors
    /// The client left.
    pub async fn finish(&mut self) -> Result<(), ClientGone> {
        self.write_last(Bytes::new()).await
    }

    /// Sends what is left and the end in one: on HTTP/2 an end of its own would be another frame.
    async fn write_last(&mut self, mut part: Bytes) -> Result<(), ClientGone> {
        if self.sent != Sent::Head {
            return Ok(());
        }
        if part.len() > WRITE_CHUNK_BYTES {
            self.write(part.split_to(part.len() - WRITE_CHUNK_BYTES)).await?;
        }
        let written = timeout(self.write_timeout, self.session.write_response_body(part, true)).await;
        written.map_err(|_| ClientGone)?.map_err(|_| ClientGone)?;
        self.sent = Sent::All;
        Ok(())
    }

    /// Waits until the client leaves; for ever while its body is not read to the end.
    pub async fn client_gone(&mut self) {
        if self.body != BodyState::Done {
            return std::future::pending().await;
        }
        while let Ok(Some(_)) = self.session.read_body_or_idle(true).await {}
    }

    async fn write_head(&mut self, status: StatusCode, headers: HeaderMap, ends: bool) -> Result<(), ClientGone> {
        // Whoever answers is done with the body.
        self.held = None;
        if self.body != BodyState::Done || self.draining.is_cancelled() {
            self.session.set_keepalive(None);
        }
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = status;
        parts.headers = headers;
        let header = Box::new(ResponseHeader::from(parts));
        self.status = Some(status);
        let written = match &mut self.session {
            ServerSession::H2(session) => session.write_response_header(header, ends),
            session => match timeout(self.write_timeout, session.write_response_header(header)).await {
                Ok(written) => written,
                Err(_) => return Err(ClientGone),
            },
        };
        written.map_err(|_| ClientGone)?;
        self.sent = if ends && self.is_h2 { Sent::All } else { Sent::Head };
        Ok(())
    }

    /// Over HTTP/1 a small body that nobody asked for is read before the answer, so that the connection can go on.
    async fn settle_request_body(&mut self) {
        if self.body == BodyState::Open && !self.is_h2 && !self.awaits_continue {
            let small = self.announced.is_none_or(|length| length <= UNWANTED_BODY_BYTES as u64);
            if small {
                let _ = timeout(UNWANTED_BODY_TIME, self.discard_body()).await;
            }
        }
    }

    async fn discard_body(&mut self) {
        let mut discarded = 0;
        while discarded <= UNWANTED_BODY_BYTES {
            match self.receive().await {
                Ok(Some(chunk)) => discarded += chunk.len(),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// What an HTTP/1 connection goes on with; `None` when it is closed.
    pub(super) async fn into_next(self) -> Option<(Stream, BytesMut)> {
        let ServerSession::H1(session) = self.session else {
            return None;
        };
        if self.sent != Sent::All {
            return None;
        }
        if !session.will_keepalive() || self.body != BodyState::Done {
            close(session.into_inner(), self.body == BodyState::Done).await;
            return None;
        }
        let (stream, rest) = session.reuse().await.ok()??.into_parts();
        Some((stream, rest.unwrap_or_default()))
    }

    /// Lets a client that is still sending see the answer: a stream that is dropped at once reads as an error.
    pub(super) async fn close_stream(mut self) {
        match (self.sent, self.body) {
            (Sent::All, BodyState::Open) => {
                let _ = timeout(UNWANTED_BODY_TIME, self.discard_body()).await;
            }
            (Sent::All, _) => {}
            _ => self.session.shutdown().await,
        }
    }
}

/// RFC 9110, 8.6: no length in 1xx and 204; in 304 it would be that of the answer which is not sent.
fn may_have_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

fn has_body(status: StatusCode) -> bool {
    may_have_length(status) && status != StatusCode::RESET_CONTENT
}
