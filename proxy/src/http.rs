//! The request rules: what is refused, and why. Pure: every rule is a function of what the client sent, and no rule
//! knows Pingora, sockets or apps.

mod chunks;
mod forwarded;
mod frames;
mod head;
mod refusal;
mod target;

pub use chunks::ChunkScanner;
pub use forwarded::{Forwarded, ProxyHeader};
pub use frames::{FrameScanner, Frames};
pub use head::{Head, HeadScanner, MAX_HEADER_LINES, ScannedHead};
pub use refusal::{ALLOWED_METHODS, Refusal};
pub use target::{RequestTarget, check_expectation, check_method, read_target};
