//! The JSON of triggers: what clients send and what they get.

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::cron::{CronExpression, CronSchedule, CronZone, Misfire};
use picloud_shared::event::{EventOp, EventSource};
use picloud_shared::id::{AppId, ScriptId, TriggerId};
use picloud_shared::kv::KvPrefix;
use picloud_shared::name::{CollectionName, QueueName};
use picloud_shared::trigger::{
    Backoff, BatchSize, Concurrency, EventOps, InvalidBackoff, MaxAttempts, Trigger, TriggerSource,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::{Object, present};
use crate::api::schema;
use crate::repo::triggers::StoredTrigger;
use crate::service::error::{InvalidField, ServiceError};
use crate::service::trigger::millis;

/// What a trigger's source needs to know. Each source has members of its own; `dead_letter` has none.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct TriggerConfigView {
    /// Of `cron`: at which times it ticks, as five fields (minute, hour, day of month, month, day of week), or six with second first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    expression: Option<CronExpression>,
    /// Of `cron`: by the clocks of which IANA time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    time_zone: Option<CronZone>,
    /// Of `cron`: what is made of ticks that were missed: nothing, one for all of them, or each of the newest 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Misfire, required = false)]
    misfire: Option<Misfire>,
    /// Of `queue`: the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    queue: Option<String>,
    /// Of `queue`: how many messages a run is given at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false)]
    batch_size: Option<u32>,
    /// Of `queue`: how many runs there are at once at most. With 1, messages are handled in the order in which they were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false)]
    concurrency: Option<u32>,
    /// Of `kv` and `docs`: the collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    collection: Option<String>,
    /// Of `kv`: what the keys begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    prefix: Option<String>,
    /// Of `kv` and `docs`: what must happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<schema::EventOp>, required = false)]
    ops: Option<Vec<EventOp>>,
}

/// How long an event waits for its next attempt: at random up to `base_ms` after the first one, up to twice as long after each
/// further one, and never longer than `cap_ms`.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackoffView {
    base_ms: u64,
    cap_ms: u64,
}

/// A trigger: what runs an endpoint without a request.
#[derive(Serialize, ToSchema)]
pub(crate) struct TriggerView {
    #[schema(value_type = Uuid)]
    pub id: TriggerId,
    #[schema(value_type = Uuid)]
    pub app_id: AppId,
    /// The endpoint that it runs.
    #[schema(value_type = Uuid)]
    pub script_id: ScriptId,
    #[schema(value_type = schema::TriggerSource)]
    pub source: EventSource,
    pub config: TriggerConfigView,
    /// Of `cron`, while it is enabled: when it ticks next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub next_tick_at: Option<Timestamp>,
    /// While it is not, messages of its queue wait, and other events are not made for it.
    pub enabled: bool,
    /// After so many failed attempts an event becomes a dead letter.
    pub max_attempts: u32,
    pub backoff: BackoffView,
    /// Wall clock of one run in milliseconds; null is the script's own.
    pub timeout_ms: Option<u64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<StoredTrigger> for TriggerView {
    fn from(StoredTrigger { app_id, trigger, created_at, updated_at }: StoredTrigger) -> Self {
        let source = trigger.source.source();
        let config = match trigger.source {
            TriggerSource::Queue { queue, batch_size, concurrency } => TriggerConfigView {
                queue: Some(queue.into()),
                batch_size: Some(batch_size.get()),
                concurrency: Some(concurrency.get()),
                ..TriggerConfigView::default()
            },
            TriggerSource::Kv { collection, prefix, ops } => TriggerConfigView {
                collection: Some(collection.into()),
                prefix: Some(prefix.into()),
                ops: Some(ops.as_slice().to_vec()),
                ..TriggerConfigView::default()
            },
            TriggerSource::Docs { collection, ops } => TriggerConfigView {
                collection: Some(collection.into()),
                ops: Some(ops.as_slice().to_vec()),
                ..TriggerConfigView::default()
            },
            TriggerSource::Cron { schedule: CronSchedule { expression, time_zone }, misfire } => TriggerConfigView {
                expression: Some(expression),
                time_zone: Some(time_zone),
                misfire: Some(misfire),
                ..TriggerConfigView::default()
            },
            TriggerSource::DeadLetter => TriggerConfigView::default(),
        };
        let backoff = trigger.backoff;
        Self {
            id: trigger.id,
            app_id,
            script_id: trigger.script_id,
            source,
            config,
            next_tick_at: None,
            enabled: trigger.enabled,
            max_attempts: trigger.max_attempts.get(),
            backoff: BackoffView { base_ms: millis(backoff.base()), cap_ms: millis(backoff.cap()) },
            timeout_ms: trigger.timeout.map(millis),
            created_at,
            updated_at,
        }
    }
}

impl TriggerView {
    /// With what is to come after that moment.
    pub(crate) fn at(now: Timestamp, stored: StoredTrigger) -> Self {
        let next_tick_at = match &stored.trigger.source {
            TriggerSource::Cron { schedule, .. } if stored.trigger.enabled => schedule.next_after(now),
            _ => None,
        };
        Self { next_tick_at, ..Self::from(stored) }
    }

