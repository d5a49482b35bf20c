//! `replace`, `pad`, parts of strings and their case.

use std::ops::{Range, RangeInclusive};

use rhai::{Dynamic, ImmutableString, Module, NativeCallContext};

use super::{Fallible, changing, check_string, function};
use crate::limits::{charge_bytes, charge_copied, reserve_bytes};

/// What a match costs beside its bytes: one operation.
const MATCH_BYTES: usize = 8;

pub fn register(module: &mut Module) {
    register_replace(module);
    changing("pad").set_into_module(
        module,
        |call: NativeCallContext, string: &mut ImmutableString, len: i64, character: char| {
            pad(&call, string, len, character.encode_utf8(&mut [0; 4]))
        },
    );
    changing("pad").set_into_module(
        module,
        |call: NativeCallContext, string: &mut ImmutableString, len: i64, padding: &str| {
            pad(&call, string, len, padding)
        },
    );
    register_parts(module);
    register_case(module);
    for name in ["debug", "to_debug"] {
        function(name).set_into_module(module, |call: NativeCallContext, string: &str| debug(&call, string));
    }
}

fn register_replace(module: &mut Module) {
    type Call<'a> = NativeCallContext<'a>;
    changing("replace").set_into_module(
        module,
        |call: Call, string: &mut ImmutableString, find: &str, substitute: &str| {
            replace(&call, string, find, substitute)
        },
    );
    changing("replace").set_into_module(
        module,
        |call: Call, string: &mut ImmutableString, find: &str, substitute: char| {
            replace(&call, string, find, substitute.encode_utf8(&mut [0; 4]))
        },
    );
    changing("replace").set_into_module(
        module,
        |call: Call, string: &mut ImmutableString, find: char, substitute: &str| {
            replace(&call, string, find.encode_utf8(&mut [0; 4]), substitute)
        },
    );
    changing("replace").set_into_module(
        module,
        |call: Call, string: &mut ImmutableString, find: char, substitute: char| {
            replace(&call, string, find.encode_utf8(&mut [0; 4]), substitute.encode_utf8(&mut [0; 4]))
        },
    );
}

fn replace(call: &NativeCallContext<'_>, string: &mut ImmutableString, find: &str, substitute: &str) -> Fallible<()> {
    if string.is_empty() {
        return Ok(());
    }
    charge_copied(string.len())?;
    let (mut found, grows) = (0_usize, substitute.len().saturating_sub(find.len()));
    for _ in string.matches(find) {
        charge_bytes(MATCH_BYTES)?;
        found += 1;
        // What grows too large is told before all matches are paid for.
        check_string(call, string.len().saturating_add(found.saturating_mul(grows)))?;
    }
    let bytes = (string.len() - found * find.len()).saturating_add(found.saturating_mul(substitute.len()));
    check_string(call, bytes)?;
    charge_copied(bytes)?;
    reserve_bytes(bytes)?;
    let (mut replaced, mut from) = (String::with_capacity(bytes), 0);
    for (at, part) in string.match_indices(find) {
        // Only for a look at the clock: they are paid for.
        charge_bytes(0)?;
        replaced.push_str(&string[from..at]);
        replaced.push_str(substitute);
        from = at + part.len();
    }
    replaced.push_str(&string[from..]);
    *string = replaced.into();
    Ok(())
}

/// Repeats `padding` until the string has `len` characters; an empty one pads nothing, where Rhai's own never ends.
fn pad(call: &NativeCallContext<'_>, string: &mut ImmutableString, len: i64, padding: &str) -> Fallible<()> {
    let Ok(len) = usize::try_from(len) else {
        return Ok(());
    };
    charge_copied(string.len())?;
    let missing = len.saturating_sub(string.chars().count());
    let padding_chars = padding.chars().count();
    if missing == 0 || padding_chars == 0 {
        return Ok(());
    }
    let (whole, rest) = (missing / padding_chars, missing % padding_chars);
    let rest = padding.char_indices().nth(rest).map_or(padding, |(end, _)| &padding[..end]);
    let bytes = string.len().saturating_add(whole.saturating_mul(padding.len())).saturating_add(rest.len());
    check_string(call, bytes)?;
    charge_copied(bytes)?;
    reserve_bytes(bytes.saturating_mul(2))?;
    let mut padded = String::with_capacity(bytes);
    padded.push_str(string);
    (0..whole).for_each(|_| padded.push_str(padding));
    padded.push_str(rest);
    *string = padded.into();
    Ok(())
}

