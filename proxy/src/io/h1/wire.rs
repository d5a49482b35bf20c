//! What an HTTP/1 connection is between and during requests: what was read of it and not used yet, the body of its request, and
//! the framing of its answer (RFC 9112, 6 and 7). A body in chunks is taken apart by Pingora's session.

use std::io::Write;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::{ChunkScanner, Refusal, ScannedHead};
use crate::io::exchange::ClientGone;
use crate::io::farewell;
use crate::io::session::{AnswerBody, BrokenBody};
use crate::io::transport::{Transport, into_transport};

/// What a small request's head takes.
pub(super) const HEAD_BUFFER_BYTES: usize = 4 * 1024;

/// What of a body is read at once.
const BODY_BUFFER_BYTES: usize = 16 * 1024;

/// An answer of this size leaves in one piece with its head; of a larger one the head and the parts are not copied.
const SMALL_BYTES: usize = 4 * 1024;

/// The head that Pingora's session has instead of the client's, which was read already.
const CHUNKED_HEAD: &[u8] = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";

/// One HTTP/1 connection.
pub(in crate::io) struct Wire {
    /// Elsewhere while a body in chunks is being read.
    transport: Option<Box<Transport>>,
    unread: BytesMut,
    body: Body,
    answer: Framing,
    /// What is about to be sent: an answer's head, and what is small enough to leave with it.
    out: Vec<u8>,
    keep_alive: bool,
}

/// What is left of a request's body.
enum Body {
    Nothing,
    Length(u64),
    /// In chunks, none of which was asked for yet.
    Chunked,
    /// In chunks; whether the session has read the head that it is given.
    Session(Box<HttpSession>, bool),
}

