//! The vocabulary of an app's settings, which its scripts read by name and people set.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Bytes of the longest value of a setting.
pub const MAX_ENV_BYTES: usize = 8 * 1024;

/// The value of a setting: a text. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvValue(Arc<str>);

/// A text that is no value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value has at most {MAX_ENV_BYTES} bytes of UTF-8 without NUL")]
pub struct InvalidEnvValue;

impl EnvValue {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvValue {
    type Err = InvalidEnvValue;

    fn from_str(text: &str) -> Result<Self, InvalidEnvValue> {
        // PostgreSQL has no NUL in text.
        let good = text.len() <= MAX_ENV_BYTES && !text.contains('\0');
        if good { Ok(Self(text.into())) } else { Err(InvalidEnvValue) }
    }
}

impl TryFrom<String> for EnvValue {
    type Error = InvalidEnvValue;

    fn try_from(text: String) -> Result<Self, InvalidEnvValue> {
        text.parse()
    }
}

impl From<EnvValue> for String {
    fn from(value: EnvValue) -> Self {
        value.0.as_ref().to_owned()
    }
}

impl fmt::Display for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_texts_of_at_most_8_kib_without_nul() {
        for good in ["", " ", "ä\n", &"x".repeat(MAX_ENV_BYTES)] {
            assert_eq!(good.parse::<EnvValue>().unwrap().as_str(), good);
        }
        for bad in ["a\0", &"x".repeat(MAX_ENV_BYTES + 1), &"ä".repeat(MAX_ENV_BYTES / 2 + 1)] {
            assert!(bad.parse::<EnvValue>().is_err());
        }
    }
}
