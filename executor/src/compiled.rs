//! Programs: a script compiled with all modules that it reaches, so that a run sees one version of itself and of them.
//!
//! Compiling happens on threads with large stacks only: Rhai's parser, optimiser and the dropping of a syntax tree recurse.
//! It knows Rhai and the published app; when and where a program runs is others' business.

mod check;
mod history;
mod imports;

pub use check::check;
pub use history::History;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use picloud_shared::name::ScriptName;
use picloud_shared::snapshot::{PublishedApp, PublishedScript};
use rhai::{AST, Dynamic, Engine, EvalAltResult, GlobalRuntimeState, Module, ModuleResolver, Position, Scope, Shared};

use crate::failure::{self, Failed};
use imports::{Import, ImportError, parse, structure};

/// Modules that one script may reach.
const MAX_MODULES: usize = 256;
/// How long a chain of imports may be: evaluating it recurses.
const MAX_CHAIN: usize = 32;
/// Bytes of source that one program may be made of, which bounds the time that compiling it takes.
const MAX_PROGRAM_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of a program in memory for each byte of its source, and for a program at all. Measured: 30 for usual handlers with
/// their comments and spaces, 60 for the densest source.
const BYTES_A_SOURCE_BYTE: usize = 48;
const BYTES_A_PROGRAM: usize = 4 * 1024;

/// A script, ready to run.
#[derive(Debug)]
pub struct Program {
    engine: Arc<Engine>,
    ast: AST,
    modules: HashMap<ScriptName, CompiledModule>,
    /// Whether a closure in it captures a variable, so that one operation may wait for a lock.
    pub captures: bool,
    /// What its runs so far say of its length.
    pub history: History,
    source_bytes: usize,
}

#[derive(Debug)]
struct CompiledModule {
    ast: AST,
    /// The module made once for all runs, where making it computes nothing: it only declares functions and literals, and
    /// so do its imports. Any other is made anew in each run that imports it, so that no run sees what another did.
    fixed: Option<OnceLock<Shared<Module>>>,
}

impl Program {
    /// Compiles a published script with its modules.
    ///
    /// # Errors
    /// What is wrong with the source or one of its modules. Saving checks the same, so this is rare: limits that were
    /// lowered since, or rows that were changed by hand.
    pub fn compile(engine: Arc<Engine>, script: &PublishedScript, app: &PublishedApp) -> Result<Self, Failed> {
        let ast = parse(&engine, script.row.source.as_str()).map_err(|error| error.failed(None))?;
        let main = structure(&ast).map_err(|error| error.failed(None))?;
        let mut compiler = Compiler {
            engine: &engine,
            app,
            modules: HashMap::new(),
            source_bytes: script.row.source.as_str().len(),
            captures: main.captures,
        };
        let mut chain = vec![script.row.name.clone()];
        for import in &main.imports {
            compiler.reach(import, &mut chain)?;
        }
        let Compiler { modules, source_bytes, captures, .. } = compiler;
        Ok(Self { engine, ast, modules, captures, history: History::default(), source_bytes })
    }

    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        BYTES_A_PROGRAM * (1 + self.modules.len()) + BYTES_A_SOURCE_BYTE * self.source_bytes
    }

    /// Evaluates it on this thread; its imports find its own modules.
    ///
    /// # Errors
    /// Whatever Rhai ends it with.
    pub fn evaluate(self: &Arc<Self>, scope: &mut Scope<'_>) -> Result<Dynamic, Box<EvalAltResult>> {
        if self.modules.is_empty() {
            return self.engine.eval_ast_with_scope(scope, &self.ast);
        }
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                IMPORTING.take();
            }
        }
        IMPORTING.set(Some(Importing { program: Arc::clone(self), made: HashMap::new() }));
        let _reset = Reset;
        self.engine.eval_ast_with_scope(scope, &self.ast)
    }
}

struct Compiler<'a> {
    engine: &'a Engine,
    app: &'a PublishedApp,
    modules: HashMap<ScriptName, CompiledModule>,
    source_bytes: usize,
    captures: bool,
}

impl Compiler<'_> {
    /// Compiles a module and what it imports; gives whether it is fixed.
    fn reach(&mut self, import: &Import, chain: &mut Vec<ScriptName>) -> Result<bool, Failed> {
        let name = &import.name;
        if let Some(module) = self.modules.get(name) {
            return Ok(module.fixed.is_some());
        }
        let importer = if chain.len() > 1 { chain.last() } else { None };
        let refused = |error: ImportError| error.at(import.position).failed(importer.map(ScriptName::as_str));
        if chain.contains(name) {
            return Err(refused(ImportError::cycle(chain, name)));
        }
        let source = match self.app.module(name.as_str()) {
            Some(module) => &module.row.source,
            None => return Err(refused(ImportError::missing(chain, name.as_str()))),
        };
        self.source_bytes += source.as_str().len();
        if chain.len() > MAX_CHAIN || self.modules.len() >= MAX_MODULES || self.source_bytes > MAX_PROGRAM_BYTES {
            return Err(refused(ImportError::too_much()));
        }
        let broken = |error: ImportError| error.failed(Some(name.as_str()));
        let ast = parse(self.engine, source.as_str()).map_err(broken)?;
        let structure = structure(&ast).map_err(broken)?;
        self.captures |= structure.captures;
        let mut fixed = structure.declares_only;
        chain.push(name.clone());
        for import in &structure.imports {
            fixed &= self.reach(import, chain)?;
        }
        chain.pop();
        let mut ast = ast;
        ast.set_source(name.as_str());
        self.modules.insert(name.clone(), CompiledModule { ast, fixed: fixed.then(OnceLock::new) });
        Ok(fixed)
    }
}

/// The program that runs on this thread, with the modules that it made for itself.
struct Importing {
    program: Arc<Program>,
    made: HashMap<ScriptName, Shared<Module>>,
}

thread_local! {
    static IMPORTING: RefCell<Option<Importing>> = const { RefCell::new(None) };
}

/// Finds modules in the program that runs on this thread.
pub struct RunModules;

impl RunModules {
    fn made(path: &str) -> Option<(Arc<Program>, Option<Shared<Module>>)> {
        IMPORTING.with_borrow(|importing| {
            let Importing { program, made } = importing.as_ref()?;
            let module = program.modules.get(path)?;
            let fixed = module.fixed.as_ref().and_then(OnceLock::get);
            Some((Arc::clone(program), fixed.or_else(|| made.get(path)).cloned()))
        })
    }

    fn keep(program: &Program, path: &str, module: Shared<Module>) -> Shared<Module> {
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
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        self.resolve_raw(engine, &mut engine.new_global_runtime_state(), &mut Scope::new(), path, position)
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        _scope: &mut Scope<'_>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let (program, module) =
            Self::made(path).ok_or_else(|| EvalAltResult::ErrorModuleNotFound(path.to_owned(), position))?;
        if let Some(module) = module {
            return Ok(module);
        }
        let ast = &program.modules[path].ast;
        // A module sees no variable of who imports it.
        match Module::eval_ast_as_new_raw(engine, &mut Scope::new(), global, ast) {
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
