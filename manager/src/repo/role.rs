//! The words for roles, on the instance and in an app.

use std::fmt;
use std::str::FromStr;

use picloud_shared::execution::UnknownWord;
use serde::{Deserialize, Serialize};

/// A user's role on the instance, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceRole {
    /// Sees only the apps that it is a member of.
    Member,
    /// Runs the instance, but for owners and settings.
    Admin,
    /// May do everything.
    Owner,
}

/// A user's role in one app, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppRole {
    /// Reads.
    Viewer,
    /// Writes scripts and routes.
    Editor,
    /// Manages the app.
    AppAdmin,
}

impl InstanceRole {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

impl AppRole {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppAdmin => "app_admin",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for InstanceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for AppRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for InstanceRole {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "owner" => Ok(Self::Owner),
            "admin" => Ok(Self::Admin),
            "member" => Ok(Self::Member),
            _ => Err(UnknownWord("an instance role is owner, admin or member")),
        }
    }
}

impl FromStr for AppRole {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "app_admin" => Ok(Self::AppAdmin),
            "editor" => Ok(Self::Editor),
            "viewer" => Ok(Self::Viewer),
            _ => Err(UnknownWord("an app role is app_admin, editor or viewer")),
        }
    }
}
