//! Time as a parameter: who needs the time is handed a [`Clock`], so that a test can hold it still.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The first millisecond that RFC 3339 has a text for, the year 0's; and the last that jiff reads in every time zone, the
/// year 9999's but for its last day.
const FIRST: i64 = -62_167_219_200_000;
const LAST: i64 = 253_402_207_200_000;

/// A moment in milliseconds since 1970-01-01T00:00:00Z, from the year 0 to 9999; written as RFC 3339 in UTC with three
/// decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many milliseconds after the epoch; the first or the last where there is none.
    pub const fn from_millis(millis: i64) -> Self {
        match millis {
            ..FIRST => Self(FIRST),
            LAST.. => Self(LAST),
            _ => Self(millis),
        }
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment plus a span; stops at the end of representable time.
    pub fn plus(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment less a span; stops at the beginning of representable time.
    pub fn minus(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The span from `earlier` to this moment; zero when the clock went back.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as RFC 3339, such as 2026-01-31T12:00:00.000Z")]
pub struct InvalidTimestamp;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}")
    }
}

impl std::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        Ok(Self::from_millis(time.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The time since a fixed moment of this process: it measures spans, whatever is done to the wall clock meanwhile.
    fn monotonic(&self) -> Duration;
}

/// The moment since which [`SystemClock`] counts: when it was first asked, or some time before that.
static BEGINNING: OnceLock<Instant> = OnceLock::new();

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Has it count from where another process's has come to, which hands over to this one: what that one wrote down by its clock
    /// is true by this one's. Whether that was done: not once it was asked.
    pub fn go_on_from(passed: Duration) -> bool {
        Instant::now().checked_sub(passed).is_some_and(|beginning| BEGINNING.set(beginning).is_ok())
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        BEGINNING.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that moves only when told to, for tests.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    passed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub const fn new(start: Timestamp) -> Self {
        Self { now: AtomicI64::new(start.0), passed_ms: AtomicU64::new(0) }
    }

    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.now.fetch_add(millis, Ordering::Relaxed);
        self.passed_ms.fetch_add(millis.unsigned_abs(), Ordering::Relaxed);
    }

    /// Sets the wall clock, as an operator or a time server would; no time passes by it.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.passed_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_and_writes_rfc_3339_with_milliseconds() {
        let time = Timestamp::from_millis(1_767_225_600_007);
        assert_eq!(time.to_string(), "2026-01-01T00:00:00.007Z");
        assert_eq!("2026-01-01T01:00:00.007+01:00".parse(), Ok(time));
        assert_eq!("yesterday".parse::<Timestamp>(), Err(InvalidTimestamp));
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn every_timestamp_reads_back_what_it_writes() {
        for millis in [i64::MIN, FIRST, -1, 0, LAST, i64::MAX] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(time.to_string().parse(), Ok(time), "{time}");
        }
        assert_eq!(Timestamp::from_millis(FIRST).to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(jiff::Timestamp::MAX.as_second() * 1_000, LAST);
        assert_eq!(Timestamp::from_millis(0).plus(Duration::MAX), Timestamp::from_millis(i64::MAX));
    }

    #[test]
    fn spans_are_measured_past_a_wall_clock_that_is_set() {
        let clock = ManualClock::new(Timestamp::from_millis(9_000));
        let before = clock.monotonic();
        clock.advance(Duration::from_secs(2));
        clock.set(Timestamp::from_millis(1_000));
        assert_eq!(clock.now(), Timestamp::from_millis(1_000));
        assert_eq!(clock.monotonic() - before, Duration::from_secs(2));
        assert!(SystemClock.monotonic() <= SystemClock.monotonic());
    }

    #[test]
    fn a_clock_that_went_back_measures_zero() {
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(9)), Duration::ZERO);
    }
}
