//! Server-sent events, read from an answer as it comes (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), as far
//! as PiCloud sends them: lines end with LF, and an event has a name and data.

use anyhow::bail;
use reqwest::Response;

use crate::remote::api::CallError;

/// Longer than any event: a record with its bodies has some tens of kilobytes.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// The events of an answer.
pub struct Events {
    answer: Response,
    reader: Reader,
}

impl Events {
    pub fn of(answer: Response) -> Self {
        Self { answer, reader: Reader::default() }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.reader.next() {
                return Ok(Some(event));
            }
            match self.answer.chunk().await.map_err(CallError::from)? {
                Some(bytes) => self.reader.bytes.extend_from_slice(&bytes),
                None => return Ok(None),
            }
            if self.reader.bytes.len() > MAX_EVENT_BYTES {
                bail!("the server sends an event without an end");
            }
        }
    }
}

/// What came and is not yet read.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes one whole event off the front, past comments.
    fn next(&mut self) -> Option<Event> {
        loop {
            let end = memchr::memmem::find(&self.bytes, b"\n\n")? + 2;
            let block: Vec<u8> = self.bytes.drain(..end).collect();
            let mut event = Event::default();
            for line in String::from_utf8_lossy(&block).lines() {
                if let Some(name) = line.strip_prefix("event: ") {
                    event.name = name.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ") {
                    event.data = data.to_owned();
                }
            }
            if event != Event::default() {
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_come() {
        let sent = b": watching\n\nevent: execution\nid: 1\ndata: {\"a\":\"\xc3\xa9\"}\n\n: quiet\n\nevent: missed\ndata: {}\n\n";
        for size in 1..sent.len() {
            let mut reader = Reader::default();
            let mut events = Vec::new();
            for bytes in sent.chunks(size) {
                reader.bytes.extend_from_slice(bytes);
                events.extend(std::iter::from_fn(|| reader.next()));
            }
            let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
            assert_eq!(events, [event("execution", "{\"a\":\"é\"}"), event("missed", "{}")], "{size} bytes at once");
        }
    }
}
