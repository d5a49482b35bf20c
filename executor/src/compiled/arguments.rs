//! How many arguments a call may have.
//!
//! Where Rhai finds no function for the types of a call's arguments, it asks for one with each of the first 16 left open, in every
//! combination, all within one operation: 2^16 look-ups of as many types as there are arguments. With 3,000 of these that took a second.

use rhai::{ASTNode, Expr, FnCallExpr, Position, Stmt};

/// Arguments of one call, a method's object among them: 256 look-ups, 50 us. With 10 it is 200 us.
const MAX_ARGUMENTS: usize = 8;
/// Variables that one closure may capture. They are arguments of its calls, and where the others are not as many as it has
/// parameters, its call is looked for like any: 27 ms on a busy machine, where 64 took 100 to 150.
const MAX_CAPTURED: usize = 16;

/// What is wrong with a node of a syntax tree, and where.
///
/// # Errors
/// It calls with too many arguments, or captures too many variables.
pub fn check(node: &ASTNode<'_>) -> Result<(), (String, Position)> {
    let (count, most, what, position) = match node {
        ASTNode::Stmt(Stmt::FnCall(call, position)) | ASTNode::Expr(Expr::FnCall(call, position)) => {
            if captures(call) {
                (call.args.len() - 1, MAX_CAPTURED, CAPTURED, *position)
            } else {
                (call.args.len(), MAX_ARGUMENTS, ARGUMENTS, *position)
            }
        }
        ASTNode::Expr(Expr::MethodCall(call, position)) => (call.args.len() + 1, MAX_ARGUMENTS, ARGUMENTS, *position),
        ASTNode::Stmt(Stmt::Share(names)) => {
            (names.len(), MAX_CAPTURED, CAPTURED, names.first().map_or(Position::NONE, |(name, _)| name.pos))
        }
        _ => return Ok(()),
    };
    if count > most { Err((format!("{what} at most {most}"), position)) } else { Ok(()) }
}

const ARGUMENTS: &str = "a call has too many arguments, with the object of a method:";
const CAPTURED: &str = "a closure captures too many variables:";

/// Whether the parser made this call, to hand a closure what it captures: scripts have no `curry`.
fn captures(call: &FnCallExpr) -> bool {
    call.name == "curry"
}
