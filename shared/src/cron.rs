//! When a cron trigger ticks: expressions of five or six fields, read in a time zone, and what is to be made of ticks that were
//! missed. Pure; the time zones are those that are built in, so that each node ticks alike.
//!
//! Where clocks are changed, a schedule of certain hours ticks once for each of its times: one that is skipped ticks when the
//! clocks have been put forward, together with others that are skipped, and one that comes twice ticks the first time. A schedule
//! of all 24 hours goes by the time that passes instead: it ticks through an hour that comes twice, and what is skipped is not.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp as Instant};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Bytes of the longest expression.
pub const MAX_EXPRESSION_BYTES: usize = 128;
/// How many missed ticks are made up for at most: the newest.
pub const MAX_MISSED: usize = 100;
/// How late a tick may be and is not missed. Shorter than that, a program that is exchanged or a store that is busy has missed
/// nothing.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// Bytes of the longest name of a time zone; the database's own are far shorter.
const MAX_ZONE_BYTES: usize = 64;

/// Years within which each schedule ticks that ever does: a 29 February that is a certain day of the week may be 40 years off.
const YEARS: i16 = 50;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A set of small numbers, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: u32) -> bool {
        self.first_from(number) == Some(number)
    }

    fn first(self) -> u32 {
        self.0.trailing_zeros()
    }

    fn first_from(self, number: u32) -> Option<u32> {
        let rest = self.0 & u64::MAX.checked_shl(number)?;
        (rest != 0).then(|| rest.trailing_zeros())
    }
}

/// What a field of an expression may say.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// Words for numbers, from `first` on.
    words: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", first: 0, last: 59, words: &[] };
const MINUTE: Field = Field { name: "minute", first: 0, last: 59, words: &[] };
const HOUR: Field = Field { name: "hour", first: 0, last: 23, words: &[] };
const DAY: Field = Field { name: "day of month", first: 1, last: 31, words: &[] };
const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0 and 7.
const WEEKDAY: Field =
    Field { name: "day of week", first: 0, last: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Field {
    fn parse(&self, text: &str) -> Result<Set, InvalidExpression> {
        let mut set = 0;
        for part in text.split(',') {
            set |= self.part(part).ok_or_else(|| InvalidExpression::Field {
                part: part.into(),
                name: self.name,
                first: self.first,
                last: self.last,
            })?;
        }
        Ok(Set(set))
    }

    /// `*`, a number or a range; the first and the last may have a step.
    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None if step.is_some() => return None,
            None => (self.value(range)?, self.value(range)?),
        };
        if from > to {
            return None;
        }
        let step = usize::try_from(step.unwrap_or(1)).ok()?;
        Some((from..=to).step_by(step).fold(0, |set, number| set | 1 << number))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let word = self.words.iter().zip(self.first..).find(|(word, _)| word.eq_ignore_ascii_case(text));
        let value = word.map(|(_, number)| number).or_else(|| number(text))?;
        (self.first..=self.last).contains(&value).then_some(value)
    }
}

/// A number of one or two digits.
fn number(text: &str) -> Option<u32> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Times of day and days, as cron has them: `minute hour day-of-month month day-of-week`, or the same with the seconds first. Where
/// neither field of days begins with `*`, a day is meant that either of them says; else one that both say.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronExpression {
    text: Arc<str>,
    seconds: Set,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    either_day: bool,
}

/// A text that is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpression {
    /// It is empty or too long.
    #[error("a cron expression has 1 to {MAX_EXPRESSION_BYTES} bytes")]
    Length,
    /// It has too few fields or too many.
    #[error(
        "a cron expression has five fields, minute, hour, day of month, month and day of week, or six with second first"
    )]
    Fields,
    /// A field has a part that it does not take.
    #[error(
        "{part:?} is nothing for the field {name}, which takes *, numbers from {first} to {last} and ranges such as \
         {first}-{last}, with steps such as */2, and several of these with commas"
    )]
    Field {
        /// The part, between commas.
        part: Box<str>,
        /// What the field is called.
        name: &'static str,
        /// The least number.
        first: u32,
        /// The greatest one.
        last: u32,
    },
    /// No day is as it says.
    #[error("there is no such day: the trigger would never tick")]
    Never,
}

