//! Rows of events, column by column: what one holds may be damaged, or of a newer version.

use super::*;

pub(super) fn event_row(mut row: DataRow) -> Result<EventRow, RepoError> {
    event_of(row.take(0, "id")?, row)
}

pub(super) fn event_of(id: Uuid, mut row: DataRow) -> Result<EventRow, RepoError> {
    let row = &mut row;
    let created_at = time(row, 7, "created_at")?;
    Ok(EventRow {
        id: EventId::from_uuid(id),
        lane: word(row, 1, "lane")?,
        source: word(row, 2, "source")?,
        op: word(row, 3, "op")?,
        state: word(row, 4, "state")?,
        attempt: count(row, 5, "attempt")?,
        depth: count(row, 6, "depth")?,
        created_at,
        // What is not delayed has none of its own.
        due_at: time(row, 8, "due_at")?.max(created_at),
        first_attempt_at: maybe_time(row, 9, "first_attempt_at")?,
        last_attempt_at: maybe_time(row, 10, "last_attempt_at")?,
        last_error: row.take(11, "last_error")?,
        trigger: maybe(row, 12, "trigger_id", TriggerId::from_uuid)?,
        script: maybe(row, 13, "script_id", ScriptId::from_uuid)?,
        ended_at: maybe_time(row, 14, "ended_at")?,
        dead_letter: maybe(row, 15, "dead_letter_id", DeadLetterId::from_uuid)?,
        replay_of: maybe(row, 16, "replay_of", DeadLetterId::from_uuid)?,
        bytes: row.take::<i64>(17, "bytes").map(|bytes| u64::try_from(bytes).unwrap_or(0))?,
        payload: payload(row, 18)?,
    })
}

pub(super) fn payload(row: &mut DataRow, place: usize) -> Result<Option<EventPayload>, RepoError> {
    let text = row.take::<Option<String>>(place, "payload")?;
    text.map(EventPayload::of_written).transpose().map_err(|error| corrupt("payload", error.into()))
}

pub(super) fn count(row: &mut DataRow, place: usize, name: &'static str) -> Result<u32, RepoError> {
    u32::try_from(row.take::<i64>(place, name)?).map_err(|error| corrupt(name, error.into()))
}

pub(super) fn time(row: &mut DataRow, place: usize, name: &'static str) -> Result<Timestamp, RepoError> {
    row.take::<i64>(place, name).map(Timestamp::from_millis)
}

pub(super) fn maybe_time(row: &mut DataRow, place: usize, name: &'static str) -> Result<Option<Timestamp>, RepoError> {
    maybe(row, place, name, Timestamp::from_millis)
}

pub(super) fn maybe<S: FromValue, T>(
    row: &mut DataRow,
    place: usize,
    name: &'static str,
    of: impl FnOnce(S) -> T,
) -> Result<Option<T>, RepoError> {
    Ok(row.take::<Option<S>>(place, name)?.map(of))
}

pub(super) fn word<T: FromStr<Err: Into<Cause>>>(
    row: &mut DataRow,
    place: usize,
    name: &'static str,
) -> Result<T, RepoError> {
    parsed(&row.take::<String>(place, name)?, name)
}

pub(super) fn parsed<T: FromStr<Err: Into<Cause>>>(text: &str, name: &'static str) -> Result<T, RepoError> {
    text.parse().map_err(|error: T::Err| corrupt(name, error.into()))
}

pub(super) fn corrupt(column: &str, source: Cause) -> RepoError {
    RepoError::Corrupt { column: column.to_owned(), source }
}
