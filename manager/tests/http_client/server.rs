//! A server on loopback that answers as its test says, and tells what it was sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What became of a connection once its server had said all that it had to say.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

pub struct Server {
    pub address: SocketAddr,
    /// Each request with the number of its connection.
    requests: Arc<Mutex<Vec<(usize, String)>>>,
    /// A connection whose other side was closed.
    pub closed: Mutex<Receiver<Closed>>,
}

/// What comes of a request.
pub enum Act {
    /// These bytes, and the connection goes on.
    Answer(Vec<u8>),
    /// These bytes, and the connection is closed.
    Last(Vec<u8>),
    /// These bytes, and nothing ever after.
    Stall(Vec<u8>),
}

impl Server {
    /// `answer` is given a request with its body and the number of its connection.
    pub fn start(answer: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let (told, closed) = channel();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (seen, answer, told) = (Arc::clone(&seen), Arc::clone(&answer), told.clone());
                std::thread::spawn(move || serve(stream.unwrap(), number, &*answer, &seen, &told));
            }
        });
        Self { address, requests, closed: Mutex::new(closed) }
    }

    /// One that gives each request the same.
    pub fn giving(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, _| Act::Answer(answer.clone()))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<(usize, String)> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until a client has closed its side.
    pub fn saw_close(&self) -> bool {
        self.closed.lock().unwrap().recv_timeout(Duration::from_secs(10)).is_ok()
    }
}

fn serve(
    mut stream: TcpStream,
    number: usize,
    answer: &dyn Fn(&str, usize) -> Act,
    seen: &Mutex<Vec<(usize, String)>>,
    told: &Sender<Closed>,
) {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = next_request(&mut stream, &mut buffer) else {
            let _ = told.send(Closed);
            return;
        };
        seen.lock().unwrap().push((number, request.clone()));
        match answer(&request, number) {
            Act::Answer(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    let _ = told.send(Closed);
                    return;
                }
            }
            Act::Last(bytes) => {
                let _ = stream.write_all(&bytes);
                return;
            }
            Act::Stall(bytes) => {
                let _ = stream.write_all(&bytes);
            }
        }
    }
}

fn next_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |len| len.parse().unwrap());
            if body.len() >= len {
                buffer.drain(..head.len() + 4 + len);
                return Some(text[..head.len() + 4 + len].to_owned());
            }
        }
        let mut more = [0; 64 * 1024];
        let read = stream.read(&mut more).unwrap_or(0);
        if read == 0 {
            return None;
        }
        buffer.extend_from_slice(&more[..read]);
    }
}

/// An answer with that head and body.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
