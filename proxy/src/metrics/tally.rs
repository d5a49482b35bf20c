//! What happens many times a second: counted by one of a few words, and measured. Counting takes no look-up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

/// Seconds that requests and executions are told apart by: from what a script takes on the thread that read its request, to the
/// longest timeout of the product.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// Counters by a word of so many, and how long it took.
#[derive(Debug)]
pub(super) struct Tally<const WORDS: usize> {
    counters: [Counter; WORDS],
    duration: Histogram,
}

impl<const WORDS: usize> Default for Tally<WORDS> {
    fn default() -> Self {
        Self { counters: std::array::from_fn(|_| Counter::default()), duration: Histogram::new(BUCKETS) }
    }
}

impl<const WORDS: usize> Tally<WORDS> {
    /// Counts one of the word at that place.
    pub(super) fn count(&self, word: usize, took: Duration) {
        if let Some(counter) = self.counters.get(word) {
            counter.inc();
        }
        self.duration.observe(took.as_secs_f64());
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
            tally.duration.encode(family.encode_family(&[(self.named_by, name.as_str())])?)?;
        }
        Ok(())
    }
}
