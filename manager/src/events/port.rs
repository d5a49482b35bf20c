//! The queues as scripts reach them, on threads that may wait until their deadline.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use picloud_executor::port::{EventQueue, PortCaller, PortError};
use picloud_shared::event::QueueMessage;
use picloud_shared::id::ScriptId;
use tokio::time::timeout_at;

use super::*;
use crate::port_failure::{failed, not_written, unknown};

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
        match self.store.data() {
            DataPlace::File(file) => {
                let taking = Arc::new(taking);
                let work = move |conn: &crate::store::data_file::DataConnection| {
                    at_once(async { take(&mut FileDb(conn), &taking).await })
                };
                file.write_until(deadline, work).map_err(not_written)
            }
            DataPlace::Postgres(data) => {
                let committing = Cell::new(false);
                let work = async {
                    let mut tx = data.begin().await?;
                    let taken = take(&mut PostgresDb(&mut tx), &taking).await?;
                    committing.set(true);
                    tx.commit().await?;
                    Ok::<_, RepoError>(taken)
                };
                match self.runtime.block_on(async { timeout_at(deadline.into(), work).await }) {
                    Ok(Ok(taken)) => Ok(taken),
                    // A connection that broke amid the commit does not say what became of it.
                    Ok(Err(error)) if committing.get() => Err(unknown(error)),
                    Ok(Err(error)) => Err(failed(error)),
                    Err(_) if committing.get() => Err(PortError::Unsettled),
                    Err(_) => Err(PortError::TooLate),
                }
            }
        }
    }
}
