//! What a match is replaced by: text with the groups `$1`, `$name`, `${name}`, and `$$` for a dollar.

use regex_automata::PatternID;
use regex_automata::util::captures::GroupInfo;
use rhai::NativeCallContext;

use crate::limits::charge_bytes;
use crate::sdk::native::{Fallible, cut, thrown};

/// What one piece costs beside the bytes that it writes.
const PIECE_BYTES: usize = 16;
/// Texts, groups and dollars that one replacement is made of.
const MAX_PIECES: usize = 1_000;
/// Bytes of a group's name in braces; names are part of a pattern, and nobody's is longer.
const MAX_NAME_BYTES: usize = 64;

/// A replacement, taken apart.
pub struct Replacement<'t>(Vec<Piece<'t>>);

enum Piece<'t> {
    Text(&'t str),
    Group(usize),
}

impl<'t> Replacement<'t> {
    /// Takes a replacement apart. A dollar that no name follows stands for itself.
    pub fn parse(call: &NativeCallContext, name: &str, text: &'t str, groups: &GroupInfo) -> Fallible<Self> {
        charge_bytes(text.len())?;
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find('$') {
            if pieces.len() >= MAX_PIECES {
                return Err(thrown(call, format!("regex::{name}: replacement has at most {} groups", MAX_PIECES / 2)));
            }
            let after = &rest[at + 1..];
            let (group, len) = named(after);
            if group.is_empty() {
                // A dollar, whether it is written once or twice.
                pieces.push(Piece::Text(&rest[..=at]));
                rest = after.strip_prefix('$').unwrap_or(after);
                continue;
            }
            let Some(index) = index(group, groups) else {
                let (group, hint) = (cut(group), "write ${1}a for a group that letters follow, and $$ for a dollar");
                return Err(thrown(call, format!("regex::{name}: pattern has no group {group:?}; {hint}")));
            };
            pieces.extend([Piece::Text(&rest[..at]), Piece::Group(index)]);
            rest = &after[len..];
        }
        pieces.push(Piece::Text(rest));
        Ok(Self(pieces))
    }

    /// Whether it names no group.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The bytes that it writes, given those of each group; charged for going through it.
    pub fn written_len(&self, group_len: impl Fn(usize) -> usize) -> Fallible<usize> {
        charge_bytes(self.0.len() * PIECE_BYTES)?;
        Ok(self.0.iter().fold(0, |len: usize, piece| {
            len.saturating_add(match piece {
                Piece::Text(text) => text.len(),
                Piece::Group(group) => group_len(*group),
            })
        }))
    }

    /// Writes it, given each group.
    pub fn write<'g>(&self, out: &mut String, group: impl Fn(usize) -> &'g str) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(index) => out.push_str(group(*index)),
            }
        }
    }
}

/// The name that follows a dollar, and how many bytes it takes with its braces; empty where there is none.
fn named(after: &str) -> (&str, usize) {
    if let Some(text) = after.strip_prefix('{') {
        let end = text.bytes().take(MAX_NAME_BYTES + 1).position(|byte| byte == b'}');
        return end.map_or(("", 0), |end| (&text[..end], end + 2));
    }
    let end = after.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let name = &after[..end.unwrap_or(after.len())];
    (name, name.len())
}

fn index(group: &str, groups: &GroupInfo) -> Option<usize> {
    match group.parse::<usize>() {
        Ok(index) => (index < groups.group_len(PatternID::ZERO)).then_some(index),
        Err(_) => groups.to_index(PatternID::ZERO, group),
    }
}
