//! Templates as flat lists of steps: tags are read once, and blocks become jumps, so that nothing recurses.

use super::Wrong;
use super::token::{Condition, Operand, Parsed, Path, Tokens};
use crate::limits::charge_bytes;
use crate::sdk::native::{Fallible, cut};

/// Tags of one template.
const MAX_TAGS: usize = 4_000;
/// Bytes within one tag that is no comment.
const MAX_TAG_BYTES: usize = 1_024;
/// Blocks within blocks.
const MAX_NESTING: usize = 32;
/// What reading a tag costs beside its bytes.
const TAG_BYTES: usize = 64;

/// One step of a template, with the line of its tag.
#[derive(Debug, PartialEq)]
pub enum Step<'t> {
    /// Is written as it is.
    Text(&'t str),
    /// Is looked up and written, escaped unless it is `safe`.
    Print { value: Operand<'t>, safe: bool, line: usize },
    /// Goes to a step unless a condition holds.
    Unless { condition: Condition<'t>, to: usize, line: usize },
    /// Goes to a step.
    Jump(usize),
    /// Begins a loop, or goes to a step where there is nothing to loop over.
    Enter { names: (&'t str, Option<&'t str>), path: Path<'t>, to: usize, line: usize },
    /// Goes to the step at which the innermost loop's body begins, or on where that was the last time.
    Next(usize),
}

/// A block that is not closed yet.
enum Open {
    /// The step to be told where the next branch begins, until there was an else, and the jumps to be told where the end is.
    If { unless: Option<usize>, jumps: Vec<usize>, line: usize },
    /// The step that begins the loop, and, once there was an else, the jump over it.
    For { enter: usize, jump: Option<usize>, line: usize },
}

/// The steps of a template, or what is wrong with it.
pub fn steps(source: &str) -> Fallible<Result<Vec<Step<'_>>, Wrong>> {
    let mut parser = Parser { steps: Vec::new(), open: Vec::new(), tags: 0, line: 1 };
    let (mut rest, mut trim) = (source, false);
    loop {
        let (text, tag) = rest.split_at(next_tag(rest).unwrap_or(rest.len()));
        // The line of a tag is the one that it begins in.
        parser.line += count_lines(text);
        let text = if trim { text.trim_start() } else { text };
        let closer = match tag.get(..2) {
            None => {
                parser.text(text);
                return Ok(parser.end());
            }
            Some("{{") => "}}",
            Some("{%") => "%}",
            Some(_) => "#}",
        };
        let (opener, inner) = tag.split_at(2);
        let Some(len) = inner.find(closer) else {
            return Ok(Err(parser.wrong(format!("{opener} is not closed by {closer}"))));
        };
        let inner = &inner[..len];
        let (trim_before, inner) = inner.strip_prefix('-').map_or((false, inner), |inner| (true, inner));
        let (trim_after, inner) = inner.strip_suffix('-').map_or((false, inner), |inner| (true, inner));
        parser.text(if trim_before { text.trim_end() } else { text });
        if opener != "{#" {
            charge_bytes(TAG_BYTES + len)?;
            if let Err(message) = parser.tag(opener, inner) {
                return Ok(Err(parser.wrong(message)));
            }
        }
        parser.line += count_lines(&tag[..len + 4]);
        (rest, trim) = (&tag[len + 4..], trim_after);
    }
}

/// Where the next tag begins.
fn next_tag(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

fn count_lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

struct Parser<'t> {
    steps: Vec<Step<'t>>,
    open: Vec<Open>,
    tags: usize,
    line: usize,
}

impl<'t> Parser<'t> {
    fn text(&mut self, text: &'t str) {
        if !text.is_empty() {
            self.steps.push(Step::Text(text));
        }
    }

    fn wrong(&self, message: String) -> Wrong {
        Wrong { line: self.line, message }
    }

    fn tag(&mut self, opener: &str, inner: &'t str) -> Parsed<()> {
        self.tags += 1;
        if self.tags > MAX_TAGS {
            return Err(format!("a template has at most {MAX_TAGS} tags"));
        }
        if inner.len() > MAX_TAG_BYTES {
            return Err(format!("a tag has at most {MAX_TAG_BYTES} bytes"));
        }
        let mut tokens = Tokens(inner);
        if opener == "{{" {
            self.print(&mut tokens)?
        } else {
            self.statement(&mut tokens)?
        }
        tokens.end()
    }

    fn print(&mut self, tokens: &mut Tokens<'t>) -> Parsed<()> {
        let value = tokens.operand()?;
        let safe = tokens.take_sign("|");
        if safe && !tokens.take_word("safe") {
            return Err(format!("there is no filter {:?}; there is safe", tokens.rest()));
        }
        self.steps.push(Step::Print { value, safe, line: self.line });
        Ok(())
    }

    fn statement(&mut self, tokens: &mut Tokens<'t>) -> Parsed<()> {
        let (here, line) = (self.steps.len(), self.line);
        let found = tokens.rest();
        match tokens.word() {
            "if" => {
                self.nest(Open::If { unless: Some(here), jumps: Vec::new(), line })?;
                self.steps.push(Step::Unless { condition: tokens.condition()?, to: here, line });
            }
            "elif" => self.branch(Some(tokens))?,
            "else" => self.branch(None)?,
            "endif" => match self.open.pop() {
                Some(Open::If { unless, jumps, .. }) => {
                    jumps.into_iter().chain(unless).for_each(|at| self.lead(at, here))
                }
                other => return Err(astray("endif", other)),
            },
            "for" => {
                let first = tokens.name()?;
                let second = if tokens.take_sign(",") { Some(tokens.name()?) } else { None };
                if !tokens.take_word("in") {
                    return Err(
                        "a loop is written as {% for item in items %} or {% for key, value in map %}".to_owned()
                    );
                }
                self.nest(Open::For { enter: here, jump: None, line })?;
                self.steps.push(Step::Enter { names: (first, second), path: tokens.path()?, to: here, line });
            }
            "endfor" => match self.open.pop() {
                Some(Open::For { enter, jump: None, .. }) => {
                    self.steps.push(Step::Next(enter + 1));
                    self.lead(enter, here + 1);
                }
                Some(Open::For { jump: Some(jump), .. }) => self.lead(jump, here),
                other => return Err(astray("endfor", other)),
            },
            _ => {
                let known = "there are if, elif, else, endif, for and endfor";
                return Err(format!("there is no tag {:?}; {known}", cut(found)));
            }
        }
        Ok(())
    }

    /// Ends a branch and begins the next: one with a condition, or the last.
    fn branch(&mut self, condition: Option<&mut Tokens<'t>>) -> Parsed<()> {
        let (here, line) = (self.steps.len(), self.line);
        match (self.open.last_mut(), condition) {
            (Some(Open::If { unless: unless @ Some(_), jumps, .. }), condition) => {
                jumps.push(here);
                let last = unless.take();
                *unless = condition.is_some().then_some(here + 1);
                self.steps.push(Step::Jump(here));
                last.into_iter().for_each(|last| self.lead(last, here + 1));
                if let Some(tokens) = condition {
                    self.steps.push(Step::Unless { condition: tokens.condition()?, to: here, line });
                }
                Ok(())
            }
            (Some(Open::For { enter, jump: jump @ None, .. }), None) => {
                let enter = *enter;
                *jump = Some(here + 1);
                self.steps.extend([Step::Next(enter + 1), Step::Jump(here)]);
                self.lead(enter, here + 2);
                Ok(())
            }
            _ => Err("a branch stands where no block can have one".to_owned()),
        }
    }

    fn nest(&mut self, open: Open) -> Parsed<()> {
        if self.open.len() >= MAX_NESTING {
            return Err(format!("blocks nest at most {MAX_NESTING} deep"));
        }
        self.open.push(open);
        Ok(())
    }

    /// Tells a step where it leads.
    fn lead(&mut self, step: usize, target: usize) {
        if let Some(Step::Unless { to, .. } | Step::Jump(to) | Step::Enter { to, .. }) = self.steps.get_mut(step) {
            *to = target;
        }
    }

    fn end(self) -> Result<Vec<Step<'t>>, Wrong> {
        match self.open.last() {
            None => Ok(self.steps),
            Some(Open::If { line, .. }) => Err(Wrong { line: *line, message: "if is not closed by endif".to_owned() }),
            Some(Open::For { line, .. }) => {
                Err(Wrong { line: *line, message: "for is not closed by endfor".to_owned() })
            }
        }
    }
}

fn astray(word: &str, open: Option<Open>) -> String {
    match open {
        None => format!("{word} closes nothing"),
        Some(Open::If { line, .. }) => format!("{word} stands where the if of line {line} wants its endif"),
        Some(Open::For { line, .. }) => format!("{word} stands where the for of line {line} wants its endfor"),
    }
}
