//! The head of an HTTP/1 request as bytes: where it ends, and whether there is exactly one way to read it.
//!
//! Parsers are lenient (Pingora's escapes spaces in the target, takes a bare LF for a line's end, and lets `transfer-encoding` win
//! over `content-length`), so the reading is ours, and strict.

use std::ops::Range;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};

use super::refusal::Refusal;

/// Header lines that a request may have. In HTTP/2 one byte can stand for a line.
pub const MAX_HEADER_LINES: usize = 128;

/// A request's head after parsing, before any rule of host or path.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The version that the client spoke.
    pub version: Version,
    /// The header fields.
    pub headers: HeaderMap,
    target: Target,
}

/// Header lines for which there is room from the beginning.
const COMMON_LINES: usize = 8;

/// What a map of headers keeps for each line beside its text: an entry of 104 bytes, and room to grow.
const LINE_BYTES: usize = 128;

#[derive(Debug)]
enum Target {
    /// As it stands in an HTTP/1 request line.
    Line(Bytes),
    /// `:scheme`, `:authority` and `:path` of HTTP/2.
    Pseudo(Uri),
}

impl Head {
    /// A head of HTTP/1, out of the bytes that were scanned; its fields share them.
    ///
    /// # Errors
    /// Other bytes than those.
    pub fn http_1(bytes: &Bytes, scanned: &ScannedHead) -> Result<Self, Refusal> {
        let method = Method::from_bytes(&bytes[scanned.method.clone()]).map_err(|_| Refusal::MalformedHead)?;
        let version = if scanned.is_1_0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut headers = HeaderMap::with_capacity(scanned.fields.len());
        for Field { name, value } in &scanned.fields {
            let name = HeaderName::from_bytes(&bytes[name.clone()]).map_err(|_| Refusal::MalformedHead)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(value.clone()));
            headers.append(name, value.map_err(|_| Refusal::MalformedHead)?);
        }
        Ok(Self { method, version, headers, target: Target::Line(bytes.slice(scanned.target.clone())) })
    }

    /// A GET of HTTP/1.1, whatever the target.
    #[cfg(test)]
    pub(super) fn get(target: &str, headers: HeaderMap) -> Self {
        let target = Target::Line(target.to_owned().into());
        Self { method: Method::GET, version: Version::HTTP_11, headers, target }
    }

    /// A head of HTTP/2. Its `:authority` stands in `host` as well, where whoever reads the fields looks for it (RFC 9113, 8.3.1).
    pub fn http_2(parts: Parts) -> Self {
        let Parts { method, version, uri, mut headers, .. } = parts;
        if let Some(authority) = uri.authority()
            && !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_bytes(authority.as_str().as_bytes())
        {
            headers.insert(HOST, host);
        }
        Self { method, version, headers, target: Target::Pseudo(uri) }
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        let target = match &self.target {
            Target::Line(target) => target.len(),
            Target::Pseudo(uri) => {
                self.target().len() + uri.authority().map_or(0, |authority| authority.as_str().len())
            }
        };
        let lines = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE_BYTES);
        target + lines.sum::<usize>()
    }

    /// The request target as sent; in HTTP/2 `:path`.
    pub fn target(&self) -> &str {
        match &self.target {
            Target::Line(target) => str::from_utf8(target).unwrap_or_default(),
            Target::Pseudo(uri) => uri.path_and_query().map_or("", |path| path.as_str()),
        }
    }

    /// HTTP/2's `:scheme`.
    pub fn scheme(&self) -> Option<&str> {
        match &self.target {
            Target::Line(_) => None,
            Target::Pseudo(uri) => uri.scheme_str(),
        }
    }

    /// HTTP/2's `:authority`.
    pub fn authority(&self) -> Option<&str> {
        match &self.target {
            Target::Line(_) => None,
            Target::Pseudo(uri) => Some(uri.authority()?.as_str()),
        }
    }
}

/// What the scan found in a complete head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedHead {
    /// The length of the head in bytes, with the empty line.
    pub len: usize,
    /// Where the method stands.
    pub method: Range<usize>,
    /// Where the request target stands.
    pub target: Range<usize>,
    /// Whether the body comes in chunks.
    pub chunked: bool,
    /// Bytes of the body, where they are told.
    pub length: Option<u64>,
    /// Whether it is HTTP/1.0.
    pub is_1_0: bool,
    /// Whether the client is to find the connection open after the answer.
    pub keep_alive: bool,
    /// Where the header lines stand.
    pub fields: Vec<Field>,
}

/// Where a header line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// Reads a head incrementally; no byte is looked at twice.
#[derive(Debug)]
pub struct HeadScanner {
    max_bytes: usize,
    max_target_bytes: usize,
    /// Where the next line begins.
    line_start: usize,
    /// How far line ends were looked for.
    searched: usize,
    fields: Vec<Field>,
    request_line: Option<RequestLine>,
    has_host: bool,
    length: Option<u64>,
    content_lengths: usize,
    transfer_encodings: usize,
    /// Whether the connection is to end, or to stay; the last is for HTTP/1.0, where the former is the rule.
    closes: bool,
    stays: bool,
}

