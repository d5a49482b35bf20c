//! Who is told of changes of entries: the triggers of an app whose source is `kv`, as the snapshot has them, and what they are told.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use picloud_shared::event::{EventOp, EventPayload, EventSource, MAX_PAYLOAD_BYTES};
use picloud_shared::id::{AppId, TriggerId};
use picloud_shared::kv::{KvEntry, KvKind};
use picloud_shared::snapshot::{PublishedApp, Snapshot, SnapshotCell};
use picloud_shared::trigger::{Trigger, TriggerSource};
use serde_json::{Value, json};

use crate::events::{Lane, NewEvent};

/// The enabled triggers of an app that are for changes of entries. None cost no allocation.
#[derive(Debug, Default)]
pub(super) struct Listeners(Vec<Arc<Trigger>>);

/// A change of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'c> {
    pub app: AppId,
    pub collection: &'c str,
    pub key: &'c str,
    pub op: EventOp,
    /// The entry as it is then, where it was set.
    pub entry: Option<&'c KvEntry>,
    /// How many events stand between this change and what was not caused by one.
    pub depth: u32,
}

impl Listeners {
    /// Those of an app as it is published.
    pub(super) fn of(snapshot: &SnapshotCell, app: AppId) -> Self {
        let snapshot = snapshot.load();
        Self(snapshot.app(app).into_iter().flat_map(|app| listening(app)).cloned().collect())
    }

    /// Whether any is for entries whose time is over.
    pub(super) fn hear_of_expiry(&self) -> bool {
        self.0.iter().any(|trigger| hears_of_expiry(trigger))
    }

    /// The events of a change: one for each that it is for.
    pub(super) fn events(&self, change: Change<'_>) -> Vec<NewEvent> {
        let mut payload = None;
        let event = |trigger: &Arc<Trigger>| NewEvent {
            app: change.app,
            lane: Lane::Trigger(trigger.id),
            source: EventSource::Kv,
            op: change.op,
            payload: payload.get_or_insert_with(|| payload_of(change)).clone(),
            due_at: None,
            depth: change.depth,
            dedup_key: None,
            replay_of: None,
        };
        self.0.iter().filter(|trigger| is_for(trigger, change)).map(event).collect()
    }
}

/// Whether a trigger of any app is for entries whose time is over.
pub(super) fn anybody_hears_of_expiry(snapshot: &Snapshot) -> bool {
    snapshot.apps().flat_map(|app| listening(app)).any(|trigger| hears_of_expiry(trigger))
}

/// The triggers that the events are for.
pub(super) fn triggers_of(events: &[NewEvent]) -> impl Iterator<Item = TriggerId> {
    events.iter().filter_map(|event| if let Lane::Trigger(id) = event.lane { Some(id) } else { None })
}

fn listening(app: &PublishedApp) -> impl Iterator<Item = &Arc<Trigger>> {
    app.triggers().iter().filter(|trigger| trigger.enabled && matches!(trigger.source, TriggerSource::Kv { .. }))
}

fn hears_of_expiry(trigger: &Trigger) -> bool {
    matches!(&trigger.source, TriggerSource::Kv { ops, .. } if ops.contains(EventOp::Expire))
}

fn is_for(trigger: &Trigger, change: Change<'_>) -> bool {
    let TriggerSource::Kv { collection, prefix, ops } = &trigger.source else { return false };
    collection.as_str() == change.collection && change.key.starts_with(prefix.as_str()) && ops.contains(change.op)
}

/// What is told of a change. The value is left out where it makes the payload too long, or nests too deep.
fn payload_of(change: Change<'_>) -> EventPayload {
    let mut told = json!({ "collection": change.collection, "key": change.key });
    if let Some(entry) = change.entry {
        told["expires_at"] = json!(entry.expires_at);
        if let Some(whole) = with_value(&told, entry) {
            return whole;
        }
        told["value_too_large"] = true.into();
    }
    // A key has 512 bytes, and a byte of it at most six of JSON.
    EventPayload::of_json(&told).unwrap_or_default()
}

/// The same with the value, whose text is JSON already.
fn with_value(told: &Value, entry: &KvEntry) -> Option<EventPayload> {
    let bytes = entry.value.bytes();
    if bytes.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    let mut text = told.to_string();
    text.pop();
    match entry.value.kind() {
        KvKind::Json => {
            text.push_str(",\"value\":");
            text.push_str(std::str::from_utf8(bytes).ok()?);
        }
        KvKind::Blob => {
            text.push_str(",\"value_base64\":\"");
            BASE64.encode_string(bytes, &mut text);
            text.push('"');
        }
    }
    text.push('}');
    EventPayload::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;
    use picloud_shared::id::ScriptId;
    use picloud_shared::kv::{KvValue, MAX_VALUE_BYTES};
    use picloud_shared::trigger::{Backoff, EventOps, MaxAttempts};
    use uuid::Uuid;

    const APP: AppId = AppId::from_uuid(Uuid::nil());

    fn listener(number: u128, collection: &str, prefix: &str, ops: &[&str]) -> Arc<Trigger> {
        Arc::new(Trigger {
            id: TriggerId::from_uuid(Uuid::from_u128(number)),
            script_id: ScriptId::from_uuid(Uuid::nil()),
            source: TriggerSource::Kv {
                collection: collection.parse().unwrap(),
                prefix: prefix.parse().unwrap(),
                ops: EventOps::of_words(ops, EventOps::OF_KV).unwrap(),
            },
            enabled: true,
            max_attempts: MaxAttempts::default(),
            backoff: Backoff::default(),
            timeout: None,
        })
    }

    fn change<'c>(collection: &'c str, key: &'c str, op: EventOp) -> Change<'c> {
        Change { app: APP, collection, key, op, entry: None, depth: 3 }
    }

    fn told(value: KvValue, expires_at: Option<i64>) -> Value {
        let expires_at = expires_at.map(Timestamp::from_millis);
        let updated_at = Timestamp::from_millis(0);
        let entry = KvEntry { key: "k".parse().unwrap(), value, expires_at, updated_at };
        payload_of(Change { entry: Some(&entry), ..change("default", "k", EventOp::Set) }).to_json()
    }

    #[test]
    fn a_change_is_for_those_of_its_collection_prefix_and_op() {
        let listeners = Listeners(vec![
            listener(1, "default", "", &["set"]),
            listener(2, "default", "a/", &["set", "expire"]),
            listener(3, "other", "", &["set", "delete", "expire"]),
            listener(4, "default", "a/b", &["delete"]),
        ]);
        for (collection, key, op, heard) in [
            ("default", "a/b", EventOp::Set, &[1_u128, 2] as &[u128]),
            ("default", "a/b", EventOp::Delete, &[4]),
            ("default", "a/", EventOp::Expire, &[2]),
            ("default", "a", EventOp::Set, &[1]),
            ("default", "A/", EventOp::Expire, &[]),
            ("other", "a/b", EventOp::Expire, &[3]),
        ] {
            let events = listeners.events(change(collection, key, op));
            let triggers: Vec<_> = triggers_of(&events).map(|id| id.as_uuid().as_u128()).collect();
            assert_eq!(triggers, heard, "{collection} {key} {op}");
            assert!(events.iter().all(|event| event.op == op && event.depth == 3 && event.app == APP));
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
        let ended = payload_of(change("default", "a\"b", EventOp::Delete)).to_json();
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
}
