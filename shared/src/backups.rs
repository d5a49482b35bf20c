//! What the data plane tells of backups that the instance takes by itself.

use crate::clock::Timestamp;

/// How backups that are taken by a schedule are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backups {
    /// When the newest was taken that could be restored, on whichever node.
    pub newest: Option<Timestamp>,
    /// How often this node took none, or one that could not be restored.
    pub failures: u64,
}
