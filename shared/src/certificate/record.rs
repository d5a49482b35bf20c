//! One certificate: what it is for, what is served of it, and how far getting the next one has come.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::domain_pattern::DomainPattern;
use crate::id::{AppId, CertificateAttemptId, CertificateId};

/// A text that is none of the words that it should be one of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the words that are used of certificates")]
pub struct InvalidCertificateWord(String);

impl InvalidCertificateWord {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $Name:ident { $($(#[$word_doc:meta])* $Word:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $Name {
            $($(#[$word_doc])* #[serde(rename = $text)] $Word,)+
        }

        impl $Name {
            /// The word as it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Word => $text,)+
                }
            }
        }

        impl std::str::FromStr for $Name {
            type Err = $crate::certificate::InvalidCertificateWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$Word),)+
                    _ => Err($crate::certificate::InvalidCertificateWord::new(text)),
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

pub(super) use words;

words! {
    /// Where a certificate comes from.
    CertificateSource {
        /// From a public authority, by ACME.
        Automatic = "automatic",
        /// From the instance's own authority, for names that no public one signs for.
        Internal = "internal",
        /// From an operator, who uploaded it.
        Manual = "manual",
    }
    /// How far getting a certificate has come.
    CertificateState {
        /// The name is claimed, and nothing has been done yet.
        Claimed = "claimed",
        /// It is being looked at whether an authority could reach this instance by the name.
        Preflight = "preflight",
        /// The first certificate is being ordered.
        Ordering = "ordering",
        /// There is one, and nothing to do for now.
        Valid = "valid",
        /// There is one, and the next is being ordered.
        Renewing = "renewing",
        /// The last attempt failed; there may be one all the same.
        Failing = "failing",
    }
    /// How an authority is shown that a name is ours.
    ChallengeKind {
        /// By a page on port 80 (RFC 8555, 8.3).
        Http01 = "http-01",
        /// By a handshake on port 443 (RFC 8737).
        TlsAlpn01 = "tls-alpn-01",
        /// By a TXT record (RFC 8555, 8.4).
        Dns01 = "dns-01",
    }
    /// What became of an attempt.
    AttemptOutcome {
        /// It has not ended, or the node that made it has.
        Running = "running",
        /// There is a new certificate.
        Succeeded = "succeeded",
        /// There is none.
        Failed = "failed",
    }
}

/// A private key in PEM. It has no `Debug` that would show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// A key in PEM.
    pub fn new(pem: String) -> Self {
        Self(pem)
    }

    /// The key's text, for those who sign with it or seal it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// The names that it is for.
    pub names: Vec<String>,
    /// Who signed it, as it names them.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// What its authority knows it by when asked about renewal (RFC 9773), where it can be told.
    pub renewal_id: Option<String>,
    /// The directory of the authority that it was ordered from.
    pub authority: Option<String>,
}

/// A certificate that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The chain in PEM, the leaf first.
    pub chain: String,
    /// The leaf's key.
    pub key: PrivateKey,
    /// What the leaf says of itself.
    pub facts: CertificateFacts,
}

/// When a certificate is to be renewed, and why then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// When it is to be renewed.
    pub at: Timestamp,
    /// The window in which the authority wants it renewed, if it said one.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Why then, as the authority explains it: an address of a page.
    pub explanation: Option<String>,
    /// When to ask the authority again.
    pub ask_at: Timestamp,
}

/// An order under way: what is needed to go on with it after a restart. It is kept sealed, for the key's sake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderProgress {
    /// The attempt that it is.
    pub attempt: CertificateAttemptId,
    /// The directory of the authority.
    pub authority: String,
    /// The order's address there, once it is placed.
    pub url: Option<String>,
    /// How the names are shown to be ours.
    pub challenge: ChallengeKind,
    /// The key of the certificate to be.
    pub key: PrivateKey,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// What was, or was about to be, set in the DNS for it, and is to be taken away when it ends.
    #[serde(default)]
    pub records: Vec<TxtRecord>,
    /// Whether it is one on a practice ground.
    #[serde(default)]
    pub rehearsal: bool,
    /// Whether the authority may have been asked to issue.
    #[serde(default)]
    pub finalized: bool,
}

/// A TXT record that shows a name to be ours (RFC 8555, 8.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxtRecord {
    /// Where it stands.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// A certificate's state, but for what is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Which one.
    pub id: CertificateId,
    /// Where it comes from.
    pub source: CertificateSource,
    /// What it is managed for; an uploaded one for nothing.
    pub name: Option<DomainPattern>,
    /// The names that it is for, or is to be for.
    pub names: Vec<DomainPattern>,
    /// Whose claim it was first wanted for; an admin host is nobody's.
    pub app: Option<AppId>,
    /// How far it has come.
    pub state: CertificateState,
    /// Rounds of attempts that failed since the last success.
    pub failures: u32,
    /// Why the last attempt failed, or what stands in the way, in plain words.
    pub last_error: Option<String>,
    /// When the next attempt is due; never by itself where absent.
    pub next_attempt_at: Option<Timestamp>,
    /// When to renew.
    pub renewal: Option<Renewal>,
    /// What is served of it.
    pub facts: Option<CertificateFacts>,
    /// Since when it is managed.
    pub created_at: Timestamp,
    /// When its state changed last.
    pub updated_at: Timestamp,
}

/// One attempt to get a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which one.
    pub id: CertificateAttemptId,
    /// For which certificate.
    pub certificate: CertificateId,
    /// For which name.
    pub name: String,
    /// Whose it counts as.
    pub app: Option<AppId>,
    /// Whether there was a certificate already.
    pub is_renewal: bool,
    /// The directory of the authority.
    pub authority: String,
    /// How the name was to be shown to be ours.
    pub challenge: Option<ChallengeKind>,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// Whether the authority looked for the challenge's answer in vain.
    pub validation_failed: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// What an authority is to find now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// For which certificate.
    pub certificate: CertificateId,
    /// Where it is to be found.
    pub kind: ChallengeKind,
    /// For which name.
    pub name: String,
    /// What it is asked for by.
    pub token: String,
    /// What is to be found.
    pub key_authorization: String,
}
