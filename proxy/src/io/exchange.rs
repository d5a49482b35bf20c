//! One request being answered: its body on the way in, the answer on the way out, and what happens to the connection.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_timeout::timeout;
use tokio::time::Instant;

use super::farewell::{UNWANTED_BODY_BYTES, UNWANTED_BODY_TIME};
use super::peer::Peer;
use super::room::Place;
use super::server::Shared;
use super::session::{AnswerBody, BrokenBody, Session};
use crate::answer::Answer;
use crate::http::{Head, Refusal};

/// An answer of this size is sent whatever others there are.
const SMALL_ANSWER_BYTES: usize = 64 * 1024;

/// What the only open request of a connection takes of this is its own, however little is left: connections are few enough.
const SMALL_REQUEST_BYTES: usize = 16 * 1024;

/// What an open stream of HTTP/2 takes beside its head: its task, and what `h2` keeps of it. Measured as 4.7 KiB with a handler
/// that does nothing; those that do something have larger tasks.
const STREAM_BYTES: usize = 8 * 1024;

/// The client left before the answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client left before the answer was complete")]
pub struct ClientGone;

/// One request being answered.
pub struct Exchange<'c> {
    session: Session<'c>,
    shared: &'c Shared,
    is_head: bool,
    is_1_0: bool,
    /// What `content-length` says.
    announced: Option<u64>,
    /// The client waits for a `100 Continue` before it sends its body.
    awaits_continue: bool,
    body: BodyState,
    received: u64,
    body_deadline: Option<Instant>,
    /// The request's head, and what else it takes while it is open.
    open_memory: Place<'c>,
    /// The request's body in memory, where it came in parts.
    body_memory: Place<'c>,
    /// What of the answer is beyond a small one.
    answer_memory: Place<'c>,
    sent: Sent,
    status: Option<StatusCode>,
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

impl<'c> Exchange<'c> {
    /// A request whose head was read; `announced` as its length and `awaits_continue` as its expectation says.
    pub(super) fn new(
        mut session: Session<'c>,
        head: &Head,
        announced: Option<u64>,
        awaits_continue: bool,
        peer: &'c Peer,
        shared: &'c Shared,
    ) -> Self {
        // In HTTP/2 only the end of the stream shows whether a length was true.
        let held = peer.guest.holdings();
        let bodiless = session.is_body_done() && !(session.is_h2() && announced.is_some());
        Self {
            session,
            shared,
            is_head: head.method == Method::HEAD,
            is_1_0: head.version < Version::HTTP_11,
            announced,
            awaits_continue,
            body: if bodiless { BodyState::Done } else { BodyState::Open },
            received: 0,
            body_deadline: None,
            open_memory: shared.head_memory.place(&held.heads),
            body_memory: shared.body_memory.place(&held.bodies),
            answer_memory: shared.answer_memory.place(&held.answers),
            sent: Sent::Nothing,
            status: None,
        }
    }

    /// Takes memory for a request of this head, until it is over; `alone` where its connection has no other.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn hold(&mut self, head: &Head, alone: bool) -> Result<(), Refusal> {
        let stream = if self.session.is_h2() { STREAM_BYTES } else { 0 };
        let free = if alone { SMALL_REQUEST_BYTES } else { 0 };
        match self.open_memory.take((stream + head.bytes()).saturating_sub(free)) {
            true => Ok(()),
            false => Err(Refusal::NoRoomForRequest),
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
        if std::mem::take(&mut self.awaits_continue) && self.session.write_continue().await.is_err() {
            self.body = BodyState::Broken;
            return Err(Refusal::MalformedBody);
        }
        let deadline = *self.body_deadline.get_or_insert_with(|| Instant::now() + self.shared.limits.body_timeout);
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(chunk) = timeout(left, self.receive()).await else {
            self.body = BodyState::Broken;
            return Err(Refusal::BodyTimeout);
        };
        let chunk = chunk?;
        if self.received > limit_bytes {
            return Err(Refusal::BodyTooLarge { limit });
        }
        // A part of a body that more is to follow, or has: whoever sends it slowly takes up memory meanwhile.
        if let Some(chunk) = &chunk
            && self.announced != Some(chunk.len() as u64)
            && !self.body_memory.take(chunk.len())
        {
            return Err(Refusal::NoRoomForRequest);
        }
        Ok(chunk)
    }

    /// One non-empty part off the wire, counted; `None` at the end.
    async fn receive(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match self.session.read_body().await {
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(Some(chunk)) => {
                    self.received += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(None) if self.announced.is_none_or(|length| length == self.received) => {
                    self.body = BodyState::Done;
                    return Ok(None);
                }
                Ok(None) | Err(BrokenBody) => {
                    self.body = BodyState::Broken;
                    return Err(Refusal::MalformedBody);
                }
            }
        }
    }

    /// Refuses the request. Whoever breaks HTTP/1's rules has the connection closed, and whoever asks by CONNECT or another unknown
    /// method: what follows might be read in another way than it was meant. In HTTP/2 the frames tell requests apart, whatever one
    /// of them says, and others are in flight.
    ///
    /// # Errors
    /// The client left, or did not take the answer in time.
    pub async fn refuse(&mut self, refusal: Refusal) -> Result<(), ClientGone> {
        tracing::debug!(code = refusal.code(), "refused a request");
        let ends = matches!(refusal.status(), StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED);
        if ends && !self.session.is_h2() {
            self.body = BodyState::Broken;
        }
        self.send(refusal.into()).await
    }

