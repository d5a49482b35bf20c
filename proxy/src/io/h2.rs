//! HTTP/2 connections: one task for the connection, one for each request.

use std::sync::Arc;

use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, default_h2_options, handshake};
use pingora_core::protocols::{Digest, Stream};
use pingora_timeout::timeout;
use tokio_util::task::TaskTracker;

use super::Handler;
use super::exchange::Exchange;
use super::farewell;
use super::server::Shared;
use crate::client::Client;
use crate::http::{Head, Refusal, check_expectation};

/// Requests of one connection that may be malformed before it is closed.
const MAX_MALFORMED: u32 = 32;

pub(super) async fn serve<H: Handler>(stream: Stream, client: &Arc<Client>, shared: &Arc<Shared<H>>) {
    let limits = &shared.limits;
    let mut options = default_h2_options();
    options.max_concurrent_streams(limits.max_streams);
    options.max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    let Ok(Ok(mut connection)) = timeout(limits.head_timeout, handshake(stream, Some(options))).await else {
        return;
    };
    let digest = Arc::new(Digest::default());
    let requests = TaskTracker::new();
    let mut malformed = 0;
    let mut leaving = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.draining.cancelled(), if !leaving => {
                connection.graceful_shutdown();
                requests.close();
                leaving = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            () = last_answers(&requests, limits.head_timeout), if leaving => return,
            () = pingora_timeout::sleep(limits.idle_timeout), if !leaving => {
                if !requests.is_empty() {
                    continue;
                }
                connection.graceful_shutdown();
                requests.close();
                leaving = true;
                continue;
            }
        };
        match accepted {
            // A stream that the client resets frees its place at once while its request is still being answered.
            Ok(Some(H2Accept::Session(_))) if requests.len() >= 2 * limits.max_streams as usize => {
                connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                requests.close();
                leaving = true;
            }
            Ok(Some(H2Accept::Session(session))) => {
                let (client, shared) = (Arc::clone(client), Arc::clone(shared));
                requests.spawn(answer(session, client, shared));
            }
            Ok(Some(H2Accept::Rejected)) if malformed < MAX_MALFORMED => malformed += 1,
            Ok(Some(H2Accept::Rejected) | None) | Err(_) => return,
        }
    }
}

/// Ends once every request is answered and the client had its time to take the answers and leave.
async fn last_answers(requests: &TaskTracker, patience: std::time::Duration) {
    requests.wait().await;
    pingora_timeout::sleep(patience.min(std::time::Duration::from_secs(1))).await;
}

async fn answer<H: Handler>(session: HttpSession, client: Arc<Client>, shared: Arc<Shared<H>>) {
    let mut session = ServerSession::new_http2(session);
    let head = read_head(&mut session);
    if head.target.len() > shared.limits.target_bytes {
        let refusal = Refusal::TargetTooLong { limit: shared.limits.target_bytes };
        farewell::refuse_session(session, refusal, &shared).await;
        return;
    }
    let awaits_continue = match check_expectation(head.version, &head.headers) {
        Ok(awaits) => awaits,
        Err(refusal) => {
            farewell::refuse_session(session, refusal, &shared).await;
            return;
        }
    };
    let mut exchange = Exchange::new(session, &head, awaits_continue, &shared);
    shared.handler.handle(&client, head, &mut exchange).await;
    exchange.close_stream().await;
}

fn read_head(session: &mut ServerSession) -> Head {
    let header = session.req_header();
    let target = header.uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
    let authority = header.uri.authority().map(|authority| authority.as_str().to_owned());
    let (method, version, headers) = (header.method.clone(), header.version, header.headers.clone());
    Head { method, version, target, authority, headers }
}
