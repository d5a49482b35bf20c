//! The text of API keys: `pck_`, the key's id, a secret and a checksum, in hexadecimal.
//!
//! The checksum tells a mistyped or cut key, and lets who scans texts for leaked keys be sure, without asking the store.

use std::str::FromStr;

use picloud_shared::id::ApiKeyId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::hex::hex;

/// What every key begins with.
pub const PREFIX: &str = "pck_";
const ID_DIGITS: usize = 32;
/// 192 bits: too many to be guessed, so that a plain hash cannot be searched.
const SECRET_DIGITS: usize = 48;
const CHECKSUM_DIGITS: usize = 8;
const LENGTH: usize = PREFIX.len() + ID_DIGITS + SECRET_DIGITS + CHECKSUM_DIGITS;
/// Characters of a key that may be shown, to tell a user's keys apart.
const SHOWN: usize = PREFIX.len() + 12;

/// An API key. It has neither `Debug` nor `Display` nor `Serialize`.
#[derive(Clone)]
pub struct ApiKeyToken(String);

/// A text that is no API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an API key is pck_ and 88 hexadecimal digits, the last of which fit the others")]
pub struct InvalidApiKey;

impl ApiKeyToken {
    /// A fresh key of that id, from the operating system's seeded generator.
    pub fn generate(id: ApiKeyId) -> Self {
        let secret: [u8; SECRET_DIGITS / 2] = rand::random();
        let text = format!("{PREFIX}{}{}", id.as_uuid().simple(), hex(&secret));
        let checksum = checksum(&text);
        Self(text + &checksum)
    }

    /// What the store keeps.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The key's text, for the one answer that hands it over.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The beginning of the text of the key of that id.
pub fn shown_prefix(id: ApiKeyId) -> String {
    let mut text = format!("{PREFIX}{}", id.as_uuid().simple());
    text.truncate(SHOWN);
    text
}

impl FromStr for ApiKeyToken {
    type Err = InvalidApiKey;

    fn from_str(text: &str) -> Result<Self, InvalidApiKey> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidApiKey)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if text.len() != LENGTH || !is_hex {
            return Err(InvalidApiKey);
        }
        let (body, end) = text.split_at(LENGTH - CHECKSUM_DIGITS);
        let has_id = Uuid::try_parse(&digits[..ID_DIGITS]).is_ok();
        if has_id && checksum(body) == end { Ok(Self(text.to_owned())) } else { Err(InvalidApiKey) }
    }
}

fn checksum(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..CHECKSUM_DIGITS / 2])
}

#[cfg(test)]
mod tests {
    use picloud_shared::clock::Timestamp;

    use super::*;

    #[test]
    fn a_key_reads_as_it_is_written_and_shows_its_beginning_only() {
        let id = ApiKeyId::generate(Timestamp::from_millis(1_767_225_600_007));
        let key = ApiKeyToken::generate(id);
        assert_eq!(key.reveal().len(), 92);
        let read: ApiKeyToken = key.reveal().parse().unwrap();
        assert_eq!(read.hash(), key.hash());
        assert_eq!(shown_prefix(id), "pck_019b76daa807");
        assert!(key.reveal().starts_with(&shown_prefix(id)) && shown_prefix(id).len() == 16);
        assert_ne!(ApiKeyToken::generate(id).hash(), key.hash());
    }

    #[test]
    fn a_key_with_any_character_changed_or_missing_is_none() {
        let key = ApiKeyToken::generate(ApiKeyId::generate(Timestamp::from_millis(0)));
        let text = key.reveal();
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(changed.parse::<ApiKeyToken>().is_err(), "{at}");
            let cut = format!("{}{}", &text[..at], &text[at + 1..]);
            assert!(cut.parse::<ApiKeyToken>().is_err(), "{at}");
        }
        for bad in ["", "pck_", &text.to_uppercase(), &format!("{text} "), &"é".repeat(46)] {
            assert!(bad.parse::<ApiKeyToken>().is_err(), "{bad}");
        }
    }
}
