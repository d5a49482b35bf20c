//! Who is told of changes of what an app keeps, and what they are told: the triggers of the sources `kv` and `docs`, as the snapshot has
//! them.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use picloud_shared::docs::DocumentBody;
use picloud_shared::event::{EventOp, EventPayload, EventSource, MAX_PAYLOAD_BYTES};
use picloud_shared::id::{AppId, DocumentId, TriggerId};
use picloud_shared::kv::{KvEntry, KvKind};
use picloud_shared::snapshot::{PublishedApp, Snapshot, SnapshotCell};
use picloud_shared::trigger::{Trigger, TriggerSource};
use serde_json::json;

use crate::events::{Lane, NewEvent};

/// The enabled triggers of an app that are for changes of one source. None cost no allocation.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Vec<Arc<Trigger>>);

/// A change of what an app keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'c> {
    pub app: AppId,
    pub op: EventOp,
    /// What it was made to.
    pub of: Changed<'c>,
    /// How many events stand between this change and what was not caused by one.
    pub depth: u32,
}

/// What was changed, and what it is then, where it is still there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Changed<'c> {
    Entry { collection: &'c str, key: &'c str, entry: Option<&'c KvEntry> },
    Document { collection: &'c str, id: DocumentId, body: Option<&'c DocumentBody> },
}

impl Listeners {
    /// Those of an app as it is published. Who is about to write asks when nobody else can write any more.
    pub(crate) fn of(snapshot: &SnapshotCell, app: AppId, source: EventSource) -> Self {
        let snapshot = snapshot.load();
        Self(snapshot.app(app).into_iter().flat_map(|app| listening(app, source)).cloned().collect())
    }

    /// Whether any is for entries whose time is over.
    pub(crate) fn hear_of_expiry(&self) -> bool {
        self.0.iter().any(|trigger| hears_of_expiry(trigger))
    }

    /// The events of a change: one for each that it is for.
    pub(crate) fn events(&self, change: Change<'_>) -> Vec<NewEvent> {
        let mut payload = None;
        let event = |trigger: &Arc<Trigger>| NewEvent {
            app: change.app,
            lane: Lane::Trigger(trigger.id),
            source: trigger.source.source(),
            op: change.op,
            payload: payload.get_or_insert_with(|| payload_of(change.of)).clone(),
            due_at: None,
            depth: change.depth,
            dedup_key: None,
            replay_of: None,
        };
        self.0.iter().filter(|trigger| is_for(trigger, change)).map(event).collect()
    }
}

/// Whether a trigger of any app is for entries whose time is over.
pub(crate) fn anybody_hears_of_expiry(snapshot: &Snapshot) -> bool {
    snapshot.apps().flat_map(|app| listening(app, EventSource::Kv)).any(|trigger| hears_of_expiry(trigger))
}

/// The triggers that the events are for.
pub(crate) fn triggers_of(events: &[NewEvent]) -> impl Iterator<Item = TriggerId> {
    events.iter().filter_map(|event| if let Lane::Trigger(id) = event.lane { Some(id) } else { None })
}

fn listening(app: &PublishedApp, source: EventSource) -> impl Iterator<Item = &Arc<Trigger>> {
    app.triggers().iter().filter(move |trigger| trigger.enabled && trigger.source.source() == source)
}

fn hears_of_expiry(trigger: &Trigger) -> bool {
    matches!(&trigger.source, TriggerSource::Kv { ops, .. } if ops.contains(EventOp::Expire))
}

fn is_for(trigger: &Trigger, Change { op, of, .. }: Change<'_>) -> bool {
    match (&trigger.source, of) {
        (TriggerSource::Kv { collection: of, prefix, ops }, Changed::Entry { collection, key, .. }) => {
            of.as_str() == collection && key.starts_with(prefix.as_str()) && ops.contains(op)
        }
        (TriggerSource::Docs { collection: of, ops }, Changed::Document { collection, .. }) => {
            of.as_str() == collection && ops.contains(op)
        }
        _ => false,
    }
}

