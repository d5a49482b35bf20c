//! Digests and seals as text: base 16 in lower case (RFC 4648, 8).

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