    /// Sends a whole answer; 503 in its place when others take up the memory that a large one would stay in while it is
    /// sent.
    ///
    /// # Errors
    /// The client left, or did not take the answer in time.
    pub async fn send(&mut self, mut answer: Answer) -> Result<(), ClientGone> {
        if self.is_head || !has_body(answer.status) {
            let length = if answer.status == StatusCode::RESET_CONTENT { 0 } else { answer.body.len() };
            self.set_length(&mut answer, length);
            answer.body = Bytes::new();
        } else {
            if !self.answer_memory.take(answer.body.len().saturating_sub(SMALL_ANSWER_BYTES)) {
                answer = Refusal::NoRoomForAnswer.into();
            }
            let length = answer.body.len();
            self.set_length(&mut answer, length);
        }
        self.settle_request_body().await;
        let Answer { status, headers, body } = answer;
        let time = self.shared.limits.time_for(body.len());
        let written = timeout(time, async {
            let follows = if body.is_empty() { AnswerBody::Nothing } else { AnswerBody::Length(body.len() as u64) };
            self.write_head(status, headers, follows).await?;
            self.write_last(body).await
        });
        written.await.unwrap_or(Err(ClientGone))
    }

    fn set_length(&self, answer: &mut Answer, length: usize) {
        if may_have_length(answer.status) {
            answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
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
        if let Some(length) = length.filter(|_| may_have_length(status)) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        self.settle_request_body().await;
        let follows = match length {
            _ if self.is_head || !has_body(status) => AnswerBody::Nothing,
            Some(length) => AnswerBody::Length(length),
            None => AnswerBody::Parts,
        };
        self.write_head(status, headers, follows).await
    }

    /// Sends the next part of an answer that was started. Parts of an answer to HEAD go nowhere.
    ///
    /// # Errors
    /// The client left, or did not take it in time; or there is no room for so large a part.
    pub async fn write(&mut self, part: Bytes) -> Result<(), ClientGone> {
        if self.sent != Sent::Head || part.is_empty() {
            return Ok(());
        }
        if !self.answer_memory.take(part.len().saturating_sub(SMALL_ANSWER_BYTES)) {
            return Err(ClientGone);
        }
        let written = timeout(self.shared.limits.time_for(part.len()), self.session.write_body(part, false)).await;
        self.answer_memory.give_back();
        written.unwrap_or(Err(ClientGone))
    }

    /// Ends an answer that was started.
    ///
    /// # Errors
    /// The client left.
    pub async fn finish(&mut self) -> Result<(), ClientGone> {
        self.write_last(Bytes::new()).await
    }

    /// Sends what is left and the end in one: on HTTP/2 an end of its own would be another frame.
    async fn write_last(&mut self, part: Bytes) -> Result<(), ClientGone> {
        if self.sent == Sent::Head {
            self.session.write_body(part, true).await?;
            self.sent = Sent::All;
        }
        Ok(())
    }

    /// Waits until the client leaves; for ever while its body is not read to the end.
    pub async fn client_gone(&mut self) {
        if self.body != BodyState::Done {
            return std::future::pending().await;
        }
        self.session.client_gone().await;
    }

    async fn write_head(&mut self, status: StatusCode, headers: HeaderMap, body: AnswerBody) -> Result<(), ClientGone> {
        // Whoever answers is done with the body.
        self.body_memory.give_back();
        if self.body != BodyState::Done || self.shared.draining.has_begun() {
            self.session.end_connection();
        }
        self.status = Some(status);
        self.session.write_head(status, headers, body, self.is_1_0).await?;
        self.sent = if body == AnswerBody::Nothing { Sent::All } else { Sent::Head };
        Ok(())
    }

    /// Over HTTP/1 a small body that nobody asked for is read before the answer, so that the connection can go on.
    async fn settle_request_body(&mut self) {
        if self.body == BodyState::Open && !self.session.is_h2() && !self.awaits_continue {
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

    /// Whether an HTTP/1 connection goes on; otherwise it is closed.
    pub(super) async fn goes_on(self) -> bool {
        match self.session {
            Session::H1(wire) if self.sent == Sent::All => wire.goes_on(self.body == BodyState::Done).await,
            _ => false,
        }
    }

    /// Lets a client that is still sending see the answer: a stream that is dropped at once reads as an error. Tells
    /// whether the client took an answer.
    pub(super) async fn close_stream(mut self) -> bool {
        match (self.sent, self.body) {
            (Sent::All, BodyState::Open) => {
                let _ = timeout(UNWANTED_BODY_TIME, self.discard_body()).await;
            }
            (Sent::All, _) => {}
            _ => self.session.break_off().await,
        }
        self.sent == Sent::All
    }
}

/// RFC 9110, 8.6: no length in 1xx and 204; in 304 it would be that of the answer which is not sent.
fn may_have_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

fn has_body(status: StatusCode) -> bool {
    may_have_length(status) && status != StatusCode::RESET_CONTENT
}
