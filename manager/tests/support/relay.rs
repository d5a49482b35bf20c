//! A TCP relay that a test can make silent: what it carries then neither arrives nor ends, as when a network is lost.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a target.
pub struct Relay {
    address: SocketAddr,
    /// How often it went silent: connections of an earlier count carry nothing any more.
    silences: watch::Sender<u64>,
}

impl Relay {
    /// A relay on a free port of loopback.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silences = watch::Sender::new(0);
        tokio::spawn(pass_on(listener, target, silences.clone()));
        Self { address, silences }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets every connection that there is carry nothing any more, and stay open. New ones are passed on.
    pub fn silence(&self) {
        self.silences.send_modify(|count| *count += 1);
    }
}

async fn pass_on(listener: TcpListener, target: SocketAddr, silences: watch::Sender<u64>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut silenced = silences.subscribe();
        tokio::spawn(async move {
            let server = TcpStream::connect(target).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::select! {
                biased;
                _ = silenced.changed() => std::future::pending().await,
                () = copy(&mut from_client, &mut to_server) => {}
                () = copy(&mut from_server, &mut to_client) => {}
            }
        });
    }
}

async fn copy(from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin)) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
