//! An app as the data plane knows it.

use serde::{Deserialize, Serialize};

use crate::id::AppId;
use crate::name::AppSlug;

/// What a request needs to know of the app that it reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The app's id, which never changes.
    pub id: AppId,
    /// The app's short name in addresses of the admin API.
    pub slug: AppSlug,
}
