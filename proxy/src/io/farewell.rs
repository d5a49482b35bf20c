//! Last answers: to what never became a request, and the closing of a connection so that its client reads them.

use std::time::Duration;

use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use pingora_timeout::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::h1::Wire;
use super::server::Shared;
use super::session::AnswerBody;
use super::transport::Transport;
use crate::answer::Answer;
use crate::http::Refusal;

/// Of a body that nobody wants, what is read so that the client gets to see the answer, and for how long.
pub(super) const UNWANTED_BODY_BYTES: usize = 256 * 1024;
pub(super) const UNWANTED_BODY_TIME: Duration = Duration::from_secs(1);

/// Answers what never became a request, or one whose head breaks a rule, and closes.
pub(super) async fn refuse(mut wire: Wire, refusal: Refusal, shared: &Shared) {
    tracing::debug!(code = refusal.code(), "refused a request");
    wire.end_connection();
    let mut answer = Answer::from(refusal);
    answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    let write = async {
        let body = AnswerBody::Length(answer.body.len() as u64);
        wire.write_head(answer.status, &answer.headers, body, false).await?;
        wire.write_body(&answer.body, true).await
    };
    if let Ok(Ok(())) = timeout(shared.limits.write_timeout, write).await {
        wire.close(false).await;
    }
}

/// Closes a connection so that the client gets to read the last answer: with bytes of its own still unread here, the
/// kernel would answer them with a reset that overtakes it.
pub(super) async fn close(mut transport: Box<Transport>, all_read: bool) {
    let farewell = async {
        // `shutdown` of a stream of Pingora is another method of the same name.
        AsyncWriteExt::shutdown(&mut transport).await?;
        let mut unwanted = 0;
        let mut buf = [0; 4096];
        while !all_read && unwanted <= UNWANTED_BODY_BYTES {
            match transport.read(&mut buf).await? {
                0 => break,
                read => unwanted += read,
            }
        }
        std::io::Result::Ok(())
    };
    let _ = timeout(UNWANTED_BODY_TIME, farewell).await;
}
