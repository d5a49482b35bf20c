//! What a source costs to compile, above all its names, counted while it is read and refused before it is paid.
//!
//! Rhai's parser goes through all names in scope and all functions so far for each name that it reads, and again for each name that a
//! closure captures, in each closure around it. That is quadratic in what a source has room for: 120 KB with 9,000 names in 14 closures
//! within each other took it 45 s. It knows tokens and no grammar, so it counts some names too many and none too few.

use std::cell::RefCell;
use std::collections::HashSet;

use rhai::{LexError, Position, Token, TokenizeState};

use super::imports::TOO_LARGE;
use super::walk::MAX_PROGRAM_BYTES;
use crate::memory::Account;

/// Steps that one source may cost, at 2 to 8 ns each.
const MAX_STEPS: usize = 60_000_000;
/// A function that is passed by costs as much as so many variables, and so does, at its end, a case of a `switch` for each other.
const STEPS_A_FUNCTION: usize = 3;
const STEPS_A_CASE: usize = 8;
/// How often the parser looks up a captured name again once its closure ends.
const LOOK_UPS: usize = 4;

/// What the author of such a source is told.
const TOO_MANY: &str = "the source has too many names in one scope, or captured by closures within closures; split it into functions or modules";

thread_local! {
    /// The source that this thread parses: what its syntax tree takes so far, and its names.
    static NAMES: RefCell<Option<(Account, Names)>> = const { RefCell::new(None) };
}

/// Counts while `parse` goes through one source on this thread; [`on_token`] must see its tokens.
pub fn counted<T>(parse: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            NAMES.take();
        }
    }
    NAMES.set(Some((Account::within(), Names::default())));
    let _reset = Reset;
    parse()
}

/// Rhai's callback for each token: the token as it is, or an error in its place once the source costs too much.
pub fn on_token(token: Token, _position: Position, _state: &TokenizeState) -> Token {
    let wrong = NAMES.with_borrow_mut(|names| {
        let (memory, names) = names.as_mut()?;
        if names.steps_with(&token) > MAX_STEPS {
            return Some(TOO_MANY);
        }
        (memory.held() > MAX_PROGRAM_BYTES).then_some(TOO_LARGE)
    });
    wrong.map_or(token, |wrong| Token::LexError(Box::new(LexError::Runtime(wrong.to_owned()))))
}

#[derive(Default)]
struct Names {
    steps: usize,
    /// All variables so far. A scope holds no more, but for those that are declared anew in blocks.
    variables: HashSet<Box<str>>,
    /// Variables that are declared where the parser is, and how many were at each open bracket.
    declared: usize,
    brackets: Vec<usize>,
    functions: usize,
    cases: usize,
    /// The closures that the parser is in, the innermost last.
    closures: Vec<Closure>,
    /// The names in these, together.
    captured: usize,
    /// A name of which the next token says what it is.
    name: Option<Box<str>>,
    before: Before,
}

struct Closure {
    /// Every variable in it; it may capture all of them.
    names: HashSet<Box<str>>,
    /// Open brackets where it begins.
    brackets: usize,
    /// Whether its parameters are still being read.
    in_parameters: bool,
}

/// What the token before says of the next.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A value ended, so that a bar is an operator.
    Value,
    /// A property follows.
    Dot,
    #[default]
    Other,
}

impl Names {
    /// The steps so far, with this token.
    fn steps_with(&mut self, token: &Token) -> usize {
        if let Some(name) = self.name.take() {
            // The name of a function or a module is not looked up.
            if !matches!(token, Token::LeftParen | Token::Unit | Token::Bang | Token::DoubleColon) {
                self.variable(name);
            }
        }
        match token {
            Token::Identifier(_) if self.before == Before::Dot => self.look_up(1),
            Token::Identifier(name) => self.name = Some(name.as_str().into()),
            Token::Let | Token::Const | Token::Catch => self.declared += 1,
            Token::For => self.declared += 2,
            Token::Fn => self.function(),
            Token::LeftBrace | Token::MapStart | Token::LeftParen | Token::LeftBracket | Token::QuestionBracket => {
                self.brackets.push(self.declared);
            }
            Token::RightBrace | Token::RightParen | Token::RightBracket => {
                self.declared = self.brackets.pop().unwrap_or(0);
                self.end_closures(|closure, brackets| closure.brackets > brackets);
            }
            Token::Comma if self.closures.last().is_some_and(|closure| closure.in_parameters) => (),
            Token::Comma | Token::SemiColon => self.end_closures(|closure, brackets| closure.brackets >= brackets),
            Token::DoubleArrow => {
                self.cases += 1;
                self.steps = self.steps.saturating_add(STEPS_A_CASE * self.cases);
            }
            Token::Pipe | Token::Or => self.bar(*token == Token::Pipe),
            _ => (),
        }
        self.before = match token {
            Token::Period | Token::Elvis => Before::Dot,
            // A closure can begin right after a block, so a brace ends no value.
            Token::Identifier(_) | Token::Reserved(_) | Token::True | Token::False | Token::Unit => Before::Value,
            Token::IntegerConstant(_) | Token::FloatConstant(_) | Token::CharConstant(_) => Before::Value,
            Token::StringConstant(_) | Token::RightParen | Token::RightBracket => Before::Value,
            _ => Before::Other,
        };
        self.steps
    }

