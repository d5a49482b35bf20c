//! What data from outside may still take of a script's limits while it is read.

use std::cell::Cell;

use rhai::{Engine, EvalAltResult, Position};

/// The data limits of a script, as Rhai counts them: over a value and all that is within it.
#[derive(Debug, Clone, Copy)]
pub struct SizeLimits {
    /// Bytes of strings.
    pub string: usize,
    /// Elements of arrays.
    pub array: usize,
    /// Entries of maps.
    pub map: usize,
}

impl SizeLimits {
    /// The limits that an engine enforces.
    pub fn of(engine: &Engine) -> Self {
        Self { string: engine.max_string_size(), array: engine.max_array_size(), map: engine.max_map_size() }
    }
}

/// More than a limit allows, in Rhai's own words, so that all ways over a limit look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TooLarge(pub &'static str);

impl TooLarge {
    /// The error as a script gets it.
    pub fn thrown(self, position: Position) -> Box<EvalAltResult> {
        EvalAltResult::ErrorDataTooLarge(self.0.to_owned(), position).into()
    }
}

/// What may still be read.
#[derive(Debug)]
pub struct Left {
    string: Cell<usize>,
    array: Cell<usize>,
    map: Cell<usize>,
}

impl Left {
    /// All of it.
    pub fn new(limits: SizeLimits) -> Self {
        Self { string: limits.string.into(), array: limits.array.into(), map: limits.map.into() }
    }

    /// Counts a string before it is copied. Keys count, which Rhai does not do: they take memory like any string.
    pub fn string(&self, text: &str) -> Result<(), TooLarge> {
        take(&self.string, text.len(), "Length of string")
    }

    /// Counts a blob before it is copied.
    pub fn blob(&self, bytes: &[u8]) -> Result<(), TooLarge> {
        take(&self.array, bytes.len(), "Size of array/BLOB")
    }

    /// Counts an element of an array.
    pub fn element(&self) -> Result<(), TooLarge> {
        take(&self.array, 1, "Size of array/BLOB")
    }

    /// Counts an entry of a map.
    pub fn entry(&self) -> Result<(), TooLarge> {
        take(&self.map, 1, "Size of object map")
    }
}

fn take(left: &Cell<usize>, amount: usize, what: &'static str) -> Result<(), TooLarge> {
    left.set(left.get().checked_sub(amount).ok_or(TooLarge(what))?);
    Ok(())
}
