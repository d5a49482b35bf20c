//! HTTP/2 connections: one task for the connection, in which requests begin, and one for each that is not answered at once.

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as Moment};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use http::header::CONTENT_LENGTH;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::exchange::Exchange;
use super::flood::FrameWatch;
use super::peer::Peer;
use super::server::{Service, Shared};
use super::session::{H2Stream, Session};
use super::transport::Transport;
use super::{Handler, IoLimits};
use crate::http::{Head, MAX_HEADER_LINES, Refusal, check_expectation};

/// What is kept of each stream's answer beyond what the network has taken. With `max_streams`, one connection's share.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Answers that a client may give up in excess of those that it takes. A browser that searches while its user types gives
/// up some; a rapid reset gives up all.
const MAX_GIVEN_UP: i32 = 100;
/// For how long requests that came together are begun one after another where they came. Those of short scripts are answered
/// by then, and their answers leave in one write. Longer, and one connection would be bound to one core.
const TOGETHER: Duration = Duration::from_micros(50);
/// Once we leave, what a client gets that was told and has nothing more to receive.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// What the requests of one connection have in common. Each holds a clone while it is answered.
#[derive(Debug, Default)]
struct Tally {
    /// Answers that the client gave up, less those that it took.
    given_up: AtomicI32,
}

pub(super) async fn serve<H: Handler>(transport: Transport, peer: Peer, service: &Arc<Service<H>>) {
    let peer = &Arc::new(peer);
    let shared = &service.shared;
    let frames = FrameWatch::default();
    let handshake = options(&shared.limits).handshake::<_, Bytes>(transport.watch_frames(frames.clone()));
    let connection = tokio::select! {
        biased;
        connection = handshake => connection,
        () = shared.silent_for_too_long() => return,
    };
    let Ok(mut connection) = connection else {
        return;
    };
    let tally = Arc::new(Tally::default());
    let mut watch = shared.draining.watch();
    let mut idle = Alarm::new(shared.limits.idle_timeout);
    let (mut look_at_heads, mut open_head) = (Alarm::new(shared.limits.head_timeout), None);
    let mut come = Vec::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = watch.begins() => break,
            accepted = connection.accept() => accepted,
            // All that has come so far is here.
            () = ready(()), if !come.is_empty() => {
                begin(&mut come);
                continue;
            }
            () = frames.becomes_flooded() => {
                tracing::debug!(remote_ip = %peer.client.remote_ip, "a flood of frames");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                break;
            }
            // One that was there at the last look, too, takes too long.
            () = look_at_heads.due() => {
                look_at_heads.set(shared.limits.head_timeout);
                let before = std::mem::replace(&mut open_head, frames.open_head());
                if open_head.is_some() && open_head == before {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    break;
                }
                continue;
            }
            () = idle.due() => {
                if tally.requests() == 0 {
                    break;
                }
                idle.set(shared.limits.idle_timeout);
                continue;
            }
        };
        let Some(Ok(request)) = accepted else {
            begin(&mut come);
            return;
        };
        idle.set(shared.limits.idle_timeout);
        if tally.is_abused(&shared.limits) {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            break;
        }
        come.push(answered(request, &tally, peer, service));
    }
    begin(&mut come);
    leave(connection, &tally, peer, service).await;
}

fn options(limits: &IoLimits) -> Builder {
    let mut options = Builder::new();
    options
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    options
}

/// Says goodbye, answers what came before the client heard it, and ends when the client has everything. One that takes
/// nothing more has its connection broken by the transport; one that takes it too slowly is left in the end.
async fn leave<H: Handler>(
    mut connection: Connection<Transport, Bytes>,
    tally: &Arc<Tally>,
    peer: &Arc<Peer>,
    service: &Arc<Service<H>>,
) {
    connection.graceful_shutdown();
    let limits = &service.shared.limits;
    let most_unsent = SEND_BUFFER_BYTES.saturating_mul(limits.max_streams as usize);
    let mut leave_by = None;
    let mut was_quiet = tally.requests() == 0 && !connection.has_streams();
    let mut tick = Alarm::new(LAST_CHANCE);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = connection.accept() => accepted,
            () = tick.due() => {
                tick.set(LAST_CHANCE);
                let answered = tally.requests() == 0;
                let is_quiet = answered && !connection.has_streams();
                if is_quiet && was_quiet {
                    return;
                }
                was_quiet = is_quiet;
                if answered {
                    let now = Instant::now();
                    if now > *leave_by.get_or_insert_with(|| now + limits.time_for(most_unsent)) {
                        return;
                    }
                }
                continue;
            }
        };
        match accepted {
            Some(Ok(request)) => drop(tokio::spawn(answered(request, tally, peer, service))),
            Some(Err(_)) | None => return,
        }
    }
}

