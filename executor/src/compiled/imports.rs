//! What a source imports, read off its syntax tree.

use picloud_shared::name::ScriptName;
use rhai::{AST, ASTNode, Engine, Expr, ParseError, Position, Stmt};

use super::{arguments, names};
use crate::context::PARTS;

/// What the author of a script is told that is larger in memory than one may be.
pub const TOO_LARGE: &str = "a script takes at most 60 MiB once it is compiled, with its modules";

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
    /// Whether it has the means to change, or to keep for itself, a part of the request that it was lent.
    pub alters_lent: bool,
    /// Where a closure uses `ctx` that is handed to a method of what is read from `ctx`: called there, it fails, since Rhai locks what
    /// a method is called on.
    pub ctx_in_use: Option<Position>,
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

    /// A script that is larger in memory than one may be.
    pub fn too_large() -> Self {
        Self::new(TOO_LARGE)
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
    names::counted(|| engine.compile(source)).map_err(ImportError::Parse)
}

/// Reads a syntax tree.
///
/// # Errors
/// An import of anything but a literal; a call or a closure with too many arguments; more nodes than can be looked at.
pub fn structure(ast: &AST) -> Result<Structure, ImportError> {
    let mut found = Found {
        nodes: MAX_NODES,
        imports: Vec::new(),
        captures: false,
        alters_lent: false,
        ctx_in_use: None,
        error: None,
    };
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
    let Found { captures, alters_lent, ctx_in_use, .. } = found;
    Ok(Structure { imports, captures, alters_lent, ctx_in_use, functions_only })
}

/// Nodes that a walk may come by. Rhai's walk goes through a case of a `switch` once for each of its patterns, and so through those
/// within it: three patterns and twenty levels are three thousand million.
const MAX_NODES: usize = 2_000_000;

struct Found {
    /// Nodes that the walks may come by yet.
    nodes: usize,
    imports: Vec<Import>,
    captures: bool,
    alters_lent: bool,
    ctx_in_use: Option<Position>,
    error: Option<ImportError>,
}

/// Whether an assignment to it may change a part of the request: it leads through the name of one to something within, or into `this`,
/// which is a part within a method that was called on it. Where there are more nodes than are left, it is as if it did.
fn leads_into_lent(target: &Expr, nodes: &mut usize) -> bool {
    let elsewhere: &mut dyn FnMut(&[ASTNode<'_>]) -> bool = &mut |path| match path {
        _ if *nodes == 0 => false,
        [.., ASTNode::Expr(Expr::ThisPtr(_))] => false,
        [
            ..,
            ASTNode::Expr(Expr::Dot(pair, ..) | Expr::Index(pair, ..)),
            ASTNode::Expr(Expr::Property(property, _)),
        ] => {
            let leads_on = matches!(&pair.lhs, Expr::Property(first, _) if std::ptr::eq(&**first, &**property));
            !(leads_on && PARTS.contains(&property.2.as_str()))
        }
        _ => {
            *nodes -= 1;
            true
        }
    };
    !target.walk(&mut Vec::new(), elsewhere)
}

/// Whether a function called in this style is handed shared values as they are; all others, and all methods, get copies. (`curry`, which
/// the parser alone calls, is handed variables.)
fn hands_on(function: &str) -> bool {
    function == "call"
}

/// Whether the closure at the end of the path is handed to a method of what is read from `ctx`, as in `ctx.request.query.keys().map(..)`.
/// What stands in an index, or is handed to another call on the way, is done with before `ctx` is locked.
fn is_called_on_ctx(path: &[ASTNode<'_>]) -> bool {
    let calls = |node: &ASTNode<'_>| {
        matches!(node, ASTNode::Expr(Expr::MethodCall(..) | Expr::FnCall(..)) | ASTNode::Stmt(Stmt::FnCall(..)))
    };
    let Some(call) =
        path.iter().rposition(calls).filter(|call| matches!(path[*call], ASTNode::Expr(Expr::MethodCall(..))))
    else {
        return false;
    };
    let chain = path[..call].iter().rev().map_while(|node| match node {
        ASTNode::Expr(Expr::Dot(pair, ..)) => Some(pair),
        _ => None,
    });
    let root = chain.last().map(|pair| &pair.lhs);
    matches!(root, Some(Expr::Variable(variable, ..)) if variable.1.as_str() == CTX)
}

/// What a script finds in its scope.
const CTX: &str = "ctx";

impl Found {
    /// Looks at the node at the end of the path; false ends the walk.
    fn node(&mut self, path: &[ASTNode<'_>]) -> bool {
        let Some(node) = path.last() else {
            return true;
        };
        let Some(left) = self.nodes.checked_sub(1) else {
            self.error = Some(ImportError::new("the source has too many patterns in `switch` within `switch`"));
            return false;
        };
        self.nodes = left;
        if let Err((message, position)) = arguments::check(node) {
            self.error = Some(ImportError::new(message).at(position));
            return false;
        }
        let statement = match node {
            ASTNode::Stmt(statement) => statement,
            ASTNode::Expr(Expr::FnCall(call, _)) => {
                self.alters_lent |= hands_on(&call.name);
                return true;
            }
            _ => return true,
        };
        match statement {
            Stmt::Assignment(assignment) => {
                self.alters_lent |= leads_into_lent(&assignment.1.lhs, &mut self.nodes);
                true
            }
            Stmt::FnCall(call, _) => {
                self.alters_lent |= hands_on(&call.name);
                true
            }
            Stmt::Import(import, position) => self.import(&import.0, *position),
            Stmt::Share(captured) => {
                self.captures = true;
                let ctx = captured.iter().find(|(name, _)| name.as_str() == CTX);
                if let Some((name, _)) = ctx.filter(|_| is_called_on_ctx(path)) {
                    self.ctx_in_use.get_or_insert(name.pos);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_alters_what_it_is_lent_only_by_an_assignment_into_it_or_by_handing_it_on() {
        let engine = Engine::new();
        let alters = |source: &str| structure(&engine.compile(source).unwrap()).unwrap().alters_lent;
        for source in [
            "fn f() { this.x = 1; }",
            "fn f() { if true { this[0] += 1; } }",
            "let f = || { this.a.b = 1 };",
            "ctx.request.body.x = 1;",
            "let r = ctx.request; r.text[0] = 'x';",
            "let x = call(Fn(\"f\"), ctx.request.body);",
            "call(Fn(\"f\"), ctx.request.body);",
            "let n = 0; loop { n += 1; if n > 2 { break call(Fn(\"f\"), n); } }",
        ] {
            assert!(alters(source), "{source}");
        }
        for source in [
            "fn f() { this.len() }",
            "let x = #{}; x.y = ctx.request.body; x[\"z\"].a = 1;",
            "let mine = ctx.request.body; mine.x = ctx.request.body.y;",
            "ctx.request.body.items.map(|item| item.price)",
            "let f = |x| x + 1; f.call(ctx.request.body.n)",
            "let n = 2; ctx.request.body.items.map(|x| x * n)",
            "let mail = #{}; mail.body = ctx.request.body.text; mail.headers = #{};",
        ] {
            assert!(!alters(source), "{source}");
        }
    }
}
