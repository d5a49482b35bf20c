//! The check of a source before it is saved.

use std::collections::HashMap;

use picloud_shared::name::ScriptName;
use picloud_shared::script::{ScriptKind, ScriptSource};
use rhai::Engine;

use super::imports::ImportError;
use super::walk::{Root, Sources, Wrong, walk};
use crate::failure;

/// The modules of an app, by name, that a source is checked against; kinds included, so that the import of an
/// endpoint can be told from a missing one.
pub type ModuleSources = HashMap<ScriptName, (ScriptKind, ScriptSource)>;

/// What a check found in a source that compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSource {
    /// The modules that it imports, each once, in order of appearance.
    pub imports: Vec<ScriptName>,
}

/// Why a source cannot be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What is wrong, naming the chain of imports where one is involved.
    pub message: String,
    /// 1-based line, where known.
    pub line: Option<u32>,
    /// 1-based column, where known.
    pub column: Option<u32>,
}

/// Why a check did not say that a source can be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// There is no room to check it now; it may be good.
    #[error("too many sources are being checked")]
    Busy,
    /// It cannot be saved.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Why a closure that uses `ctx` is refused where it would fail once it is called.
const CTX_IN_USE: &str = "a closure cannot use `ctx` where a method of what is read from `ctx` calls it; write `let items = \
                          ctx.request.body.items;` and then `items.map(...)`";

/// Checks a source among the app's other scripts: see [`crate::Executor::check`].
pub fn check(
    engine: &Engine,
    name: &ScriptName,
    kind: ScriptKind,
    source: &ScriptSource,
    others: &ModuleSources,
) -> Result<CheckedSource, SourceError> {
    // Only whether it compiles is wanted: each module's syntax tree is dropped at once.
    let reached = walk(engine, Root { name, kind, source }, others, &mut drop).map_err(|wrong| told(&wrong))?;
    if let Some(position) = reached.ctx_in_use {
        let (line, column) = failure::line_and_column(position);
        return Err(SourceError { message: CTX_IN_USE.to_owned(), line, column });
    }
    Ok(CheckedSource { imports: reached.imports.into_iter().map(|import| import.name).collect() })
}

impl Sources for ModuleSources {
    fn find(&self, name: &ScriptName) -> Option<(ScriptKind, &ScriptSource)> {
        self.get(name).map(|(kind, source)| (*kind, source))
    }
}

/// Whatever is wrong further down is told where this source leads there.
fn told(wrong: &Wrong) -> SourceError {
    let (message, position) = match &wrong.error {
        ImportError::Parse(error) => (failure::bounded(error.err_type()), error.position()),
        ImportError::Import { message, position } => (message.clone(), *position),
    };
    let (line, column) = failure::line_and_column(wrong.import.unwrap_or(position));
    let message = match &wrong.module {
        Some(name) if wrong.is_broken => {
            format!("the module `{name}` cannot be used: {message}{}", failure::spoken(position))
        }
        _ => message,
    };
    SourceError { message, line, column }
}
