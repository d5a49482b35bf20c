//! What a source imports, read off its syntax tree.

use picloud_shared::name::ScriptName;
use rhai::{AST, ASTNode, Engine, Expr, ParseError, Position, Stmt};

/// A literal import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The module.
    pub name: ScriptName,
    /// Where it is imported.
    pub position: Position,
}

/// What a syntax tree says of itself.
#[derive(Debug)]
pub struct Structure {
    /// Its imports, each name once, in order of appearance; those within functions, too.
    pub imports: Vec<Import>,
    /// Whether a closure captures a variable.
    pub captures: bool,
    /// Whether it is functions and imports alone: making the module computes nothing and leaves no constants.
    pub functions_only: bool,
}

/// Why a source cannot be run with its modules.
#[derive(Debug)]
pub enum ImportError {
    /// It does not compile.
    Parse(ParseError),
    /// It compiles, but cannot be run.
    Import {
        /// What is wrong.
        message: String,
        /// Where.
        position: Position,
    },
}

impl ImportError {
    fn new(message: impl Into<String>) -> Self {
        Self::Import { message: message.into(), position: Position::NONE }
    }

    /// An import that comes back to `name`, which is already in the chain.
    pub fn cycle(chain: &[ScriptName], name: &ScriptName) -> Self {
        let from = chain.iter().position(|link| link == name).unwrap_or(0);
        Self::new(format!("modules import each other in a circle: {}", spell(&chain[from..], name.as_str())))
    }

    /// An import of a module that does not exist.
    pub fn missing(chain: &[ScriptName], name: &str) -> Self {
        Self::new(format!("there is no module `{name}`{}", through(chain, name)))
    }

    /// An import of an endpoint.
    pub fn endpoint(chain: &[ScriptName], name: &str) -> Self {
        Self::new(format!("`{name}` is an endpoint; only modules can be imported{}", through(chain, name)))
    }

    /// More modules than one script may reach.
    pub fn too_much() -> Self {
        Self::new("a script may reach 256 modules, through 32 imports at most, with 1 MiB of source together")
    }

    /// The same, told of another place.
    pub fn at(self, position: Position) -> Self {
        match self {
            Self::Import { message, .. } => Self::Import { message, position },
            parse @ Self::Parse(_) => parse,
        }
    }
}

/// The chain, where it is worth telling: nothing for what the script itself imports.
fn through(chain: &[ScriptName], name: &str) -> String {
    if chain.len() < 2 { String::new() } else { format!(" ({})", spell(chain, name)) }
}

fn spell(chain: &[ScriptName], name: &str) -> String {
    chain.iter().map(ScriptName::as_str).chain([name]).collect::<Vec<_>>().join(" -> ")
}

/// Parses a source.
///
/// # Errors
/// It does not compile within the engine's limits.
pub fn parse(engine: &Engine, source: &str) -> Result<AST, ImportError> {
    engine.compile(source).map_err(ImportError::Parse)
}

/// Reads a syntax tree.
///
/// # Errors
/// An import of anything but a literal.
pub fn structure(ast: &AST) -> Result<Structure, ImportError> {
    let mut found = Found { imports: Vec::new(), captures: false, error: None };
    ast.walk(&mut |path| found.node(path));
    if let Some(error) = found.error {
        return Err(error);
    }
    found.imports.sort_by_key(|import| (import.position.line(), import.position.position()));
    let mut imports: Vec<Import> = Vec::new();
    for import in found.imports {
        if imports.iter().all(|known| known.name != import.name) {
            imports.push(import);
        }
    }
    let functions_only = ast.statements().iter().all(|statement| matches!(statement, Stmt::Noop(_) | Stmt::Import(..)));
    Ok(Structure { imports, captures: found.captures, functions_only })
}

struct Found {
    imports: Vec<Import>,
    captures: bool,
    error: Option<ImportError>,
}

impl Found {
    /// Looks at the node at the end of the path; false ends the walk.
    fn node(&mut self, path: &[ASTNode<'_>]) -> bool {
        let Some(ASTNode::Stmt(statement)) = path.last() else {
            return true;
        };
        match statement {
            Stmt::Import(import, position) => self.import(&import.0, *position),
            Stmt::Share(_) => {
                self.captures = true;
                true
            }
            // Rhai's walk leaves these out.
            Stmt::BreakLoop(Some(value), ..) => {
                let node: &mut dyn FnMut(&[ASTNode<'_>]) -> bool = &mut |path| self.node(path);
                value.walk(&mut Vec::new(), node)
            }
            _ => true,
        }
    }

    fn import(&mut self, path: &Expr, position: Position) -> bool {
        let error = match path {
            Expr::StringConstant(text, ..) => match text.parse() {
                Ok(name) => {
                    self.imports.push(Import { name, position });
                    return true;
                }
                Err(_) => ImportError::missing(&[], text),
            },
            _ => ImportError::new("an import names its module by a literal string, such as import \"name\" as m"),
        };
        self.error = Some(error.at(position));
        false
    }
}
