//! Moments of this process that were seen, as many as the charts show: the last of each minute of an hour, of each hour of a day, and
//! of each day of two weeks. They take some 50 KB, and end with the process.

use std::collections::VecDeque;

use picloud_shared::clock::Timestamp;
use picloud_shared::gauges::{NodeSample, RequestCounts};

/// How much of the past a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// An hour of minutes.
    Hour,
    /// A day of hours.
    Day,
    /// Two weeks of days.
    TwoWeeks,
}

impl Span {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::TwoWeeks];

    /// How long a point is, in milliseconds.
    const fn step_ms(self) -> i64 {
        match self {
            Self::Hour => 60_000,
            Self::Day => 60 * 60_000,
            Self::TwoWeeks => 24 * 60 * 60_000,
        }
    }

    /// How many there are.
    const fn points(self) -> i64 {
        match self {
            Self::Hour => 60,
            Self::Day => 24,
            Self::TwoWeeks => 14,
        }
    }
}

/// A moment that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub at: Timestamp,
    pub records_dropped: u64,
    pub sample: NodeSample,
}

/// From one moment to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    /// Its beginning.
    pub at: Timestamp,
    pub requests: RequestCounts,
    /// What half of the requests to apps took at most, and 99 of 100; `None` where there were none.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    /// At its end; `None` where nobody looked.
    pub resident_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
    pub written_bytes: Option<u64>,
    pub log_lines_dropped: u64,
    pub records_dropped: u64,
}

/// What was written since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub bytes: u64,
    pub since: Timestamp,
}

/// All moments that are kept.
#[derive(Debug)]
pub(crate) struct History {
    since: Timestamp,
    /// Of each span: the last moment of each point, and the one before the first.
    kept: [VecDeque<Kept>; Span::ALL.len()],
}

impl History {
    /// That of a process that began then.
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, kept: Default::default() }
    }

    /// When it begins.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// The last moment that was seen.
    pub(crate) fn last(&self) -> Option<&Kept> {
        self.kept[Span::Hour as usize].back()
    }

    /// Keeps a moment.
    pub(crate) fn note(&mut self, moment: Kept) {
        for span in Span::ALL {
            let kept = &mut self.kept[span as usize];
            let step = step_of(span, moment.at);
            // Of a point the last counts. Where the clock was set back, what it makes the future is forgotten.
            while kept.back().is_some_and(|last| step_of(span, last.at) >= step) {
                kept.pop_back();
            }
            kept.push_back(moment.clone());
            // All that is shown, and the one that the first is counted from.
            while kept.len() > 1 && kept.get(1).is_some_and(|next| step_of(span, next.at) <= step - span.points()) {
                kept.pop_front();
            }
        }
        if moment.at < self.since {
            self.since = moment.at;
        }
    }

    /// Points one after the other without gaps, from the process's first on as far as the span goes, up to the last moment seen.
    pub(crate) fn points(&self, span: Span) -> Vec<Point> {
        let kept = &self.kept[span as usize];
        let (Some(first), Some(last)) = (kept.front(), kept.back()) else { return Vec::new() };
        let end = step_of(span, last.at);
        let begin = step_of(span, first.at).max(end - span.points() + 1);
        let mut points = Vec::new();
        let mut seen = kept.iter().peekable();
        let mut before: Option<&Kept> = None;
        while let Some(earlier) = seen.next_if(|kept| step_of(span, kept.at) < begin) {
            before = Some(earlier);
        }
        for step in begin..=end {
            let here = seen.next_if(|kept| step_of(span, kept.at) == step);
            points.push(Point::of(Timestamp::from_millis(step * span.step_ms()), before, here));
            before = here.or(before);
        }
        points
    }

    /// What was written in the last 24 hours, less up to one of them, or since the process began; `None` where that is not told.
    pub(crate) fn written_in_a_day(&self) -> Option<Written> {
        let of = |kept: &Kept| kept.sample.process?.written_bytes;
        let kept = &self.kept[Span::Day as usize];
        let last = kept.back()?;
        let a_day_ago = step_of(Span::Day, last.at) - Span::Day.points();
        Some(match kept.front().filter(|first| step_of(Span::Day, first.at) <= a_day_ago) {
            Some(earlier) => Written { bytes: of(last)?.saturating_sub(of(earlier)?), since: earlier.at },
            None => Written { bytes: of(last)?, since: self.since },
        })
    }
}

/// Which point of the span a moment lies in.
fn step_of(span: Span, at: Timestamp) -> i64 {
    at.as_millis().div_euclid(span.step_ms())
}

