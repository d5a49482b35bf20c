//! The queues as scripts reach them, on threads that may wait until their deadline.

use std::time::Instant;

use picloud_executor::port::{EventQueue, PortCaller, PortError};
use picloud_shared::event::QueueMessage;
use picloud_shared::id::ScriptId;

use super::requests::{take_on_file, take_on_postgres};
use super::*;
use crate::port_failure::not_written;
use crate::store::data_file::DataConnection;

impl EventQueue for Events {
    fn send(&self, caller: &PortCaller, message: QueueMessage) -> Result<EventId, PortError> {
        let QueueMessage { queue, payload, delay, dedup_key } = message;
        let due_at = (!delay.is_zero()).then(|| self.clock.now().plus(delay));
        let event = event_of(caller, Lane::Queue(queue), (EventSource::Queue, EventOp::Message), payload);
        self.take_from(caller, NewEvent { due_at, dedup_key, ..event })
    }

    fn call(&self, caller: &PortCaller, script: ScriptId, payload: EventPayload) -> Result<EventId, PortError> {
        self.take_from(caller, event_of(caller, Lane::Script(script), (EventSource::Invoke, EventOp::Call), payload))
    }
}

/// An event that a script makes, to be handled at once.
fn event_of(caller: &PortCaller, lane: Lane, (source, op): (EventSource, EventOp), payload: EventPayload) -> NewEvent {
    let depth = caller.event_depth;
    NewEvent { app: caller.app, lane, source, op, payload, due_at: None, depth, dedup_key: None, replay_of: None }
}

impl Events {
    fn take_from(&self, caller: &PortCaller, event: NewEvent) -> Result<EventId, PortError> {
        let lane = event.lane.clone();
        let taking = Taking { event, audit: None, now: self.clock.now(), quota: self.quota };
        let taken = self.take_until(caller.deadline, taking)?;
        self.bells.ring(caller.app, &lane);
        taken.map_err(|refusal| PortError::Refused { code: EventRefusal::CODE, message: refusal.to_string() })
    }

    fn take_until(&self, deadline: Instant, taking: Taking) -> Result<Result<EventId, EventRefusal>, PortError> {
        let taken = match self.store.data() {
            DataPlace::File(file) => {
                file.write_until(deadline, move |conn: &DataConnection| take_on_file(conn, &taking))
            }
            DataPlace::Postgres(data) => self.runtime.block_on(take_on_postgres(data, deadline, &taking)),
        };
        taken.map_err(not_written)
    }
}
