//! Goes through the steps of a template, each charged, and writes no more than a string of the script may hold.

use rhai::{Dynamic, EvalAltResult, ImmutableString, NativeCallContext};

use super::Wrong;
use super::parse::Step;
use super::token::{Condition, Operand, Test};
use super::value::{self, Key, Scalar};
use crate::limits::charge_bytes;
use crate::sdk::html;
use crate::sdk::native::{Fallible, fits_string, short, with_text};

/// What a step costs beside the bytes that it writes.
const STEP_BYTES: usize = 64;
/// What one key of a path costs.
const KEY_BYTES: usize = 16;

/// The text of a template for these values.
pub fn render(call: &NativeCallContext, steps: &[Step<'_>], root: &Dynamic) -> Fallible<ImmutableString> {
    let mut rendering = Rendering { call, root, loops: Vec::new(), out: String::new() };
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        charge_bytes(STEP_BYTES)?;
        at = rendering.step(step, at)?;
    }
    Ok(rendering.out.into())
}

struct Rendering<'s, 'c> {
    call: &'c NativeCallContext<'c>,
    root: &'c Dynamic,
    loops: Vec<Loop<'s>>,
    out: String,
}

/// A loop that is going on.
struct Loop<'s> {
    names: (&'s str, Option<&'s str>),
    /// Where what it loops over is found.
    path: Vec<Place<'s>>,
    /// The keys of a map; an array has none.
    keys: Option<Vec<Box<str>>>,
    len: usize,
    at: usize,
}

/// One step of a path.
#[derive(Clone, Copy)]
enum Place<'s> {
    Field(&'s str),
    /// Where the loop of that depth is.
    Loop(usize),
}

/// What a path of the template stands for.
enum Found<'s> {
    At(Vec<Place<'s>>),
    Value(Dynamic),
}