type Answered = Pin<Box<dyn Future<Output = ()> + Send>>;

fn answered<H: Handler>(
    (request, respond): (Request<RecvStream>, SendResponse<Bytes>),
    tally: &Arc<Tally>,
    peer: &Arc<Peer>,
    service: &Arc<Service<H>>,
) -> Answered {
    let alone = tally.requests() == 0;
    let (tally, peer, service) = (Arc::clone(tally), Arc::clone(peer), Arc::clone(service));
    Box::pin(async move {
        let taken = answer(request, respond, alone, &peer, &service).await;
        tally.count(taken);
    })
}

/// Begins requests. What has to wait, and what would wait for others too long, goes on in a task of its own.
fn begin(come: &mut Vec<Answered>) {
    let begun = Moment::now();
    for mut request in come.drain(..) {
        if begun.elapsed() < TOGETHER {
            // Whatever wakes it up until it is a task is not lost: a task is looked at once.
            let mut nobody = Context::from_waker(Waker::noop());
            // A panic ends the request alone, as it does in a task.
            match catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(&mut nobody))) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(())) | Err(_) => continue,
            }
        }
        tokio::spawn(request);
    }
}

/// Tells whether the client took the answer.
async fn answer<H: Handler>(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    alone: bool,
    peer: &Arc<Peer>,
    service: &Service<H>,
) -> bool {
    let shared: &Shared = &service.shared;
    let (parts, body) = request.into_parts();
    let session = Session::H2(H2Stream::new(body, respond, shared.limits.write_timeout));
    let head = Head::http_2(parts);
    let checked = check(&head, &shared.limits);
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut exchange = Exchange::new(session, &head, announced, checked == Ok(true), peer, shared);
    match checked.and_then(|_| exchange.hold(&head, alone)) {
        Ok(()) => service.handler.handle(&peer.client, head, &mut exchange).await,
        Err(refusal) => {
            // It may be large, and the client may still be sending.
            drop(head);
            // A client that left has nobody to tell.
            let _ = exchange.refuse(refusal).await;
        }
    }
    exchange.close_stream().await
}

/// What of a head `h2` does not look at. Tells whether the client awaits a `100 Continue`.
fn check(head: &Head, limits: &IoLimits) -> Result<bool, Refusal> {
    if head.target().len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong { limit: limits.target_bytes });
    }
    if head.headers.len() > MAX_HEADER_LINES {
        return Err(Refusal::HeadTooLarge { limit: limits.head_bytes });
    }
    // `h2` looks at the first of them only.
    if head.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Refusal::AmbiguousFraming);
    }
    check_expectation(head.version, &head.headers)
}

impl Tally {
    /// Requests being answered.
    fn requests(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }

    /// A stream that the client resets frees its place at once: while its request is still being answered, the next one
    /// is let in, and what is answered more quickly than that was answered in vain.
    fn is_abused(self: &Arc<Self>, limits: &IoLimits) -> bool {
        self.requests() >= 2 * limits.max_streams as usize || self.given_up.load(Ordering::Relaxed) > MAX_GIVEN_UP
    }

    fn count(&self, taken: bool) {
        let change = if taken { -1 } else { 1 };
        // Answers that were taken long ago are no credit.
        let _ = self.given_up.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some((count + change).max(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[tokio::test]
    async fn what_waits_goes_on_elsewhere_and_a_panic_ends_its_request_alone() {
        let (tell, mut told) = unbounded_channel();
        let (lead, follow) = tokio::sync::oneshot::channel::<()>();
        let (last, first) = (tell.clone(), tell.clone());
        let mut come: Vec<Answered> = vec![
            Box::pin(async move {
                let _ = follow.await;
                last.send("the one that waited").unwrap();
            }),
            Box::pin(async move { first.send("the one that did not").unwrap() }),
            Box::pin(async move {
                let _untold = tell;
                panic!("as a defect would");
            }),
        ];
        begin(&mut come);
        assert!(come.is_empty());
        assert_eq!(told.recv().await, Some("the one that did not"));
        lead.send(()).unwrap();
        assert_eq!(told.recv().await, Some("the one that waited"));
        assert_eq!(told.recv().await, None, "what broke down holds nothing");
    }
}
