//! A chunked body as bytes: whether there is exactly one way to read it (RFC 9112, 7.1).
//!
//! The parser behind us is lenient: it takes a size without digits for zero, lets line feeds into chunk extensions and
//! anything into trailers. Another program on the way would see another body, hence another next request. So the strict
//! reading happens here, of each byte before that parser has it.

use super::Refusal;
use super::head::{is_field_byte, is_token};

/// Bytes of all extensions and trailers of a body. Nothing here reads them.
const MAX_EXTRA_BYTES: usize = 8 * 1024;
/// Digits of a size; what they can say is over every limit by far.
const MAX_SIZE_DIGITS: u8 = 16;

/// Looks at a chunked body as it arrives; no byte is looked at twice.
#[derive(Debug)]
pub struct ChunkScanner {
    expected: Expected,
    extra: usize,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Size {
        digits: u8,
        size: u64,
    },
    /// Whitespace between the size and its extensions.
    Gap {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Content {
        left: u64,
    },
    ContentCr,
    ContentLf,
    /// A trailer line, or the empty line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    BodyEnd,
    /// The body is over; what follows is the next request's.
    Nothing,
}

const SIZE: Expected = Expected::Size { digits: 0, size: 0 };

impl Default for ChunkScanner {
    /// A scanner at the beginning of a body.
    fn default() -> Self {
        Self { expected: SIZE, extra: 0 }
    }
}

impl ChunkScanner {
    /// Looks at the next bytes; those behind the body's end are nobody's business here.
    ///
    /// # Errors
    /// The body breaks a rule.
    pub fn scan(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.expected {
                Expected::Nothing => return Ok(()),
                Expected::Content { left } => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[skipped..];
                    *left -= skipped as u64;
                    if *left == 0 {
                        self.expected = Expected::ContentCr;
                    }
                }
                expected => {
                    *expected = expected.after(byte).ok_or(Refusal::MalformedBody)?;
                    self.extra += usize::from(expected.is_extra());
                    bytes = rest;
                }
            }
            if self.extra > MAX_EXTRA_BYTES {
                return Err(Refusal::MalformedBody);
            }
        }
        Ok(())
    }
}

impl Expected {
    /// What follows on a byte; nothing where the byte has no place.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < MAX_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (Self::Size { digits: 1.., size } | Self::Extension { size }, b'\r') => Self::SizeEnd { size },
            (Self::Size { digits: 1.., size } | Self::Gap { size }, b' ' | b'\t') => Self::Gap { size },
            (Self::Size { digits: 1.., size } | Self::Gap { size }, b';') => Self::Extension { size },
            (Self::Extension { .. }, _) if is_field_byte(byte) => self,
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer,
            (Self::SizeEnd { size: left }, b'\n') => Self::Content { left },
            (Self::ContentCr, b'\r') => Self::ContentLf,
            (Self::ContentLf, b'\n') => SIZE,
            (Self::Trailer, b'\r') => Self::BodyEnd,
            (Self::Trailer | Self::TrailerName, _) if is_token(byte) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerEnd,
            (Self::TrailerValue, _) if is_field_byte(byte) => self,
            (Self::TrailerEnd, b'\n') => Self::Trailer,
            (Self::BodyEnd, b'\n') => Self::Nothing,
            _ => return None,
        })
    }

    fn is_extra(self) -> bool {
        matches!(self, Self::Gap { .. } | Self::Extension { .. } | Self::TrailerName | Self::TrailerValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans a body whole and byte by byte.
    fn scan(body: &str) -> Result<(), Refusal> {
        let mut trickled = ChunkScanner::default();
        let in_bytes = body.as_bytes().chunks(1).try_for_each(|byte| trickled.scan(byte));
        assert_eq!(ChunkScanner::default().scan(body.as_bytes()), in_bytes, "{body:?}");
        in_bytes
    }

    #[test]
    fn bodies_as_the_rfc_writes_them_pass() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "000A\r\n0123456789\r\n00\r\n\r\n",
            "3;a=b;c=\"d e\"\r\na\nc\r\n0;last\r\n\r\n",
            "3 \t;a\r\n\r\n\r\r\n0\r\n\r\n",
            "0\r\nx-sum: 1\r\nempty:\r\n\r\n",
            "0\r\n\r\nGET /next HTTP/1.1\r\n\0",
        ] {
            assert_eq!(scan(body), Ok(()), "{body:?}");
        }
    }

    #[test]
    fn whatever_can_be_read_in_two_ways_is_refused() {
        for body in [
            "\r\nabc\r\n0\r\n\r\n",
            ";a\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3;a\nb\r\nabc\r\n0\r\n\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "3;a\0\r\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "3_0\r\nabc",
            "00000000000000003\r\nabc",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc\r\n\r\n",
            "0\r\n\n",
            "0\n\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
            "0\r\n folded: 1\r\n\r\n",
            "0\r\na : b\r\n\r\n",
            "0\r\n: b\r\n\r\n",
            "0\r\na: b\n\r\n",
            "0\r\na: b\r\r\n",
        ] {
            assert_eq!(scan(body), Err(Refusal::MalformedBody), "{body:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_have_a_size() {
        let long = "x".repeat(MAX_EXTRA_BYTES);
        assert_eq!(scan(&format!("0;{long}\r\n\r\n")), Err(Refusal::MalformedBody));
        assert_eq!(scan(&format!("0\r\na:{long}\r\n\r\n")), Err(Refusal::MalformedBody));
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(1000));
        assert_eq!(scan(&chunk.repeat(8)), Ok(()));
        assert_eq!(scan(&chunk.repeat(9)), Err(Refusal::MalformedBody));
    }
}
