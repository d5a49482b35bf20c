//! What went wrong, in words: from Rhai's errors to an outcome and an [`ExecutionFailure`].
//!
//! It is handed values that a hostile script made, so nothing here turns one into text without a bound.

use std::fmt::{self, Write};

use picloud_shared::execution::{ExecutionFailure, MAX_FAILURE_BYTES, Outcome};
use rhai::{Dynamic, EvalAltResult, ParseError, ParseErrorType, Position};

use crate::json;
use crate::limits::Stop;
use crate::response::body;
use crate::room::Full;

/// What the author of a closure is told that works on what calls it.
const IN_USE: &str = "a closure uses a variable while a method of that variable calls it, as in `a.map(|x| a.len())`; put what the \
                      closure needs into another variable first";
/// A timeout amid a change: whoever reads it must know that the change may be there.
const UNSETTLED: &str =
    "the script ran longer than its timeout while its last write was being made; whether it was made is not known";

/// A run without a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Any but success.
    pub outcome: Outcome,
    /// Why.
    pub failure: ExecutionFailure,
}

impl Failed {
    /// An error without a position.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Outcome::Error, message.into())
    }

    /// A limit was reached.
    pub fn budget(limit: &str) -> Self {
        Self {
            failure: ExecutionFailure { limit: Some(limit.to_owned()), ..failure(limit_message(limit)) },
            outcome: Outcome::BudgetExceeded,
        }
    }

    /// The wall clock passed the timeout.
    pub fn timeout() -> Self {
        Self::new(Outcome::Timeout, "the script ran longer than its timeout".to_owned())
    }

    /// There was no capacity.
    pub fn rejected(why: &str) -> Self {
        Self::new(Outcome::Rejected, why.to_owned())
    }

    fn new(outcome: Outcome, message: String) -> Self {
        Self { outcome, failure: failure(message) }
    }

    /// The same in other words.
    pub fn because(mut self, message: &str) -> Self {
        message.clone_into(&mut self.failure.message);
        self
    }

    /// The same, told of a place in the script.
    pub fn at(mut self, position: Position) -> Self {
        (self.failure.line, self.failure.column) = line_and_column(position);
        self
    }
}

fn failure(message: String) -> ExecutionFailure {
    ExecutionFailure { message, line: None, column: None, limit: None }
}

fn limit_message(limit: &str) -> String {
    format!("the script reached its limit {limit}")
}

/// 1-based line and column, where known.
pub fn line_and_column(position: Position) -> (Option<u32>, Option<u32>) {
    let number = |n: Option<usize>| n.and_then(|n| u32::try_from(n).ok());
    (number(position.line()), number(position.position()))
}

/// A run that was stopped; `error` is what Rhai made of it, where it came through, and tells the position.
pub fn of_stop(stop: Stop, error: Option<EvalAltResult>) -> Failed {
    let failed = match stop {
        Stop::Operations => Failed::budget("max_operations"),
        Stop::Memory => Failed::budget("max_memory"),
        Stop::Data(limit) => Failed::budget(limit),
        Stop::Full(Full::All) => Failed::rejected("the scripts that run take all the memory that there is for them"),
        Stop::Full(Full::App) => Failed::rejected("the app's scripts that run take as much memory as one app may"),
        Stop::Unsettled => Failed::timeout().because(UNSETTLED),
        Stop::Timeout | Stop::Inline | Stop::CallsPort => Failed::timeout(),
    };
    failed.at(error.map_or(Position::NONE, |error| Located::new(error).position))
}

/// What the script gave to `exit`, where that is how it ended. Rhai sees it itself, but not through what calls closures, where
/// `try` can catch it.
pub fn exited(mut error: &EvalAltResult) -> Option<&Dynamic> {
    loop {
        error = match error {
            EvalAltResult::Exit(value, _) => return Some(value),
            EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) => inner,
            _ => return None,
        };
    }
}

