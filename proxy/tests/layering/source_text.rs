//! Tells the code of a Rust source from its prose. It owns just enough of the grammar for that, and knows no rule.

use std::collections::BTreeSet;

/// The code of a source without its comments, strings and characters, so that prose may name what code may not.
pub fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| raw_string(rest)).or_else(|| string(rest)).or_else(|| character(rest));
        match skipped {
            Some(length) => {
                code.push(' ');
                rest = &rest[length..];
            }
            None => {
                // A whole word at once: the `r` of `for"` opens no raw string.
                let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()).max(first.len_utf8());
                code.push_str(&rest[..word]);
                rest = &rest[word..];
            }
        }
    }
    code
}

fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = 0;
    let mut at = 0;
    while text.starts_with("/*") {
        match &text[at..] {
            rest if rest.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            rest if rest.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
            rest => at += rest.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 || at >= text.len() {
            return Some(at);
        }
    }
    None
}

fn raw_string(text: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = text.len() - content.len();
    Some(content.find(&end).map_or(text.len(), |at| opening + at + end.len()))
}

fn string(text: &str) -> Option<usize> {
    text.starts_with('"').then(|| closing(text, '"'))
}

/// A character, which must be told from a lifetime: `'a'`, `'\n'`, but not `'a`.
fn character(text: &str) -> Option<usize> {
    let after = text.strip_prefix('\'')?;
    let is_character = after.starts_with('\\') || after.chars().nth(1) == Some('\'');
    is_character.then(|| closing(text, '\''))
}

fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub fn words(code: &str) -> BTreeSet<&str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect()
}

#[test]
fn prose_is_not_code() {
    let source = r###"
        //! sqlx in a comment
        /* axum /* nested */ rhai */ fn f<'a>(x: &'a str) -> char { let _ = "pingora \" sqlx"; '"' }
        const S: &str = r#"rhai " axum"#; const B: &[u8] = br"sqlx"; struct Är;
    "###;
    let code = code(source);
    let said = words(&code);
    for prose in ["sqlx", "axum", "rhai", "pingora", "nested", "comment"] {
        assert!(!said.contains(prose), "{prose} in {code}");
    }
    for word in ["fn", "f", "a", "str", "char", "S", "B", "struct", "Är"] {
        assert!(said.contains(word), "{word} in {code}");
    }
}

#[test]
fn unfinished_prose_ends_with_the_file() {
    for source in ["a /* b", "a \"b", "a r#\"b\"", "a '\\b", "a // b", "a \"\\"] {
        assert_eq!(code(source).trim(), "a", "{source}");
    }
}
