//! What stands within a tag: words, paths, literals and conditions.

use crate::sdk::native::cut;

/// Names in one path, such as the three of `order.customer.name`.
const MAX_PATH: usize = 16;
/// What cannot be the name of a value.
const RESERVED: [&str; 7] = ["and", "or", "not", "in", "true", "false", "loop"];

/// A name and the fields that lead on from it.
pub type Path<'t> = Vec<&'t str>;

/// Something that has a value.
#[derive(Debug, PartialEq)]
pub enum Operand<'t> {
    Path(Path<'t>),
    Text(&'t str),
    Int(i64),
    Bool(bool),
}

/// Rows of tests: one row must hold wholly.
pub type Condition<'t> = Vec<Vec<Test<'t>>>;

/// Whether a value counts as true, or is the same as another.
#[derive(Debug, PartialEq)]
pub struct Test<'t> {
    pub negated: bool,
    pub left: Operand<'t>,
    /// Whether they must be the same, and the other.
    pub right: Option<(bool, Operand<'t>)>,
}

pub type Parsed<T> = Result<T, String>;

/// What is left of a tag.
pub struct Tokens<'t>(pub &'t str);

impl<'t> Tokens<'t> {
    /// What is left, for a message.
    pub fn rest(&self) -> &'t str {
        cut(self.0.trim())
    }

    /// The word that is next, or nothing where something else is.
    pub fn word(&mut self) -> &'t str {
        self.run_of(self.0.trim_start(), |character| character.is_ascii_alphanumeric() || character == '_')
    }

    fn run_of(&mut self, text: &'t str, belongs: impl Fn(char) -> bool) -> &'t str {
        let end = text.find(|character| !belongs(character)).unwrap_or(text.len());
        self.0 = &text[end..];
        &text[..end]
    }

    /// Takes a certain word, if it is next.
    pub fn take_word(&mut self, wanted: &str) -> bool {
        let before = self.0;
        let taken = self.word() == wanted;
        if !taken {
            self.0 = before;
        }
        taken
    }

    /// Takes a certain sign, if it is next.
    pub fn take_sign(&mut self, wanted: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A name that a loop may give.
    pub fn name(&mut self) -> Parsed<&'t str> {
        let found = self.rest();
        let name = self.word();
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) || RESERVED.contains(&name) {
            return Err(format!("a name is wanted where there is {found:?}"));
        }
        Ok(name)
    }

    /// A name, or `loop`, with its fields.
    pub fn path(&mut self) -> Parsed<Path<'t>> {
        let mut path = vec![if self.take_word("loop") { "loop" } else { self.name()? }];
        while let Some(rest) = self.0.strip_prefix('.') {
            // Keys of JSON are often no names; those with a hyphen are the most frequent of these.
            let field = self.run_of(rest, |character| character.is_ascii_alphanumeric() || "_-".contains(character));
            if field.is_empty() {
                return Err(format!("a field is wanted after the dot where there is {:?}", cut(rest)));
            }
            if path.len() >= MAX_PATH {
                return Err(format!("a path has at most {MAX_PATH} names"));
            }
            path.push(field);
        }
        Ok(path)
    }

    /// A path, or a literal.
    pub fn operand(&mut self) -> Parsed<Operand<'t>> {
        let text = self.0.trim_start();
        if let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '\'')) {
            let unclosed = || format!("a text is not closed by {quote} before the tag ends");
            let (inner, rest) = text[1..].split_once(quote).ok_or_else(unclosed)?;
            self.0 = rest;
            return Ok(Operand::Text(inner));
        }
        if text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
            let number = self.run_of(text, |character| character.is_ascii_digit() || character == '-');
            let number = number.parse().map_err(|_| "a number is a whole one of 64 bits".to_owned())?;
            return Ok(Operand::Int(number));
        }
        for flag in [true, false] {
            if self.take_word(if flag { "true" } else { "false" }) {
                return Ok(Operand::Bool(flag));
            }
        }
        Ok(Operand::Path(self.path()?))
    }

    /// Tests joined by `and` and `or`, of which `and` binds more.
    pub fn condition(&mut self) -> Parsed<Condition<'t>> {
        let (mut rows, mut row) = (Vec::new(), vec![self.test()?]);
        loop {
            if self.take_word("or") {
                rows.push(std::mem::take(&mut row));
            } else if !self.take_word("and") {
                rows.push(row);
                return Ok(rows);
            }
            row.push(self.test()?);
        }
    }

    fn test(&mut self) -> Parsed<Test<'t>> {
        let mut negated = false;
        while self.take_word("not") {
            negated = !negated;
        }
        let left = self.operand()?;
        let same = if self.take_sign("==") {
            Some(true)
        } else if self.take_sign("!=") {
            Some(false)
        } else {
            None
        };
        let right = same.map(|same| Ok::<_, String>((same, self.operand()?))).transpose()?;
        Ok(Test { negated, left, right })
    }

    /// That nothing is left.
    pub fn end(&self) -> Parsed<()> {
        match self.rest() {
            "" => Ok(()),
            rest => Err(format!("the tag should end where there is {rest:?}")),
        }
    }
}
