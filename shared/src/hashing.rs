//! How what is looked up with every request is hashed: with less work than the standard library has with it, and seeded for each process.
//!
//! For keys that this program made, or that somebody who is signed in may make only so many of. What strangers can fill a map with is left to
//! the standard library's, which resists whoever looks for keys that collide.

use std::collections::HashMap;

/// The hasher.
pub type FastHash = hashbrown::DefaultHashBuilder;

/// A map that uses it.
pub type FastMap<K, V> = HashMap<K, V, FastHash>;
