//! One connection, from accept to close: handshake where there is one, then the protocol that was agreed on.

use std::net::IpAddr;
use std::sync::Arc;

use pingora_core::protocols::Stream;
use tokio::net::TcpStream;

use super::Handler;
use super::server::{Listener, Shared};
use super::transport::Transport;
use super::{h1, h2};
use crate::client::Client;

pub(super) async fn serve<H: Handler>(
    socket: TcpStream,
    remote_ip: IpAddr,
    listener: Listener,
    shared: &Arc<Shared<H>>,
) {
    let role = listener.role;
    let handshaker = shared.handshaker.as_ref().filter(|_| listener.tls);
    let Some(handshaker) = handshaker else {
        let client = Arc::new(Client { remote_ip, role, tls: None });
        let stream: Stream = Box::new(Transport::plain(socket));
        return h1::serve(stream, &client, shared).await;
    };
    let accepted = tokio::select! {
        biased;
        accepted = handshaker.accept(socket) => accepted,
        () = shared.silent_for_too_long() => return,
    };
    let Some((stream, identity)) = accepted else {
        return;
    };
    let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let client = Arc::new(Client { remote_ip, role, tls: Some(identity) });
    let stream: Stream = Box::new(Transport::tls(stream));
    if speaks_h2 { h2::serve(stream, &client, shared).await } else { h1::serve(stream, &client, shared).await }
}
