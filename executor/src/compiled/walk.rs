//! The walk through all that a source imports: the rules of importing, the same for saving and for running.

use std::collections::HashMap;

use picloud_shared::name::ScriptName;
use picloud_shared::script::{ScriptKind, ScriptSource};
use rhai::{AST, Engine, Position};

use super::imports::{Import, ImportError, parse, structure};
use crate::memory::measured;

/// Modules that one script may reach.
pub const MAX_MODULES: usize = 256;
/// How long a chain of imports may be: evaluating it recurses.
const MAX_CHAIN: usize = 32;
/// Bytes of source that one program may be made of, which bounds the time that compiling it takes and the memory that
/// it fills.
const MAX_SOURCE_BYTES: usize = 1024 * 1024;
/// Bytes that one program may be made of in memory: so the largest fits into the default cache. Measured: 30 for each byte of the
/// source of usual handlers, 60 for that of the densest; closures within closures can have hundreds.
pub const MAX_PROGRAM_BYTES: usize = 60 * 1024 * 1024;

/// An app's scripts by name.
pub trait Sources {
    /// The script of that name.
    fn find(&self, name: &ScriptName) -> Option<(ScriptKind, &ScriptSource)>;
}

/// The source that the walk starts from.
#[derive(Debug, Clone, Copy)]
pub struct Root<'a> {
    /// Its name; a chain of imports must not come back to it.
    pub name: &'a ScriptName,
    /// What it is for: an endpoint cannot be imported, not even by what it imports.
    pub kind: ScriptKind,
    /// The text.
    pub source: &'a ScriptSource,
}

/// A root that compiles with all that it reaches.
#[derive(Debug)]
pub struct Reached {
    /// The root's syntax tree.
    pub ast: AST,
    /// What the root itself imports.
    pub imports: Vec<Import>,
    /// Whether a closure captures a variable, in the root or in a module.
    pub captures: bool,
    /// Whether one of them can change what it is lent.
    pub alters_lent: bool,
    /// Where the root uses `ctx` while a method of what is read from it runs.
    pub ctx_in_use: Option<Position>,
    /// Bytes in memory of all syntax trees.
    pub bytes: usize,
}

/// A module on the way. It comes after all that it imports.
#[derive(Debug)]
pub struct Module {
    /// Its name.
    pub name: ScriptName,
    /// Its syntax tree.
    pub ast: AST,
    /// Whether one made module can serve all runs at once: it and all that it imports are functions and imports alone.
    pub fixed: bool,
}

/// Why a root cannot be used.
#[derive(Debug)]
pub struct Wrong {
    /// What is wrong, told of the place in the source that it is in.
    pub error: ImportError,
    /// The module whose source that is; nothing for the root.
    pub module: Option<ScriptName>,
    /// Where the root imports what leads there; nothing where the root is wrong by itself.
    pub import: Option<Position>,
    /// Whether the source is wrong by itself, whoever imports it.
    pub is_broken: bool,
}

/// Compiles a root and each module that it reaches, once, handing the modules to `keep`.
///
/// # Errors
/// The first thing that is wrong.
pub fn walk(
    engine: &Engine,
    root: Root<'_>,
    sources: &dyn Sources,
    keep: &mut dyn FnMut(Module),
) -> Result<Reached, Wrong> {
    let wrong = |error| Wrong { error, module: None, import: None, is_broken: true };
    let (ast, bytes) = measured(|| parse(engine, root.source.as_str()));
    let ast = ast.map_err(wrong)?;
    if bytes > MAX_PROGRAM_BYTES {
        return Err(wrong(ImportError::too_large()));
    }
    let main = structure(&ast).map_err(wrong)?;
    let mut walk = Walk {
        engine,
        root,
        sources,
        keep,
        fixed: HashMap::new(),
        chain: vec![root.name.clone()],
        captures: main.captures,
        alters_lent: main.alters_lent,
        source_bytes: root.source.as_str().len(),
        bytes,
    };
    for import in &main.imports {
        walk.reach(import).map_err(|wrong| Wrong { import: Some(import.position), ..wrong })?;
    }
    let Walk { captures, alters_lent, bytes, .. } = walk;
    Ok(Reached { ast, imports: main.imports, captures, alters_lent, ctx_in_use: main.ctx_in_use, bytes })
}

struct Walk<'a> {
    engine: &'a Engine,
    root: Root<'a>,
    sources: &'a dyn Sources,
    keep: &'a mut dyn FnMut(Module),
    /// The modules that were reached, and whether they are fixed.
    fixed: HashMap<ScriptName, bool>,
    /// From the root to the source that imports.
    chain: Vec<ScriptName>,
    captures: bool,
    alters_lent: bool,
    source_bytes: usize,
    bytes: usize,
}

impl<'a> Walk<'a> {
    /// Compiles a module and what it imports; gives whether it is fixed.
    fn reach(&mut self, import: &Import) -> Result<bool, Wrong> {
        let name = &import.name;
        if let Some(fixed) = self.fixed.get(name) {
            return Ok(*fixed);
        }
        let source = self.importable(name).map_err(|error| Wrong {
            error: error.at(import.position),
            module: self.chain.last().filter(|_| self.chain.len() > 1).cloned(),
            import: None,
            is_broken: false,
        })?;
        let broken = |error| Wrong { error, module: Some(name.clone()), import: None, is_broken: true };
        let (ast, bytes) = measured(|| parse(self.engine, source.as_str()));
        let ast = ast.map_err(broken)?;
        self.bytes += bytes;
        if self.bytes > MAX_PROGRAM_BYTES {
            return Err(broken(ImportError::too_large()));
        }
        let structure = structure(&ast).map_err(broken)?;
        self.captures |= structure.captures;
        self.alters_lent |= structure.alters_lent;
        let mut fixed = structure.functions_only;
        self.chain.push(name.clone());
        for import in &structure.imports {
            fixed &= self.reach(import)?;
        }
        self.chain.pop();
        self.fixed.insert(name.clone(), fixed);
        (self.keep)(Module { name: name.clone(), ast, fixed });
        Ok(fixed)
    }

    /// The source of a module that the last of the chain may import.
    fn importable(&mut self, name: &ScriptName) -> Result<&'a ScriptSource, ImportError> {
        if name == self.root.name && self.root.kind == ScriptKind::Endpoint {
            return Err(ImportError::endpoint(&self.chain, name.as_str()));
        }
        if self.chain.contains(name) {
            return Err(ImportError::cycle(&self.chain, name));
        }
        let source = match self.sources.find(name) {
            Some((ScriptKind::Module, source)) => source,
            Some((ScriptKind::Endpoint, _)) => return Err(ImportError::endpoint(&self.chain, name.as_str())),
            None => return Err(ImportError::missing(&self.chain, name.as_str())),
        };
        self.source_bytes += source.as_str().len();
        let too_much = self.fixed.len() >= MAX_MODULES || self.source_bytes > MAX_SOURCE_BYTES;
        if self.chain.len() > MAX_CHAIN || too_much {
            return Err(ImportError::too_much());
        }
        Ok(source)
    }
}
