//! Identifiers: one type for each kind of thing, all of them UUIDv7 (RFC 9562), so that they sort by creation
//! time and one kind can never be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID such as 0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a")]
pub struct InvalidId;

macro_rules! id {
    ($($(#[$doc:meta])* $Name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $Name(Uuid);

        impl $Name {
            /// A fresh id: 48 bits of `now` in milliseconds, then 74 random bits.
            pub fn generate(now: Timestamp) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                let unix = uuid::Timestamp::from_unix_time(millis / 1000, ((millis % 1000) * 1_000_000) as u32, 0, 0);
                Self(Uuid::new_v7(unix))
            }

            /// The id that a stored row holds.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID to store.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($Name), "({})"), self.0)
            }
        }

        impl FromStr for $Name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId)
            }
        }
    )+};
}

id! {
    /// An app, the isolation boundary.
    AppId;
    /// A document of an app.
    DocumentId;
    /// A domain claim.
    DomainId;
    /// A script, in all its versions.
    ScriptId;
    /// A route.
    RouteId;
    /// A user of the admin API.
    UserId;
    /// A login session.
    SessionId;
    /// An API key.
    ApiKeyId;
    /// One run of a script.
    ExecutionId;
    /// One row of the audit log.
    AuditId;
    /// A certificate, through all its renewals.
    CertificateId;
    /// One attempt to get a certificate.
    CertificateAttemptId;
    /// The right to work on a certificate for a while.
    LeaseId;
    /// One run of the program.
    NodeId;
    /// What runs a script without a request.
    TriggerId;
    /// One thing to be handled, at all of its attempts.
    EventId;
    /// An event that is not tried again.
    DeadLetterId;
}