    pub(crate) fn all(triggers: Vec<StoredTrigger>) -> Vec<Self> {
        triggers.into_iter().map(Self::from).collect()
    }
}

/// What a trigger may be set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceKind {
    Cron,
    Queue,
    Kv,
    Docs,
    DeadLetter,
}

/// What a source is to know; of a change, what is absent stays. Members of another source are refused.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerConfigBody {
    /// Of `cron`: at which times it ticks, as five fields (minute, hour, day of month, month, day of week), or six with second first.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 128)]
    expression: Option<CronExpression>,
    /// Of `cron`: by the clocks of which IANA time zone; UTC if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    time_zone: Option<CronZone>,
    /// Of `cron`: what is made of ticks that were missed: nothing, one for all of them, or each of the newest 100; `once` if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::Misfire, required = false)]
    misfire: Option<Misfire>,
    /// Of `queue`: the queue, 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or a digit. A queue has one trigger at most.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 63)]
    queue: Option<QueueName>,
    /// Of `queue`: how many messages a run is given at most; 1 if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 100)]
    batch_size: Option<i64>,
    /// Of `queue`: how many runs there are at once at most; 1 if absent, by which messages are handled in order.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 64)]
    concurrency: Option<i64>,
    /// Of `kv` and `docs`: the collection, 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or a digit. That of entries which
    /// scripts keep in none is `default`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 63)]
    collection: Option<CollectionName>,
    /// Of `kv`: what the keys begin with, up to 512 bytes of UTF-8 without NUL; all keys if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, max_length = 512)]
    prefix: Option<KvPrefix>,
    /// Of `kv` and `docs`: what must happen, one or more of `set`, `delete` and `expire`, or of `insert`, `update` and `delete`; all of
    /// them if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<schema::EventOp>, required = false, min_items = 1)]
    ops: Option<Vec<String>>,
}

/// How long an event waits for its next attempt; what is absent is the default, or of a change stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackoffBody {
    /// 1000 if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u64, required = false, minimum = 1, maximum = 86_400_000)]
    base_ms: Option<i64>,
    /// 3600000 if absent. Not below `base_ms`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u64, required = false, minimum = 1, maximum = 86_400_000)]
    cap_ms: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTrigger {
    /// An endpoint of the app.
    #[schema(value_type = Uuid)]
    pub script_id: ScriptId,
    #[schema(value_type = schema::TriggerSource)]
    pub source: SourceKind,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = TriggerConfigBody, required = false)]
    pub config: Option<Object<TriggerConfigBody>>,
    /// True if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    pub enabled: Option<bool>,
    /// 5 if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 100)]
    pub max_attempts: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = BackoffBody, required = false)]
    pub backoff: Option<Object<BackoffBody>>,
    /// Wall clock of one run in milliseconds, where it is to be less than the script's own.
    pub timeout_ms: Option<u64>,
}

/// Changes of a trigger; what is absent stays. Its source stays in any case.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateTrigger {
    /// Another endpoint of the same app.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Uuid, required = false)]
    script_id: Option<ScriptId>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = TriggerConfigBody, required = false)]
    config: Option<Object<TriggerConfigBody>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 100)]
    max_attempts: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = BackoffBody, required = false)]
    backoff: Option<Object<BackoffBody>>,
    /// Null is the script's own.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    timeout_ms: Option<Option<u64>>,
}

/// What is wrong with the fields of a body, all of it at once.
#[derive(Default)]
struct Wrong(Vec<InvalidField>);