fn register_parts(module: &mut Module) {
    const ALL: i64 = i64::MAX;
    let part = |text: &ImmutableString, start: i64, len: i64| -> Fallible<ImmutableString> {
        charge_copied(text.len())?;
        Ok(slice(text, start, len).into())
    };
    function("sub_string").set_into_module(module, move |text: ImmutableString, range: Range<i64>| {
        let (start, len) = exclusive(&range);
        part(&text, start, len)
    });
    function("sub_string").set_into_module(module, move |text: ImmutableString, range: RangeInclusive<i64>| {
        let (start, len) = inclusive(&range);
        part(&text, start, len)
    });
    function("sub_string")
        .set_into_module(module, move |text: ImmutableString, start: i64, len: i64| part(&text, start, len));
    function("sub_string").set_into_module(module, move |text: ImmutableString, start: i64| part(&text, start, ALL));
    let crop = move |text: &mut ImmutableString, start: i64, len: i64| -> Fallible<()> {
        *text = part(text, start, len)?;
        Ok(())
    };
    changing("crop").set_into_module(module, move |text: &mut ImmutableString, range: Range<i64>| {
        let (start, len) = exclusive(&range);
        crop(text, start, len)
    });
    changing("crop").set_into_module(module, move |text: &mut ImmutableString, range: RangeInclusive<i64>| {
        let (start, len) = inclusive(&range);
        crop(text, start, len)
    });
    changing("crop")
        .set_into_module(module, move |text: &mut ImmutableString, start: i64, len: i64| crop(text, start, len));
    changing("crop").set_into_module(module, move |text: &mut ImmutableString, start: i64| crop(text, start, ALL));
    changing("pop").set_into_module(module, |text: &mut ImmutableString, len: i64| -> Fallible<Dynamic> {
        charge_copied(text.len())?;
        if len <= 0 {
            return Ok("".into());
        }
        let tail: ImmutableString = slice(text, len.saturating_neg(), ALL).into();
        let kept: ImmutableString = text[..text.len() - tail.len()].into();
        *text = kept;
        Ok(tail.into())
    });
}

/// Start and length of a range; negative starts are none.
pub fn exclusive(range: &Range<i64>) -> (i64, i64) {
    let start = range.start.max(0);
    (start, range.end.max(start) - start)
}

/// The same of one that includes its end.
pub fn inclusive(range: &RangeInclusive<i64>) -> (i64, i64) {
    let start = (*range.start()).max(0);
    (start, (*range.end()).max(start - 1).min(i64::MAX - 1) - start + 1)
}

/// At most `len` characters from the character `start` on; a negative one counts from the end.
pub fn slice(text: &str, start: i64, len: i64) -> &str {
    let Some(len) = usize::try_from(len).ok().filter(|len| *len > 0) else {
        return "";
    };
    let start = match usize::try_from(start) {
        Ok(start) => text.char_indices().nth(start).map_or(text.len(), |(at, _)| at),
        Err(_) => {
            let back = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
            text.char_indices().rev().nth(back - 1).map_or(0, |(at, _)| at)
        }
    };
    let tail = &text[start..];
    tail.char_indices().nth(len).map_or(tail, |(end, _)| &tail[..end])
}

fn register_case(module: &mut Module) {
    /// A letter can become three, and the result grows by doubling.
    const MOST_GROWTH: usize = 6;
    let cased = |text: &ImmutableString, upper: bool| -> Fallible<ImmutableString> {
        charge_bytes(text.len())?;
        reserve_bytes(text.len().saturating_mul(MOST_GROWTH))?;
        Ok(if upper { text.to_uppercase() } else { text.to_lowercase() }.into())
    };
    for (pure, change, upper) in [("to_upper", "make_upper", true), ("to_lower", "make_lower", false)] {
        function(pure).set_into_module(module, move |text: ImmutableString| cased(&text, upper));
        changing(change).set_into_module(module, move |text: &mut ImmutableString| -> Fallible<()> {
            *text = cased(text, upper)?;
            Ok(())
        });
    }
}

fn debug(call: &NativeCallContext<'_>, text: &str) -> Fallible<ImmutableString> {
    charge_bytes(text.len())?;
    let bytes =
        2 + text.chars().map(|character| character.escape_debug().map(char::len_utf8).sum::<usize>()).sum::<usize>();
    check_string(call, bytes)?;
    reserve_bytes(bytes.saturating_mul(2))?;
    Ok(format!("{text:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_in_characters_from_either_end() {
        for (start, len, expected) in [
            (0, 2, "aä"),
            (1, 1, "ä"),
            (1, i64::MAX, "äbc"),
            (-2, 1, "b"),
            (-9, 2, "aä"),
            (4, 1, ""),
            (9, 1, ""),
            (0, 0, ""),
            (0, -1, ""),
            (i64::MIN, i64::MAX, "aäbc"),
        ] {
            assert_eq!(slice("aäbc", start, len), expected, "{start} {len}");
        }
    }

    #[test]
    fn ranges_become_a_start_and_a_length() {
        assert_eq!(exclusive(&(2..5)), (2, 3));
        assert_eq!(exclusive(&(-3..2)), (0, 2));
        assert_eq!(exclusive(&Range { start: 5, end: 2 }), (5, 0));
        assert_eq!(inclusive(&(2..=5)), (2, 4));
        assert_eq!(inclusive(&RangeInclusive::new(5, 2)), (5, 0));
        assert_eq!(inclusive(&(0..=i64::MAX)), (0, i64::MAX));
    }
}
