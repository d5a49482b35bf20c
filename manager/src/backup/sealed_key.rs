//! The instance's secret key within a backup, for whom the key's file is lost with the disk: sealed by a key that is made of a
//! passphrase (Argon2id), so that who finds the backup has to guess that first.

use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::backup::BackupError;
use crate::secret::key_file::SecretKey;
use crate::secret::seal::{Place, Sealer};

/// KiB of memory, passes and lanes: RFC 9106's second choice, which a Pi bears for once. They belong to the format of backups:
/// a file does not say what its reader has to spend.
const PARAMS: (u32, u32, u32) = (64 * 1024, 3, 4);
/// Bytes of the salt.
const SALT_BYTES: usize = 16;
/// Characters of the shortest passphrase.
const SHORTEST: usize = 12;

/// A passphrase. It has neither `Debug` nor `Display`.
#[derive(Clone)]
pub struct Passphrase(String);

/// A text that is no passphrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a passphrase has at least 12 characters: whoever finds the backup can guess at it for ever")]
pub struct InvalidPassphrase;

impl FromStr for Passphrase {
    type Err = InvalidPassphrase;

    fn from_str(text: &str) -> Result<Self, InvalidPassphrase> {
        if text.chars().count() < SHORTEST { Err(InvalidPassphrase) } else { Ok(Self(text.to_owned())) }
    }
}

impl Passphrase {
    fn sealer(&self, salt: &[u8]) -> Sealer {
        let (memory, passes, lanes) = PARAMS;
        let params = Params::new(memory, passes, lanes, Some(32)).expect("these are within Argon2's bounds");
        let mut bytes = [0; 32];
        let made = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
            self.0.as_bytes(),
            salt,
            &mut bytes,
        );
        made.expect("a salt of 16 bytes and a key of 32 are within Argon2's bounds");
        Sealer::of_bytes(&bytes)
    }
}

fn place(fingerprint: &str) -> Place<'_> {
    Place { table: "backup", app: "", name: fingerprint }
}

/// The key as it goes into a backup.
pub(super) fn seal(key: &SecretKey, passphrase: &Passphrase) -> String {
    let salt: [u8; SALT_BYTES] = rand::random();
    let sealed = passphrase.sealer(&salt).seal(place(&key.fingerprint()), key.as_bytes());
    URL_SAFE_NO_PAD.encode([&salt[..], &sealed].concat())
}

/// The key of that fingerprint out of a backup.
///
/// # Errors
/// The passphrase is another, or what is sealed was changed.
pub(super) fn open(sealed: &str, fingerprint: &str, passphrase: &Passphrase) -> Result<SecretKey, BackupError> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok();
    let opened = bytes.and_then(|bytes| {
        let (salt, sealed) = bytes.split_first_chunk::<SALT_BYTES>()?;
        let opened = passphrase.sealer(salt).open(place(fingerprint), sealed).ok()?;
        opened.try_into().ok().map(SecretKey::from_bytes)
    });
    opened.filter(|key| key.fingerprint() == fingerprint).ok_or(BackupError::WrongPassphrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_by_its_passphrase_alone_and_for_itself_alone() {
        let passphrase: Passphrase = "correct horse battery".parse().unwrap();
        let key = SecretKey::generate();
        let sealed = seal(&key, &passphrase);
        let opened = open(&sealed, &key.fingerprint(), &passphrase).unwrap();
        assert_eq!(opened.as_bytes(), key.as_bytes());
        let other = "correct horse batterz".parse().unwrap();
        assert!(open(&sealed, &key.fingerprint(), &other).is_err());
        assert!(open(&sealed, &SecretKey::generate().fingerprint(), &passphrase).is_err());
        for cut in ["", "AAAA", &sealed[..sealed.len() - 4]] {
            assert!(open(cut, &key.fingerprint(), &passphrase).is_err());
        }
        assert_ne!(sealed, seal(&key, &passphrase), "no two are alike");
    }

    #[test]
    fn a_short_text_is_no_passphrase() {
        assert!("elf zeichen".parse::<Passphrase>().is_err());
        assert!("zwölf zeiche".parse::<Passphrase>().is_ok());
    }
}
