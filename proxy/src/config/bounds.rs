//! What numbers a setting takes. Outside of these a program would break down, or serve nobody; inside, the operator knows.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::ensure;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
pub const GIB: usize = 1024 * MIB;
/// More connections, or executions at once, than one machine holds.
pub const MANY: usize = 1_000_000;
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The value of a setting, or its default.
///
/// # Errors
/// A value out of the range, named with both.
pub fn within<T>(name: &str, value: Option<T>, default: T, range: RangeInclusive<T>) -> anyhow::Result<T>
where
    T: PartialOrd + Display,
{
    Ok(optional(name, value, range)?.unwrap_or(default))
}

/// The same for a setting whose default is not known here.
///
/// # Errors
/// A value out of the range, named with both.
pub fn optional<T>(name: &str, value: Option<T>, range: RangeInclusive<T>) -> anyhow::Result<Option<T>>
where
    T: PartialOrd + Display,
{
    if let Some(value) = &value {
        let (least, most) = (range.start(), range.end());
        ensure!(range.contains(value), "{name} is {value}; it must be from {least} to {most}");
    }
    Ok(value)
}

/// The same for a time that a client gets: less than a tenth of a second cuts honest ones off.
///
/// # Errors
/// A value out of the range, named with both.
pub fn millis(name: &str, value: Option<u64>, default: Duration) -> anyhow::Result<Duration> {
    Ok(optional(name, value, 100..=DAY_MS)?.map_or(default, Duration::from_millis))
}