/// A run that ended by an error of Rhai.
pub fn of_error(error: EvalAltResult) -> Failed {
    let Located { error, position, module } = Located::new(error);
    let failed = match error {
        EvalAltResult::ErrorDataTooLarge(what, _) => Failed::budget(data_limit(&what)),
        EvalAltResult::ErrorStackOverflow(_) => Failed::budget("max_call_levels"),
        EvalAltResult::ErrorTooManyOperations(_) => Failed::budget("max_operations"),
        EvalAltResult::ErrorParsing(ParseErrorType::ExprTooDeep, _) => Failed::budget("max_expr_depth"),
        EvalAltResult::ErrorRuntime(value, _) => Failed::error(thrown(&value)),
        EvalAltResult::ErrorDataRace(..) => Failed::error(IN_USE),
        other => Failed::error(bounded(&other)),
    };
    let mut failed = failed.at(position);
    if let Some((module, inside)) = module {
        failed.failure.message.push_str(&format!(" (in module `{module}`{})", spoken(inside)));
    }
    failed
}

/// A source that does not compile. `module` names it where it is not the script itself.
pub fn of_parse_error(error: &ParseError, module: Option<&str>) -> Failed {
    if matches!(error.err_type(), ParseErrorType::ExprTooDeep) {
        return Failed::budget("max_expr_depth").at(if module.is_some() { Position::NONE } else { error.position() });
    }
    let message = bounded(error.err_type());
    match module {
        None => Failed::error(message).at(error.position()),
        Some(module) => Failed::error(format!("{message} (in module `{module}`{})", spoken(error.position()))),
    }
}

/// ", line 3, column 4", or nothing.
pub fn spoken(position: Position) -> String {
    match line_and_column(position) {
        (Some(line), Some(column)) => format!(", line {line}, column {column}"),
        (Some(line), None) => format!(", line {line}"),
        _ => String::new(),
    }
}

/// The name of the limit that Rhai's text for oversized data speaks of, or ours.
fn data_limit(what: &str) -> &'static str {
    if what == body::LIMIT {
        body::LIMIT
    } else if what.contains("map") {
        "max_map_size"
    } else if what.contains("string") {
        "max_string_size"
    } else {
        "max_array_size"
    }
}

/// An error with where it happened: in the script itself, or where the script called into the module.
struct Located {
    error: EvalAltResult,
    position: Position,
    module: Option<(String, Position)>,
}

impl Located {
    fn new(mut error: EvalAltResult) -> Self {
        let mut position = error.position();
        let mut module: Option<String> = None;
        loop {
            let inner = match error {
                EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
                    if module.is_none() && !source.is_empty() {
                        module = Some(source);
                    }
                    inner
                }
                EvalAltResult::ErrorInModule(name, inner, _) => {
                    module.get_or_insert(name);
                    inner
                }
                mut error => {
                    let inside = error.take_position();
                    return Self { error, position, module: module.map(|name| (name, inside)) };
                }
            };
            if module.is_none() && !inner.position().is_none() {
                position = inner.position();
            }
            error = *inner;
        }
    }
}

/// The message of what `invoke` throws for a script that failed. As JSON within JSON nothing of the innermost would be left after some.
fn told_by_invoke(value: &Dynamic) -> Option<Dynamic> {
    let error = value.as_map_ref().ok()?;
    let text = |name: &str| error.get(name).filter(|value| value.is_string());
    let message = text("message").filter(|_| text("code").is_some() && text("execution_id").is_some())?;
    (error.len() == 3).then(|| message.clone())
}

/// The text of a thrown value: a string as it is, anything else as JSON where that is possible.
fn thrown(value: &Dynamic) -> String {
    if value.is_unit() {
        return "the script threw ()".to_owned();
    }
    let text = match told_by_invoke(value) {
        Some(message) => json::to_text(&message, MAX_FAILURE_BYTES),
        None => json::to_text(value, MAX_FAILURE_BYTES),
    };
    if text.is_empty() { "the script threw an empty string".to_owned() } else { text }
}

/// The text of anything, cut at [`MAX_FAILURE_BYTES`].
pub fn bounded(text: &impl fmt::Display) -> String {
    struct Cut(String);
    impl Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = MAX_FAILURE_BYTES - self.0.len();
            let end = text.floor_char_boundary(left.min(text.len()));
            self.0.push_str(&text[..end]);
            if end == text.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut cut = Cut(String::new());
    // An error here only says that the rest did not fit.
    let _ = write!(cut, "{text}");
    cut.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character() {
        assert_eq!(bounded(&"short"), "short");
        let long = "ä".repeat(MAX_FAILURE_BYTES);
        assert_eq!(bounded(&long).len(), MAX_FAILURE_BYTES);
        let odd = format!("a{long}");
        assert_eq!(bounded(&odd).len(), MAX_FAILURE_BYTES - 1);
    }
}