    fn look_up(&mut self, times: usize) {
        let once = self.variables.len() + self.declared + STEPS_A_FUNCTION * self.functions;
        self.steps = self.steps.saturating_add(once * times);
    }

    fn variable(&mut self, name: Box<str>) {
        let mut captures = 0;
        for closure in self.closures.iter_mut().rev() {
            if closure.names.contains(&name) {
                // And so those around it have it.
                break;
            }
            closure.names.insert(name.clone());
            captures += 1;
        }
        self.captured += captures;
        self.variables.insert(name);
        self.look_up(1 + LOOK_UPS * captures);
    }

    /// One more that each look-up of a captured name goes through.
    fn function(&mut self) {
        self.functions += 1;
        self.steps = self.steps.saturating_add(STEPS_A_FUNCTION * LOOK_UPS * self.captured);
    }

    /// `|`, or `||`, which holds no parameters.
    fn bar(&mut self, is_single: bool) {
        match self.closures.last_mut() {
            Some(closure) if closure.in_parameters && is_single => closure.in_parameters = false,
            _ if self.before != Before::Value => {
                self.function();
                let closure =
                    Closure { names: HashSet::new(), brackets: self.brackets.len(), in_parameters: is_single };
                self.closures.push(closure);
            }
            _ => (),
        }
    }

    /// Ends the closures, from the innermost on, of which that is so.
    fn end_closures(&mut self, ends: impl Fn(&Closure, usize) -> bool) {
        while let Some(closure) = self.closures.pop_if(|closure| ends(closure, self.brackets.len())) {
            self.captured -= closure.names.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rhai::{ASTNode, Engine, Stmt};
    use std::fs;
    use std::path::Path;

    /// The steps counted for a source, and the least that its closures cost: each captured name is looked up among those before.
    fn counted_and_least(source: &str) -> Option<(usize, usize)> {
        let mut engine = Engine::new();
        #[expect(deprecated, reason = "Rhai marks what may change in a minor release")]
        engine.set_max_expr_depths(128, 128).on_parse_token(on_token);
        let (ast, names) = counted(|| (engine.compile(source), NAMES.take()));
        let mut least = 0;
        ast.ok()?.walk(&mut |path: &[ASTNode<'_>]| {
            if let Some(ASTNode::Stmt(Stmt::Share(captured))) = path.last() {
                least += LOOK_UPS * captured.len() * (captured.len() + 1) / 2;
            }
            true
        });
        Some((names?.1.steps, least))
    }

    #[test]
    fn no_closure_is_missed_wherever_it_stands() {
        for source in [
            "let f = || [a, b, c];",
            "let f = |x, y| |z| a + b + x + y + z;",
            "f(|| [a, b], |x| a + b + x, 1)",
            "[|| [a, b, c], || [d, e, f, g]]",
            "#{a: |x| [a, b, x], b: || c}",
            "if a { b } || [c, d, e];",
            "{ a } |x| [b, c, d, x]",
            "let m = #{} | a; let f = |x| [b, c, d, x]; let g = || [e, f, g];",
            "let m = #{a: 1} | a || b; let f = || || || [b, c, d]; 1",
            "let f = |x| if a { b; c } else { d; e };",
            "let f = || switch a { 1 if c => d, _ => || [e, f, g] };",
            "let f = || { let x = a; b; { c } d };",
            "`${|| [a, b, c]} and ${{ let f = || [d, e]; 1 }}`",
            "fn f(a, b, c, d) { let g = || [a, b, c, d]; g } let h = || [f, g];",
            "return || [a, b, c]",
            "throw |x| [a, b, c, x];",
            "let f = a ?? || [b, c, d];",
            "let f = a == || [b, c, d];",
            "let f = (|| [a, b, c]);",
            "for x in (|| [a, b, c]) { || [d, e, f, x]; }",
            "a.b(|| [a, b, c]).c.d(|x| [d, e, f, x])",
            "let f = || /* | */ [a, // |\n b, c];",
            "let f = () | a || b; let g = || [b, c, d]",
        ] {
            let (counted, least) = counted_and_least(source).unwrap_or_else(|| panic!("{source} does not compile"));
            assert!(least > 0 && counted >= least, "{source}: {counted} of {least}");
        }
        let mut compiled = 0;
        for folder in ["golden", "hostile"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)) {
            for topic in fs::read_dir(folder).unwrap() {
                for file in fs::read_dir(topic.unwrap().path()).unwrap() {
                    let source = fs::read(file.unwrap().path()).unwrap();
                    if let Some((counted, least)) = str::from_utf8(&source).ok().and_then(counted_and_least) {
                        assert!(counted >= least, "{source:?}: {counted} of {least}");
                        compiled += 1;
                    }
                }
            }
        }
        assert!(compiled > 300, "{compiled}");
    }
}