impl<'s> Rendering<'s, '_> {
    /// Takes a step and gives the place of the next.
    fn step(&mut self, step: &'s Step<'s>, at: usize) -> Fallible<usize> {
        match step {
            Step::Text(text) => write(self.call, &mut self.out, text, true)?,
            Step::Print { value, safe, line } => self.print(value, *safe, *line)?,
            Step::Jump(to) => return Ok(*to),
            Step::Unless { condition, to, line } => {
                if !self.holds(condition, *line)? {
                    return Ok(*to);
                }
            }
            Step::Enter { names, path, to, line } => {
                if !self.enter(*names, path, *line)? {
                    return Ok(*to);
                }
            }
            Step::Next(body) => {
                if let Some(current) = self.loops.last_mut() {
                    current.at += 1;
                    if current.at < current.len {
                        return Ok(*body);
                    }
                }
                self.loops.pop();
            }
        }
        Ok(at + 1)
    }

    fn wrong(&self, line: usize, message: String) -> Box<EvalAltResult> {
        Wrong { line, message }.thrown(self.call)
    }

    /// What a path stands for, its first name as the innermost loop has it that has it.
    fn find(&self, path: &[&'s str], line: usize) -> Fallible<Found<'s>> {
        let [first, fields @ ..] = path else {
            return Ok(Found::Value(Dynamic::UNIT));
        };
        let fields = fields.iter().map(|field| Place::Field(field));
        if *first == "loop" {
            return self.loop_field(path).map(Found::Value).map_err(|message| self.wrong(line, message));
        }
        for (depth, current) in self.loops.iter().enumerate().rev() {
            let (name, second) = current.names;
            if second.is_some() && name == *first {
                if path.len() > 1 {
                    return Err(self.wrong(line, format!("{first} is a key of the loop, which has no fields")));
                }
                return Ok(Found::Value(current.key()));
            }
            if second.unwrap_or(name) == *first {
                let base = current.path.iter().copied().chain([Place::Loop(depth)]);
                return Ok(Found::At(base.chain(fields).collect()));
            }
        }
        Ok(Found::At([Place::Field(first)].into_iter().chain(fields).collect()))
    }

    /// `loop.index` from 1 on, `loop.first` and `loop.last`, of the innermost loop.
    fn loop_field(&self, path: &[&str]) -> Result<Dynamic, String> {
        let Some(current) = self.loops.last() else {
            return Err("loop has a meaning within for only".to_owned());
        };
        match path {
            [_, "index"] => Ok(integer(current.at + 1)),
            [_, "first"] => Ok((current.at == 0).into()),
            [_, "last"] => Ok((current.at + 1 == current.len).into()),
            _ => Err("loop has the fields index, first and last".to_owned()),
        }
    }

    /// Hands over the value of a path.
    fn with<T>(&self, path: &[Place<'s>], line: usize, take: impl FnOnce(&Dynamic) -> T) -> Fallible<T> {
        charge_bytes(KEY_BYTES * path.len())?;
        let key = |place: &Place<'s>| match *place {
            Place::Field(field) => Key::Field(field),
            Place::Loop(depth) => {
                let current = &self.loops[depth];
                current.keys.as_ref().map_or(Key::Index(current.at), |keys| Key::Field(&keys[current.at]))
            }
        };
        let keys: Vec<Key<'_>> = path.iter().map(key).collect();
        value::with(self.root, &keys, take).map_err(|message| self.wrong(line, message))
    }

    /// Hands over the value of an operand.
    fn value<T>(&self, operand: &Operand<'s>, line: usize, take: impl FnOnce(&Dynamic) -> T) -> Fallible<T> {
        Ok(match operand {
            Operand::Text(text) => take(&(*text).into()),
            Operand::Int(number) => take(&(*number).into()),
            Operand::Bool(flag) => take(&(*flag).into()),
            Operand::Path(path) => match self.find(path, line)? {
                Found::Value(value) => take(&value),
                Found::At(path) => self.with(&path, line, take)?,
            },
        })
    }

    fn holds(&self, condition: &Condition<'s>, line: usize) -> Fallible<bool> {
        'rows: for row in condition {
            for test in row {
                charge_bytes(STEP_BYTES)?;
                if !self.test(test, line)? {
                    continue 'rows;
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn test(&self, test: &Test<'s>, line: usize) -> Fallible<bool> {
        let Some((same, right)) = &test.right else {
            return Ok(self.value(&test.left, line, value::is_true)? != test.negated);
        };
        let (left, right) = (self.value(&test.left, line, Scalar::of)?, self.value(right, line, Scalar::of)?);
        let (Some(left), Some(right)) = (left, right) else {
            return Err(self.wrong(line, "only texts, numbers, truth values and () can be compared".to_owned()));
        };
        if let Scalar::Text(text) = &left {
            charge_bytes(text.len())?;
        }
        Ok((left.same(&right) == *same) != test.negated)
    }

    /// Begins a loop; false where there is nothing to loop over.
    fn enter(&mut self, names: (&'s str, Option<&'s str>), path: &[&'s str], line: usize) -> Fallible<bool> {
        let not_many =
            |kind: &str| self.wrong(line, format!("for goes over an array or a map, not over {}", short(kind)));
        let Found::At(path) = self.find(path, line)? else {
            return Err(not_many("a key"));
        };
        let many = self.with(&path, line, |value| -> Fallible<_> {
            if let Ok(map) = value.as_map_ref() {
                charge_bytes(map.keys().map(|key| KEY_BYTES + key.len()).sum())?;
                let keys: Vec<Box<str>> = map.keys().map(|key| key.as_str().into()).collect();
                return Ok((keys.len(), Some(keys)));
            }
            match value.as_array_ref() {
                Ok(array) => Ok((array.len(), None)),
                Err(_) if value.is_unit() => Ok((0, None)),
                Err(kind) => Err(not_many(kind)),
            }
        })?;
        let (len, keys) = many?;
        if len > 0 {
            self.loops.push(Loop { names, path, keys, len, at: 0 });
        }
        Ok(len > 0)
    }

    fn print(&mut self, operand: &Operand<'s>, safe: bool, line: usize) -> Fallible<()> {
        // Taken out, so that a value can be borrowed while it is written.
        let mut out = std::mem::take(&mut self.out);
        let call = self.call;
        let written = self.value(operand, line, |value| {
            if value.is_unit() {
                return Ok(Ok(()));
            }
            with_text(value, |text| write(call, &mut out, text, safe)).ok_or_else(|| short(value.type_name()))
        });
        self.out = out;
        written?
            .map_err(|kind| self.wrong(line, format!("{kind} cannot be printed: loop over it, or give its text")))?
    }
}

impl Loop<'_> {
    /// The key of the entry that it is at, or the place of the element, from 0 on.
    fn key(&self) -> Dynamic {
        self.keys.as_ref().map_or_else(|| integer(self.at), |keys| (&*keys[self.at]).into())
    }
}

fn integer(number: usize) -> Dynamic {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// Writes a text, if there is room for it.
fn write(call: &NativeCallContext, out: &mut String, text: &str, safe: bool) -> Fallible<()> {
    charge_bytes(text.len())?;
    let len = if safe { text.len() } else { html::escaped_len(text) };
    fits_string(call, out.len().saturating_add(len))?;
    match safe {
        true => out.push_str(text),
        false => html::push_escaped(out, text),
    }
    Ok(())
}
