//! A client that sends the bytes it is given and reads what comes, as attackers do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Nothing that a test waits for takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes and reads until the server closes.
pub async fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = RawClient::connect(address).await;
    // A server that refuses may close before everything is sent.
    let _ = client.stream.write_all(bytes).await;
    client.read_to_end().await
}

/// A connection of another client: from 127.0.0.`host`.
pub async fn connect_from(host: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(address).await.expect("the server listens")
}

/// A connection.
pub struct RawClient<S = TcpStream> {
    pub stream: S,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl RawAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.head.lines().skip(1).filter_map(move |line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl RawClient {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the server listens"))
    }

    /// Connects as another client: from 127.0.0.`host`.
    pub async fn connect_from(host: u8, address: SocketAddr) -> Self {
        Self::over(connect_from(host, address).await)
    }

    /// Waits until the server has read all that was sent to it, so that what follows is another read.
    pub async fn all_read(&self) {
        let (here, there) = (self.stream.local_addr().expect("connected"), self.stream.peer_addr().expect("connected"));
        // A line of the table: number, local address, remote address, state, bytes to send and to read, all in hex.
        let hex = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port()),
            IpAddr::V6(_) => unreachable!("tests connect over IPv4"),
        };
        let (local, remote) = (hex(there), hex(here));
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
            let mut lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
            let line = lines.find(|line| line[1] == local && line[2] == remote).expect("the server's end");
            if line[4].ends_with(":00000000") {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

impl<S: AsyncRead + Unpin> RawClient<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    async fn read_more(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
        read.expect("the server answers or closes").unwrap_or(0)
    }

    /// Whether anything comes before the server closes.
    pub async fn is_answered(&mut self) -> bool {
        !self.unread.is_empty() || self.read_more().await > 0
    }

    pub async fn read_to_end(&mut self) -> String {
        while self.read_more().await > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    pub async fn read_head(&mut self) -> RawAnswer {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_more().await > 0, "closed within a head: {:?}", String::from_utf8_lossy(&self.unread));
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("heads are text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        RawAnswer { status, head, body: String::new() }
    }

    pub async fn read_bytes(&mut self, count: usize) -> String {
        while self.unread.len() < count {
            assert!(self.read_more().await > 0, "closed within the bytes");
        }
        String::from_utf8(self.unread.drain(..count).collect()).expect("text")
    }

    pub async fn read_answer(&mut self) -> RawAnswer {
        let mut answer = self.read_head().await;
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.unread.len() < length {
            assert!(self.read_more().await > 0, "closed within a body");
        }
        answer.body = String::from_utf8(self.unread.drain(..length).collect()).expect("bodies are text");
        answer
    }
}

impl<S> std::ops::Deref for RawClient<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stream
    }
}

impl<S> std::ops::DerefMut for RawClient<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}
