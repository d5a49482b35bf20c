//! How long things took, by classes so narrow that a percentile can be told of them.

use std::time::Duration;

/// The upper bounds of the classes in microseconds: each is at most 1.7 times the one before, so that a percentile that lies within one
/// is told to a third. What took longer than the last is a class of its own.
pub const BOUNDS_US: [u64; 37] = [
    50, 70, 100, 150, 250, 350, 500, 700, 1_000, 1_500, 2_500, 3_500, 5_000, 7_000, 10_000, 15_000, 25_000, 35_000,
    50_000, 70_000, 100_000, 150_000, 250_000, 350_000, 500_000, 700_000, 1_000_000, 1_500_000, 2_500_000, 3_500_000,
    5_000_000, 7_000_000, 10_000_000, 15_000_000, 25_000_000, 35_000_000, 60_000_000,
];

/// The class of what took so long.
pub fn place_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    BOUNDS_US.partition_point(|bound| *bound < micros)
}

/// How many there were in each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations(pub [u64; BOUNDS_US.len() + 1]);

impl Default for Durations {
    fn default() -> Self {
        Self([0; BOUNDS_US.len() + 1])
    }
}

impl Durations {
    /// What came since an earlier moment of the same process.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place].saturating_sub(earlier.0[place])))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What so many of a hundred took at most, in microseconds, as if those of a class were spread evenly over it; `None` where there
    /// was nothing. Of those beyond the last bound only that they took longer is known: that bound is told.
    pub fn percentile_us(&self, percent: u64) -> Option<u64> {
        let count = self.count();
        let rank = (count * percent.min(100)).div_ceil(100).max(1);
        let mut before = 0;
        for (place, &here) in self.0.iter().enumerate() {
            if before + here >= rank && here > 0 {
                let floor = if place == 0 { 0 } else { BOUNDS_US[place - 1] };
                let top = BOUNDS_US.get(place).copied().unwrap_or(floor);
                return Some(floor + (top - floor) * (rank - before) / here);
            }
            before += here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(took_us: &[u64]) -> Durations {
        let mut durations = Durations::default();
        for took in took_us {
            durations.0[place_of(Duration::from_micros(*took))] += 1;
        }
        durations
    }

    #[test]
    fn classes_are_in_order_and_narrow_enough() {
        assert!(BOUNDS_US.windows(2).all(|two| two[0] < two[1] && 10 * two[1] <= 18 * two[0]));
        for (took_us, place) in [(0, 0), (50, 0), (51, 1), (60_000_000, 36), (60_000_001, 37)] {
            assert_eq!(place_of(Duration::from_micros(took_us)), place, "{took_us} us");
        }
        assert_eq!(place_of(Duration::MAX), 37);
    }

    #[test]
    fn a_percentile_lies_in_the_class_of_what_it_is_of() {
        assert_eq!(Durations::default().percentile_us(50), None);
        let mut durations = of(&[80; 98]);
        durations.0[place_of(Duration::from_millis(30))] += 2;
        assert!((70..=100).contains(&durations.percentile_us(50).unwrap()));
        assert!((25_000..=35_000).contains(&durations.percentile_us(99).unwrap()));
        assert_eq!(of(&[70_000_000]).percentile_us(99), Some(60_000_000), "longer than what is told apart");
        assert_eq!(of(&[60]).percentile_us(0), Some(70));
        assert_eq!(of(&[60, 60, 80]).since(&of(&[60])).count(), 2);
    }
}