/// What is told of a change. The value is left out where it makes the payload too long, or nests too deep.
fn payload_of(of: Changed<'_>) -> EventPayload {
    let (mut told, value) = match of {
        Changed::Entry { collection, key, entry: None } => (json!({ "collection": collection, "key": key }), None),
        Changed::Entry { collection, key, entry: Some(entry) } => {
            let told = json!({ "collection": collection, "key": key, "expires_at": entry.expires_at });
            (told, Some(value_of(entry)))
        }
        Changed::Document { collection, id, body } => {
            let value = body.map(|body| ("document", Cow::Borrowed(body.text())));
            (json!({ "collection": collection, "id": id }), value)
        }
    };
    if let Some((name, value)) = value {
        if value.len() <= MAX_PAYLOAD_BYTES {
            let mut text = told.to_string();
            text.pop();
            for part in [",\"", name, "\":", &value, "}"] {
                text.push_str(part);
            }
            let whole = match of {
                Changed::Entry { .. } => EventPayload::new(text),
                // A document is known to be JSON that does not nest too deep.
                Changed::Document { .. } => EventPayload::of_written(text),
            };
            if let Ok(whole) = whole {
                return whole;
            }
        }
        told["value_too_large"] = true.into();
    }
    // A key has 512 bytes, and a byte of it at most six of JSON.
    EventPayload::of_json(&told).unwrap_or_default()
}

