//! Takes the secrets that a run was given out of what is kept and shown of it. It knows texts and bytes, and neither rows nor
//! answers.
//!
//! A secret is found as it is and as the functions of scripts write it: in JSON, in a URL, in HTML, in base64 and in hexadecimal. What a
//! script makes of it otherwise is not found. Texts of scripts are cut here and there, so that the beginning of a secret goes as well.
//!
//! Whoever calls a script chooses some of what is kept, and may be let read it. How much goes therefore never depends on how far a
//! guess is right: in texts of the caller's whole secrets are looked for alone, a beginning that is long enough takes the length of
//! the whole with it, and of what was cut as much goes at its end whatever it is.

mod written;

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use memchr::memmem::Finder;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::execution::{ExecutionFailure, LogLine, MAX_FAILURE_BYTES, MAX_LOG_BYTES};
use crate::name::SettingName;
use crate::secret::{GivenSecrets, MIN_SECRET_BYTES};
use written::{FORMS, written};

/// Bytes of a secret's beginning that are looked for in texts of scripts: what is cut amid a message leaves fewer of them. Fewer
/// would be found in much that has nothing to do with the secret, and could be guessed.
const TELLING_BYTES: usize = 16;
/// Bytes that names of secrets may add to all texts of a run. A short secret that stands there often is not told by its name then.
const MOST_GROWTH: usize = 16 * 1024;
/// What stands in the place of a secret then.
const NAMELESS: &[u8] = b"[secret]";
/// What stands in the place of a text that is too much to be searched.
const WITHHELD: &str = "[withheld: the run was given too many secrets to be looked for]";

/// Takes the secrets of one run out of its texts.
pub struct Redactor<'s> {
    forms: Vec<Form<'s>>,
    is_overwhelmed: bool,
    growth: Cell<usize>,
}

/// A secret in one of the ways that it is written.
struct Form<'s> {
    name: &'s SettingName,
    bytes: Zeroizing<Vec<u8>>,
}

/// Whose choice a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The script's, which may have cut it anywhere.
    Script,
    /// Its caller's.
    Caller,
}

/// A part of a text that goes: one secret or several.
struct Span<'s> {
    range: Range<usize>,
    name: &'s SettingName,
}

impl<'s> Redactor<'s> {
    /// For texts of so many bytes altogether. Where going through them takes more than `most_work` bytes of comparing and writing,
    /// they are withheld as a whole: a script must not choose how long others' records wait.
    pub fn new(given: &'s GivenSecrets, text_bytes: usize, most_work: usize) -> Self {
        let work = given.iter().map(|(_, secret)| FORMS * (text_bytes + 6 * secret.len())).sum::<usize>();
        let (is_overwhelmed, growth) = (work > most_work, Cell::new(MOST_GROWTH));
        let mut forms: Vec<Form<'s>> = Vec::new();
        for (name, secret) in given.iter().filter(|_| !is_overwhelmed) {
            // Scripts trim what was pasted or came from a file.
            let trimmed = Some(secret.trim()).filter(|trimmed| trimmed.len() >= MIN_SECRET_BYTES);
            for bytes in [Some(secret), trimmed].into_iter().flatten().flat_map(written) {
                if forms.iter().all(|known| *known.bytes != *bytes) {
                    forms.push(Form { name, bytes });
                }
            }
        }
        Self { forms, is_overwhelmed, growth }
    }

    /// Whether there is nothing to look for.
    pub fn is_idle(&self) -> bool {
        self.forms.is_empty() && !self.is_overwhelmed
    }

    /// Whether there is too much to look for, so that all is withheld.
    pub fn is_overwhelmed(&self) -> bool {
        self.is_overwhelmed
    }

