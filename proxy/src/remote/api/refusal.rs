//! What a refusal of the API says to whoever reads it at a terminal.

use std::fmt;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::CallError;
use crate::remote::output::plain;

/// A problem of the API.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Its stable code.
    pub code: String,
    /// Its words.
    pub detail: String,
    /// Each field that is wrong, and what is wrong with it.
    pub errors: Vec<(String, String)>,
    /// The claim that is in the way, and whose it is.
    pub conflict: Option<String>,
    /// After how long it may be another answer, where the server tells.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    fn read(status: StatusCode, retry_after: Option<Duration>, problem: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(plain);
        let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let conflict = &problem["conflict"];
        let claim = text(&conflict["pattern"]).zip(text(&conflict["app"]["slug"]));
        Some(Self {
            status,
            retry_after,
            code: text(&problem["code"])?,
            detail: in_flags(problem).map(str::to_owned).or_else(|| text(&problem["detail"]))?,
            conflict: claim.map(|(pattern, slug)| format!("{pattern} of the app {slug}")),
            errors: errors.iter().filter_map(|error| Some((text(&error["field"])?, text(&error["detail"])?))).collect(),
        })
    }
}

/// What to do about a problem, where the API tells it in words of the API and a command has a flag for it.
fn in_flags(problem: &Value) -> Option<&'static str> {
    match problem["code"].as_str()? {
        "slug_historical" if problem["may_take_over"] == true => {
            Some("this slug still leads to another app; --takeover ends that")
        }
        "has_scripts" => Some("the app has scripts; --force deletes them with it"),
        _ => None,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { detail, code, .. } = self;
        match self.errors.as_slice() {
            // What is wrong with a single field is the detail, with the field in it or without.
            [(field, of_field)] if of_field == detail => write!(f, "{field}: {detail} ({code})")?,
            [(field, of_field)] if *detail == format!("{field}: {of_field}") => write!(f, "{detail} ({code})")?,
            errors => {
                write!(f, "{detail} ({code})")?;
                errors.iter().try_for_each(|(field, detail)| write!(f, "\n  {field}: {detail}"))?;
            }
        }
        self.conflict.iter().try_for_each(|claim| write!(f, "\n  conflict: {claim}"))
    }
}

/// What an answer that is no success says.
pub async fn refused(answer: Response) -> CallError {
    let (url, status) = (answer.url().to_string(), answer.status());
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    let problem = match answer.bytes().await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(json!({})),
        Err(error) => return error.into(),
    };
    match Refusal::read(status, seconds.map(Duration::from_secs), &problem) {
        Some(refusal) => CallError::Refused(refusal),
        None => CallError::Strange { url, status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_each_field_and_nothing_that_moves_a_terminal() {
        let problem = json!({"code": "invalid", "detail": "2 fields\u{1b}[2J", "errors": [
            {"field": "name", "detail": "too long"}, {"field": "slug", "detail": "taken"}]});
        let refusal = Refusal::read(StatusCode::UNPROCESSABLE_ENTITY, None, &problem).unwrap();
        assert_eq!(refusal.to_string(), "2 fields\u{fffd}[2J (invalid)\n  name: too long\n  slug: taken");
        let one = |detail: &str| {
            json!({"code": "c", "detail": detail, "errors": [{"field": "domains[0]", "detail": "claimed"}],
            "conflict": {"app": {"id": "1", "slug": "shop", "name": "Shop"}, "pattern": "*.shop.test"}})
        };
        for detail in ["claimed", "domains[0]: claimed"] {
            let refusal = Refusal::read(StatusCode::CONFLICT, None, &one(detail)).unwrap();
            assert_eq!(refusal.to_string(), "domains[0]: claimed (c)\n  conflict: *.shop.test of the app shop");
        }
        let taken = json!({"code": "slug_historical", "detail": "send \"takeover\": true", "may_take_over": true});
        assert!(Refusal::read(StatusCode::CONFLICT, None, &taken).unwrap().to_string().contains("--takeover"));
        let of_others = json!({"code": "slug_historical", "detail": "choose another", "may_take_over": false});
        let refusal = Refusal::read(StatusCode::CONFLICT, None, &of_others).unwrap();
        assert_eq!(refusal.to_string(), "choose another (slug_historical)");
        assert!(Refusal::read(StatusCode::BAD_GATEWAY, None, &json!({"error": "proxy"})).is_none());
    }
}
