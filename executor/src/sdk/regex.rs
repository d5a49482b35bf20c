//! `regex::*`: regular expressions in linear time, in the syntax of Rust's `regex` crate.
//!
//! Scripts give patterns as texts. `pattern` compiles and keeps them and knows what a search may cost; this file turns what it
//! finds into values.

mod pattern;
mod replacement;

use std::sync::LazyLock;

use regex_automata::util::captures::Captures;
use regex_automata::{Input, Match, PatternID};
use rhai::{Array, Dynamic, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, fits_array, fits_map, fits_string};
use crate::limits::charge_bytes;
use pattern::{Pattern, Search};
use replacement::Replacement;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("is_match").set_into_module(module, is_match);
        FuncRegistration::new("find").set_into_module(module, find);
        FuncRegistration::new("find_all").set_into_module(module, find_all);
        FuncRegistration::new("captures").set_into_module(module, captures);
        FuncRegistration::new("split").set_into_module(module, split);
        FuncRegistration::new("escape").set_into_module(module, escape);
        for (name, most) in [("replace", 1), ("replace_all", usize::MAX)] {
            FuncRegistration::new(name).set_into_module(
                module,
                move |call: NativeCallContext, pattern: &str, text: ImmutableString, replacement: &str| {
                    replace(&call, name, pattern, text, replacement, most)
                },
            );
        }
    })
});

/// The module `regex`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

fn is_match(call: NativeCallContext, pattern: &str, text: &str) -> Fallible<bool> {
    let pattern = Pattern::get(&call, "is_match", pattern)?;
    let found = Search::begin(&call, "is_match", &pattern, text)?.find(&Input::new(text).earliest(true))?;
    Ok(found.is_some())
}

fn find(call: NativeCallContext, pattern: &str, text: &str) -> Fallible<Dynamic> {
    let pattern = Pattern::get(&call, "find", pattern)?;
    let found = Search::begin(&call, "find", &pattern, text)?.find(&Input::new(text))?;
    Ok(found.map_or(Dynamic::UNIT, |found| text[found.range()].into()))
}

fn find_all(call: NativeCallContext, pattern: &str, text: &str) -> Fallible<Array> {
    let pattern = Pattern::get(&call, "find_all", pattern)?;
    let mut all = Array::new();
    Search::begin(&call, "find_all", &pattern, text)?.each(text, |_, found| {
        fits_array(&call, all.len() + 1)?;
        all.push(text[found.range()].into());
        Ok(true)
    })?;
    Ok(all)
}

fn split(call: NativeCallContext, pattern: &str, text: &str) -> Fallible<Array> {
    let pattern = Pattern::get(&call, "split", pattern)?;
    let (mut parts, mut from) = (Array::new(), 0);
    Search::begin(&call, "split", &pattern, text)?.each(text, |_, found| {
        // The last part follows.
        fits_array(&call, parts.len() + 2)?;
        parts.push(text[from..found.start()].into());
        from = found.end();
        Ok(true)
    })?;
    fits_array(&call, parts.len() + 1)?;
    parts.push(text[from..].into());
    Ok(parts)
}

/// The groups of the first match by number and by name: `"0"` is the whole; one that took no part is `()`.
fn captures(call: NativeCallContext, pattern: &str, text: &str) -> Fallible<Dynamic> {
    let pattern = Pattern::get(&call, "captures", pattern)?;
    let mut search = Search::begin(&call, "captures", &pattern, text)?;
    let Some(found) = search.find(&Input::new(text))? else {
        return Ok(Dynamic::UNIT);
    };
    let groups = search.groups(text, found)?;
    let (mut map, mut bytes) = (Map::new(), 0);
    for at in 0..groups.group_len() {
        let group = groups.get_group(at).map_or("", |span| &text[span]);
        let number = at.to_string();
        for key in [Some(number.as_str()), groups.group_info().to_name(PatternID::ZERO, at)].into_iter().flatten() {
            fits_map(&call, map.len() + 1)?;
            bytes += group.len();
            fits_string(&call, bytes)?;
            charge_bytes(group.len())?;
            let value = if groups.get_group(at).is_some() { group.into() } else { Dynamic::UNIT };
            map.insert(key.into(), value);
        }
    }
    Ok(Dynamic::from_map(map))
}

fn replace(
    call: &NativeCallContext,
    name: &str,
    pattern: &str,
    text: ImmutableString,
    replacement: &str,
    most: usize,
) -> Fallible<ImmutableString> {
    let pattern = Pattern::get(call, name, pattern)?;
    let replacement = Replacement::parse(call, name, replacement, pattern.groups())?;
    let (mut out, mut from, mut count) = (String::new(), 0, 0);
    Search::begin(call, name, &pattern, &text)?.each(&text, |search, found| {
        let groups = match replacement.is_plain() {
            true => None,
            false => Some(search.groups(&text, found)?),
        };
        let group = |at: usize| groups.as_ref().and_then(|groups: &Captures| groups.get_group(at));
        let before = &text[from..found.start()];
        let len = replacement.written_len(|at| group(at).map_or(0, |span| span.len()))?;
        fits_string(call, out.len().saturating_add(before.len()).saturating_add(len))?;
        charge_bytes(len)?;
        out.push_str(before);
        replacement.write(&mut out, |at| group(at).map_or("", |span| &text[span]));
        from = found.end();
        count += 1;
        Ok(count < most)
    })?;
    if count == 0 {
        return Ok(text);
    }
    fits_string(call, out.len() + text.len() - from)?;
    out.push_str(&text[from..]);
    Ok(out.into())
}

fn escape(call: NativeCallContext, text: &str) -> Fallible<ImmutableString> {
    charge_bytes(text.len().saturating_mul(2))?;
    let escaped = text.chars().filter(|character| regex_syntax::is_meta_character(*character)).count();
    fits_string(&call, text.len() + escaped)?;
    Ok(regex_syntax::escape(text).into())
}

impl Search<'_> {
    /// Calls `with` for each match from left to right, until it says false.
    fn each(&mut self, text: &str, mut with: impl FnMut(&mut Self, Match) -> Fallible<bool>) -> Fallible<()> {
        let mut input = Input::new(text);
        let mut last_end = None;
        while let Some(found) = self.find(&input)? {
            // An empty match right where the last one ended is passed over.
            if found.is_empty() && last_end == Some(found.end()) {
                let Some(character) = text[found.end()..].chars().next() else {
                    return Ok(());
                };
                input.set_start(found.end() + character.len_utf8());
                last_end = None;
                continue;
            }
            if !with(self, found)? {
                return Ok(());
            }
            last_end = Some(found.end());
            input.set_start(found.end());
        }
        Ok(())
    }
}
