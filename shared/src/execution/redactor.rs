//! Takes the secrets that a run was given out of what is kept and shown of it. It knows texts and bytes, and neither rows nor
//! answers.
//!
//! A secret is found as it is and as the functions of scripts write it: in JSON, in a URL, in HTML, in base64 and in hexadecimal. What a
//! script makes of it otherwise is not found. Texts of scripts are cut here and there, in bodies at a known place and in messages
//! anywhere, so that the beginning of a secret goes as well.

mod written;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::{Range, RangeInclusive};

use memchr::memmem;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::execution::{ExecutionFailure, LogLine, MAX_FAILURE_BYTES, MAX_LOG_BYTES};
use crate::name::SettingName;
use crate::secret::GivenSecrets;
use written::{FORMS, written};

/// Bytes of a secret's beginning that are taken out wherever they stand: what is cut amid a message leaves fewer of them. Fewer
/// would be found in much that has nothing to do with the secret.
const TELLING_BYTES: usize = 16;
/// What stands in the place of a text that is too much to be searched.
const WITHHELD: &str = "[withheld: the run was given too many secrets to be looked for]";

/// Takes the secrets of one run out of its texts.
pub struct Redactor<'s> {
    forms: Vec<Form<'s>>,
    is_overwhelmed: bool,
}

/// A secret in one of the ways that it is written.
struct Form<'s> {
    name: &'s SettingName,
    bytes: Zeroizing<Vec<u8>>,
    /// For each beginning, the length of the longest shorter one that it ends in.
    borders: OnceCell<Vec<u32>>,
}

/// A part of a text that goes. It is told which secret it is, unless it is only the beginning of one that was cut.
struct Span<'s> {
    range: Range<usize>,
    name: Option<&'s SettingName>,
}

impl<'s> Redactor<'s> {
    /// For texts of so many bytes altogether. Where going through them takes more than `most_work` bytes of comparing and writing,
    /// they are withheld as a whole: a script must not choose how long others' records wait.
    pub fn new(given: &'s GivenSecrets, text_bytes: usize, most_work: usize) -> Self {
        let work = given.iter().map(|(_, secret)| FORMS * (text_bytes + 6 * secret.len())).sum::<usize>();
        if work > most_work {
            return Self { forms: Vec::new(), is_overwhelmed: true };
        }
        let mut forms: Vec<Form<'s>> = Vec::new();
        for (name, secret) in given.iter() {
            for bytes in written(secret) {
                if forms.iter().all(|known| *known.bytes != *bytes) {
                    forms.push(Form { name, bytes, borders: OnceCell::new() });
                }
            }
        }
        Self { forms, is_overwhelmed: false }
    }

    /// Whether there is nothing to look for.
    pub fn is_idle(&self) -> bool {
        self.forms.is_empty() && !self.is_overwhelmed
    }

    /// A text without secrets.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.cut_text(text, usize::MAX)
    }

    /// Bytes without secrets. Where more of them were cut off, they do not end in the beginning of one either.
    pub fn bytes<'t>(&self, bytes: &'t [u8], is_cut: bool) -> Cow<'t, [u8]> {
        if self.is_overwhelmed {
            return Cow::Borrowed(WITHHELD.as_bytes());
        }
        let cuts = if is_cut { bytes.len()..=bytes.len() } else { NO_CUT };
        match self.spans(bytes, cuts).as_slice() {
            [] => Cow::Borrowed(bytes),
            spans => Cow::Owned(without(bytes, spans)),
        }
    }

    /// Takes the secrets out of a value, wherever in it they stand.
    pub fn json(&self, value: &mut Value) {
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
        replace(&mut line.message, |text| self.cut_text(text, MAX_LOG_BYTES));
        if let Some(data) = &mut line.data {
            self.json(data);
        }
    }

    /// Takes the secrets out of what a failure says.
    pub fn failure(&self, failure: &mut ExecutionFailure) {
        replace(&mut failure.message, |text| self.cut_text(text, MAX_FAILURE_BYTES));
    }

    /// A text that was cut at the last character that ends within `limit`, where it is as long.
    fn cut_text<'t>(&self, text: &'t str, limit: usize) -> Cow<'t, str> {
        if self.is_overwhelmed {
            return Cow::Borrowed(WITHHELD);
        }
        // A character has up to four bytes.
        let cuts = if text.len() + 4 > limit { limit.saturating_sub(3)..=limit } else { NO_CUT };
        match self.spans(text.as_bytes(), cuts).as_slice() {
            [] => Cow::Borrowed(text),
            spans => Cow::Owned(String::from_utf8_lossy(&without(text.as_bytes(), spans)).into_owned()),
        }
    }

    /// What goes, in order, with something between each two.
    fn spans(&self, text: &[u8], cuts: RangeInclusive<usize>) -> Vec<Span<'s>> {
        let mut found = Vec::new();
        for form in &self.forms {
            form.find(text, &cuts, &mut found);
        }
        found.sort_by_key(|span| span.range.start);
        found.into_iter().fold(Vec::new(), |mut spans, next| {
            join(&mut spans, next);
            spans
        })
    }
}

/// No place of a text.
const NO_CUT: RangeInclusive<usize> = RangeInclusive::new(1, 0);

