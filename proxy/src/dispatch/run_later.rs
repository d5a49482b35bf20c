//! A route whose callers do not wait: its request is kept as an event, and the answer says which.

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use picloud_shared::event::MAX_PAYLOAD_BYTES;
use picloud_shared::id::{EventId, RouteId};
use picloud_shared::request::{KeptRequest, NotKept, ScriptRequest};
use picloud_shared::snapshot::{PublishedApp, PublishedScript};
use serde::Serialize;

use super::Gateway;
use crate::answer::Answer;

/// The header that names the event.
const EVENT_ID: HeaderName = HeaderName::from_static("x-event-id");

/// What the caller is told, who is sent away.
#[derive(Serialize)]
struct Accepted<'a> {
    event_id: &'a str,
}

impl Gateway {
    /// Keeps a request for the script of its route, and answers once it is kept.
    pub(super) async fn run_later(
        &self,
        app: &PublishedApp,
        script: &PublishedScript,
        route: RouteId,
        request: ScriptRequest,
    ) -> Answer {
        let Ok(payload) = (KeptRequest { route, request }).payload() else {
            return too_large();
        };
        match self.parts.requests.keep(app.app().id, script.row.id, payload).await {
            Ok(event) => accepted(event),
            Err(not_kept) => refused(&not_kept),
        }
    }
}

fn accepted(event: EventId) -> Answer {
    let event_id = event.to_string();
    let answer = Answer::json(StatusCode::ACCEPTED, &Accepted { event_id: &event_id });
    match HeaderValue::from_str(&event_id) {
        Ok(id) => answer.with(EVENT_ID, id),
        Err(_) => answer,
    }
}

fn too_large() -> Answer {
    let detail = format!("The request is over {MAX_PAYLOAD_BYTES} bytes as it is kept until it is handled.");
    Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &detail)
}

fn refused(not_kept: &NotKept) -> Answer {
    let (code, detail, retry_after) = match not_kept {
        NotKept::Full(_) => ("queue_full", "Too many requests wait to be handled; try again later.", "30"),
        NotKept::Busy => ("overloaded", "Too many requests are being kept; try again shortly.", "1"),
        NotKept::Unavailable => {
            ("store_unavailable", "The request cannot be kept now, and was not; try again shortly.", "2")
        }
        NotKept::Unknown => {
            ("store_unavailable", "Whether the request is kept is not known; sent again, it may be handled twice.", "2")
        }
    };
    Answer::problem(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        .with(RETRY_AFTER, HeaderValue::from_static(retry_after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_be_kept_is_told_when_to_come_again_and_nothing_of_the_apps_limits() {
        for (not_kept, code) in [
            (NotKept::Full("at most 7 events".to_owned()), "queue_full"),
            (NotKept::Busy, "overloaded"),
            (NotKept::Unavailable, "store_unavailable"),
            (NotKept::Unknown, "store_unavailable"),
        ] {
            let answer = refused(&not_kept);
            assert_eq!(answer.status, 503);
            assert!(answer.headers.contains_key(RETRY_AFTER));
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["code"], code);
            assert!(!body.to_string().contains('7'), "{body}");
        }
    }
}
