//! The check of a source before it is saved.

use std::collections::HashSet;

use picloud_shared::name::ScriptName;
use picloud_shared::script::{ScriptKind, ScriptSource};
use rhai::Engine;

use super::imports::{ImportError, parse, structure};
use super::{MAX_CHAIN, MAX_MODULES, MAX_PROGRAM_BYTES};
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
    let told = |error: ImportError| source_error(&error, None);
    let ast = parse(engine, source.as_str()).map_err(told)?;
    let imports = structure(&ast).map_err(told)?.imports;
    drop(ast);
    let mut walk = Walk {
        engine,
        name,
        kind,
        others,
        seen: HashSet::new(),
        bytes: source.as_str().len(),
        chain: vec![name.clone()],
    };
    for import in &imports {
        // Whatever is wrong further down is told where this source leads there.
        walk.module(&import.name).map_err(|(module, error)| {
            let mut told = source_error(&error, module.as_ref());
            (told.line, told.column) = failure::line_and_column(import.position);
            told
        })?;
    }
    Ok(CheckedSource { imports: imports.into_iter().map(|import| import.name).collect() })
}

struct Walk<'a> {
    engine: &'a Engine,
    name: &'a ScriptName,
    kind: ScriptKind,
    others: &'a ModuleSources,
    seen: HashSet<ScriptName>,
    bytes: usize,
    chain: Vec<ScriptName>,
}

/// What is wrong, with the module that it is in where that is another's source.
type Wrong = (Option<ScriptName>, ImportError);

impl Walk<'_> {
    fn module(&mut self, name: &ScriptName) -> Result<(), Wrong> {
        let here = |error| Err((None, error));
        if name == self.name && self.kind == ScriptKind::Endpoint {
            return here(ImportError::endpoint(&self.chain, name.as_str()));
        }
        if self.chain.contains(name) {
            return here(ImportError::cycle(&self.chain, name));
        }
        if self.seen.contains(name) {
            return Ok(());
        }
        let Some((kind, source)) = self.others.get(name) else {
            return here(ImportError::missing(&self.chain, name.as_str()));
        };
        if *kind != ScriptKind::Module {
            return here(ImportError::endpoint(&self.chain, name.as_str()));
        }
        self.bytes += source.as_str().len();
        if self.chain.len() > MAX_CHAIN || self.seen.len() >= MAX_MODULES || self.bytes > MAX_PROGRAM_BYTES {
            return here(ImportError::too_much());
        }
        let inside = |error| (Some(name.clone()), error);
        let imports = parse(self.engine, source.as_str()).and_then(|ast| structure(&ast)).map_err(inside)?.imports;
        self.chain.push(name.clone());
        for import in &imports {
            self.module(&import.name)?;
        }
        self.chain.pop();
        self.seen.insert(name.clone());
        Ok(())
    }
}

fn source_error(error: &ImportError, module: Option<&ScriptName>) -> SourceError {
    let (message, position) = match error {
        ImportError::Parse(error) => (failure::bounded(error.err_type()), error.position()),
        ImportError::Import { message, position } => (message.clone(), *position),
    };
    let (line, column) = failure::line_and_column(position);
    match module {
        None => SourceError { message, line, column },
        Some(name) => SourceError {
            message: format!("the module `{name}` cannot be used: {message}{}", failure::spoken(position)),
            line: None,
            column: None,
        },
    }
}
