//! HTTP/2 frame by frame, for what no proper client sends.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// `:method: GET` (or POST), `:scheme: https`, `:path: /` from HPACK's static table, and `:authority: shop.test`.
pub const GET: &[u8] = b"\x82\x87\x84\x41\x09shop.test";
pub const POST: &[u8] = b"\x83\x87\x84\x41\x09shop.test";

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection of frames.
pub struct RawH2<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> RawH2<S> {
    /// Sends the preface and empty settings.
    pub async fn begin(stream: S) -> Self {
        let mut client = Self(stream);
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("a listening server");
        client.send(SETTINGS, 0, 0, &[]).await.expect("a listening server");
        client
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&frame(kind, flags, stream, payload)).await?;
        self.0.flush().await
    }

    /// The next frame: its kind, its stream and what it holds. `None` once the connection is closed.
    pub async fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [l0, l1, l2, kind, _, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, u32::from_be_bytes(stream), payload))
    }

    /// Reads up to a frame of this kind, or to the end of the connection.
    pub async fn read_until(&mut self, wanted: u8) -> Option<Vec<u8>> {
        loop {
            let (kind, _, payload) = self.read().await?;
            if kind == wanted {
                return Some(payload);
            }
        }
    }
}
