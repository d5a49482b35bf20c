//! The port of the queues, and of calls that nobody waits for.

use picloud_shared::event::{EventPayload, QueueMessage};
use picloud_shared::id::{EventId, ScriptId};

use super::{PortCaller, PortError};

/// The queues of all apps, and the calls of their scripts. What a call names is always the caller's.
pub trait EventQueue: Send + Sync {
    /// Sends a message. Once it returns the message is kept, whatever happens. Gives the message's id, or that of the one of its
    /// key that was sent before.
    ///
    /// # Errors
    /// See [`PortError`].
    fn send(&self, caller: &PortCaller, message: QueueMessage) -> Result<EventId, PortError>;

    /// Has an endpoint of the caller's app be called later, with that payload. Once it returns the call is kept, whatever happens.
    ///
    /// # Errors
    /// See [`PortError`].
    fn call(&self, caller: &PortCaller, script: ScriptId, payload: EventPayload) -> Result<EventId, PortError>;
}
