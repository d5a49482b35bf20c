//! A part of the request that is made when it is first read, and lent to the script.
//!
//! A script gets it in a shared cell, so that `ctx.request.body.name` copies nothing but the name. Rhai's read-only flag does not make the
//! cell safe: a map that has it takes new keys, a string new characters. So a program that has the means to change what it is lent
//! ([`Lending::Anew`]) gets another copy each time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rhai::{Dynamic, Locked, Shared};

use super::Fallible;

/// How a program's runs are lent the parts of their request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lending {
    /// The same cell again, once nobody holds it: nothing in the program can change what is in it.
    Again,
    /// A copy of the part at each read.
    Anew,
}

/// A part, once it was read. It belongs to one run, so its lock is never contended.
#[derive(Debug, Default)]
pub struct Part(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    /// What was lent last. It is kept in both ways of lending: a cell that only the script held would be moved out of, flag and all, where
    /// the script makes a variable of it, which is to be a copy that it may change.
    cell: Cell,
    /// The part as it was made, where each read gets a copy.
    original: Option<Dynamic>,
}

type Cell = Shared<Locked<Dynamic>>;

fn cell(value: Dynamic) -> Cell {
    Shared::new(Locked::new(value.into_read_only()))
}

impl Part {
    /// The part. What an expression further up still holds is not lent again: it may hold the lock, for which Rhai waits
    /// 50 ms and then panics.
    pub fn get(&self, lending: Lending, make: impl FnOnce() -> Fallible<Dynamic>) -> Fallible<Dynamic> {
        let mut part = self.lock();
        match &mut *part {
            Some(Made { cell, original: None }) if Shared::strong_count(cell) == 1 => {}
            Some(Made { cell: lent, original: Some(original) }) => *lent = cell(original.clone()),
            _ => {
                let value = make()?;
                let original = (lending == Lending::Anew).then(|| value.clone());
                *part = Some(Made { cell: cell(value), original });
            }
        }
        Ok(part.as_ref().map_or(Dynamic::UNIT, |made| Shared::clone(&made.cell).into()))
    }

    /// Takes back what Rhai lent out: after a method of the part it moves the value out of the shared cell and hands it to
    /// the setter. Gives whether the value is as it was made; any other is refused.
    pub fn put_back(&self, value: Dynamic) -> bool {
        let mut part = self.lock();
        let Some(made) = &mut *part else {
            return false;
        };
        let unchanged = match &made.original {
            Some(original) => same(original, &value),
            // What a script assigns is not read-only.
            None => value.is_read_only(),
        };
        if unchanged {
            made.cell = cell(value);
        }
        unchanged
    }

    /// Lets go of the part: the script may have put into it what leads back to it.
    pub fn end(&self) {
        let made = self.lock().take();
        drop(made);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a value is what a part was made as; no part of a request nests deeper than JSON may.
fn same(original: &Dynamic, value: &Dynamic) -> bool {
    if let (Ok(original), Ok(value)) = (original.as_map_ref(), value.as_map_ref()) {
        let mut pairs = original.iter().zip(value.iter());
        return original.len() == value.len() && pairs.all(|((a, x), (b, y))| a == b && same(x, y));
    }
    if let (Ok(original), Ok(value)) = (original.as_array_ref(), value.as_array_ref()) {
        return original.len() == value.len() && original.iter().zip(value.iter()).all(|(x, y)| same(x, y));
    }
    if let (Ok(original), Ok(value)) = (original.as_immutable_string_ref(), value.as_immutable_string_ref()) {
        return *original == *value;
    }
    if let (Ok(original), Ok(value)) = (original.as_blob_ref(), value.as_blob_ref()) {
        return *original == *value;
    }
    if let (Ok(original), Ok(value)) = (original.as_float(), value.as_float()) {
        return original.to_bits() == value.to_bits();
    }
    match (original.as_int(), original.as_bool()) {
        (Ok(original), _) => value.as_int() == Ok(original),
        (_, Ok(original)) => value.as_bool() == Ok(original),
        _ => original.is_unit() && value.is_unit(),
    }
}