#[derive(Debug, Clone)]
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    is_1_0: bool,
}

impl HeadScanner {
    /// A scanner at the beginning of a request.
    pub fn new(max_bytes: usize, max_target_bytes: usize) -> Self {
        Self {
            max_bytes,
            max_target_bytes,
            line_start: 0,
            searched: 0,
            fields: Vec::with_capacity(COMMON_LINES),
            request_line: None,
            has_host: false,
            length: None,
            content_lengths: 0,
            transfer_encodings: 0,
            closes: false,
            stays: false,
        }
    }

    /// Looks at what has arrived so far; `None` asks for more.
    ///
    /// # Errors
    /// The first rule that the head breaks. A head that is too large is known before it is complete.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<ScannedHead>, Refusal> {
        while let Some(at) = memchr::memchr(b'\n', &buf[self.searched..]) {
            let newline = self.searched + at;
            if newline >= self.max_bytes {
                return Err(self.too_large());
            }
            let line = buf[self.line_start..newline].strip_suffix(b"\r").ok_or(Refusal::MalformedHead)?;
            let start = self.line_start;
            self.line_start = newline + 1;
            self.searched = newline + 1;
            if let Some(head) = self.line(line, start)? {
                return Ok(Some(head));
            }
        }
        self.searched = buf.len();
        if buf.len() >= self.max_bytes {
            return Err(self.too_large());
        }
        Ok(None)
    }

    fn too_large(&self) -> Refusal {
        match self.request_line {
            Some(_) => Refusal::HeadTooLarge { limit: self.max_bytes },
            None => Refusal::TargetTooLong { limit: self.max_target_bytes },
        }
    }

    fn line(&mut self, line: &[u8], start: usize) -> Result<Option<ScannedHead>, Refusal> {
        match (&self.request_line, line.is_empty()) {
            // RFC 9112, 2.2: an empty line before the request line is ignored.
            (None, true) => Ok(None),
            (None, false) => {
                self.request_line = Some(read_request_line(line, start, self.max_target_bytes)?);
                Ok(None)
            }
            (Some(_), false) => self.header_line(line, start).map(|()| None),
            (Some(request), true) => {
                let request = request.clone();
                self.check_framing(request.is_1_0)?;
                let RequestLine { method, target, is_1_0 } = request;
                Ok(Some(ScannedHead {
                    len: self.line_start,
                    method,
                    target,
                    chunked: self.transfer_encodings > 0,
                    length: self.length,
                    is_1_0,
                    // RFC 9112, 9.3.
                    keep_alive: !self.closes && (self.stays || !is_1_0),
                    fields: std::mem::take(&mut self.fields),
                }))
            }
        }
    }

    fn header_line(&mut self, line: &[u8], start: usize) -> Result<(), Refusal> {
        if self.fields.len() == MAX_HEADER_LINES {
            return Err(Refusal::HeadTooLarge { limit: self.max_bytes });
        }
        let colon = memchr::memchr(b':', line).ok_or(Refusal::MalformedHead)?;
        let value_at = trim_whitespace(line, colon + 1);
        let (name, value) = (&line[..colon], &line[value_at.clone()]);
        // A folded line begins with a space, which is no name; so does one with a space before its colon.
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(Refusal::MalformedHead);
        }
        if !value.iter().copied().all(is_field_byte) {
            return Err(Refusal::MalformedHead);
        }
        if name.eq_ignore_ascii_case(b"host") && std::mem::replace(&mut self.has_host, true) {
            return Err(Refusal::RepeatedHost);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.content_lengths += 1;
            self.length = Some(read_length(value).ok_or(Refusal::AmbiguousFraming)?);
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.transfer_encodings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::AmbiguousFraming);
            }
        }
        if name.eq_ignore_ascii_case(b"connection") {
            let mut options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            self.closes |= options.clone().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.stays |= options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        }
        let value = start + value_at.start..start + value_at.end;
        self.fields.push(Field { name: start..start + colon, value });
        Ok(())
    }

    fn check_framing(&self, is_1_0: bool) -> Result<(), Refusal> {
        // One length or one coding; RFC 9112, 6.1: a coding in HTTP/1.0 is faulty framing.
        let ambiguous = self.content_lengths + self.transfer_encodings > 1 || (is_1_0 && self.transfer_encodings > 0);
        if ambiguous { Err(Refusal::AmbiguousFraming) } else { Ok(()) }
    }
}

/// Digits alone, and so few that they say a number.
fn read_length(value: &[u8]) -> Option<u64> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// `METHOD SP target SP HTTP/1.x`, with exactly those two spaces.
fn read_request_line(line: &[u8], start: usize, max_target_bytes: usize) -> Result<RequestLine, Refusal> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::MalformedHead);
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Refusal::MalformedHead);
    }
    if target.len() > max_target_bytes {
        return Err(Refusal::TargetTooLong { limit: max_target_bytes });
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::MalformedHead);
    }
    let is_1_0 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        other if other.starts_with(b"HTTP/") => return Err(Refusal::UnsupportedVersion),
        _ => return Err(Refusal::MalformedHead),
    };
    let target_start = start + method.len() + 1;
    Ok(RequestLine { method: start..start + method.len(), target: target_start..target_start + target.len(), is_1_0 })
}

