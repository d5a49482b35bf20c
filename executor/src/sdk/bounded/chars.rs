//! `chars`, and going through a string by `for`: character by character, where Rhai's own lists them all first.

use std::any::TypeId;
use std::ops::{Range, RangeInclusive};

use rhai::{Dynamic, FuncRegistration, ImmutableString, Module};

use super::string::{exclusive, inclusive, slice};
use super::{Fallible, function};
use crate::limits::charge_copied;

/// Characters of a string that are still to come.
#[derive(Debug, Clone)]
pub struct Chars {
    text: ImmutableString,
    /// In bytes, at characters' boundaries.
    left: Range<usize>,
}

impl Chars {
    fn of(text: ImmutableString) -> Self {
        let left = 0..text.len();
        Self { text, left }
    }

    fn part(text: ImmutableString, start: i64, len: i64) -> Fallible<Self> {
        charge_copied(text.len())?;
        let part = slice(&text, start, len);
        let begin = if part.is_empty() { 0 } else { part.as_ptr().addr() - text.as_ptr().addr() };
        let left = begin..begin + part.len();
        Ok(Self { text, left })
    }
}

impl Iterator for Chars {
    type Item = Dynamic;

    fn next(&mut self) -> Option<Dynamic> {
        let next = self.text[self.left.clone()].chars().next()?;
        self.left.start += next.len_utf8();
        Some(next.into())
    }
}

pub fn register(module: &mut Module) {
    module.set_iterator::<Chars>();
    module.set_iter(TypeId::of::<ImmutableString>(), |text| Box::new(Chars::of(text.cast())));
    function("chars").set_into_module(module, Chars::of);
    FuncRegistration::new_getter("chars")
        .in_global_namespace()
        .set_into_module(module, |text: &mut ImmutableString| Chars::of(text.clone()));
    function("chars").set_into_module(module, |text: ImmutableString, range: Range<i64>| {
        let (start, len) = exclusive(&range);
        Chars::part(text, start, len)
    });
    function("chars").set_into_module(module, |text: ImmutableString, range: RangeInclusive<i64>| {
        let (start, len) = inclusive(&range);
        Chars::part(text, start, len)
    });
    function("chars").set_into_module(module, Chars::part);
    function("chars").set_into_module(module, |text: ImmutableString, start: i64| Chars::part(text, start, i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_one_by_one() {
        let all = |chars: Chars| chars.map(|character| character.as_char().unwrap()).collect::<String>();
        assert_eq!(all(Chars::of("aäb".into())), "aäb");
        assert_eq!(all(Chars::part("aäbc".into(), 1, 2).unwrap()), "äb");
        assert_eq!(all(Chars::part("aäbc".into(), -1, 9).unwrap()), "c");
        assert_eq!(all(Chars::part("abc".into(), 7, 9).unwrap()), "");
    }
}
