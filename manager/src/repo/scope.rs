//! What an API key may be used for.

use std::fmt;
use std::str::FromStr;

use picloud_shared::execution::UnknownWord;
use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])* $Scope:ident = $word:literal;)+) => {
        /// A part of what its owner may do, which an API key may do too.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum Scope {
            $($(#[$doc])* $Scope,)+
        }

        impl Scope {
            /// Every scope.
            pub const ALL: &'static [Scope] = &[$(Self::$Scope),+];

            /// The stable word for storage and JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Scope => $word,)+
                }
            }
        }

        impl FromStr for Scope {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$Scope),)+
                    _ => Err(UnknownWord(concat!("a scope is one of", $(" ", $word),+))),
                }
            }
        }
    };
}

scopes! {
    /// See apps and their domains.
    AppsRead = "apps:read";
    /// Make, change and delete apps and their domains.
    AppsWrite = "apps:write";
    /// See scripts and routes.
    ScriptsRead = "scripts:read";
    /// Make, change and delete scripts and routes.
    ScriptsWrite = "scripts:write";
    /// Run scripts, by id or to try them.
    ScriptsExecute = "scripts:execute";
    /// See what scripts did.
    LogsRead = "logs:read";
    /// See what scripts stored.
    DataRead = "data:read";
    /// Change what scripts stored, and their secrets.
    DataWrite = "data:write";
    /// Make, change and delete triggers, and act on dead letters.
    TriggersWrite = "triggers:write";
    /// See and change who belongs to an app.
    MembersWrite = "members:write";
    /// See and change users.
    UsersWrite = "users:write";
    /// See certificates, the audit log and the state of the instance.
    InstanceRead = "instance:read";
    /// Change settings of the instance.
    InstanceWrite = "instance:write";
}

impl Scope {
    /// Whether it is about the instance, which a key bound to one app can have no part in.
    pub const fn is_beyond_apps(self) -> bool {
        matches!(self, Self::UsersWrite | Self::InstanceRead | Self::InstanceWrite)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Scope> for &'static str {
    fn from(scope: Scope) -> Self {
        scope.as_str()
    }
}

impl TryFrom<String> for Scope {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_read_as_it_is_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(*scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
        assert_eq!(Scope::ALL.len(), 13);
        assert!("apps:*".parse::<Scope>().unwrap_err().to_string().ends_with("instance:read instance:write"));
    }
}