impl CronExpression {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn is_every_hour(&self) -> bool {
        (HOUR.first..=HOUR.last).all(|hour| self.hours.has(hour))
    }

    /// The first time from `from` on, on a clock that nobody changes, within the next [`YEARS`].
    fn search(&self, from: DateTime) -> Option<DateTime> {
        let (mut date, mut time) = (from.date(), from.time());
        let end = date.year().saturating_add(YEARS);
        while date.year() <= end {
            if !self.months.has(unsigned(date.month())) {
                date = date.last_of_month().tomorrow().ok()?;
                time = Time::midnight();
                continue;
            }
            if self.is_on(date)
                && let Some(time) = self.search_day(time)
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
        }
        None
    }

    fn is_on(&self, date: Date) -> bool {
        let day = self.days.has(unsigned(date.day()));
        let weekday = self.weekdays.has(unsigned(date.weekday().to_sunday_zero_offset()));
        if self.either_day { day || weekday } else { day && weekday }
    }

    fn search_day(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (unsigned(from.hour()), unsigned(from.minute()), unsigned(from.second()));
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.first_from(second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = self.minutes.first_from(minute + 1) {
                return time(hour, minute, self.seconds.first());
            }
        }
        let hour = self.hours.first_from(hour + 1)?;
        time(hour, self.minutes.first(), self.seconds.first())
    }
}

/// What a calendar calls by a small number, which is never negative.
fn unsigned(number: i8) -> u32 {
    u32::from(number.unsigned_abs())
}

fn time(hour: u32, minute: u32, second: u32) -> Option<Time> {
    let small = |number: u32| i8::try_from(number).ok();
    Time::new(small(hour)?, small(minute)?, small(second)?, 0).ok()
}

impl FromStr for CronExpression {
    type Err = InvalidExpression;

    fn from_str(text: &str) -> Result<Self, InvalidExpression> {
        if !(1..=MAX_EXPRESSION_BYTES).contains(&text.len()) {
            return Err(InvalidExpression::Length);
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let (second, [minute, hour, day, month, weekday]) = match fields[..] {
            [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            _ => return Err(InvalidExpression::Fields),
        };
        let Set(weekdays) = WEEKDAY.parse(weekday)?;
        let expression = Self {
            text: fields.join(" ").into(),
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: Set((weekdays | weekdays >> 7) & 0x7f),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // From a year on that has a 29 February on each day of the week within the next 28.
        let first = Date::constant(2000, 1, 1).to_datetime(Time::midnight());
        expression.search(first).map(|_| expression).ok_or(InvalidExpression::Never)
    }
}

/// A time zone of the IANA database, called as the database does.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronZone {
    name: Arc<str>,
    zone: TimeZone,
}

/// A text that is no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such time zone; name one as Europe/Zurich or UTC")]
pub struct InvalidZone;

impl CronZone {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl Default for CronZone {
    fn default() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }
}

impl FromStr for CronZone {
    type Err = InvalidZone;

    fn from_str(text: &str) -> Result<Self, InvalidZone> {
        if text.len() > MAX_ZONE_BYTES {
            return Err(InvalidZone);
        }
        let zone = ZONES.get(text).ok().filter(|zone| !zone.is_unknown()).ok_or(InvalidZone)?;
        Ok(Self { name: zone.iana_name().unwrap_or(text).into(), zone })
    }
}

macro_rules! text {
    ($($Name:ident, $Invalid:ident;)+) => {$(
        impl TryFrom<String> for $Name {
            type Error = $Invalid;

            fn try_from(text: String) -> Result<Self, $Invalid> {
                text.parse()
            }
        }

        impl From<$Name> for String {
            fn from(value: $Name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl PartialEq for $Name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $Name {}

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )+};
}
text! {
    CronExpression, InvalidExpression;
    CronZone, InvalidZone;
}

/// What is made of ticks whose time is past, since nothing ran or there was no room for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// Nothing, where it is past for longer than [`ON_TIME`].
    Skip,
    /// One tick for them all, the newest.
    #[default]
    Once,
    /// Each, up to the newest [`MAX_MISSED`].
    All,
}

/// When a trigger ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronSchedule {
    /// At which times.
    pub expression: CronExpression,
    /// By the clocks of where.
    pub time_zone: CronZone,
}

/// Ticks that are to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Their times, in order; none where all that were missed are skipped.
    pub ticks: Vec<Timestamp>,
    /// Up to when all is done once they are made.
    pub until: Timestamp,
}

impl CronSchedule {
    /// The first tick after that moment, to the second; nothing where it would be beyond representable time.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        // Ticks are at whole seconds.
        let second = Instant::from_second(after.as_millis().div_euclid(1_000)).ok()?;
        let next = if self.expression.is_every_hour() { self.next_passing(second) } else { self.next_on_wall(second) };
        next.map(|next| Timestamp::from_millis(next.as_millisecond())).filter(|next| *next > after)
    }

