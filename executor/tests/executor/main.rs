//! The executor from outside: what scripts see, what they get sent, and what they cannot do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod at_once;
mod check;
mod compiling;
mod contained;
mod documented;
mod golden;
mod hostile;
mod invoke;
mod records;
mod standard;
mod tiers;
mod world;
