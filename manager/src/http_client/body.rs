//! The body of an answer, read and decompressed within its bounds.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body;
use picloud_executor::port::{HttpAnswer, MAX_HTTP_BODY_BYTES};

use super::connection::{Connection, Incoming, broken};
use super::room::Entered;
use super::{Failure, failure};

/// Bytes that are asked of the room at once.
const PORTION: usize = 64 * 1024;

/// The whole answer. The bytes hold what the call has of the room for as long as they are there.
pub(super) async fn read(
    answer: Response<Incoming>,
    method: &Method,
    connection: &mut Connection,
    entered: Entered,
) -> Result<HttpAnswer, Failure> {
    let (mut head, mut body) = answer.into_parts();
    let before = entered.bytes();
    let kept = Kept { bytes: Vec::new(), before, entered: Some(entered), failed: None };
    // A part of a body that was coded as a whole cannot be decoded, and of several codings the last would come first.
    let mut codings = head.headers.get_all(CONTENT_ENCODING).iter();
    let coding = match (codings.next(), codings.next()) {
        (Some(one), None) if method != Method::HEAD && head.status != StatusCode::PARTIAL_CONTENT => Some(one),
        _ => None,
    };
    let mut sink = match coding.map(|coding| coding.as_bytes().to_ascii_lowercase()).as_deref() {
        Some(b"gzip" | b"x-gzip") => Sink::Gzip(Box::new(MultiGzDecoder::new(kept))),
        Some(b"deflate") => Sink::Deflate(Box::new(ZlibDecoder::new(kept))),
        _ => Sink::Plain(kept),
    };
    let is_coded = !matches!(sink, Sink::Plain(_));
    if body.size_hint().lower() > MAX_HTTP_BODY_BYTES as u64 && method != Method::HEAD {
        return Err(too_large());
    }
    // Beside what is made of a coded body, since of a long one nothing may be made.
    let mut came = 0;
    while let Some(frame) = connection.drive(body.frame()).await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        came += data.len();
        if came > MAX_HTTP_BODY_BYTES {
            return Err(too_large());
        }
        sink.take(&data)?;
    }
    // A coded body of no bytes at all is what some servers send where there is none.
    let kept = if came == 0 { sink.into_kept() } else { sink.finish()? };
    if is_coded {
        head.headers.remove(CONTENT_ENCODING);
        head.headers.remove(CONTENT_LENGTH);
    }
    Ok(HttpAnswer { status: head.status, headers: head.headers, body: Bytes::from_owner(kept) })
}

fn too_large() -> Failure {
    failure("too_large", format!("the answer's body has more than {MAX_HTTP_BODY_BYTES} bytes"))
}

/// Where bytes go.
enum Sink {
    Plain(Kept),
    Gzip(Box<MultiGzDecoder<Kept>>),
    Deflate(Box<ZlibDecoder<Kept>>),
}

impl Sink {
    fn take(&mut self, data: &[u8]) -> Result<(), Failure> {
        let taken = match self {
            Self::Plain(kept) => kept.write_all(data),
            Self::Gzip(decoder) => decoder.write_all(data),
            Self::Deflate(decoder) => decoder.write_all(data),
        };
        taken.map_err(|_| self.failure())
    }

    fn finish(mut self) -> Result<Kept, Failure> {
        let finished = match &mut self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
        };
        match finished {
            Ok(()) => Ok(self.into_kept()),
            Err(_) => Err(self.failure()),
        }
    }

    fn failure(&mut self) -> Failure {
        let kept = match self {
            Self::Plain(kept) => kept,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
        };
        let undecodable = || failure("protocol", "the answer's body is not of its content-encoding");
        kept.failed.take().unwrap_or_else(undecodable)
    }

    fn into_kept(self) -> Kept {
        let mut kept = match self {
            Self::Plain(kept) => return kept,
            Self::Gzip(mut decoder) => std::mem::replace(decoder.get_mut(), Kept::none()),
            Self::Deflate(mut decoder) => std::mem::replace(decoder.get_mut(), Kept::none()),
        };
        kept.failed = None;
        kept
    }
}

/// What was read of a body, and its share of the room.
struct Kept {
    bytes: Vec<u8>,
    /// What the call had of the room before.
    before: usize,
    /// Nothing where this stands in for what was taken out.
    entered: Option<Entered>,
    /// Why no more is kept.
    failed: Option<Failure>,
}

impl Kept {
    fn none() -> Self {
        Self { bytes: Vec::new(), before: 0, entered: None, failed: None }
    }

    fn grow_by(&mut self, more: usize) -> Result<(), Failure> {
        let len = self.bytes.len() + more;
        if len > MAX_HTTP_BODY_BYTES {
            return Err(too_large());
        }
        if len > self.bytes.capacity() {
            let room = len.max(self.bytes.capacity() * 2).next_multiple_of(PORTION).min(MAX_HTTP_BODY_BYTES);
            if let Some(entered) = &mut self.entered {
                entered.grow_to(self.before + room)?;
            }
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        Ok(())
    }
}

impl Write for Kept {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Err(failed) = self.grow_by(data.len()) {
            self.failed = Some(failed);
            return Err(io::Error::other("no more is kept"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
