//! What happens many times a second: counted by one of a few words, and measured. Counting takes no look-up and no lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use picloud_shared::gauges::{BOUNDS_US, Durations, place_of};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Unit;

/// Seconds that Prometheus is told requests and executions apart by: from what a script takes on the thread that read its request, to the
/// longest timeout of the product. Each is one of [`BOUNDS_US`], which tell more, as of no number of series.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// Counters by a word of so many, and how long it took.
#[derive(Debug)]
pub(super) struct Tally<const WORDS: usize> {
    counters: [Counter; WORDS],
    durations: [AtomicU64; BOUNDS_US.len() + 1],
    /// All of them together, in microseconds.
    took_us: AtomicU64,
}

impl<const WORDS: usize> Default for Tally<WORDS> {
    fn default() -> Self {
        Self {
            counters: std::array::from_fn(|_| Counter::default()),
            durations: std::array::from_fn(|_| AtomicU64::new(0)),
            took_us: AtomicU64::new(0),
        }
    }
}

impl<const WORDS: usize> Tally<WORDS> {
    /// Counts one of the word at that place.
    pub(super) fn count(&self, word: usize, took: Duration) {
        if let Some(counter) = self.counters.get(word) {
            counter.inc();
        }
        // Each number is right by itself; a reader may see one without the other.
        self.durations[place_of(took)].fetch_add(1, Ordering::Relaxed);
        self.took_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many there were of the word at that place.
    pub(super) fn counted(&self, word: usize) -> u64 {
        self.counters.get(word).map_or(0, Counter::get)
    }

    /// How long they took.
    pub(super) fn durations(&self) -> Durations {
        Durations(std::array::from_fn(|place| self.durations[place].load(Ordering::Relaxed)))
    }

    /// Those of each bucket, which is told apart from the one before.
    fn buckets(durations: &Durations) -> [(f64, u64); BUCKETS.len() + 1] {
        let mut all = BOUNDS_US.iter().zip(durations.0).peekable();
        let mut buckets = [(f64::INFINITY, durations.0[BOUNDS_US.len()]); BUCKETS.len() + 1];
        for (bucket, bound) in buckets.iter_mut().zip(BUCKETS) {
            let mut within = 0;
            while let Some((_, count)) =
                all.next_if(|(micros, _)| Duration::from_micros(**micros).as_secs_f64() <= bound)
            {
                within += count;
            }
            *bucket = (bound, within);
        }
        buckets
    }
}

/// Tallies as they are told, each under a name.
#[derive(Debug)]
pub(super) struct Told<const WORDS: usize> {
    /// What the counters are called, and what they count.
    pub(super) counted: (&'static str, &'static str),
    /// What the durations are called, and what they measure.
    pub(super) measured: (&'static str, &'static str),
    /// What names are of.
    pub(super) named_by: &'static str,
    /// What words are of.
    pub(super) counted_by: &'static str,
    /// The words, in their places.
    pub(super) words: [&'static str; WORDS],
    /// The tallies.
    pub(super) tallies: Vec<(String, Arc<Tally<WORDS>>)>,
}

impl<const WORDS: usize> Collector for Told<WORDS> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = self.counted;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (name, tally) in &self.tallies {
            for (word, counter) in self.words.iter().zip(&tally.counters).filter(|(_, counter)| counter.get() > 0) {
                let labels = [(self.named_by, name.as_str()), (self.counted_by, word)];
                counter.encode(family.encode_family(&labels)?)?;
            }
        }
        let (name, help) = self.measured;
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (name, tally) in &self.tallies {
            let durations = tally.durations();
            let took = Duration::from_micros(tally.took_us.load(Ordering::Relaxed)).as_secs_f64();
            let labels = [(self.named_by, name.as_str())];
            let mut told = family.encode_family(&labels)?;
            told.encode_histogram::<NoLabelSet>(took, durations.count(), &Tally::<WORDS>::buckets(&durations), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_the_narrower_classes_do() {
        for bound in BUCKETS {
            let is_bound = |micros: &u64| Duration::from_micros(*micros).as_secs_f64().to_bits() == bound.to_bits();
            assert!(BOUNDS_US.iter().any(is_bound), "{bound} s is no bound of a class");
        }
        let tally = Tally::<1>::default();
        for took_ms in [1, 2, 5, 6, 70_000] {
            tally.count(0, Duration::from_millis(took_ms));
        }
        let buckets = Tally::<1>::buckets(&tally.durations());
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.001, 1), (0.005, 2), (0.025, 1), (f64::INFINITY, 1)]);
    }
}
