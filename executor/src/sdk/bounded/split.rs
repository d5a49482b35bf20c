//! `split`, `split_rev` and `to_chars`: an array of as many elements as there are pieces.

use rhai::{Array, Dynamic, ImmutableString, Module, NativeCallContext};

use super::{Fallible, check_array, function};
use crate::limits::{charge_copied, reserve_bytes};

/// Bytes of a piece beside its text: its place in the array, and the counted block that holds its text.
const PIECE_BYTES: usize = 64;

pub fn register(module: &mut Module) {
    type Call<'a> = NativeCallContext<'a>;
    function("split").set_into_module(module, |call: Call, text: &mut ImmutableString| {
        if text.is_empty() { Ok(whole(text)) } else { pieces(&call, text, text.split_whitespace()) }
    });
    function("split").set_into_module(module, |call: Call, text: &mut ImmutableString, by: &str| {
        if is_one(text, by) { Ok(whole(text)) } else { pieces(&call, text, text.split(by)) }
    });
    function("split").set_into_module(module, |call: Call, text: &mut ImmutableString, by: &str, most: i64| {
        match most_pieces(most) {
            Some(most) if !is_one(text, by) => pieces(&call, text, text.splitn(most, by)),
            _ => Ok(whole(text)),
        }
    });
    function("split").set_into_module(module, |call: Call, text: &mut ImmutableString, by: char| {
        if text.is_empty() { Ok(whole(text)) } else { pieces(&call, text, text.split(by)) }
    });
    function("split").set_into_module(module, |call: Call, text: &mut ImmutableString, by: char, most: i64| {
        match most_pieces(most) {
            Some(most) if !text.is_empty() => pieces(&call, text, text.splitn(most, by)),
            _ => Ok(whole(text)),
        }
    });
    function("split_rev").set_into_module(module, |call: Call, text: &mut ImmutableString, by: &str| {
        if is_one(text, by) { Ok(whole(text)) } else { pieces(&call, text, text.rsplit(by)) }
    });
    function("split_rev").set_into_module(module, |call: Call, text: &mut ImmutableString, by: &str, most: i64| {
        match most_pieces(most) {
            Some(most) if !is_one(text, by) => pieces(&call, text, text.rsplitn(most, by)),
            _ => Ok(whole(text)),
        }
    });
    function("split_rev").set_into_module(module, |call: Call, text: &mut ImmutableString, by: char| {
        if text.is_empty() { Ok(whole(text)) } else { pieces(&call, text, text.rsplit(by)) }
    });
    function("split_rev").set_into_module(module, |call: Call, text: &mut ImmutableString, by: char, most: i64| {
        match most_pieces(most) {
            Some(most) if !text.is_empty() => pieces(&call, text, text.rsplitn(most, by)),
            _ => Ok(whole(text)),
        }
    });
    function("to_chars").set_into_module(module, |call: Call, text: &str| -> Fallible<Array> {
        charge_copied(text.len())?;
        let count = text.chars().count();
        check_array(&call, count)?;
        reserve_bytes(count.saturating_mul(size_of::<Dynamic>()))?;
        Ok(text.chars().map(Into::into).collect())
    });
}

fn is_one(text: &str, by: &str) -> bool {
    text.is_empty() || (!by.is_empty() && !text.contains(by))
}

fn most_pieces(most: i64) -> Option<usize> {
    usize::try_from(most).ok().filter(|most| *most > 1)
}

fn whole(text: &ImmutableString) -> Array {
    vec![text.clone().into()]
}

fn pieces<'t>(
    call: &NativeCallContext<'_>,
    text: &str,
    pieces: impl Iterator<Item = &'t str> + Clone,
) -> Fallible<Array> {
    charge_copied(text.len())?;
    let count = pieces.clone().take(call.engine().max_array_size().saturating_add(1)).count();
    check_array(call, count)?;
    let bytes = count.saturating_mul(PIECE_BYTES).saturating_add(text.len());
    charge_copied(bytes)?;
    reserve_bytes(bytes)?;
    Ok(pieces.map(Into::into).collect())
}
