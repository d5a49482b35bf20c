//! What a run is given of what was taken for it: events as they are, or the request that one was kept as.

use std::sync::Arc;

use picloud_executor::Input;
use picloud_shared::event::{Event, EventPayload, EventSource};
use picloud_shared::execution::Origin;
use picloud_shared::id::TriggerId;
use picloud_shared::request::{InvalidKeptRequest, KeptRequest};

/// What a run is given, and what started it.
///
/// # Errors
/// A request that cannot be read, which no attempt will change.
pub(super) fn of_events(given: &[Event], trigger: Option<TriggerId>) -> Result<(Input, Origin), InvalidKeptRequest> {
    match given {
        [event] if event.source == EventSource::Http => {
            let KeptRequest { route, request } = KeptRequest::of_payload(&event.payload)?;
            // All of it is in the request.
            let event = Event { payload: EventPayload::default(), ..event.clone() };
            Ok((Input::Deferred(request, event), Origin::Route(route)))
        }
        _ => Ok((Input::Events(Arc::from(given)), trigger.map_or(Origin::Event, Origin::Trigger))),
    }
}
