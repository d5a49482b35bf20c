//! Sealing: what the store keeps of a secret that must be had back, encrypted by a key from the instance's key file.
//!
//! Each sealed text is bound to its place: the table, the app and the name that it stands under. Moved to another row by
//! whoever can write to the database, it does not open there.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::secret::key_file::DerivedKey;

/// Bytes of a nonce: so many that one drawn at random is never drawn again.
const NONCE_BYTES: usize = 24;
/// What a sealed text begins with, so that another way of sealing can be told from this one.
const VERSION: u8 = 1;

/// Seals and opens (XChaCha20-Poly1305).
pub struct Sealer(XChaCha20Poly1305);

/// Where a sealed text stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The table and column.
    pub table: &'static str,
    /// The app that it belongs to; empty where it belongs to none.
    pub app: &'a str,
    /// What it is called there.
    pub name: &'a str,
}

/// A sealed text that cannot be opened: it was damaged, or stands where it was not put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed text does not open: it was changed, or stands where it was not put")]
pub struct Unopenable;

impl Place<'_> {
    /// The parts with their lengths, so that no two places are written alike.
    fn associated_data(&self) -> Vec<u8> {
        let parts = [self.table, self.app, self.name];
        parts.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.bytes())).collect()
    }
}

impl Sealer {
    /// Seals with this key.
    pub fn new(key: &DerivedKey) -> Self {
        Self::of_bytes(key.as_bytes())
    }

    /// Seals with a key of these bytes, which come from elsewhere than the instance's.
    pub(crate) fn of_bytes(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Seals a text for its place.
    pub fn seal(&self, place: Place<'_>, text: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = place.associated_data();
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: text, aad: &aad });
        let sealed = sealed.expect("the cipher takes 256 GiB, which no text here has");
        [&[VERSION][..], &nonce, &sealed].concat()
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// It is not as it was sealed, or was sealed for another place or by another key.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unopenable> {
        let (version, rest) = sealed.split_first().ok_or(Unopenable)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Unopenable)?;
        if *version != VERSION {
            return Err(Unopenable);
        }
        let aad = place.associated_data();
        self.0.decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: &aad }).map_err(|_| Unopenable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::key_file::{Purpose, SecretKey};

    const PLACE: Place<'static> = Place { table: "t", app: "a", name: "n" };

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&SecretKey::from_bytes([byte; 32]).derive(Purpose::CertificateKeys))
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let sealed = sealer(1).seal(PLACE, b"a key");
        assert_eq!(sealer(1).open(PLACE, &sealed).unwrap(), b"a key");
        for elsewhere in [
            Place { table: "u", ..PLACE },
            Place { app: "b", ..PLACE },
            Place { name: "m", ..PLACE },
            Place { app: "an", name: "", ..PLACE },
        ] {
            assert_eq!(sealer(1).open(elsewhere, &sealed), Err(Unopenable), "{elsewhere:?}");
        }
        assert_eq!(sealer(2).open(PLACE, &sealed), Err(Unopenable), "another key");
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed_and_no_two_are_alike() {
        let sealer = sealer(1);
        let sealed = sealer.seal(PLACE, b"a key");
        assert_ne!(sealed, sealer.seal(PLACE, b"a key"));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(PLACE, &changed), Err(Unopenable), "byte {at}");
            assert_eq!(sealer.open(PLACE, &sealed[..at]), Err(Unopenable), "cut at {at}");
        }
    }
}
