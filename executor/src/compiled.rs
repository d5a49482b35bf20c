//! Programs: a script compiled with all modules that it reaches, so that a run sees one version of itself and of them.
//!
//! Compiling happens on threads with large stacks only: Rhai's parser and the dropping of a syntax tree recurse.
//! It knows Rhai and the published app; when and where a program runs is others' business.

mod arguments;
mod check;
mod history;
mod imports;
mod names;
mod walk;

pub use check::{CheckError, CheckedSource, ModuleSources, SourceError, check};
pub use history::{History, Spent};
pub use names::on_token;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use picloud_shared::name::ScriptName;
use picloud_shared::script::{ScriptKind, ScriptSource};
use picloud_shared::snapshot::{PublishedApp, PublishedScript};
use rhai::{AST, Dynamic, Engine, EvalAltResult, GlobalRuntimeState, ModuleResolver, Position, Scope, Shared};

use crate::context::Lending;
use crate::failure::{self, Failed};
use crate::memory::beside;
use imports::ImportError;
use walk::{Module, Reached, Root, Sources, Wrong, walk};

/// Bytes of a program, and of each of its modules, beside its syntax tree.
const BYTES_A_PROGRAM: usize = 4 * 1024;

/// A script, ready to run.
#[derive(Debug)]
pub struct Program {
    engine: Arc<Engine>,
    ast: AST,
    modules: HashMap<ScriptName, CompiledModule>,
    /// Whether two values of it can be one: a closure captures a variable, or it keeps what it is lent. Such a value can hold
    /// itself, and then is never freed; and it has a lock.
    pub shares: bool,
    /// How its runs are lent the parts of their request.
    pub lending: Lending,
    /// What its runs so far say of its length.
    pub history: History,
    /// Bytes in memory of its syntax trees.
    bytes: usize,
}

#[derive(Debug)]
struct CompiledModule {
    ast: AST,
    /// The module made once for all runs, where it is but functions and modules of functions. Any other is made anew in each
    /// run that imports it, so that no run sees what another did, and no run waits for another: Rhai keeps a module's
    /// constants behind a lock, for which a run would sleep 10 ms at a time and then panic.
    fixed: Option<OnceLock<Shared<rhai::Module>>>,
}

impl Program {
    /// Compiles a published script with its modules.
    ///
    /// # Errors
    /// What is wrong with the source or one of its modules. Saving checks the same, so this is rare: limits that were
    /// lowered since, or rows that were changed by hand.
    pub fn compile(engine: Arc<Engine>, script: &PublishedScript, app: &PublishedApp) -> Result<Self, Failed> {
        let root = Root { name: &script.row.name, kind: script.row.kind, source: &script.row.source };
        let mut modules = HashMap::new();
        let mut keep = |Module { name, mut ast, fixed }: Module| {
            ast.set_source(name.as_str());
            modules.insert(name, CompiledModule { ast, fixed: fixed.then(OnceLock::new) });
        };
        let reached = walk(&engine, root, app, &mut keep)
            .map_err(|Wrong { error, module, .. }| error.failed(module.as_ref().map(ScriptName::as_str)))?;
        let Reached { ast, captures, alters_lent, bytes, .. } = reached;
        let lending = if alters_lent { Lending::Anew } else { Lending::Again };
        let (shares, history) = (captures || alters_lent, History::default());
        Ok(Self { engine, ast, modules, shares, lending, history, bytes })
    }

    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        weight(self.modules.len(), self.bytes)
    }

    /// Evaluates it on this thread; its imports find its own modules.
    ///
    /// # Errors
    /// Whatever Rhai ends it with.
    pub fn evaluate(self: &Arc<Self>, scope: &mut Scope<'_>) -> Result<Dynamic, Box<EvalAltResult>> {
        if self.modules.is_empty() {
            return self.engine.eval_ast_with_scope(scope, &self.ast);
        }
        /// A program that is invoked by another leaves that one its modules.
        struct Restore(Option<Importing>);
        impl Drop for Restore {
            fn drop(&mut self) {
                IMPORTING.set(self.0.take());
            }
        }
        let importing = Importing { program: Arc::clone(self), made: HashMap::new() };
        let _restore = Restore(IMPORTING.replace(Some(importing)));
        self.engine.eval_ast_with_scope(scope, &self.ast)
    }
}

