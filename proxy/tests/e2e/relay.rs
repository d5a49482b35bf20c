//! A TCP relay that a test can cut: to `picloud` a database behind a cut relay has stopped.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Passes connections on to a target, on an address that stays the same over cuts.
pub struct Relay {
    address: SocketAddr,
    target: String,
    running: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay on a free port of loopback.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = Some(tokio::spawn(pass_on(listener, target.clone())));
        Self { address, target, running }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and refuses new ones.
    pub async fn cut(&mut self) {
        let running = self.running.take().expect("a relay is cut once at a time");
        running.abort();
        let _ = running.await;
    }

    /// Passes on again.
    pub async fn mend(&mut self) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.running = Some(tokio::spawn(pass_on(socket.listen(64).unwrap(), self.target.clone())));
    }
}

async fn pass_on(listener: TcpListener, target: String) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let target = target.clone();
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(target).await {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}