impl Point {
    /// What came from one moment to another. Without an earlier one that is all: numbers begin at 0 with the process.
    fn of(at: Timestamp, before: Option<&Kept>, here: Option<&Kept>) -> Self {
        let nothing = NodeSample::default();
        let earlier = before.map_or(&nothing, |before| &before.sample);
        let now = here.map_or(earlier, |here| &here.sample);
        let durations = now.durations.since(&earlier.durations);
        let written = |sample: &NodeSample| sample.process?.written_bytes;
        let dropped = |kept: Option<&Kept>| kept.map_or(0, |kept| kept.records_dropped);
        Self {
            at,
            requests: now.requests.since(earlier.requests),
            p50_us: durations.percentile_us(50),
            p99_us: durations.percentile_us(99),
            resident_bytes: here.and_then(|here| Some(here.sample.process?.resident_bytes)),
            disk_free_bytes: here.and_then(|here| Some(here.sample.disk?.free)),
            written_bytes: here
                .and_then(|here| Some(written(&here.sample)?.saturating_sub(written(earlier).unwrap_or(0)))),
            log_lines_dropped: now.log_lines_dropped.saturating_sub(earlier.log_lines_dropped),
            records_dropped: dropped(here.or(before)).saturating_sub(dropped(before)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use picloud_shared::gauges::ProcessUse;

    use super::*;

    const HOUR: i64 = 60 * 60_000;
    /// A whole hour and a whole day.
    const BEGIN: i64 = 20_000 * 24 * HOUR;

    fn kept(at_ms: i64, requests: u64, written: u64) -> Kept {
        let process = ProcessUse {
            resident_bytes: 1,
            virtual_bytes: 2,
            threads: 3,
            cpu: Duration::ZERO,
            open_files: None,
            max_open_files: None,
            written_bytes: Some(written),
        };
        let requests = RequestCounts { good: requests, ..RequestCounts::default() };
        let sample = NodeSample { requests, process: Some(process), ..NodeSample::default() };
        Kept { at: Timestamp::from_millis(BEGIN + at_ms), records_dropped: 0, sample }
    }

    fn begun() -> History {
        History::new(Timestamp::from_millis(BEGIN))
    }

    fn good(history: &History, span: Span) -> Vec<(i64, u64)> {
        let points = history.points(span).into_iter();
        points.map(|point| ((point.at.as_millis() - BEGIN) / span.step_ms(), point.requests.good)).collect()
    }

    #[test]
    fn points_tell_what_came_between_looks_and_have_no_gaps() {
        let mut history = begun();
        assert_eq!(good(&history, Span::Hour), []);
        for (at_ms, requests) in [(1_000, 5), (30_000, 7), (61_000, 8), (241_000, 20)] {
            history.note(kept(at_ms, requests, 0));
        }
        assert_eq!(good(&history, Span::Hour), [(0, 7), (1, 1), (2, 0), (3, 0), (4, 12)]);
        let points = history.points(Span::Hour);
        assert_eq!((points[1].resident_bytes, points[2].resident_bytes), (Some(1), None), "nobody looked");
        assert_eq!(good(&history, Span::Day), [(0, 20)]);
    }

    #[test]
    fn what_is_kept_is_what_charts_show_and_the_moment_before() {
        let mut history = begun();
        for minute in 0..30 * 24 * 60 {
            history.note(kept(minute * 60_000, u64::try_from(minute).unwrap(), 0));
        }
        for (span, points) in [(Span::Hour, 60), (Span::Day, 24), (Span::TwoWeeks, 14)] {
            assert_eq!(history.kept[span as usize].len(), points + 1, "{span:?}");
            let told = good(&history, span);
            assert_eq!(told.len(), points, "{span:?}");
            let step = u64::try_from(span.step_ms() / 60_000).unwrap();
            assert!(told.iter().all(|(_, count)| *count == step), "{told:?}");
        }
    }

    #[test]
    fn a_long_sleep_leaves_one_chart_and_no_more() {
        let mut history = begun();
        history.note(kept(0, 1, 0));
        history.note(kept(400 * 24 * HOUR, 3, 0));
        for span in Span::ALL {
            let told = good(&history, span);
            assert_eq!(told.len(), usize::try_from(span.points()).unwrap());
            assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 2, "{told:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_point_negative_and_no_chart_of_the_future() {
        let mut history = begun();
        for (at_ms, requests) in [(0, 1), (10 * HOUR, 5), (2 * HOUR, 9), (-HOUR, 11)] {
            history.note(kept(at_ms, requests, 0));
        }
        assert_eq!(good(&history, Span::Day), [(-1, 11)]);
        assert_eq!(history.since(), Timestamp::from_millis(BEGIN - HOUR));
    }

    #[test]
    fn what_was_written_in_a_day_is_counted_from_the_start_at_first_and_then_from_a_day_ago() {
        let mut history = begun();
        assert_eq!(history.written_in_a_day(), None);
        history.note(kept(HOUR / 2, 0, 100));
        let since_start = Written { bytes: 100, since: Timestamp::from_millis(BEGIN) };
        assert_eq!(history.written_in_a_day(), Some(since_start));
        for hour in 1..50 {
            history.note(kept(hour * HOUR + HOUR / 2, 0, 100 + u64::try_from(hour).unwrap()));
        }
        let of_a_day = Written { bytes: 24, since: Timestamp::from_millis(BEGIN + 25 * HOUR + HOUR / 2) };
        assert_eq!(history.written_in_a_day(), Some(of_a_day));
    }
}
