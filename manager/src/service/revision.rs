//! Revisions: what a reader saw, so that a writer can say what they mean to replace.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// The digest of a thing's stored fields: equal exactly when the fields are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision(String);

impl Revision {
    /// The revision of these fields.
    pub(crate) fn of(fields: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(fields).expect("stored fields are plain values, which JSON can hold");
        let digest = Sha256::digest(bytes);
        Self(hex(&digest[..12]))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a write demands of the thing that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing.
    None,
    /// That it is in one of these revisions.
    OneOf(Vec<String>),
}

impl Precondition {
    pub(crate) fn check(&self, revision: &Revision) -> Result<(), super::error::ServiceError> {
        match self {
            Self::OneOf(wanted) if !wanted.iter().any(|tag| tag == revision.as_str()) => {
                Err(super::error::ServiceError::PreconditionFailed)
            }
            _ => Ok(()),
        }
    }

    /// Of a thing that cannot be read nobody has read any revision.
    pub(crate) fn check_unreadable(&self) -> Result<(), super::error::ServiceError> {
        match self {
            Self::OneOf(_) => Err(super::error::ServiceError::PreconditionFailed),
            Self::None => Ok(()),
        }
    }
}
