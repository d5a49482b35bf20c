//! What a node of an instance is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a node does of what there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Everything: it answers requests, runs scripts and events, and has the API, the dashboard and the upkeep of the instance.
    #[default]
    Full,
    /// It answers requests, and runs scripts and events. What is for the API and the dashboard it hands on to a full one.
    Edge,
}

impl NodeRole {
    /// The word as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Edge => "edge",
        }
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node's role is full or edge")]
pub struct InvalidNodeRole;

impl FromStr for NodeRole {
    type Err = InvalidNodeRole;

    fn from_str(text: &str) -> Result<Self, InvalidNodeRole> {
        match text {
            "full" => Ok(Self::Full),
            "edge" => Ok(Self::Edge),
            _ => Err(InvalidNodeRole),
        }
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_as_it_is_written_and_nothing_else_is_one() {
        for role in [NodeRole::Full, NodeRole::Edge] {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        for text in ["", "Full", "edge ", "manager"] {
            assert_eq!(text.parse::<NodeRole>(), Err(InvalidNodeRole), "{text}");
        }
    }
}