impl Wrong {
    fn add(&mut self, field: &str, detail: impl ToString) {
        self.0.push(InvalidField { field: field.to_owned(), detail: detail.to_string() });
    }

    /// The value of a field; what cannot be is noted, and the value before stands in for it.
    fn or<T, U, E: ToString>(&mut self, field: &str, given: Option<U>, before: T) -> T
    where
        T: TryFrom<U, Error = E>,
    {
        match given.map(T::try_from).transpose() {
            Ok(value) => value.unwrap_or(before),
            Err(error) => {
                self.add(field, error);
                before
            }
        }
    }

    /// Some of the ops that a source has, if they are named and can be.
    fn ops(&mut self, given: Option<&[String]>, of: &'static [EventOp]) -> Option<EventOps> {
        let read = EventOps::of_words(given?, of);
        read.map_err(|error| self.add("config.ops", error)).ok()
    }

    /// Of which collection and of which ops a new trigger for changes is; `without` is what is wrong where it names no collection.
    fn changes(
        &mut self,
        collection: Option<CollectionName>,
        ops: Option<&[String]>,
        of: &'static [EventOp],
        without: &str,
    ) -> Option<(CollectionName, EventOps)> {
        let ops = self.ops(ops, of).unwrap_or(EventOps::all(of));
        if collection.is_none() {
            self.add("config.collection", without);
        }
        Some((collection?, ops))
    }

    fn backoff(&mut self, given: BackoffBody, before: Backoff) -> Backoff {
        let before_ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let base_ms = given.base_ms.unwrap_or(before_ms(before.base()));
        let made = Backoff::new(base_ms, given.cap_ms.unwrap_or(before_ms(before.cap())));
        made.unwrap_or_else(|error| {
            let field = match error {
                InvalidBackoff::Base => "backoff.base_ms",
                InvalidBackoff::Cap => "backoff.cap_ms",
            };
            self.add(field, error);
            before
        })
    }

    fn refuse(self) -> Result<(), Vec<InvalidField>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

impl TriggerConfigBody {
    /// The source of that kind.
    fn source(self, kind: SourceKind, wrong: &mut Wrong) -> Option<TriggerSource> {
        let word = match kind {
            SourceKind::Cron => EventSource::Cron,
            SourceKind::Queue => EventSource::Queue,
            SourceKind::Kv => EventSource::Kv,
            SourceKind::Docs => EventSource::Docs,
            SourceKind::DeadLetter => EventSource::DeadLetter,
        };
        self.refuse_of_others(word, wrong);
        match kind {
            SourceKind::Queue => {
                let batch_size = wrong.or("config.batch_size", self.batch_size, BatchSize::default());
                let concurrency = wrong.or("config.concurrency", self.concurrency, Concurrency::default());
                if self.queue.is_none() {
                    wrong.add("config.queue", "a trigger of the source queue has one");
                }
                self.queue.map(|queue| TriggerSource::Queue { queue, batch_size, concurrency })
            }
            SourceKind::Kv => {
                let (prefix, of) = (self.prefix.unwrap_or_default(), EventOps::OF_KV);
                let changes =
                    wrong.changes(self.collection, self.ops.as_deref(), of, "a trigger of the source kv has one");
                changes.map(|(collection, ops)| TriggerSource::Kv { collection, prefix, ops })
            }
            SourceKind::Docs => {
                let of = EventOps::OF_DOCS;
                let changes =
                    wrong.changes(self.collection, self.ops.as_deref(), of, "a trigger of the source docs has one");
                changes.map(|(collection, ops)| TriggerSource::Docs { collection, ops })
            }
            SourceKind::Cron => {
                if self.expression.is_none() {
                    wrong.add("config.expression", "a trigger of the source cron has one");
                }
                let (time_zone, misfire) = (self.time_zone.unwrap_or_default(), self.misfire.unwrap_or_default());
                let schedule = self.expression.map(|expression| CronSchedule { expression, time_zone });
                schedule.map(|schedule| TriggerSource::Cron { schedule, misfire })
            }
            SourceKind::DeadLetter => Some(TriggerSource::DeadLetter),
        }
    }

