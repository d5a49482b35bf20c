//! A part of the request that is made when it is first read.

use std::sync::{Mutex, PoisonError};

use rhai::Dynamic;

use super::Fallible;

/// A part, once it was read. It belongs to one run, so its lock is never contended.
#[derive(Debug, Default)]
pub struct Part(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    value: Dynamic,
    entries: usize,
}

impl Part {
    /// The part: shared, so that reading it again copies nothing, and read-only, so that nothing that a script does with one
    /// read shows in another. Assigned to a variable of the script's own it becomes a copy, which the script may change.
    pub fn get(&self, make: impl FnOnce() -> Fallible<Dynamic>) -> Fallible<Dynamic> {
        let mut part = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*part {
            return Ok(made.value.clone());
        }
        let value = make()?;
        let entries = entries(&value);
        let value = value.into_read_only().into_shared();
        Ok(part.insert(Made { value, entries }).value.clone())
    }

    /// Takes back what Rhai lent out: after a method of the part it moves the value out of the shared cell and hands it to
    /// the setter. Gives whether the value is as it was made; any other is refused, and the part is made anew when it is read
    /// again. All that can have changed is a new key, which Rhai lets into a read-only map before it asks whether it may.
    pub fn put_back(&self, value: Dynamic) -> bool {
        let mut part = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *part {
            // What a script assigns is not read-only.
            Some(made) if value.is_read_only() && entries(&value) == made.entries => {
                made.value = value.into_shared();
                true
            }
            _ => {
                part.take();
                false
            }
        }
    }
}

/// The entries of all maps in an unshared value; no part of a request nests deeper than JSON may.
fn entries(value: &Dynamic) -> usize {
    if value.is_map()
        && let Ok(map) = value.as_map_ref()
    {
        return map.len() + map.values().map(entries).sum::<usize>();
    }
    if value.is_array()
        && let Ok(array) = value.as_array_ref()
    {
        return array.iter().map(entries).sum();
    }
    0
}
