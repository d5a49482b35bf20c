//! The check of a source before it is saved.

use picloud_shared::name::ScriptName;
use picloud_shared::script::{ScriptKind, ScriptSource};
use rhai::Engine;

use super::imports::ImportError;
use super::walk::{Root, Sources, Wrong, walk};
use crate::executor::{CheckedSource, ModuleSources, SourceError};
use crate::failure;

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