    /// The source that was `old`, with what is named changed.
    fn onto(self, old: &TriggerSource, wrong: &mut Wrong) -> TriggerSource {
        self.refuse_of_others(old.source(), wrong);
        match old {
            TriggerSource::Queue { queue, batch_size, concurrency } => TriggerSource::Queue {
                batch_size: wrong.or("config.batch_size", self.batch_size, *batch_size),
                concurrency: wrong.or("config.concurrency", self.concurrency, *concurrency),
                queue: self.queue.unwrap_or_else(|| queue.clone()),
            },
            TriggerSource::Cron { schedule: CronSchedule { expression, time_zone }, misfire } => TriggerSource::Cron {
                schedule: CronSchedule {
                    expression: self.expression.unwrap_or_else(|| expression.clone()),
                    time_zone: self.time_zone.unwrap_or_else(|| time_zone.clone()),
                },
                misfire: self.misfire.unwrap_or(*misfire),
            },
            TriggerSource::Kv { collection, prefix, ops } => TriggerSource::Kv {
                ops: wrong.ops(self.ops.as_deref(), EventOps::OF_KV).unwrap_or_else(|| ops.clone()),
                collection: self.collection.unwrap_or_else(|| collection.clone()),
                prefix: self.prefix.unwrap_or_else(|| prefix.clone()),
            },
            TriggerSource::Docs { collection, ops } => TriggerSource::Docs {
                ops: wrong.ops(self.ops.as_deref(), EventOps::OF_DOCS).unwrap_or_else(|| ops.clone()),
                collection: self.collection.unwrap_or_else(|| collection.clone()),
            },
            TriggerSource::DeadLetter => TriggerSource::DeadLetter,
        }
    }

    /// Refuses what only other sources have.
    fn refuse_of_others(&self, source: EventSource, wrong: &mut Wrong) {
        use EventSource::{Cron, Docs, Kv, Queue};
        let members: [(_, &[EventSource], _); 9] = [
            ("config.expression", &[Cron], self.expression.is_some()),
            ("config.time_zone", &[Cron], self.time_zone.is_some()),
            ("config.misfire", &[Cron], self.misfire.is_some()),
            ("config.queue", &[Queue], self.queue.is_some()),
            ("config.batch_size", &[Queue], self.batch_size.is_some()),
            ("config.concurrency", &[Queue], self.concurrency.is_some()),
            ("config.collection", &[Kv, Docs], self.collection.is_some()),
            ("config.prefix", &[Kv], self.prefix.is_some()),
            ("config.ops", &[Kv, Docs], self.ops.is_some()),
        ];
        for (field, _, _) in members.iter().filter(|(_, of, is_given)| *is_given && !of.contains(&source)) {
            wrong.add(field, "a trigger of this source has none");
        }
    }
}

impl CreateTrigger {
    /// The trigger as it is to be, but for its id.
    pub(crate) fn parse(self) -> Result<impl FnOnce(TriggerId) -> Trigger, Vec<InvalidField>> {
        let mut wrong = Wrong::default();
        let source = self.config.unwrap_or_default().0.source(self.source, &mut wrong);
        let max_attempts = wrong.or("max_attempts", self.max_attempts, MaxAttempts::default());
        let backoff = wrong.backoff(self.backoff.unwrap_or_default().0, Backoff::default());
        wrong.refuse()?;
        // Without a source something is wrong, and refused.
        let source = source.unwrap_or(TriggerSource::DeadLetter);
        let (script_id, enabled) = (self.script_id, self.enabled.unwrap_or(true));
        let timeout = self.timeout_ms.map(Duration::from_millis);
        Ok(move |id| Trigger { id, script_id, source, enabled, max_attempts, backoff, timeout })
    }
}

impl UpdateTrigger {
    /// The trigger that was `old`, with what is named changed.
    pub(crate) fn onto(self, old: &Trigger) -> Result<Trigger, ServiceError> {
        let mut wrong = Wrong::default();
        let source = self.config.unwrap_or_default().0.onto(&old.source, &mut wrong);
        let max_attempts = wrong.or("max_attempts", self.max_attempts, old.max_attempts);
        let backoff = wrong.backoff(self.backoff.unwrap_or_default().0, old.backoff);
        wrong.refuse().map_err(ServiceError::Invalid)?;
        Ok(Trigger {
            id: old.id,
            script_id: self.script_id.unwrap_or(old.script_id),
            source,
            enabled: self.enabled.unwrap_or(old.enabled),
            max_attempts,
            backoff,
            timeout: self.timeout_ms.map_or(old.timeout, |timeout_ms| timeout_ms.map(Duration::from_millis)),
        })
    }
}
