//! Revisions: what a reader saw, so that a writer can say what they mean to replace.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::service::error::ServiceError;

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
    /// That there is such a thing.
    Present,
    /// That it is in one of these revisions.
    OneOf(Vec<String>),
}

impl Precondition {
    pub(crate) fn check(&self, revision: &Revision) -> Result<(), ServiceError> {
        self.check_by(|| revision.clone())
    }

    /// The same, where finding the revision out takes a while that may be spared.
    pub(crate) fn check_by(&self, revision: impl FnOnce() -> Revision) -> Result<(), ServiceError> {
        match self {
            Self::OneOf(wanted) if !wanted.contains(&revision().0) => Err(ServiceError::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// Of a thing that cannot be read nobody has read any revision.
    pub(crate) fn check_unreadable(&self) -> Result<(), ServiceError> {
        match self {
            Self::OneOf(_) => Err(ServiceError::PreconditionFailed),
            Self::None | Self::Present => Ok(()),
        }
    }

    /// Of a thing that a change would make.
    pub(crate) fn check_absent(&self) -> Result<(), ServiceError> {
        match self {
            Self::OneOf(_) | Self::Present => Err(ServiceError::PreconditionFailed),
            Self::None => Ok(()),
        }
    }
}
