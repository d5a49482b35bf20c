//! One connection, from accept to close: handshake where there is one, then the protocol that was agreed on.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Handler;
use super::clients::Guest;
use super::peer::Peer;
use super::server::{Listener, Service};
use super::transport::Transport;
use super::{h1, h2};
use crate::client::Client;

pub(super) async fn serve<H: Handler>(
    socket: TcpStream,
    remote_ip: IpAddr,
    guest: Guest,
    listener: Listener,
    service: &Arc<Service<H>>,
) {
    let (role, shared) = (listener.role, &service.shared);
    let patience = shared.limits.write_timeout;
    let handshaker = shared.handshaker.as_ref().filter(|_| listener.tls);
    let Some(handshaker) = handshaker else {
        let peer = Peer { client: Arc::new(Client { remote_ip, role, tls: None }), guest };
        return h1::serve(Transport::plain(socket, patience), &peer, service).await;
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
    let peer = Peer { client: Arc::new(Client { remote_ip, role, tls: Some(identity) }), guest };
    let transport = Transport::tls(stream, patience);
    if speaks_h2 { h2::serve(transport, peer, service).await } else { h1::serve(transport, &peer, service).await }
}