/// Where the rest of a line stands without the whitespace around it, which is spaces and tabs only (RFC 9110, 5.6.3).
fn trim_whitespace(line: &[u8], from: usize) -> Range<usize> {
    let is_text = |&byte: &u8| byte != b' ' && byte != b'\t';
    let rest = &line[from..];
    let first = rest.iter().position(is_text).unwrap_or(rest.len());
    let end = rest.iter().rposition(is_text).map_or(first, |last| last + 1);
    from + first..from + end
}

/// A character of RFC 9110's `token`.
pub(super) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let (mut table, marks) = ([false; 256], b"!#$%&'*+-.^_`|~");
    let mut at = 0;
    while at < 256 {
        table[at] = at < 128 && (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

/// What a field's value may hold.
pub(super) const fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<ScannedHead>, Refusal> {
        HeadScanner::new(1024, 256).scan(bytes)
    }

    #[test]
    fn a_complete_head_is_found_with_its_target_wherever_it_is_cut() {
        let request = b"\r\nPOST /a?b HTTP/1.1\r\nhost: x\r\nContent-Length: 3\r\n\r\nabc";
        let whole = ScannedHead {
            len: request.len() - 3,
            method: 2..6,
            target: 7..11,
            chunked: false,
            length: Some(3),
            is_1_0: false,
            keep_alive: true,
            fields: vec![Field { name: 22..26, value: 28..29 }, Field { name: 31..45, value: 47..48 }],
        };
        assert_eq!(scan(request), Ok(Some(whole.clone())));
        for cut in 0..request.len() - 3 {
            let mut scanner = HeadScanner::new(1024, 256);
            assert_eq!(scanner.scan(&request[..cut]), Ok(None), "cut at {cut}");
            assert_eq!(scanner.scan(request), Ok(Some(whole.clone())), "cut at {cut}");
        }
    }

    #[test]
    fn whatever_can_be_read_in_two_ways_is_refused() {
        use Refusal::{AmbiguousFraming, MalformedHead, RepeatedHost, UnsupportedVersion};
        for (fields, refusal) in [
            ("GET / HTTP/1.1\nhost: x\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nhost: x\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nhost: x\r\n\n", MalformedHead),
            ("GET / HTTP/1.1\r\nhost: x\r\ra: b\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nhost: x\r\n\tfolded: y\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nhost : x\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\n: x\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1\r\nho\0st: ab\r\n\r\n", MalformedHead),
            ("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            ("GET / HTTP/1.1 HTTP/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            ("GET  / HTTP/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            (" GET / HTTP/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            ("GET /\t HTTP/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            ("GET /é HTTP/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            ("GET /\r\nhost: x\r\n\r\n", MalformedHead),
            ("G(T / HTTP/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            ("GET / http/1.1\r\nhost: x\r\n\r\n", MalformedHead),
            ("GET / HTTP/2.0\r\n\r\n", UnsupportedVersion),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UnsupportedVersion),
            ("GET / HTTP/1.2\r\n\r\n", UnsupportedVersion),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ncontent-length: 0x1\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ncontent-length:\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked, chunked\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n", AmbiguousFraming),
            ("POST / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n\r\n", MalformedHead),
            ("POST / HTTP/1.1\r\ntransfer-encoding: \x0cchunked\r\n\r\n", MalformedHead),
            ("POST / HTTP/1.1\r\ncontent-length: 1\x0c\r\n\r\n", MalformedHead),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\r\n\r\n", MalformedHead),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", AmbiguousFraming),
            ("GET / HTTP/1.1\r\nhost: x\r\nHost: x\r\n\r\n", RepeatedHost),
        ] {
            assert_eq!(scan(fields.as_bytes()), Err(refusal), "{fields:?}");
        }
    }

    #[test]
    fn plain_framings_pass() {
        for good in [
            "GET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: \t12 \t\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET http://x/y HTTP/1.1\r\nhost: x\r\nx-obs: \u{e9}\r\n\r\n",
        ] {
            assert!(matches!(scan(good.as_bytes()), Ok(Some(_))), "{good:?}");
        }
    }

    #[test]
    fn size_is_limited_before_the_head_is_complete() {
        let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(256));
        assert_eq!(scan(long_target.as_bytes()), Err(Refusal::TargetTooLong { limit: 256 }));
        assert_eq!(scan(&[b'A'; 1024]), Err(Refusal::TargetTooLong { limit: 256 }));
        let long_header = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(1024));
        assert_eq!(scan(long_header.as_bytes()), Err(Refusal::HeadTooLarge { limit: 1024 }));
        let complete = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(1100));
        assert_eq!(scan(complete.as_bytes()), Err(Refusal::HeadTooLarge { limit: 1024 }));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(129));
        assert_eq!(scan(many.as_bytes()), Err(Refusal::HeadTooLarge { limit: 1024 }));
    }
}
