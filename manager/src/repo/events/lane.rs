//! Lanes: where events wait.

use std::fmt;
use std::str::FromStr;

use picloud_shared::id::{ScriptId, TriggerId};
use picloud_shared::name::QueueName;

use crate::repo::error::Cause;

/// Where an event waits until it is handled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lane {
    /// A queue's messages, handled by the trigger that the queue has at the time.
    Queue(QueueName),
    /// The events of one trigger.
    Trigger(TriggerId),
    /// What was made for a script itself: calls that nobody waits for.
    Script(ScriptId),
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue:{queue}"),
            Self::Trigger(id) => write!(f, "trigger:{id}"),
            Self::Script(id) => write!(f, "script:{id}"),
        }
    }
}

impl FromStr for Lane {
    type Err = Cause;

    fn from_str(text: &str) -> Result<Self, Cause> {
        match text.split_once(':') {
            Some(("queue", name)) => Ok(Self::Queue(name.parse()?)),
            Some(("trigger", id)) => Ok(Self::Trigger(id.parse()?)),
            Some(("script", id)) => Ok(Self::Script(id.parse()?)),
            _ => Err("it is no lane".into()),
        }
    }
}
