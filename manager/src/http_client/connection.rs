//! One connection of HTTP/1.1, driven by whoever uses it: dropped, it is closed, and idle it does nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Failure, failure};

/// A body of an answer.
pub(super) type Incoming = hyper::body::Incoming;
/// A body of a request.
pub(super) type Outgoing = Full<Bytes>;

/// Bytes that an answer's head may have, and its headers.
const MOST_HEAD_BYTES: usize = 64 * 1024;
const MOST_HEADERS: usize = 256;

/// A connection that was opened to a checked address.
pub(super) struct Connection {
    sender: SendRequest<Outgoing>,
    /// Gone once the connection is closed.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(super) opened: Instant,
}

/// Why there is no answer.
pub(super) struct Lost {
    /// Whether nothing of the request went out.
    pub(super) unsent: bool,
    /// Whether the connection was closed before any of the answer came.
    pub(super) closed: bool,
    error: hyper::Error,
}

impl Lost {
    pub(super) fn failure(self) -> Failure {
        if self.closed || self.unsent {
            return failure("closed", "the server closed the connection before it answered");
        }
        broken(&self.error)
    }
}

/// What an answer that is none comes to.
pub(super) fn broken(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        return head_too_large();
    }
    if error.is_incomplete_message() {
        return failure("closed", "the server closed the connection amid its answer");
    }
    failure("protocol", format!("the answer is no HTTP: {error}"))
}

fn head_too_large() -> Failure {
    failure("too_large", format!("the answer's head has more than {MOST_HEAD_BYTES} bytes or {MOST_HEADERS} headers"))
}

/// Refuses a head that is no answer's, or is too long: what is read at once may go beyond what the connection refuses by itself.
pub(super) fn check_head<B>(answer: &Response<B>) -> Result<(), Failure> {
    if answer.status().is_informational() {
        return Err(failure("protocol", "the server changed to another protocol, which was not asked for"));
    }
    let bytes = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    if bytes.sum::<usize>() > MOST_HEAD_BYTES { Err(head_too_large()) } else { Ok(()) }
}

impl Connection {
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, hyper::Error> {
        let mut builder = Builder::new();
        builder.max_buf_size(MOST_HEAD_BYTES).max_headers(MOST_HEADERS);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // What a connection ends by is told to who sends.
        let driver = async move { drop(connection.await) };
        Ok(Self { sender, driver: Some(Box::pin(driver)), opened: Instant::now() })
    }

    /// Sends a request, and gives the head of the answer.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, Lost> {
        let sent = self.sender.try_send_request(request);
        self.drive(sent).await.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            let closed = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
            let closed = closed || error.to_string().contains("connection error");
            Lost { unsent, closed, error }
        })
    }

    /// Waits for what needs the connection to go on.
    pub(super) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(context).is_ready()
            {
                self.driver = None;
            }
            work.as_mut().poll(context)
        })
        .await
    }

    /// Whether another request can be sent. What a server does later is only seen when it is asked again.
    pub(super) async fn is_reusable(&mut self) -> bool {
        poll_fn(|context| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(context).is_ready()
            {
                self.driver = None;
            }
            Poll::Ready(self.driver.is_some() && matches!(self.sender.poll_ready(context), Poll::Ready(Ok(()))))
        })
        .await
    }
}
