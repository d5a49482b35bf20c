//! Ports: what a script may reach outside itself, each a trait that somebody else implements. An executor is started with
//! those that there are.
//!
//! A port is called on a worker thread and may make it wait, until the deadline that it is given and no longer; but for what is
//! answered at once, on the thread that began the run. It is called beside the memory of the run, which counts what it makes of the
//! answer (`crate::sdk`).

mod docs;
mod http;
mod kv;
mod queue;

pub use docs::DocStore;
pub use http::{HttpAnswer, HttpClient, HttpRequest, MAX_HTTP_BODY_BYTES};
pub use kv::KvStore;
pub use queue::EventQueue;

use std::sync::Arc;
use std::time::Instant;

use picloud_shared::id::AppId;

/// What scripts may reach. A call of what is absent throws `unavailable`.
#[derive(Clone, Default)]
pub struct Ports {
    /// The key-value store.
    pub kv: Option<Arc<dyn KvStore>>,
    /// Outgoing HTTP.
    pub http: Option<Arc<dyn HttpClient>>,
    /// The queues.
    pub queues: Option<Arc<dyn EventQueue>>,
    /// The documents.
    pub docs: Option<Arc<dyn DocStore>>,
}

/// Who calls a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortCaller {
    /// The app of the script, and all that it can name.
    pub app: AppId,
    /// When the run must have ended, and so the call.
    pub deadline: Instant,
    /// How many events stand between one that the call makes and what was not caused by an event.
    pub event_depth: u32,
}

/// Why a call of a port failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// It cannot be done so. Nothing was. Scripts can catch it.
    #[error("{code}: {message}")]
    Refused {
        /// A stable word for what is wrong.
        code: &'static str,
        /// The same for people, with what to do about it.
        message: String,
    },
    /// The deadline came, and nothing was changed nor will be. It ends the run.
    #[error("the deadline came")]
    TooLate,
    /// The deadline came while a change was being made: it may be made or not. It ends the run.
    #[error("the deadline came while a change was being made")]
    Unsettled,
}

impl PortError {
    /// What is not there to be called now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Refused { code: "unavailable", message: message.into() }
    }
}
