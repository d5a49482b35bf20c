//! What the remote commands print: JSON as it came, or lines for people. What comes from a server, and through it from anybody
//! who calls a script, never moves a terminal.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::remote::Target;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// JSON, as the API answered it.
    Json,
    /// Lines.
    Lines,
}

impl Output {
    pub fn of(target: &Target) -> Self {
        if target.json { Self::Json } else { Self::Lines }
    }

    /// Prints the value, or else the lines that are made of it.
    pub fn print(self, value: &Value, lines: impl FnOnce(&Value) -> Vec<String>) -> Result<(), Unprinted> {
        match self {
            Self::Json => say(&value.to_string()),
            Self::Lines => lines(value).iter().try_for_each(|line| say(line)),
        }
    }

    /// Prints rows in columns under their titles, or the values that they are made of. That there are none of these things is no
    /// row, which a program would read.
    pub fn table<const N: usize>(
        self,
        things: &str,
        items: &[Value],
        titles: [&str; N],
        row: impl Fn(&Value) -> [String; N],
    ) -> Result<(), Unprinted> {
        if self == Self::Json {
            return say(&Value::from(items).to_string());
        }
        if items.is_empty() {
            tell(&format!("there are no {things} yet"));
            return Ok(());
        }
        let rows: Vec<_> = std::iter::once(titles.map(str::to_owned)).chain(items.iter().map(row)).collect();
        let widths: [usize; N] =
            std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
        rows.iter().try_for_each(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            say(cells.collect::<Vec<_>>().join("  ").trim_end())
        })
    }
}

/// Standard output does not take what is printed.
#[derive(Debug, thiserror::Error)]
#[error("cannot print: {0}")]
pub struct Unprinted(#[from] io::Error);

impl Unprinted {
    /// Whether its reader has gone, such as `head`, which is no failure.
    pub fn is_unread(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints one line. A reader who has gone is an error, and no panic.
pub fn say(line: &str) -> Result<(), Unprinted> {
    print(format!("{line}\n").as_bytes())
}

/// Says one line beside what is printed, on standard error. That nobody reads it is no reason to stop.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "picloud: {line}");
}

/// Prints a text as it is.
pub fn print(text: &[u8]) -> Result<(), Unprinted> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}

/// The text on one line, with nothing in it that moves a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A member of a JSON object as text: a string without quotation marks, nothing for null.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}
