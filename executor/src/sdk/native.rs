//! What every native function owes a script that may mean harm: errors that say what to do, and sizes checked before
//! anything is made.

use rhai::{Blob, Dynamic, EvalAltResult, ImmutableString, Module, NativeCallContext, Shared};

use crate::limits::charge_bytes;

/// What a native function gives.
pub type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// A module for all engines.
pub fn module(register: impl FnOnce(&mut Module)) -> Shared<Module> {
    let mut module = Module::new();
    register(&mut module);
    module.build_index();
    module.into()
}

/// An error that a script can catch. The message begins with the function's name and is bounded.
pub fn thrown(call: &NativeCallContext, message: impl Into<ImmutableString>) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.into().into(), call.call_position()).into()
}

/// Refuses a string of `len` bytes before it is made, in Rhai's own words for it.
pub fn fits_string(call: &NativeCallContext, len: usize) -> Fallible<()> {
    fits(call, len, call.engine().max_string_size(), "Length of string")
}

/// The same for the elements of an array or the bytes of a blob.
pub fn fits_array(call: &NativeCallContext, len: usize) -> Fallible<()> {
    fits(call, len, call.engine().max_array_size(), "Size of array/BLOB")
}

/// The same for the entries of a map.
pub fn fits_map(call: &NativeCallContext, len: usize) -> Fallible<()> {
    fits(call, len, call.engine().max_map_size(), "Size of object map")
}

fn fits(call: &NativeCallContext, len: usize, max: usize, what: &str) -> Fallible<()> {
    if len > max {
        return Err(EvalAltResult::ErrorDataTooLarge(what.to_owned(), call.call_position()).into());
    }
    Ok(())
}

/// A blob of the script's, of a few known bytes.
pub fn blob(call: &NativeCallContext, bytes: &[u8]) -> Fallible<Blob> {
    fits_array(call, bytes.len())?;
    Ok(bytes.to_vec())
}

/// Hands over the bytes of an argument that is a string or a blob, charged. `argument` names function and argument.
pub fn with_bytes<T>(
    call: &NativeCallContext,
    value: &Dynamic,
    argument: &str,
    take: impl FnOnce(&[u8]) -> Fallible<T>,
) -> Fallible<T> {
    if let Ok(text) = value.as_immutable_string_ref() {
        charge_bytes(text.len())?;
        return take(text.as_bytes());
    }
    match value.as_blob_ref() {
        Ok(blob) => {
            charge_bytes(blob.len())?;
            take(&blob)
        }
        Err(kind) => Err(thrown(call, format!("{argument} is a string or a blob, not {}", short(kind)))),
    }
}

/// Hands over the text of a value that has one: a string, a character, a number or a truth value. Anything else gives nothing.
pub fn with_text<T>(value: &Dynamic, take: impl FnOnce(&str) -> T) -> Option<T> {
    if value.is_shared() {
        return with_text(&*value.read_lock::<Dynamic>()?, take);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Some(take(&text));
    }
    let short = value.is_char() || value.is_int() || value.is_float() || value.is_bool();
    short.then(|| take(&value.to_string()))
}

/// A type's name as scripts know it, without the path of a type of ours.
pub fn short(kind: &str) -> &str {
    kind.rsplit("::").next().unwrap_or(kind)
}

/// The beginning of a text of the script's, for a message.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
