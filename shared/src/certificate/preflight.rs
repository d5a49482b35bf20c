//! The preflight: whether an authority could show that a name is ours, in words for people.

use async_trait::async_trait;

use super::record::words;
use crate::domain_pattern::DomainPattern;

words! {
    /// What is looked at.
    Check {
        /// Whether an authority signs for such a name at all.
        Name = "name",
        /// Where the name leads.
        Resolution = "resolution",
        /// Whether the name's owner lets the authority sign for it (RFC 8659).
        Caa = "caa",
        /// Whether a page on port 80 of the name is ours.
        Http = "http",
        /// Whether port 443 of the name can be reached.
        Https = "https",
        /// Whether a DNS record can be set.
        Dns = "dns",
    }
    /// What was found.
    Verdict {
        /// All is well.
        Passed = "passed",
        /// It cannot be told from here, or may be wrong.
        Doubtful = "doubtful",
        /// An order would fail.
        Failed = "failed",
    }
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// What was found.
    pub verdict: Verdict,
    /// The same in plain words, and what to do.
    pub detail: String,
}

/// Who looks.
#[async_trait]
pub trait Preflight: Send + Sync + 'static {
    /// Looks whether an authority could show that the name is ours. It takes some seconds.
    async fn preflight(&self, name: &DomainPattern) -> Vec<Finding>;
}
