//! Dead letters: events that are not tried again, until somebody has said what is to become of them.

use picloud_shared::id::UserId;

use super::*;

macro_rules! letter_columns {
    ($payload:literal) => {
        concat!(
            "id, event_id, created_at, lane, source, op, trigger_id, script_id, attempt_count, first_attempt_at, \
         last_attempt_at, last_error, resolved_at, resolved_by, resolution, replay_event_id, bytes, ",
            $payload
        )
    };
}

statements! {
    INSERT_LETTER = concat!("INSERT INTO dead_letters (app_id, ", letter_columns!("payload"), ") \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, NULL, NULL, NULL, NULL, $14, $15)");
    FIND_LETTER = concat!("SELECT ", letter_columns!("payload"), " FROM dead_letters WHERE app_id = $1 AND id = $2");
    LIST_LETTERS = concat!("SELECT ", letter_columns!("CASE WHEN bytes <= 4096 THEN payload END AS payload"),
        " FROM dead_letters WHERE app_id = $1 AND id < $2 AND created_at >= $3 AND created_at < $4 \
        AND ($5 = '' OR source = $5) AND ($6 = 0 OR script_id = $7) ORDER BY id DESC LIMIT $8");
    LIST_UNRESOLVED = concat!("SELECT ", letter_columns!("CASE WHEN bytes <= 4096 THEN payload END AS payload"),
        " FROM dead_letters WHERE app_id = $1 AND id < $2 AND created_at >= $3 AND created_at < $4 \
        AND ($5 = '' OR source = $5) AND ($6 = 0 OR script_id = $7) AND resolved_at IS NULL ORDER BY id DESC LIMIT $8");
    UNRESOLVED_IDS = "SELECT id FROM dead_letters WHERE app_id = $1 AND created_at >= $2 AND created_at < $3 \
        AND ($4 = '' OR source = $4) AND ($5 = 0 OR script_id = $6) AND resolved_at IS NULL ORDER BY id LIMIT $7";
    COUNT_OF_APP = "SELECT COUNT(*) FROM dead_letters WHERE app_id = $1 AND resolved_at IS NULL";
    RESOLVE = "UPDATE dead_letters SET resolved_at = $3, resolved_by = $4, resolution = $5, replay_event_id = $6, payload = NULL \
        WHERE app_id = $1 AND id = $2 AND resolved_at IS NULL";
}

/// An event that is not tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id.
    pub id: DeadLetterId,
    /// The event that it was.
    pub event: EventId,
    /// When it was given up.
    pub created_at: Timestamp,
    /// Where the event waited.
    pub lane: Lane,
    /// Where the event came from.
    pub source: EventSource,
    /// What happened there.
    pub op: EventOp,
    /// Whose attempts failed.
    pub trigger: Option<TriggerId>,
    /// The script that failed last.
    pub script: Option<ScriptId>,
    /// How many attempts there were.
    pub attempt_count: u32,
    /// When the first of them began.
    pub first_attempt_at: Option<Timestamp>,
    /// When the last of them began.
    pub last_attempt_at: Option<Timestamp>,
    /// Why it was given up.
    pub last_error: String,
    /// When somebody said what is to become of it.
    pub resolved_at: Option<Timestamp>,
    /// Who.
    pub resolved_by: Option<UserId>,
    /// What.
    pub resolution: Option<Resolution>,
    /// The event that was made of it.
    pub replay_event: Option<EventId>,
    /// Bytes of its payload.
    pub bytes: u64,
    /// What the event was about: absent once it is resolved, and in lists where it is more than 4 KiB.
    pub payload: Option<EventPayload>,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It was made an event again.
    Replayed,
    /// Nothing more is to be done.
    Resolved,
}

impl Resolution {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Resolved => "resolved",
        }
    }
}

impl FromStr for Resolution {
    type Err = picloud_shared::execution::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "replayed" => Ok(Self::Replayed),
            "resolved" => Ok(Self::Resolved),
            _ => Err(picloud_shared::execution::UnknownWord("a resolution is replayed or resolved")),
        }
    }
}

/// Which dead letters to list.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Only those that are not resolved.
    pub unresolved: bool,
    /// Of this source.
    pub source: Option<EventSource>,
    /// Of this script.
    pub script: Option<ScriptId>,
    /// Given up then or later.
    pub since: Option<Timestamp>,
    /// Given up before then.
    pub until: Option<Timestamp>,
}

