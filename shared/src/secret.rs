//! The vocabulary of an app's secrets: their values in the clear, and which of them a run was given. It knows neither how they are
//! kept nor who may set them.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::name::SettingName;

/// Bytes of the shortest secret. A shorter one would be found by chance in what scripts log, and is soon guessed.
pub const MIN_SECRET_BYTES: usize = 4;
/// Bytes of the longest secret: a private key with its certificates fits.
pub const MAX_SECRET_BYTES: usize = 8 * 1024;

/// A secret in the clear. It has neither `Debug` nor `Display` nor `Serialize`, and is wiped when it is dropped.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct SecretValue(Zeroizing<String>);

/// A text that is no secret. It says nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes of UTF-8 without NUL")]
pub struct InvalidSecret;

impl SecretValue {
    /// The text, for the script that asks for it and for whoever seals it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretValue {
    type Error = InvalidSecret;

    fn try_from(text: String) -> Result<Self, InvalidSecret> {
        let text = Zeroizing::new(text);
        let good = (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&text.len()) && !text.contains('\0');
        if good { Ok(Self(text)) } else { Err(InvalidSecret) }
    }
}

/// The secrets that a run asked for and got, each once: what must not stand in what is kept of the run.
#[derive(Clone, Default)]
pub struct GivenSecrets(Vec<(SettingName, Arc<SecretValue>)>);

impl GivenSecrets {
    /// Notes that the run was given this one.
    pub fn note(&mut self, name: &SettingName, value: &Arc<SecretValue>) {
        if !self.0.iter().any(|(known, _)| known == name) {
            self.0.push((name.clone(), Arc::clone(value)));
        }
    }

    /// Whether the run was given none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&SettingName, &str)> {
        self.0.iter().map(|(name, value)| (name, value.reveal()))
    }
}

/// The names alone.
impl fmt::Debug for GivenSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<SecretValue, InvalidSecret> {
        SecretValue::try_from(text.to_owned())
    }

    #[test]
    fn secrets_are_texts_of_4_bytes_to_8_kib_without_nul() {
        for good in ["abcd", "ää", &"x".repeat(MAX_SECRET_BYTES)] {
            assert!(secret(good).is_ok_and(|value| value.reveal() == good));
        }
        for bad in ["", "abc", "ä", "abc\0d", &"x".repeat(MAX_SECRET_BYTES + 1)] {
            assert!(secret(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_run_was_given_is_noted_once_and_shown_by_name() {
        let (name, value) = ("KEY".parse::<SettingName>().unwrap(), Arc::new(secret("hunter2").ok().unwrap()));
        let mut given = GivenSecrets::default();
        assert!(given.is_empty());
        given.note(&name, &value);
        given.note(&name, &value);
        assert_eq!(given.iter().collect::<Vec<_>>(), [(&name, "hunter2")]);
        assert_eq!(format!("{given:?}"), "{\"KEY\"}");
    }
}
