//! What `picloud doctor` finds: how one thing is, in plain words, and what to do about it.

use std::path::Path;

use serde::Serialize;

/// How a thing is, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As it should be, or untold by a system that does not tell.
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// Something does not work, or will not at the next start.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about, in one word: `ports`, `disk`.
    pub about: &'static str,
    /// How it is.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What to do: a command, or a setting. Whatever is not well has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// What is well.
    pub fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, state: CheckState::Ok, found: found.into(), fix: None }
    }

    /// What somebody should look at.
    pub fn warning(about: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { about, state: CheckState::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    /// What is wrong.
    pub fn wrong(about: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { about, state: CheckState::Wrong, found: found.into(), fix: Some(fix.into()) }
    }
}

/// A path as one word of a shell's, whatever is in it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    match text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c)) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_whatever_is_in_it() {
        for (path, word) in [
            ("/var/lib/picloud/main.db", "/var/lib/picloud/main.db"),
            ("/data/my disk", "'/data/my disk'"),
            ("/data/a;reboot", "'/data/a;reboot'"),
            ("/data/it's", r"'/data/it'\''s'"),
        ] {
            assert_eq!(quoted(Path::new(path)), word);
        }
    }
}
