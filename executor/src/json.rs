//! JSON to and from script values, within limits of size and depth.
//!
//! It knows script values and nothing else of a run; `serde_json` does the grammar, numbers and escapes.

mod left;
mod read;
mod write;

pub use left::{Left, SizeLimits, TooLarge};
pub use read::{ReadError, read, read_within};
pub use write::{WriteError, to_text, to_value, write};

/// How deep a value may nest to be read or written. Both recurse on the script's stack.
pub const MAX_DEPTH: usize = 128;