/// Adds a dead letter; it counts as the event did.
pub(crate) async fn insert_letter<D: DataDb>(db: &mut D, app: AppId, letter: &DeadLetter) -> Result<(), RepoError> {
    let lane = letter.lane.to_string();
    let payload = letter.payload.as_ref().map(EventPayload::as_str);
    db.execute(
        &INSERT_LETTER,
        params![
            app.as_uuid(),
            letter.id.as_uuid(),
            letter.event.as_uuid(),
            letter.created_at.as_millis(),
            &*lane,
            letter.source.as_str(),
            letter.op.as_str(),
            letter.trigger.map(TriggerId::as_uuid),
            letter.script.map(ScriptId::as_uuid),
            letter.attempt_count,
            letter.first_attempt_at.map(Timestamp::as_millis),
            letter.last_attempt_at.map(Timestamp::as_millis),
            &*letter.last_error,
            i64::try_from(letter.bytes).unwrap_or(i64::MAX),
            payload,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn find_letter<D: DataDb>(
    db: &mut D,
    app: AppId,
    id: DeadLetterId,
) -> Result<Option<DeadLetter>, RepoError> {
    let rows = db.fetch(&FIND_LETTER, params![app.as_uuid(), id.as_uuid()]).await?;
    rows.into_iter().next().map(letter).transpose()
}

/// The newest first.
pub(crate) async fn list_letters<D: DataDb>(
    db: &mut D,
    app: AppId,
    filter: &DeadLetterFilter,
    before: Option<DeadLetterId>,
    limit: u32,
) -> Result<Vec<DeadLetter>, RepoError> {
    let statement = if filter.unresolved { &LIST_UNRESOLVED } else { &LIST_LETTERS };
    let before = before.map_or(Uuid::max(), DeadLetterId::as_uuid);
    let since = filter.since.map_or(i64::MIN, Timestamp::as_millis);
    let until = filter.until.map_or(i64::MAX, Timestamp::as_millis);
    let source = filter.source.map_or("", EventSource::as_str);
    let script = filter.script.map_or(Uuid::nil(), ScriptId::as_uuid);
    let by_script = i64::from(filter.script.is_some());
    let given = params![app.as_uuid(), before, since, until, source, by_script, script, limit];
    db.fetch(statement, given).await?.into_iter().map(letter).collect()
}

/// Those that are not resolved and pass the filter, the oldest first.
pub(crate) async fn unresolved<D: DataDb>(
    db: &mut D,
    app: AppId,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<Vec<DeadLetterId>, RepoError> {
    let since = filter.since.map_or(i64::MIN, Timestamp::as_millis);
    let until = filter.until.map_or(i64::MAX, Timestamp::as_millis);
    let source = filter.source.map_or("", EventSource::as_str);
    let script = filter.script.map_or(Uuid::nil(), ScriptId::as_uuid);
    let by_script = i64::from(filter.script.is_some());
    let given = params![app.as_uuid(), since, until, source, by_script, script, limit];
    let id = |mut row: DataRow| row.take(0, "id").map(DeadLetterId::from_uuid);
    db.fetch(&UNRESOLVED_IDS, given).await?.into_iter().map(id).collect()
}

/// How many of an app are not resolved.
pub(crate) async fn count_of_app<D: DataDb>(db: &mut D, app: AppId) -> Result<u64, RepoError> {
    let mut rows = db.fetch(&COUNT_OF_APP, params![app.as_uuid()]).await?;
    let count = rows.first_mut().map_or(Ok(0), |row| row.take::<i64>(0, "count"))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Says what became of a dead letter, whose payload goes; false where that was said already, or there is none.
pub(crate) async fn resolve<D: DataDb>(
    db: &mut D,
    app: AppId,
    id: DeadLetterId,
    now: Timestamp,
    by: Option<UserId>,
    replay: Option<EventId>,
) -> Result<bool, RepoError> {
    let resolution = if replay.is_some() { Resolution::Replayed } else { Resolution::Resolved };
    let (by, replay) = (by.map(UserId::as_uuid), replay.map(EventId::as_uuid));
    let given = params![app.as_uuid(), id.as_uuid(), now.as_millis(), by, resolution.as_str(), replay];
    Ok(db.execute(&RESOLVE, given).await? > 0)
}

fn letter(mut row: DataRow) -> Result<DeadLetter, RepoError> {
    let row = &mut row;
    let resolution = row.take::<Option<String>>(14, "resolution")?;
    Ok(DeadLetter {
        id: DeadLetterId::from_uuid(row.take(0, "id")?),
        event: EventId::from_uuid(row.take(1, "event_id")?),
        created_at: time(row, 2, "created_at")?,
        lane: word(row, 3, "lane")?,
        source: word(row, 4, "source")?,
        op: word(row, 5, "op")?,
        trigger: maybe(row, 6, "trigger_id", TriggerId::from_uuid)?,
        script: maybe(row, 7, "script_id", ScriptId::from_uuid)?,
        attempt_count: count(row, 8, "attempt_count")?,
        first_attempt_at: maybe_time(row, 9, "first_attempt_at")?,
        last_attempt_at: maybe_time(row, 10, "last_attempt_at")?,
        last_error: row.take(11, "last_error")?,
        resolved_at: maybe_time(row, 12, "resolved_at")?,
        resolved_by: maybe(row, 13, "resolved_by", UserId::from_uuid)?,
        resolution: resolution.map(|word| parsed(&word, "resolution")).transpose()?,
        replay_event: maybe(row, 15, "replay_event_id", EventId::from_uuid)?,
        bytes: row.take::<i64>(16, "bytes").map(|bytes| u64::try_from(bytes).unwrap_or(0))?,
        payload: payload(row, 17)?,
    })
}
