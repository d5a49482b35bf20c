//! An app as the data plane knows it.

use serde::{Deserialize, Serialize};

use crate::id::AppId;
use crate::name::AppSlug;

/// Bytes of the longest document of a whole app that is taken: 16 MiB of source, in which every third character is one that
/// JSON writes as two.
pub const MAX_DOCUMENT_BYTES: usize = 24 * 1024 * 1024;

/// What a request needs to know of the app that it reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The app's id, which never changes.
    pub id: AppId,
    /// The app's short name in addresses of the admin API.
    pub slug: AppSlug,
}

/// For how long browsers are told to ask for an app's hosts by HTTPS alone (RFC 6797), in seconds: up to two years. None at
/// all makes them forget what they were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct HstsMaxAge(u32);

/// A number that is no such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is from 0 to 63072000 seconds, which are two years")]
pub struct InvalidHstsMaxAge;

impl HstsMaxAge {
    const MOST: u32 = 2 * 365 * 24 * 60 * 60;

    /// The value of the header. Hosts below are not spoken for: they may be another app's.
    pub fn to_header(self) -> String {
        format!("max-age={}", self.0)
    }
}

impl TryFrom<i64> for HstsMaxAge {
    type Error = InvalidHstsMaxAge;

    fn try_from(seconds: i64) -> Result<Self, InvalidHstsMaxAge> {
        let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds <= Self::MOST);
        seconds.map(Self).ok_or(InvalidHstsMaxAge)
    }
}

impl From<HstsMaxAge> for i64 {
    fn from(age: HstsMaxAge) -> Self {
        age.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_for_two_years_at_most() {
        for (seconds, header) in
            [(0, Some("max-age=0")), (63_072_000, Some("max-age=63072000")), (63_072_001, None), (-1, None)]
        {
            let read = HstsMaxAge::try_from(seconds).ok().map(HstsMaxAge::to_header);
            assert_eq!(read.as_deref(), header, "{seconds}");
        }
    }
}
