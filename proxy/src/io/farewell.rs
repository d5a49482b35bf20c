//! Last answers: to what never became a request, and the closing of a connection so that its client reads them.

use std::time::Duration;

use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_timeout::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::Shared;
use crate::answer::Answer;
use crate::http::Refusal;

/// Of a body that nobody wants, what is read so that the client gets to see the answer, and for how long.
pub(super) const UNWANTED_BODY_BYTES: usize = 256 * 1024;
pub(super) const UNWANTED_BODY_TIME: Duration = Duration::from_secs(1);

/// Answers what never became a request, and closes.
pub(super) async fn refuse(stream: Stream, refusal: Refusal, shared: &Shared) {
    refuse_session(HttpSession::new(stream), refusal, shared).await;
}

/// Answers a request whose head breaks a rule, and closes.
pub(super) async fn refuse_session(mut session: HttpSession, refusal: Refusal, shared: &Shared) {
    tracing::debug!(code = refusal.code(), "refused a request");
    session.set_server_keepalive(None);
    let answer = Answer::from(refusal);
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = answer.status;
    parts.headers = answer.headers;
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    let write = async {
        session.write_response_header(Box::new(parts.into())).await?;
        session.write_body(&answer.body).await?;
        session.finish_body().await
    };
    let written = timeout(shared.limits.write_timeout, write).await;
    if let Ok(Ok(_)) = written {
        close(session.into_inner(), false).await;
    }
}

/// Closes a connection so that the client gets to read the last answer: with bytes of its own still unread here, the
/// kernel would answer them with a reset that overtakes it.
pub(super) async fn close(mut stream: Stream, all_read: bool) {
    let farewell = async {
        // `shutdown` of a stream of Pingora is another method of the same name.
        AsyncWriteExt::shutdown(&mut stream).await?;
        let mut unwanted = 0;
        let mut buf = [0; 4096];
        while !all_read && unwanted <= UNWANTED_BODY_BYTES {
            match stream.read(&mut buf).await? {
                0 => break,
                read => unwanted += read,
            }
        }
        std::io::Result::Ok(())
    };
    let _ = timeout(UNWANTED_BODY_TIME, farewell).await;
}
