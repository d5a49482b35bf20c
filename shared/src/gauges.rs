//! What one node does, and what it takes of its machine, as numbers at one moment. Counted ones begin at 0 with the process. Who reads
//! the system's files hands their texts in.

mod disk;
mod durations;
mod process;

pub use disk::DiskSpace;
pub use durations::{BOUNDS_US, Durations, place_of};
pub use process::{ProcessTexts, ProcessUse};

/// The numbers of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSample {
    /// Requests that were answered, by whomever.
    pub requests: RequestCounts,
    /// From the head of a request to the end of its answer, of those that an app answered.
    pub durations: Durations,
    /// Lines of the program's own log that nobody read in time.
    pub log_lines_dropped: u64,
    /// What the process takes, where the system tells.
    pub process: Option<ProcessUse>,
    /// The file system of the data folder, where the system tells.
    pub disk: Option<DiskSpace>,
}

/// Requests by the kind of their answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// With a status below 400.
    pub good: u64,
    /// With a status of 4xx.
    pub client_error: u64,
    /// With a status of 5xx.
    pub server_error: u64,
    /// Not at all: the client had left.
    pub unanswered: u64,
}

impl RequestCounts {
    /// What came since an earlier moment of the same process.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            good: self.good.saturating_sub(earlier.good),
            client_error: self.client_error.saturating_sub(earlier.client_error),
            server_error: self.server_error.saturating_sub(earlier.server_error),
            unanswered: self.unanswered.saturating_sub(earlier.unanswered),
        }
    }
}

/// Who can tell how this node is.
pub trait NodeGauges: Send + Sync + 'static {
    /// How it is now. It reads some small files of the system, and takes well under a millisecond.
    fn sample(&self) -> NodeSample;
}
