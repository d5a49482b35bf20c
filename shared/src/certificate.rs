//! Certificates as the control plane keeps them and the data plane obtains and serves them: the vocabulary of both, the
//! store that they share, and what each asks of the other. It knows neither a database nor ACME's wire.

mod facts;
mod preflight;
mod record;
mod store;

pub use facts::{UnreadableCertificate, addresses_of, broken_link, read_facts, topmost_issuer, validity_of};
pub use preflight::{Check, Finding, Preflight, Verdict};
pub use record::{
    Attempt, AttemptOutcome, CertificateFacts, CertificateRecord, CertificateSource, CertificateState, Challenge,
    ChallengeKind, InvalidCertificateWord, Issued, OrderProgress, PrivateKey, Renewal, TxtRecord,
};
pub use store::{
    Admission, AttemptLimits, CertificateStore, InternalAuthority, Leased, LostLease, SaveError, Served, StoreFailure,
    Unmanaged,
};