    /// A text of the script's without secrets.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.string(text, By::Script)
    }

    /// A text of its caller's without secrets.
    pub fn callers_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.string(text, By::Caller)
    }

    /// Bytes of the script's without secrets; `is_cut` says that there were more of them.
    pub fn bytes<'t>(&self, bytes: &'t [u8], is_cut: bool) -> Cow<'t, [u8]> {
        self.cut_bytes(bytes, is_cut, By::Script)
    }

    /// Bytes of its caller's without secrets; `is_cut` says that there were more of them.
    pub fn callers_bytes<'t>(&self, bytes: &'t [u8], is_cut: bool) -> Cow<'t, [u8]> {
        self.cut_bytes(bytes, is_cut, By::Caller)
    }

    /// Takes the secrets out of a value, wherever in it they stand.
    pub fn json(&self, value: &mut Value) {
        if self.is_overwhelmed {
            *value = Value::from(WITHHELD);
            return;
        }
        match value {
            Value::String(text) => replace(text, |text| self.text(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(members) => {
                let redacted = |(name, mut value): (String, Value)| {
                    self.json(&mut value);
                    (self.text(&name).into_owned(), value)
                };
                *members = std::mem::take(members).into_iter().map(redacted).collect();
            }
            // A script may have made a number of a secret.
            Value::Number(number) => {
                let text = number.to_string();
                if let Cow::Owned(text) = self.text(&text) {
                    *value = Value::String(text);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Takes the secrets out of a line of the log.
    pub fn line(&self, line: &mut LogLine) {
        self.message(&mut line.message, MAX_LOG_BYTES);
        if let Some(data) = &mut line.data {
            self.json(data);
        }
    }

    /// Takes the secrets out of what a failure says.
    pub fn failure(&self, failure: &mut ExecutionFailure) {
        self.message(&mut failure.message, MAX_FAILURE_BYTES);
    }

    /// A message that was cut at the last character that ends within `limit`, where it is as long. Something may follow.
    fn message(&self, message: &mut String, limit: usize) {
        // A character has up to four bytes.
        let cut = limit.saturating_sub(3);
        if message.len() >= cut && !self.is_idle() && !self.is_overwhelmed {
            let from = message.floor_char_boundary(cut.saturating_sub(self.tail(By::Script)));
            let to = message.floor_char_boundary(limit.min(message.len()));
            let kept = self.text(&message[..from]).into_owned();
            *message = kept + &self.text(&message[to..]);
            return;
        }
        replace(message, |text| self.text(text));
    }

    fn string<'t>(&self, text: &'t str, by: By) -> Cow<'t, str> {
        if self.is_overwhelmed {
            return Cow::Borrowed(WITHHELD);
        }
        match self.cut_bytes(text.as_bytes(), false, by) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    fn cut_bytes<'t>(&self, bytes: &'t [u8], is_cut: bool, by: By) -> Cow<'t, [u8]> {
        if self.is_overwhelmed {
            return Cow::Borrowed(WITHHELD.as_bytes());
        }
        if self.is_idle() {
            return Cow::Borrowed(bytes);
        }
        let bytes = if is_cut { &bytes[..bytes.len().saturating_sub(self.tail(by))] } else { bytes };
        match self.spans(bytes, by).as_slice() {
            [] => Cow::Borrowed(bytes),
            spans => Cow::Owned(self.without(bytes, spans)),
        }
    }

    /// Bytes before a cut that may be the beginning of a secret and are not looked for.
    fn tail(&self, by: By) -> usize {
        let longest = self.forms.iter().map(|form| form.looked_for(by).len()).max().unwrap_or(0);
        longest.saturating_sub(1)
    }

    /// What goes, in order, with something between each two.
    fn spans(&self, text: &[u8], by: By) -> Vec<Span<'s>> {
        let mut found: Vec<Span<'s>> = Vec::new();
        for form in &self.forms {
            let (first, looked_for) = (found.len(), form.looked_for(by));
            let alike: Vec<&Form<'_>> = self.forms.iter().filter(|other| other.looked_for(by) == looked_for).collect();
            let longest = alike.iter().map(|form| form.bytes.len()).max().unwrap_or(0);
            let whole = |at: usize| {
                let whole = alike.iter().filter(|form| text[at..].starts_with(&form.bytes));
                whole.map(|form| form.bytes.len()).max()
            };
            let finder = Finder::new(looked_for);
            let mut from = 0;
            while let Some(at) = finder.find(&text[from..]).map(|at| from + at) {
                let last = found[first..].last_mut().filter(|last| at < last.range.end);
                // Where they overlap it would take long to look at each as a whole.
                let len = if last.is_some() { longest } else { whole(at).unwrap_or(longest) };
                let range = at..text.len().min(at + len);
                // Another beginning may stand within this one; of two that are whole and overlap one is left in part.
                from = if by == By::Script { at + 1 } else { range.end };
                match last {
                    Some(last) => last.range.end = range.end,
                    None => found.push(Span { range, name: form.name }),
                }
            }
        }
        found.sort_by_key(|span| span.range.start);
        let mut spans: Vec<Span<'s>> = Vec::new();
        for next in found {
            match spans.last_mut() {
                Some(last) if next.range.start <= last.range.end => {
                    last.range.end = last.range.end.max(next.range.end);
                }
                _ => spans.push(next),
            }
        }
        spans
    }

    fn without(&self, text: &[u8], spans: &[Span<'_>]) -> Vec<u8> {
        let (mut kept, mut from) = (Vec::with_capacity(text.len()), 0);
        for Span { range, name } in spans {
            kept.extend_from_slice(&text[from..range.start]);
            let name = format!("[secret {name}]");
            match self.growth.get().checked_sub(name.len().saturating_sub(range.len())) {
                Some(left) => {
                    self.growth.set(left);
                    kept.extend_from_slice(name.as_bytes());
                }
                // What stands on both sides must not come together.
                None => kept.extend_from_slice(NAMELESS),
            }
            from = range.end;
        }
        kept.extend_from_slice(&text[from..]);
        kept
    }
}

impl Form<'_> {
    fn looked_for(&self, by: By) -> &[u8] {
        match by {
            By::Script => &self.bytes[..self.bytes.len().min(TELLING_BYTES)],
            By::Caller => &self.bytes,
        }
    }
}

fn replace(text: &mut String, redact: impl FnOnce(&str) -> Cow<'_, str>) {
    let redacted = redact(text);
    if redacted != text.as_str() {
        *text = redacted.into_owned();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::secret::SecretValue;

    const PLENTY: usize = 64 * 1024 * 1024;

    fn given(secrets: &[(&str, &str)]) -> GivenSecrets {
        let mut given = GivenSecrets::default();
        for (name, value) in secrets {
            let value = Arc::new(SecretValue::try_from((*value).to_owned()).ok().unwrap());
            given.note(&name.parse().unwrap(), &value);
        }
        given
    }

    fn redacted(secrets: &[(&str, &str)], text: &str) -> String {
        Redactor::new(&given(secrets), 0, PLENTY).text(text).into_owned()
    }

    #[test]
    fn a_secret_is_replaced_by_its_name_wherever_it_stands() {
        let secrets = [("KEY", "hunter2"), ("PIN", "aaaa")];
        for (text, expected) in [
            ("", ""),
            ("nothing of it", "nothing of it"),
            ("hunter2", "[secret KEY]"),
            ("<hunter2hunter2> aaaa", "<[secret KEY]> [secret PIN]"),
            ("hunterhunter2", "hunter[secret KEY]"),
            ("hunter", "hunter"),
            ("xaaaaaax", "x[secret PIN]x"),
            ("ähunter2ä", "ä[secret KEY]ä"),
        ] {
            assert_eq!(redacted(&secrets, text), expected, "{text}");
        }
    }

    #[test]
    fn secrets_that_overlap_go_as_a_whole() {
        assert_eq!(redacted(&[("A", "abcdef"), ("B", "defghi")], "<abcdefghi>"), "<[secret A]>");
        assert_eq!(redacted(&[("A", "bcde"), ("B", "abcdef")], "<abcdef>"), "<[secret B]>");
    }

    #[test]
    fn a_secret_is_found_as_functions_of_scripts_write_it() {
        let secret = "p\"w <ä&/\n'\\ >?~";
        for written in [
            r#"p\"w <ä&/\n'\\ >?~"#,
            r#"p\\\"w <ä&/\\n'\\\\ >?~"#,
            "p%22w%20%3C%C3%A4%26%2F%0A%27%5C%20%3E%3F~",
            "p%22w+%3C%C3%A4%26%2F%0A%27%5C+%3E%3F%7E",
            "p&quot;w &lt;ä&amp;/\n&#39;\\ &gt;?~",
            "cCJ3IDzDpCYvCidcID4/fg==",
            "cCJ3IDzDpCYvCidcID4_fg",
            "702277203cc3a4262f0a275c203e3f7e",
        ] {
            assert_eq!(redacted(&[("KEY", secret)], &format!("<{written}>")), "<[secret KEY]>", "{written}");
        }
    }

    #[test]
    fn the_beginning_of_a_long_secret_goes_from_texts_of_scripts_with_as_much_as_the_whole_has() {
        let given = given(&[("KEY", "0123456789abcdef-and-much-more")]);
        let redactor = Redactor::new(&given, 0, PLENTY);
        assert_eq!(redactor.text("no \"0123456789abcdef-and\" here"), "no \"[secret KEY]");
        for wrong in ["0123456789abcdef-", "0123456789abcdefX", "0123456789abcdef-a"] {
            let text = format!("<{wrong:.<40}>");
            assert_eq!(redactor.text(&text).len(), "<[secret KEY]..........>".len(), "{wrong}");
        }
        assert_eq!(redactor.text("0123456789abcde"), "0123456789abcde");
    }

    #[test]
    fn a_callers_guess_goes_only_where_it_is_all_of_the_secret() {
        let given = given(&[("KEY", "0123456789abcdef-and-much-more")]);
        let redactor = Redactor::new(&given, 0, PLENTY);
        let guess = "0123456789abcdef-and-much-mor_ 0123456789abcdef0";
        assert_eq!(redactor.callers_text(guess), guess);
        assert_eq!(&*redactor.callers_bytes(guess.as_bytes(), false), guess.as_bytes());
        assert_eq!(redactor.callers_text("<0123456789abcdef-and-much-more>"), "<[secret KEY]>");
    }

    #[test]
    fn as_much_goes_before_a_cut_whatever_it_is() {
        let given = given(&[("KEY", "hunter2-hunter3")]);
        let redactor = Redactor::new(&given, 0, PLENTY);
        // Its longest way to be written is in hexadecimal: 30 bytes, of which 16 are looked for in texts of scripts.
        let text = |end: &str| format!("{:.<60}{end}", "some text ");
        for end in ["hunter2-hunter3", "hunter2-hunter", "hunte", "xxxxx", ""] {
            let text = text(end);
            assert_eq!(redactor.bytes(text.as_bytes(), true).len(), text.len() - 15, "{end}");
            assert_eq!(redactor.callers_bytes(text.as_bytes(), true).len(), text.len() - 29, "{end}");
        }
        assert_eq!(&*redactor.bytes(b"hunter2-hunter", false), b"hunter2-hunter", "it is the whole of it");
        // A message that was cut may go on with the module that it is about.
        let mut failure = |cut_at: usize| {
            let message = format!("{:x>cut_at$} (in module `m`)", "hunt");
            let mut failure = ExecutionFailure { message, line: None, column: None, limit: None };
            redactor.failure(&mut failure);
            (failure.message.contains("hunt"), failure.message.ends_with(" (in module `m`)"))
        };
        assert_eq!([4_096, 4_093, 4_000].map(&mut failure), [(false, true), (false, false), (true, true)]);
    }

    #[test]
    fn a_secret_is_found_without_the_blanks_around_it() {
        assert_eq!(redacted(&[("KEY", " hunter2\n")], "<hunter2> < hunter2\n>"), "<[secret KEY]> <[secret KEY]>");
    }

    #[test]
    fn what_is_put_in_the_place_of_secrets_is_bounded() {
        let name = "N".repeat(64);
        let given = given(&[(&name, "aaaa")]);
        let redactor = Redactor::new(&given, 0, PLENTY);
        let left = redactor.text(&"aaaa ".repeat(10_000)).into_owned();
        assert!(!left.contains("aaaa") && left.contains("[secret N"), "{}", left.len());
        assert!(left.len() < 9 * 10_000 + MOST_GROWTH, "{}", left.len());
    }

    #[test]
    fn data_is_gone_through_to_the_last_member() {
        let given = given(&[("KEY", "hunter2"), ("PIN", "123456")]);
        let mut data = json!({ "a": ["hunter2", 1234567, 12, true, null], "hunter2": { "b": "x hunter2" } });
        Redactor::new(&given, 0, PLENTY).json(&mut data);
        let expected = json!({ "a": ["[secret KEY]", "[secret PIN]7", 12, true, null], "[secret KEY]": { "b": "x [secret KEY]" } });
        assert_eq!(data, expected);
    }

    #[test]
    fn what_would_take_too_long_to_search_is_withheld() {
        let given = given(&[("KEY", "hunter2")]);
        let redactor = Redactor::new(&given, 1_000, 5_000);
        assert!(!redactor.is_idle());
        assert_eq!(redactor.text("hunter2"), WITHHELD);
        assert_eq!(&*redactor.bytes(b"hunter2", false), WITHHELD.as_bytes());
        let mut line = LogLine {
            time: crate::clock::Timestamp::from_millis(0),
            level: crate::execution::LogLevel::Info,
            message: "hunter2".to_owned(),
            data: Some(json!({ "a": "hunter2", "number": 1234 })),
        };
        redactor.line(&mut line);
        assert_eq!((line.message.as_str(), line.data), (WITHHELD, Some(json!(WITHHELD))));
        assert!(Redactor::new(&GivenSecrets::default(), usize::MAX, 0).is_idle());
    }

    #[test]
    fn the_longest_secrets_that_repeat_themselves_are_searched_in_one_pass() {
        let secret = "a".repeat(8 * 1024);
        let given = given(&[("KEY", &secret)]);
        let redactor = Redactor::new(&given, 0, PLENTY);
        let text = "a".repeat(64 * 1024) + "b";
        assert_eq!(redactor.text(&text), "[secret KEY]");
    }

    proptest! {
        #[test]
        fn no_secret_is_left_in_any_text(
            secret in "[ab\"]{4,20}",
            parts in prop::collection::vec("[ab\"é]{0,6}", 0..6),
        ) {
            let given = given(&[("KEY", &secret)]);
            let redactor = Redactor::new(&given, 0, PLENTY);
            let text = parts.join(&secret);
            for left in [redactor.text(&text), redactor.callers_text(&text)] {
                prop_assert!(!left.contains(&secret), "{text} became {left}");
            }
        }
    }
}