    /// By the clock on the wall, each time once.
    fn next_on_wall(&self, after: Instant) -> Option<Instant> {
        let zone = &self.time_zone.zone;
        let mut seen = zone.to_datetime(after);
        loop {
            let time = self.expression.search(second_after(seen)?)?;
            let at = match zone.to_ambiguous_timestamp(time).offset() {
                AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                    offset.to_timestamp(time).ok()?
                }
                // By the clock as it is set afterwards, a time that is skipped is before it is set.
                AmbiguousOffset::Gap { after: offset, .. } => {
                    let before = offset.to_timestamp(time).ok()?;
                    zone.following(before).next()?.timestamp()
                }
            };
            // While an hour comes the second time, its times are past.
            if at > after {
                return Some(at);
            }
            seen = time;
        }
    }

    /// By the time that passes, from one change of the clocks to the next.
    fn next_passing(&self, after: Instant) -> Option<Instant> {
        let zone = &self.time_zone.zone;
        let (mut since, mut offset) = (after, zone.to_offset(after));
        let mut from = second_after(offset.to_datetime(after))?;
        loop {
            let at = offset.to_timestamp(self.expression.search(from)?).ok()?;
            match zone.following(since).next() {
                Some(change) if change.timestamp() <= at => {
                    (since, offset) = (change.timestamp(), change.offset());
                    from = offset.to_datetime(since);
                }
                _ => return Some(at),
            }
        }
    }

    /// The last tick after `after` that is not after `until`.
    fn last_within(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        const SECOND: Duration = Duration::from_secs(1);
        let until = Timestamp::from_millis(until.as_millis().div_euclid(1_000) * 1_000);
        let within = |after| self.next_after(after).filter(|tick| *tick <= until);
        // A tick within, after which there is none from `end` on.
        let mut last = within(after)?;
        let mut end = until.plus(SECOND);
        while end.since(last) > SECOND {
            let half = end.since(last).as_secs() / 2;
            let middle = last.plus(Duration::from_secs(half));
            match within(middle.minus(SECOND)) {
                Some(tick) => last = tick,
                None => end = middle,
            }
        }
        Some(last)
    }

    /// What is to be made of the ticks after `ticked_at` up to `now`; nothing where there are none.
    pub fn due(&self, ticked_at: Timestamp, now: Timestamp, misfire: Misfire) -> Option<Due> {
        let until = self.last_within(ticked_at, now)?;
        let ticks = match misfire {
            Misfire::Skip if now.since(until) > ON_TIME => Vec::new(),
            Misfire::Skip | Misfire::Once => vec![until],
            Misfire::All => {
                let before = |tick: &Timestamp| self.last_within(ticked_at, tick.minus(Duration::from_secs(1)));
                let mut ticks: Vec<_> = std::iter::successors(Some(until), before).take(MAX_MISSED).collect();
                ticks.reverse();
                ticks
            }
        };
        Some(Due { ticks, until })
    }
}

fn second_after(time: DateTime) -> Option<DateTime> {
    time.checked_add(SignedDuration::from_secs(1)).ok()
}

#[cfg(test)]
mod tests;
