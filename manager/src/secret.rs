//! Secrets that pass through the manager: session and set-up tokens, API keys, and passwords as they are typed.
//!
//! None of them can be printed or serialised by accident: they have neither `Debug` nor `Display` nor `Serialize`.
//! The store keeps only what [`SecretToken::hash`] and the password slot give.

pub mod api_key;
pub mod key_file;
pub mod reseal;
pub mod seal;

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use picloud_shared::name::Username;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Passwords of 12 characters and more among the commonest ones; shorter ones are refused by their length already.
const COMMON_PASSWORDS: &str = include_str!("secret/common_passwords.txt");

/// 32 random bytes, written as 43 characters of URL-safe base64.
#[derive(Clone)]
pub struct SecretToken(String);

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token is 43 characters of URL-safe base64")]
pub struct InvalidSecretToken;

impl SecretToken {
    const BYTES: usize = 32;

    /// A fresh token from the operating system's seeded generator.
    pub fn generate() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; Self::BYTES]>()))
    }

    /// What the store keeps: the token has 256 bits of entropy, so that a plain hash cannot be searched.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The token's text, for the one answer that hands it over.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretToken {
    type Err = InvalidSecretToken;

    fn from_str(text: &str) -> Result<Self, InvalidSecretToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidSecretToken)?;
        if bytes.len() == Self::BYTES { Ok(Self(text.to_owned())) } else { Err(InvalidSecretToken) }
    }
}

/// A password as somebody typed it, of at most 1,024 bytes: what a login is tried with.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct TypedPassword(String);

/// A password that is too long to be anybody's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a password is at most 1024 bytes")]
pub struct PasswordTooLong;

impl TypedPassword {
    /// Room for 256 characters of four bytes.
    const MAX_BYTES: usize = 1024;

    /// The bytes to hash.
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<String> for TypedPassword {
    type Error = PasswordTooLong;

    fn try_from(text: String) -> Result<Self, PasswordTooLong> {
        if text.len() > Self::MAX_BYTES { Err(PasswordTooLong) } else { Ok(Self(text)) }
    }
}

/// A password that somebody may set.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct NewPassword(TypedPassword);

/// Why a password cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short or too long.
    #[error("a password has 12 to 256 characters")]
    Length,
    /// One of the commonest.
    #[error("this password is one of the commonest and would be guessed at once; choose another")]
    Common,
}

impl NewPassword {
    /// A password of 128 random bits that nobody chose.
    pub fn generate() -> Self {
        Self(TypedPassword(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())))
    }

    /// A password that just proved right, to be hashed anew: rules that came later do not count for it.
    pub(crate) fn proven(password: TypedPassword) -> Self {
        Self(password)
    }

    /// The password as one would type it.
    pub fn as_typed(&self) -> &TypedPassword {
        &self.0
    }

    /// The password's text, for the one answer or line that hands a generated one over.
    pub fn reveal(&self) -> &str {
        &self.0.0
    }

    /// Whether it is nothing but the user's own name, once or repeated.
    pub fn merely_repeats(&self, username: &Username) -> bool {
        let folded = self.reveal().to_lowercase();
        folded.split(username.as_str()).all(str::is_empty)
    }
}

impl TryFrom<String> for NewPassword {
    type Error = WeakPassword;

    fn try_from(text: String) -> Result<Self, WeakPassword> {
        if !(12..=256).contains(&text.chars().count()) {
            return Err(WeakPassword::Length);
        }
        let folded = text.to_lowercase();
        let one_character = folded.chars().skip(1).all(|c| folded.starts_with(c));
        if one_character || COMMON_PASSWORDS.lines().any(|common| common == folded) {
            return Err(WeakPassword::Common);
        }
        Ok(Self(TypedPassword(text)))
    }
}

impl FromStr for NewPassword {
    type Err = WeakPassword;

    fn from_str(text: &str) -> Result<Self, WeakPassword> {
        Self::try_from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<WeakPassword> {
        text.parse::<NewPassword>().err()
    }

    #[test]
    fn a_token_reads_back_and_hashes_the_same() {
        let token = SecretToken::generate();
        assert_eq!(token.reveal().len(), 43);
        assert_eq!(token.reveal().parse::<SecretToken>().unwrap().hash(), token.hash());
        assert_ne!(SecretToken::generate().hash(), token.hash());
        for bad in ["", "abc", &"a".repeat(44), &format!("{}=", token.reveal())] {
            assert!(bad.parse::<SecretToken>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_has_12_to_256_characters_whatever_their_bytes() {
        assert_eq!(refusal("elevenchars"), Some(WeakPassword::Length));
        assert_eq!(refusal("twelve chars"), None);
        assert_eq!(refusal(&"äöüß".repeat(64)), None);
        assert_eq!(refusal(&format!("x{}", "y".repeat(256))), Some(WeakPassword::Length));
    }

    #[test]
    fn the_commonest_passwords_are_refused_in_any_case() {
        for common in ["123456789012", "Password1234", "qwertyuiop123", "aaaaaaaaaaaaaaaa"] {
            assert_eq!(refusal(common), Some(WeakPassword::Common), "{common}");
        }
    }

    #[test]
    fn every_listed_password_could_be_typed_and_is_written_folded() {
        for common in COMMON_PASSWORDS.lines() {
            assert!(common.chars().count() >= 12, "{common} is refused by its length already");
            assert_eq!(common, common.to_lowercase());
        }
    }

    #[test]
    fn a_password_that_repeats_the_username_is_recognised() {
        let name: Username = "ada.lovelace".parse().unwrap();
        assert!("Ada.LovelaceAda.Lovelace".parse::<NewPassword>().unwrap().merely_repeats(&name));
        assert!(!"ada.lovelace!".parse::<NewPassword>().unwrap().merely_repeats(&name));
    }
}
