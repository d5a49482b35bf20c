//! What apps keep, as it was when it was last looked at: who is near a quota, what failed for good, and what waits.

use crate::clock::Timestamp;
use crate::id::AppId;

/// What there is to tell of all apps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppData {
    /// The quotas of which an app uses [`NEAR_PERCENT`] or more.
    pub near_quota: Vec<QuotaUse>,
    /// How many dead letters of an app are not resolved, where there are some.
    pub dead_letters: Vec<(AppId, u64)>,
    /// From when on an app's oldest event was to be handled that is not, where there is one.
    pub oldest_events: Vec<(AppId, Timestamp)>,
}

/// How much of a quota an app uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUse {
    /// The app.
    pub app: AppId,
    /// Which quota.
    pub quota: Quota,
    /// What it uses.
    pub used: u64,
    /// What it may use; at least 1.
    pub most: u64,
}

/// From how many hundredths of a quota on somebody is warned.
pub const NEAR_PERCENT: u64 = 80;

/// What each app may have so much of, by the name of the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Quota {
    KvMaxKeys,
    KvMaxBytes,
    DocsMaxDocuments,
    DocsMaxBytes,
    EventsMax,
    EventsMaxBytes,
}

impl Quota {
    /// The setting's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KvMaxKeys => "kv_max_keys",
            Self::KvMaxBytes => "kv_max_bytes",
            Self::DocsMaxDocuments => "docs_max_documents",
            Self::DocsMaxBytes => "docs_max_bytes",
            Self::EventsMax => "events_max",
            Self::EventsMaxBytes => "events_max_bytes",
        }
    }

    /// How much of a quota is so much that somebody is warned.
    pub const fn near(most: u64) -> u64 {
        // Never less than 80 %, and never 0, which everybody uses.
        let whole = most / 100 * NEAR_PERCENT + (most % 100 * NEAR_PERCENT).div_ceil(100);
        if whole == 0 { 1 } else { whole }
    }
}

impl QuotaUse {
    /// The share that is used; more than 1 where the quota was lowered since.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
    pub fn ratio(&self) -> f64 {
        self.used as f64 / self.most.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_four_fifths_rounded_up_and_at_least_one() {
        for (most, near) in [(0, 1), (1, 1), (5, 4), (6, 5), (100, 80), (101, 81), (u64::MAX, u64::MAX / 5 * 4)] {
            assert_eq!(Quota::near(most), near, "{most}");
        }
    }
}