fn weight(modules: usize, bytes: usize) -> usize {
    BYTES_A_PROGRAM * (1 + modules) + bytes
}

impl Sources for PublishedApp {
    fn find(&self, name: &ScriptName) -> Option<(ScriptKind, &ScriptSource)> {
        self.named(name.as_str()).map(|script| (script.row.kind, &script.row.source))
    }
}

/// The program that runs on this thread, with the modules that it made for itself.
struct Importing {
    program: Arc<Program>,
    made: HashMap<ScriptName, Shared<rhai::Module>>,
}

thread_local! {
    static IMPORTING: RefCell<Option<Importing>> = const { RefCell::new(None) };
}

/// Finds modules in the program that runs on this thread.
pub struct RunModules;

impl RunModules {
    fn made(path: &str) -> Option<(Arc<Program>, Option<Shared<rhai::Module>>)> {
        IMPORTING.with_borrow(|importing| {
            let Importing { program, made } = importing.as_ref()?;
            let module = program.modules.get(path)?;
            let fixed = module.fixed.as_ref().and_then(OnceLock::get);
            Some((Arc::clone(program), fixed.or_else(|| made.get(path)).cloned()))
        })
    }

    fn keep(program: &Program, path: &str, module: Shared<rhai::Module>) -> Shared<rhai::Module> {
        let Some((name, compiled)) = program.modules.get_key_value(path) else {
            return module;
        };
        if let Some(fixed) = &compiled.fixed {
            return fixed.get_or_init(|| module).clone();
        }
        IMPORTING.with_borrow_mut(|importing| {
            if let Some(importing) = importing {
                importing.made.insert(name.clone(), module.clone());
            }
        });
        module
    }
}

impl ModuleResolver for RunModules {
    fn resolve(
        &self,
        engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<rhai::Module>, Box<EvalAltResult>> {
        self.resolve_raw(engine, &mut engine.new_global_runtime_state(), &mut Scope::new(), path, position)
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        _scope: &mut Scope<'_>,
        path: &str,
        position: Position,
    ) -> Result<Shared<rhai::Module>, Box<EvalAltResult>> {
        let (program, module) =
            Self::made(path).ok_or_else(|| EvalAltResult::ErrorModuleNotFound(path.to_owned(), position))?;
        if let Some(module) = module {
            return Ok(module);
        }
        let CompiledModule { ast, fixed, .. } = &program.modules[path];
        // A module sees no variable of who imports it.
        let mut make = || rhai::Module::eval_ast_as_new_raw(engine, &mut Scope::new(), global, ast);
        // One that is made for all runs is not this run's to hold.
        match if fixed.is_some() { beside(make) } else { make() } {
            Ok(module) => Ok(Self::keep(&program, path, module.into())),
            // As Rhai does it: these pass through unchanged, so that nothing catches them.
            Err(error) if error.is_system_exception() => Err(error),
            Err(error) => Err(EvalAltResult::ErrorInModule(path.to_owned(), error, position).into()),
        }
    }
}

impl ImportError {
    fn failed(self, module: Option<&str>) -> Failed {
        match self {
            Self::Parse(error) => failure::of_parse_error(&error, module),
            Self::Import { message, position } => match module {
                Some(module) => Failed::error(format!("{message} (in module `{module}`{})", failure::spoken(position))),
                None => Failed::error(message).at(position),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::walk::{MAX_MODULES, MAX_PROGRAM_BYTES};
    use super::*;

    #[test]
    fn the_largest_program_fits_into_the_default_cache() {
        const DEFAULT_CACHE_BYTES: usize = 64 * 1024 * 1024;
        assert!(weight(MAX_MODULES, MAX_PROGRAM_BYTES) < DEFAULT_CACHE_BYTES);
    }
}
