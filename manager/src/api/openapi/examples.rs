//! The examples of the document: calls as a test made them and as they were answered (`manager/tests/api/examples.rs`), so that
//! none can tell of what is not so any more.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, RefOr};

const TOLD: &str = include_str!("examples.json");

/// What was told of each call, by its name.
#[derive(Deserialize)]
pub(super) struct Examples(BTreeMap<String, Told>);

#[derive(Deserialize)]
struct Told {
    request: Option<Value>,
    /// By their statuses.
    #[serde(default)]
    answers: BTreeMap<String, Value>,
}

impl Examples {
    pub(super) fn read() -> Self {
        serde_json::from_str(TOLD).expect("the test that writes it reads it in this form")
    }

    /// Adds what was told of that call.
    pub(super) fn add_to(&self, operation: &mut Operation) {
        let Some(told) = operation.operation_id.as_ref().and_then(|name| self.0.get(name)) else { return };
        if let (Some(RefOr::T(body)), Some(request)) = (&mut operation.request_body, &told.request) {
            body.content.values_mut().for_each(|content| show(content, request));
        }
        for (status, answer) in &told.answers {
            if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
                response.content.values_mut().for_each(|content| show(content, answer));
            }
        }
    }
}

fn show(content: &mut RefOr<Content>, example: &Value) {
    if let RefOr::T(content) = content {
        content.example = Some(example.clone());
    }
}
