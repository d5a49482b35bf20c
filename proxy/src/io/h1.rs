//! HTTP/1 connections: heads are read here, whole and strictly, and requests handed over one after the other.

mod wire;

use std::time::Duration;

use pingora_timeout::timeout;

use super::Handler;
use super::alarm::Alarm;
use super::draining::Watch;
use super::exchange::Exchange;
use super::farewell;
use super::peer::Peer;
use super::server::{Service, Shared};
use super::session::Session;
use super::transport::Transport;
use crate::http::{Head, HeadScanner, Refusal, ScannedHead, check_expectation};
pub(super) use wire::Wire;

/// What came of waiting for a head.
enum Arrival {
    Head(ScannedHead),
    Refused(Refusal),
    /// The client left, stayed idle for too long, or we drain.
    Ended,
}

pub(super) async fn serve<H: Handler>(transport: Transport, peer: &Peer, service: &Service<H>) {
    let shared = &service.shared;
    let mut wire = Wire::new(transport);
    if !first_bytes(&mut wire, shared).await {
        return;
    }
    let (mut idle, mut draining) = (Alarm::new(shared.limits.idle_timeout), shared.draining.watch());
    loop {
        let scanned = match arrival(&mut wire, peer, shared).await {
            Arrival::Head(scanned) => scanned,
            Arrival::Refused(refusal) => return farewell::refuse(wire, refusal, shared).await,
            Arrival::Ended => return,
        };
        let goes_on = match read_head(&mut wire, &scanned) {
            Ok((head, awaits_continue)) => answer(&mut wire, head, awaits_continue, &scanned, peer, service).await,
            Err(refusal) => return farewell::refuse(wire, refusal, shared).await,
        };
        if !goes_on {
            return;
        }
        if wire.unread().is_empty() {
            idle.set(shared.limits.idle_timeout);
            if !next_bytes(&mut wire, &mut idle, &mut draining, shared).await {
                // TLS has a word for it, without which a client cannot tell an end from a cut (RFC 8446, 6.1).
                return wire.close(true).await;
            }
        }
    }
}

/// Waits for the first request of a connection to begin.
async fn first_bytes(wire: &mut Wire, shared: &Shared) -> bool {
    tokio::select! {
        biased;
        came = wire.read_more() => came,
        () = shared.silent_for_too_long() => false,
    }
}

/// Waits for another request to begin. As the connection had an answer already, it is closed at once when we drain, unless another
/// process takes our place: then whoever asks on is answered once more, and told to go elsewhere.
async fn next_bytes(wire: &mut Wire, idle: &mut Alarm, draining: &mut Watch<'_>, shared: &Shared) -> bool {
    let no_more_chance = async {
        draining.begins().await;
        shared.last_chance(Duration::ZERO).await;
    };
    tokio::select! {
        biased;
        came = wire.read_more() => came,
        () = no_more_chance => false,
        () = idle.due() => false,
    }
}

/// Reads a head to its end, of which the beginning was read.
async fn arrival(wire: &mut Wire, peer: &Peer, shared: &Shared) -> Arrival {
    let limits = &shared.limits;
    let mut scanner = HeadScanner::new(limits.head_bytes, limits.target_bytes);
    match scanner.scan(wire.unread()) {
        Ok(Some(head)) => return Arrival::Head(head),
        Ok(None) => {}
        Err(refusal) => return Arrival::Refused(refusal),
    }
    let mut memory = shared.head_memory.place(&peer.guest.holdings().heads);
    let rest = async {
        loop {
            let before = wire.unread_capacity();
            if !wire.read_more().await {
                return Arrival::Ended;
            }
            // Whoever sends a large head slowly takes up memory meanwhile.
            if !memory.take(wire.unread_capacity().saturating_sub(before)) {
                return Arrival::Refused(Refusal::NoRoomForRequest);
            }
            match scanner.scan(wire.unread()) {
                Ok(Some(head)) => return Arrival::Head(head),
                Ok(None) => {}
                Err(refusal) => return Arrival::Refused(refusal),
            }
        }
    };
    timeout(limits.head_timeout, rest).await.unwrap_or(Arrival::Refused(Refusal::HeadTimeout))
}

/// Takes a head that is whole. Tells whether the client awaits a `100 Continue`.
fn read_head(wire: &mut Wire, scanned: &ScannedHead) -> Result<(Head, bool), Refusal> {
    let head = Head::http_1(&wire.begin(scanned)?, scanned)?;
    let awaits_continue = check_expectation(head.version, &head.headers)?;
    Ok((head, awaits_continue))
}

/// Has a request answered. Tells whether another may come.
async fn answer<H: Handler>(
    wire: &mut Wire,
    head: Head,
    awaits_continue: bool,
    scanned: &ScannedHead,
    peer: &Peer,
    service: &Service<H>,
) -> bool {
    let mut exchange = Exchange::new(Session::H1(wire), &head, scanned.length, awaits_continue, peer, &service.shared);
    match exchange.hold(&head, true) {
        Ok(()) => service.handler.handle(&peer.client, head, &mut exchange).await,
        Err(refusal) => {
            // A client that left has nobody to tell.
            let _ = exchange.refuse(refusal).await;
        }
    }
    exchange.goes_on().await
}
