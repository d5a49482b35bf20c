//! The file of a backup: the tables one after the other, each compressed by itself; what it says of itself; and a seal over that.
//!
//! ```text
//! "PiCloud backup\n"
//! table*             deflate of its rows: each value a byte for its kind, a length where it has one, and its bytes
//! manifest           JSON, with the size and SHA-256 of each table
//! length of the manifest in 8 bytes, HMAC-SHA256 over the manifest, "PICLOUDB"
//! ```

mod reader;
mod writer;

pub(super) use reader::BackupReader;
pub(super) use writer::BackupWriter;

/// What a backup begins with.
const BEGIN: &[u8; 15] = b"PiCloud backup\n";
/// What it ends with.
const END: &[u8; 8] = b"PICLOUDB";
/// Bytes of the seal.
const SEAL_BYTES: usize = 32;
/// Bytes after the manifest.
const TRAILER_BYTES: usize = 8 + SEAL_BYTES + END.len();
/// Bytes of the longest manifest.
const MOST_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Kinds of values.
const NULL: u8 = 0;
const INT: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;