/// What is left of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length(u64),
    Chunks,
    UntilClose,
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport: Some(Box::new(transport)),
            unread: BytesMut::with_capacity(HEAD_BUFFER_BYTES),
            body: Body::Nothing,
            answer: Framing::Nothing,
            out: Vec::new(),
            keep_alive: true,
        }
    }

    /// What was read and not used yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Bytes of memory that it takes, but for those before it, which were used.
    pub(super) fn unread_capacity(&self) -> usize {
        self.unread.capacity()
    }

    /// Reads more; whether any came.
    pub(super) async fn read_more(&mut self) -> bool {
        match &mut self.transport {
            Some(transport) => matches!(transport.read_buf(&mut self.unread).await, Ok(1..)),
            None => false,
        }
    }

    /// Makes room for the head of a request, in what was used where that is enough.
    fn make_room(&mut self) {
        self.unread.reserve(HEAD_BUFFER_BYTES);
    }

    /// Takes the head of a request off what was read; its body and its answer are next.
    ///
    /// # Errors
    /// What was read of a body in chunks breaks a rule.
    pub(super) fn begin(&mut self, scanned: &ScannedHead) -> Result<Bytes, Refusal> {
        let head = Bytes::copy_from_slice(&self.unread[..scanned.len]);
        if scanned.len > HEAD_BUFFER_BYTES {
            // It may be answered for long, and another one can be as large.
            self.unread = BytesMut::from(&self.unread[scanned.len..]);
        } else {
            self.unread.advance(scanned.len);
        }
        self.keep_alive = scanned.keep_alive;
        self.body = match scanned.length {
            Some(length @ 1..) => Body::Length(length),
            _ if scanned.chunked => Body::Chunked,
            _ => Body::Nothing,
        };
        if scanned.chunked {
            let mut chunks = ChunkScanner::default();
            chunks.scan(&self.unread)?;
            if let Some(transport) = &mut self.transport {
                transport.watch_chunks(chunks);
            }
        }
        Ok(head)
    }

    /// Whether no more of the body will come.
    pub(in crate::io) fn is_body_done(&self) -> bool {
        matches!(self.body, Body::Nothing)
    }

    /// The next part of the body; `None` at its end.
    pub(in crate::io) async fn read_body(&mut self) -> Result<Option<Bytes>, BrokenBody> {
        match self.body {
            Body::Nothing => Ok(None),
            Body::Length(left) => self.read_counted(left).await.map(Some),
            Body::Chunked | Body::Session(..) => self.read_chunk().await,
        }
    }

    async fn read_counted(&mut self, left: u64) -> Result<Bytes, BrokenBody> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        if self.unread.is_empty() {
            let transport = self.transport.as_mut().ok_or(BrokenBody)?;
            let room = most.min(BODY_BUFFER_BYTES);
            self.unread.reserve(room);
            let read = transport.read_buf(&mut (&mut self.unread).limit(room)).await;
            read.ok().filter(|&read| read > 0).ok_or(BrokenBody)?;
        }
        let part = self.unread.split_to(most.min(self.unread.len())).freeze();
        self.body = match left - part.len() as u64 {
            0 => Body::Nothing,
            left => Body::Length(left),
        };
        Ok(part)
    }

    async fn read_chunk(&mut self) -> Result<Option<Bytes>, BrokenBody> {
        if let Body::Chunked = self.body {
            let mut session = HttpSession::new(self.transport.take().ok_or(BrokenBody)?);
            session.set_read_timeout(None);
            session.set_pipelining_enabled(true);
            let mut prefix = BytesMut::with_capacity(CHUNKED_HEAD.len() + self.unread.len());
            prefix.extend_from_slice(CHUNKED_HEAD);
            prefix.extend_from_slice(&self.unread.split());
            session.set_pipelined_prefix(prefix);
            self.body = Body::Session(Box::new(session), false);
        }
        let Body::Session(session, is_begun) = &mut self.body else {
            return Err(BrokenBody);
        };
        if !*is_begun {
            session.read_request().await.map_err(|_| BrokenBody)?;
            *is_begun = true;
        }
        match session.read_body_bytes().await {
            Ok(Some(part)) => Ok(Some(part)),
            Ok(None) => self.after_chunks().await.map(|()| None),
            Err(_) => Err(BrokenBody),
        }
    }

    /// Takes the connection back from the session that has read a body to its end.
    async fn after_chunks(&mut self) -> Result<(), BrokenBody> {
        let Body::Session(mut session, _) = std::mem::replace(&mut self.body, Body::Nothing) else {
            return Ok(());
        };
        session.set_server_keepalive(Some(0));
        let (stream, unread) = session.reuse().await.ok().flatten().ok_or(BrokenBody)?.into_parts();
        self.transport = Some(into_transport(stream));
        // What there is of the next request may stand at the end of a buffer for a large body.
        self.unread = unread.map_or_else(BytesMut::new, |unread| BytesMut::from(&unread[..]));
        Ok(())
    }

    /// Takes the connection back from a session that has not read a body to its end, whose rest nobody will.
    fn leave_body(&mut self) {
        if let Body::Session(session, _) = std::mem::replace(&mut self.body, Body::Nothing) {
            self.transport = Some(into_transport(session.into_inner()));
        }
    }

    pub(in crate::io) async fn write_continue(&mut self) -> Result<(), ClientGone> {
        self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.send_out().await
    }

    /// Has the connection end with this answer.
    pub(in crate::io) fn end_connection(&mut self) {
        self.keep_alive = false;
    }

    /// Writes the head of an answer, which leaves with its body where that is small and its length known. Who writes it must be done
    /// with the request's body, or have said that the connection ends.
    pub(in crate::io) async fn write_head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: AnswerBody,
        is_1_0: bool,
    ) -> Result<(), ClientGone> {
        self.leave_body();
        self.answer = match body {
            AnswerBody::Nothing => Framing::Nothing,
            AnswerBody::Length(length) => Framing::Length(length),
            AnswerBody::Parts if is_1_0 => Framing::UntilClose,
            AnswerBody::Parts => Framing::Chunks,
        };
        self.keep_alive &= self.answer != Framing::UntilClose;
        self.render_head(status, headers);
        match self.answer {
            Framing::Length(1..) => Ok(()),
            _ => self.send_out().await,
        }
    }

    fn render_head(&mut self, status: StatusCode, headers: &HeaderMap) {
        let out = &mut self.out;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        let mut line = |name: &str, value: &[u8]| {
            for part in [b"\r\n", name.as_bytes(), b": ", value] {
                out.extend_from_slice(part);
            }
        };
        for (name, value) in headers {
            // These are the connection's, and its alone to tell.
            if ![CONNECTION, DATE, TRANSFER_ENCODING].contains(name) {
                line(name.as_str(), value.as_bytes());
            }
        }
        if self.answer == Framing::Chunks {
            line("transfer-encoding", b"chunked");
        }
        line("date", get_cached_date().as_bytes());
        line("connection", if self.keep_alive { b"keep-alive" } else { b"close" });
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Sends a part of an answer's body, with which it may end. What is beyond the length that was told is left out.
    pub(in crate::io) async fn write_body(&mut self, part: &[u8], ends: bool) -> Result<(), ClientGone> {
        let (mut part, mut tail): (&[u8], &[u8]) = (part, b"");
        match &mut self.answer {
            Framing::Nothing => return Ok(()),
            Framing::Length(left) => {
                part = &part[..part.len().min(usize::try_from(*left).unwrap_or(usize::MAX))];
                *left -= part.len() as u64;
                if ends && *left > 0 {
                    return Err(ClientGone);
                }
            }
            Framing::Chunks => {
                if !part.is_empty() {
                    let _ = write!(self.out, "{:x}\r\n", part.len());
                }
                tail = match (part.is_empty(), ends) {
                    (true, true) => b"0\r\n\r\n",
                    (true, false) => b"",
                    (false, true) => b"\r\n0\r\n\r\n",
                    (false, false) => b"\r\n",
                };
            }
            Framing::UntilClose => {}
        }
        if self.out.len() + part.len() <= SMALL_BYTES {
            self.out.extend_from_slice(part);
            self.out.extend_from_slice(tail);
            return self.send_out().await;
        }
        let transport = self.transport.as_mut().ok_or(ClientGone)?;
        let mut all = Buf::chain(Buf::chain(&self.out[..], part), tail);
        let sent = transport.write_all_buf(&mut all).await;
        self.out.clear();
        sent.map_err(|_| ClientGone)?;
        transport.flush().await.map_err(|_| ClientGone)
    }

    async fn send_out(&mut self) -> Result<(), ClientGone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let transport = self.transport.as_mut().ok_or(ClientGone)?;
        let sent = transport.write_all(&self.out).await;
        self.out.clear();
        sent.map_err(|_| ClientGone)?;
        transport.flush().await.map_err(|_| ClientGone)
    }

    /// Waits until the client leaves. What it sends meanwhile is its next request's.
    pub(in crate::io) async fn client_gone(&mut self) {
        if self.unread.is_empty() {
            self.make_room();
            if !self.read_more().await {
                self.keep_alive = false;
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether another request may come after an answer that was sent; if not, the connection is closed.
    pub(in crate::io) async fn goes_on(&mut self, all_read: bool) -> bool {
        if !self.keep_alive || !all_read {
            self.close(all_read && self.unread.is_empty()).await;
            return false;
        }
        if self.unread.is_empty() {
            self.make_room();
            // What a large body took is not kept by a connection that waits.
            if self.unread.capacity() > HEAD_BUFFER_BYTES {
                self.unread = BytesMut::with_capacity(HEAD_BUFFER_BYTES);
            }
        }
        if self.out.capacity() > SMALL_BYTES {
            self.out = Vec::new();
        }
        true
    }

    /// Closes the connection.
    pub(in crate::io) async fn close(&mut self, all_read: bool) {
        self.leave_body();
        if let Some(transport) = self.transport.take() {
            farewell::close(transport, all_read).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::http::HeadScanner;

    async fn wire() -> (Wire, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        (Wire::new(Transport::plain(socket, Duration::from_secs(20))), client)
    }

    /// Reads the next request but for its body.
    async fn begin(wire: &mut Wire) {
        let mut scanner = HeadScanner::new(64 * 1024, 1024);
        loop {
            if let Some(scanned) = scanner.scan(wire.unread()).unwrap() {
                wire.begin(&scanned).unwrap();
                return;
            }
            assert!(wire.read_more().await);
        }
    }

    /// What the buffer takes, with what was used of it.
    fn kept(wire: &mut Wire) -> usize {
        wire.make_room();
        wire.unread.capacity()
    }

    #[tokio::test]
    async fn what_a_large_head_took_is_given_back_before_it_is_answered() {
        let (mut wire, mut client) = wire().await;
        let request = format!("POST / HTTP/1.1\r\na: {}\r\ncontent-length: 2\r\n\r\nab", "a".repeat(30_000));
        client.write_all(request.as_bytes()).await.unwrap();
        begin(&mut wire).await;
        assert!(wire.unread.capacity() < 100, "{}", wire.unread.capacity());
        assert_eq!(wire.read_body().await.unwrap().unwrap()[..1], *b"a");
    }

    #[tokio::test]
    async fn what_a_request_took_is_not_kept_by_a_connection_that_waits() {
        let (head, body) = ("POST / HTTP/1.1\r\n", "a".repeat(40_000));
        for requests in [
            vec![format!("GET / HTTP/1.1\r\na: {body}\r\n\r\n")],
            vec![format!("{head}content-length: 40000\r\n\r\n{body}")],
            vec![format!("{head}transfer-encoding: chunked\r\n\r\n9c40\r\n{body}\r\n0\r\n\r\n")],
            vec![
                format!("{head}transfer-encoding: chunked\r\n\r\n9c40\r\n{body}\r\n0\r\n\r\n"),
                "GET / HTTP/1.1\r\n\r\n".to_owned(),
            ],
        ] {
            let (mut wire, mut client) = wire().await;
            client.write_all(requests.concat().as_bytes()).await.unwrap();
            for _ in &requests {
                begin(&mut wire).await;
                while wire.read_body().await.unwrap().is_some() {}
                assert!(wire.goes_on(true).await);
            }
            assert_eq!(kept(&mut wire), HEAD_BUFFER_BYTES, "{}", &requests[0][..40]);
        }
    }
}