impl<'s> Form<'s> {
    /// Finds what goes for this form (Knuth, Morris and Pratt: in one pass, whatever text and secret are).
    fn find(&self, text: &[u8], cuts: &RangeInclusive<usize>, spans: &mut Vec<Span<'s>>) {
        let form = self.bytes.as_slice();
        let telling = form.len().min(TELLING_BYTES);
        let from = match memmem::find(text, &form[..telling]) {
            Some(at) => at,
            // Before a cut there may stand a beginning, which is shorter than the telling one.
            None if !cuts.is_empty() && *cuts.start() <= text.len() => cuts.start().saturating_sub(telling),
            None => return,
        };
        let borders = self.borders.get_or_init(|| borders(form));
        let first = spans.len();
        let mut matched = 0;
        for (at, byte) in text.iter().enumerate().skip(from) {
            if matched == form.len() {
                matched = borders[matched - 1] as usize;
            }
            matched = longer(form, borders, matched, *byte);
            let end = at + 1;
            let name = (matched >= telling).then_some(self.name);
            if name.is_some() || matched > 0 && cuts.contains(&end) {
                let next = Span { range: end - matched..end, name };
                // Those of one form end one after the other.
                if spans.len() > first { join(spans, next) } else { spans.push(next) }
            }
        }
    }
}

/// The length of the beginning of the form that a text ends in by this byte, which ended in one of `matched` before.
fn longer(form: &[u8], borders: &[u32], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && form[matched] != byte {
        matched = borders[matched - 1] as usize;
    }
    if form[matched] == byte { matched + 1 } else { 0 }
}

fn borders(form: &[u8]) -> Vec<u32> {
    let mut borders: Vec<u32> = vec![0; form.len()];
    for at in 1..form.len() {
        borders[at] = longer(form, &borders, borders[at - 1] as usize, form[at]) as u32;
    }
    borders
}

/// Adds a span that does not begin before the last one, or makes that one longer where they touch.
fn join<'s>(spans: &mut Vec<Span<'s>>, next: Span<'s>) {
    match spans.last_mut() {
        Some(last) if next.range.start < last.range.end => {
            last.range.end = last.range.end.max(next.range.end);
            last.range.start = last.range.start.min(next.range.start);
            last.name = last.name.or(next.name);
        }
        _ => spans.push(next),
    }
}

fn without(text: &[u8], spans: &[Span<'_>]) -> Vec<u8> {
    let (mut kept, mut from) = (Vec::with_capacity(text.len()), 0);
    for Span { range, name } in spans {
        kept.extend_from_slice(&text[from..range.start]);
        if let Some(name) = name {
            kept.extend_from_slice(format!("[secret {name}]").as_bytes());
        }
        from = range.end;
    }
    kept.extend_from_slice(&text[from..]);
    kept
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
            ("<hunter2hunter2> aaaa", "<[secret KEY][secret KEY]> [secret PIN]"),
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
    fn the_beginning_of_a_long_secret_goes_wherever_it_was_cut() {
        let secret = "0123456789abcdef-and-much-more";
        let redacted = |text: &str| redacted(&[("KEY", secret)], text);
        assert_eq!(redacted("no \"0123456789abcdef-and\" here"), "no \"[secret KEY]\" here");
        assert_eq!(redacted("0123456789abcde"), "0123456789abcde");
    }

    #[test]
    fn no_beginning_of_a_secret_is_left_where_a_text_was_cut() {
        let given = given(&[("KEY", "hunter2-hunter3")]);
        let redactor = Redactor::new(&given, 0, PLENTY);
        let whole = b"some text hunter2-hunter3";
        for end in 10..whole.len() {
            assert_eq!(&*redactor.bytes(&whole[..end], true), b"some text ", "{end}");
            assert_eq!(&*redactor.bytes(&whole[..end], false), &whole[..end], "it is the whole of it");
        }
        assert_eq!(&*redactor.bytes(b"\xffhunter2-hunter3\xff", true), b"\xff[secret KEY]\xff");
        // A message that was cut may go on with the module that it is about.
        let mut failure = |cut_at: usize| {
            let message = format!("{:x>cut_at$} (in module `m`)", "hunt");
            let mut failure = ExecutionFailure { message, line: None, column: None, limit: None };
            redactor.failure(&mut failure);
            failure.message.contains("hunt")
        };
        assert_eq!([4_096, 4_093, 4_092].map(&mut failure), [false, false, true]);
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
            data: Some(json!({ "a": "hunter2" })),
        };
        redactor.line(&mut line);
        assert!(!format!("{line:?}").contains("hunter2"));
        assert!(Redactor::new(&GivenSecrets::default(), usize::MAX, 0).is_idle());
    }

    #[test]
    fn the_longest_secrets_that_repeat_themselves_are_searched_in_one_pass() {
        let secret = "a".repeat(8 * 1024);
        let given = given(&[("KEY", &secret)]);
        let redactor = Redactor::new(&given, 0, PLENTY);
        let text = "a".repeat(64 * 1024) + "b";
        assert_eq!(redactor.text(&text), "[secret KEY]b");
    }

    proptest! {
        #[test]
        fn no_secret_is_left_in_any_text(
            secret in "[ab\"]{4,20}",
            parts in prop::collection::vec("[ab\"é]{0,6}", 0..6),
            cut in 0_usize..20,
        ) {
            let given = given(&[("KEY", &secret)]);
            let redactor = Redactor::new(&given, 0, PLENTY);
            let cut = cut % secret.len();
            let text = parts.join(&secret) + &secret[..cut];
            let left = String::from_utf8(redactor.bytes(text.as_bytes(), true).into_owned()).unwrap();
            prop_assert!(!left.contains(&secret));
            let kept = left.replace("[secret KEY]", "").len();
            let secrets = secret.len() * parts.len().saturating_sub(1) + cut;
            prop_assert!(kept + secrets <= text.len(), "{text} became {left}");
        }
    }
}
