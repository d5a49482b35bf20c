//! Sealing by another key what is sealed: opened by the old one, sealed by the new one for the same place.

use crate::secret::key_file::{Purpose, SecretKey};
use crate::secret::seal::{Place, Sealer};

/// What became of all that was sealed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// How many are sealed by the new key.
    pub count: u64,
    /// Which did not open by the old key either, and stay as they are.
    pub unopenable: Vec<String>,
}

impl Resealed {
    /// The two together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.count += other.count;
        self.unopenable.extend(other.unopenable);
        self
    }
}

/// Seals by one key what another has sealed, for one purpose.
pub(crate) struct Resealer {
    old: Sealer,
    new: Sealer,
    done: Resealed,
}

impl Resealer {
    pub(crate) fn new(old: &SecretKey, new: &SecretKey, purpose: Purpose) -> Self {
        let sealer = |key: &SecretKey| Sealer::new(&key.derive(purpose));
        Self { old: sealer(old), new: sealer(new), done: Resealed::default() }
    }

    pub(crate) fn reseal(&mut self, place: Place<'_>, sealed: &mut Vec<u8>) {
        match self.old.open(place, sealed) {
            Ok(text) => {
                *sealed = self.new.seal(place, &text);
                self.done.count += 1;
            }
            Err(_) => {
                let words = [place.table, place.app, place.name].into_iter().filter(|word| !word.is_empty());
                self.done.unopenable.push(words.collect::<Vec<_>>().join(" "));
            }
        }
    }

    pub(crate) fn done(self) -> Resealed {
        self.done
    }
}
