//! HTTP/2 frames as bytes: which of them ask for an answer, and which only for work.

/// What a connection begins with (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
/// What a frame begins with (RFC 9113, 4.1).
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;
const END_HEADERS: u8 = 4;

/// Looks at what an HTTP/2 client sends as it arrives; no byte is looked at twice.
#[derive(Debug)]
pub struct FrameScanner {
    /// What is still to come before the next frame begins.
    to_skip: usize,
    /// A head that has begun.
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// The current frame is of a request's head, or of trailers.
    is_of_request_head: bool,
    /// Another frame of it is to come.
    request_head_goes_on: bool,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frames {
    /// Heads of requests, and trailers.
    pub heads: u32,
    /// Frames that bring nothing of a request: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, unknown ones, and DATA
    /// without data. The library behind us bounds what there can be of other small ones.
    pub others: u32,
}

impl Default for FrameScanner {
    /// A scanner at the beginning of a connection.
    fn default() -> Self {
        Self {
            to_skip: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_len: 0,
            is_of_request_head: false,
            request_head_goes_on: false,
        }
    }
}

impl FrameScanner {
    /// Counts the frames that begin in the next bytes, each when its head is complete.
    pub fn scan(&mut self, mut bytes: &[u8]) -> Frames {
        let mut frames = Frames::default();
        loop {
            let skipped = self.to_skip.min(bytes.len());
            self.to_skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD_BYTES - self.head_len);
            if taken == 0 {
                return frames;
            }
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            bytes = &bytes[taken..];
            if self.head_len == HEAD_BYTES {
                self.head_len = 0;
                self.begin(&mut frames);
            }
        }
    }

    /// Whether a request's head, or trailers, have begun and not ended.
    pub fn is_in_request_head(&self) -> bool {
        self.request_head_goes_on || (self.is_of_request_head && self.to_skip > 0)
    }

    fn begin(&mut self, frames: &mut Frames) {
        let [l0, l1, l2, kind, flags, ..] = self.head;
        self.to_skip = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        self.is_of_request_head = matches!(kind, HEADERS | CONTINUATION);
        self.request_head_goes_on = self.is_of_request_head && flags & END_HEADERS == 0;
        match kind {
            HEADERS => frames.heads += 1,
            CONTINUATION => {}
            // Padding alone is no data, either.
            DATA if self.to_skip > 0 && flags & PADDED == 0 => {}
            _ => frames.others += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        // What could be taken for the head of a PING.
        frame.extend([0, 0, 8, 6, 0, 0, 0, 0, 0].iter().cycle().take(length.into()));
        frame
    }

    #[test]
    fn a_head_ends_with_the_last_byte_of_its_last_frame() {
        let frames = [frame(HEADERS, 0, 4), frame(CONTINUATION, 0, 4), frame(CONTINUATION, END_HEADERS, 4)].concat();
        let mut scanner = FrameScanner::default();
        scanner.scan(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let (before, within) = frames.split_at(HEAD_BYTES - 1);
        let (within, last) = within.split_at(within.len() - 1);
        scanner.scan(before);
        assert!(!scanner.is_in_request_head(), "its kind is not known");
        for byte in within {
            scanner.scan(&[*byte]);
            assert!(scanner.is_in_request_head());
        }
        scanner.scan(last);
        assert!(!scanner.is_in_request_head());
        scanner.scan(&frame(6, 0, 8)[..10]);
        assert!(!scanner.is_in_request_head(), "a frame of another kind");
    }

    #[test]
    fn frames_are_told_apart_wherever_they_are_cut() {
        let (end_stream, none) = (1, 0);
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, length) in [
            (4, none, 6),
            (HEADERS, 4, 40),
            (CONTINUATION, 4, 40),
            (DATA, none, 100),
            (DATA, end_stream, 1),
            (DATA, none, 0),
            (DATA, end_stream, 0),
            (DATA, PADDED, 3),
            (6, none, 8),
            (8, none, 4),
            (2, none, 5),
            (3, none, 4),
            (0xee, none, 255),
            (HEADERS, 5, 0),
        ] {
            sent.extend(frame(kind, flags, length));
        }
        let expected = Frames { heads: 2, others: 9 };
        for piece in 1..=sent.len() {
            let mut scanner = FrameScanner::default();
            let mut found = Frames::default();
            for bytes in sent.chunks(piece) {
                let Frames { heads, others } = scanner.scan(bytes);
                (found.heads, found.others) = (found.heads + heads, found.others + others);
            }
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }
}
