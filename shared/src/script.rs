//! Scripts: their kinds, their source, and the limits within which they run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::execution::UnknownWord;

/// What a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptKind {
    /// Answers requests: run for a route or by id.
    Endpoint,
    /// Only imported by other scripts of its app.
    Module,
}

impl ScriptKind {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Module => "module",
        }
    }
}

impl fmt::Display for ScriptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ScriptKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "endpoint" => Ok(Self::Endpoint),
            "module" => Ok(Self::Module),
            _ => Err(UnknownWord("a script's kind is endpoint or module")),
        }
    }
}

/// Who may run a script by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecuteAccess {
    /// Everybody, as with a route.
    Open,
    /// Holders of the capability ScriptInvoke.
    Restricted,
}

impl ExecuteAccess {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Restricted => "restricted",
        }
    }
}

impl FromStr for ExecuteAccess {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "open" => Ok(Self::Open),
            "restricted" => Ok(Self::Restricted),
            _ => Err(UnknownWord("a script's execute_access is open or restricted")),
        }
    }
}

/// Rhai source: UTF-8 of at most [`ScriptSource::MAX_BYTES`]. Whether it compiles is another question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScriptSource(Arc<str>);

/// A source that is too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a script's source is at most 131072 bytes; this one has {0}")]
pub struct InvalidScriptSource(pub usize);

impl ScriptSource {
    /// 128 KiB: parsing cannot be interrupted, so its cost is bounded by size.
    pub const MAX_BYTES: usize = 128 * 1024;

    /// The source's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ScriptSource {
    type Error = InvalidScriptSource;

    fn try_from(text: String) -> Result<Self, InvalidScriptSource> {
        text.parse()
    }
}

impl FromStr for ScriptSource {
    type Err = InvalidScriptSource;

    fn from_str(text: &str) -> Result<Self, InvalidScriptSource> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidScriptSource(text.len()));
        }
        Ok(Self(text.into()))
    }
}

impl From<ScriptSource> for String {
    fn from(source: ScriptSource) -> Self {
        source.0.as_ref().to_owned()
    }
}

/// The six knobs of a script's sandbox; an absent one is the platform's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Rhai operations.
    pub max_operations: Option<u64>,
    /// Bytes of one string.
    pub max_string_size: Option<u64>,
    /// Elements of one array.
    pub max_array_size: Option<u64>,
    /// Entries of one object map.
    pub max_map_size: Option<u64>,
    /// Nested function calls.
    pub max_call_levels: Option<u64>,
    /// Nesting of one expression.
    pub max_expr_depth: Option<u64>,
}

/// The limits of one script, every default filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Rhai operations.
    pub max_operations: u64,
    /// Bytes of one string.
    pub max_string_size: u64,
    /// Elements of one array.
    pub max_array_size: u64,
    /// Entries of one object map.
    pub max_map_size: u64,
    /// Nested function calls.
    pub max_call_levels: u64,
    /// Nesting of one expression.
    pub max_expr_depth: u64,
    /// Wall clock of one execution.
    pub timeout: Duration,
}

/// A limit that is over the operator's ceiling, or zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{limit} is {given}; it must be from 1 to {ceiling}")]
pub struct LimitOverCeiling {
    /// The limit's name, such as `max_operations` or `timeout_ms`.
    pub limit: &'static str,
    /// What was asked for.
    pub given: u64,
    /// The most that the operator allows.
    pub ceiling: u64,
}

/// The platform's defaults and the operator's ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPolicy {
    /// What an absent knob means.
    pub defaults: Limits,
    /// The most that a script may ask for.
    pub ceilings: Limits,
}

impl Default for LimitPolicy {
    fn default() -> Self {
        Self {
            defaults: Limits {
                max_operations: 2_000_000,
                max_string_size: 256 * 1024,
                max_array_size: 10_000,
                max_map_size: 2_000,
                max_call_levels: 32,
                max_expr_depth: 64,
                timeout: Duration::from_millis(5_000),
            },
            ceilings: Limits {
                max_operations: 50_000_000,
                max_string_size: 4 * 1024 * 1024,
                max_array_size: 50_000,
                max_map_size: 20_000,
                max_call_levels: 64,
                max_expr_depth: 128,
                timeout: Duration::from_millis(60_000),
            },
        }
    }
}

impl LimitPolicy {
    /// Fills the defaults in.
    ///
    /// # Errors
    /// The first knob that is zero or over its ceiling.
    pub fn resolve(&self, sandbox: &Sandbox, timeout_ms: Option<u64>) -> Result<Limits, LimitOverCeiling> {
        let knob = |limit, asked: Option<u64>, default: u64, ceiling: u64| match asked {
            None => Ok(default),
            Some(given) if given == 0 || given > ceiling => Err(LimitOverCeiling { limit, given, ceiling }),
            Some(given) => Ok(given),
        };
        let (d, c) = (&self.defaults, &self.ceilings);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Ok(Limits {
            max_operations: knob("max_operations", sandbox.max_operations, d.max_operations, c.max_operations)?,
            max_string_size: knob("max_string_size", sandbox.max_string_size, d.max_string_size, c.max_string_size)?,
            max_array_size: knob("max_array_size", sandbox.max_array_size, d.max_array_size, c.max_array_size)?,
            max_map_size: knob("max_map_size", sandbox.max_map_size, d.max_map_size, c.max_map_size)?,
            max_call_levels: knob("max_call_levels", sandbox.max_call_levels, d.max_call_levels, c.max_call_levels)?,
            max_expr_depth: knob("max_expr_depth", sandbox.max_expr_depth, d.max_expr_depth, c.max_expr_depth)?,
            timeout: Duration::from_millis(knob("timeout_ms", timeout_ms, millis(d.timeout), millis(c.timeout))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_knobs_are_the_defaults_and_given_ones_are_kept() {
        let policy = LimitPolicy::default();
        let sandbox = Sandbox { max_operations: Some(7), ..Sandbox::default() };
        let limits = policy.resolve(&sandbox, None).unwrap();
        assert_eq!(limits, Limits { max_operations: 7, ..policy.defaults });
    }

    #[test]
    fn a_knob_over_its_ceiling_or_zero_is_refused_by_name() {
        let policy = LimitPolicy::default();
        let over = Sandbox { max_map_size: Some(20_001), ..Sandbox::default() };
        let error = policy.resolve(&over, None).unwrap_err();
        assert_eq!(error, LimitOverCeiling { limit: "max_map_size", given: 20_001, ceiling: 20_000 });
        assert_eq!(policy.resolve(&Sandbox::default(), Some(0)).unwrap_err().limit, "timeout_ms");
    }

    #[test]
    fn source_over_128_kib_is_refused() {
        assert!("x".repeat(ScriptSource::MAX_BYTES).parse::<ScriptSource>().is_ok());
        assert_eq!("x".repeat(131_073).parse::<ScriptSource>(), Err(InvalidScriptSource(131_073)));
    }
}