/// The value of an entry as JSON, and what it is called.
fn value_of(entry: &KvEntry) -> (&'static str, Cow<'_, str>) {
    let bytes = entry.value.bytes();
    match entry.value.kind() {
        KvKind::Json => ("value", String::from_utf8_lossy(bytes)),
        KvKind::Blob => ("value_base64", Cow::Owned(format!("\"{}\"", BASE64.encode(bytes)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;
    use picloud_shared::docs::{MAX_DEPTH, MAX_DOCUMENT_BYTES};
    use picloud_shared::id::ScriptId;
    use picloud_shared::kv::{KvValue, MAX_VALUE_BYTES};
    use picloud_shared::trigger::{Backoff, EventOps, MaxAttempts};
    use serde_json::Value;
    use uuid::Uuid;

    const APP: AppId = AppId::from_uuid(Uuid::nil());

    fn of_entries(number: u128, collection: &str, prefix: &str, ops: &[&str]) -> Arc<Trigger> {
        let ops = EventOps::of_words(ops, EventOps::OF_KV).unwrap();
        let (collection, prefix) = (collection.parse().unwrap(), prefix.parse().unwrap());
        listener(number, TriggerSource::Kv { collection, prefix, ops })
    }

    fn of_documents(number: u128, collection: &str, ops: &[&str]) -> Arc<Trigger> {
        let ops = EventOps::of_words(ops, EventOps::OF_DOCS).unwrap();
        listener(number, TriggerSource::Docs { collection: collection.parse().unwrap(), ops })
    }

    fn listener(number: u128, source: TriggerSource) -> Arc<Trigger> {
        Arc::new(Trigger {
            id: TriggerId::from_uuid(Uuid::from_u128(number)),
            script_id: ScriptId::from_uuid(Uuid::nil()),
            source,
            enabled: true,
            max_attempts: MaxAttempts::default(),
            backoff: Backoff::default(),
            timeout: None,
        })
    }

    /// Of which triggers a change has events.
    fn heard(listeners: &Listeners, of: Changed<'_>, op: EventOp) -> Vec<u128> {
        let events = listeners.events(Change { app: APP, op, of, depth: 3 });
        assert!(events.iter().all(|event| event.op == op && event.depth == 3 && event.app == APP));
        triggers_of(&events).map(|id| id.as_uuid().as_u128()).collect()
    }

    fn told(value: KvValue, expires_at: Option<i64>) -> Value {
        let expires_at = expires_at.map(Timestamp::from_millis);
        let updated_at = Timestamp::from_millis(0);
        let entry = KvEntry { key: "k".parse().unwrap(), value, expires_at, updated_at };
        payload_of(Changed::Entry { collection: "default", key: "k", entry: Some(&entry) }).to_json()
    }

    fn id() -> DocumentId {
        DocumentId::from_uuid(Uuid::from_u128(7))
    }

    fn told_of_document(fields: Value) -> Value {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        let body = DocumentBody::new(fields, id()).unwrap();
        payload_of(Changed::Document { collection: "carts", id: id(), body: Some(&body) }).to_json()
    }

    #[test]
    fn a_change_is_for_those_of_its_source_collection_prefix_and_op() {
        let listeners = Listeners(vec![
            of_entries(1, "default", "", &["set"]),
            of_entries(2, "default", "a/", &["set", "expire"]),
            of_entries(3, "other", "", &["set", "delete", "expire"]),
            of_entries(4, "default", "a/b", &["delete"]),
            of_documents(5, "default", &["insert", "update", "delete"]),
            of_documents(6, "other", &["delete"]),
        ]);
        for (collection, key, op, expected) in [
            ("default", "a/b", EventOp::Set, &[1_u128, 2] as &[u128]),
            ("default", "a/b", EventOp::Delete, &[4]),
            ("default", "a/", EventOp::Expire, &[2]),
            ("default", "a", EventOp::Set, &[1]),
            ("default", "A/", EventOp::Expire, &[]),
            ("other", "a/b", EventOp::Expire, &[3]),
        ] {
            let of = Changed::Entry { collection, key, entry: None };
            assert_eq!(heard(&listeners, of, op), expected, "{collection} {key} {op}");
        }
        for (collection, op, expected) in [
            ("default", EventOp::Insert, &[5_u128] as &[u128]),
            ("default", EventOp::Delete, &[5]),
            ("other", EventOp::Update, &[]),
            ("other", EventOp::Delete, &[6]),
            ("othe", EventOp::Delete, &[]),
        ] {
            let of = Changed::Document { collection, id: id(), body: None };
            assert_eq!(heard(&listeners, of, op), expected, "{collection} {op}");
        }
    }

    #[test]
    fn what_is_told_of_a_set_has_the_value_and_of_the_end_of_an_entry_none() {
        let json = KvValue::of_json(json!({ "a": [1.5, null] })).unwrap();
        let expected = json!({ "collection": "default", "key": "k", "value": { "a": [1.5, null] },
            "expires_at": "1970-01-01T00:00:01.000Z" });
        assert_eq!(told(json, Some(1_000)), expected);
        let blob = KvValue::new(KvKind::Blob, vec![0, 255]).unwrap();
        let expected = json!({ "collection": "default", "key": "k", "value_base64": "AP8=", "expires_at": null });
        assert_eq!(told(blob, None), expected);
        let ended = payload_of(Changed::Entry { collection: "default", key: "a\"b", entry: None }).to_json();
        assert_eq!(ended, json!({ "collection": "default", "key": "a\"b" }));
    }

    #[test]
    fn a_value_that_does_not_fit_is_left_out_and_that_is_said() {
        let left_out = json!({ "collection": "default", "key": "k", "expires_at": null, "value_too_large": true });
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels)).into_bytes();
        let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
        for (kind, bytes, fits) in [
            (KvKind::Json, long(MAX_VALUE_BYTES), false),
            (KvKind::Json, long(MAX_VALUE_BYTES - 100), true),
            (KvKind::Json, deep(127), false),
            (KvKind::Json, deep(126), true),
            (KvKind::Blob, vec![0; MAX_VALUE_BYTES / 4 * 3], false),
            (KvKind::Blob, vec![0; MAX_VALUE_BYTES / 4 * 3 - 100], true),
        ] {
            let length = bytes.len();
            let told = told(KvValue::new(kind, bytes).unwrap(), None);
            assert_eq!(told != left_out, fits, "{kind:?} of {length} bytes");
        }
    }

    #[test]
    fn what_is_told_of_a_document_has_its_fields_where_they_fit_however_deep_they_nest() {
        let place = json!({ "collection": "carts", "id": id() });
        let whole = |fields: Value| json!({ "collection": "carts", "id": id(), "document": fields });
        let nested = (1..MAX_DEPTH).fold(json!([]), |within, _| json!([within]));
        for fields in [json!({}), json!({ "a\"b": [1.5, null] }), json!({ "id": id(), "a": 1 }), json!({ "a": nested })]
        {
            let mut expected = whole(fields.clone());
            expected["document"].as_object_mut().unwrap().remove("id");
            assert_eq!(told_of_document(fields), expected);
        }
        let gone = Changed::Document { collection: "carts", id: id(), body: None };
        assert_eq!(payload_of(gone).to_json(), place);
        let long = |bytes: usize| json!({ "a": "x".repeat(bytes - r#"{"a":""}"#.len()) });
        let most = MAX_PAYLOAD_BYTES - whole(json!({})).to_string().len() + 2;
        assert_eq!(told_of_document(long(most)), whole(long(most)));
        let mut left_out = place;
        left_out["value_too_large"] = json!(true);
        for bytes in [most + 1, MAX_DOCUMENT_BYTES] {
            assert_eq!(told_of_document(long(bytes)), left_out);
        }
    }
}
