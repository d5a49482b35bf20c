//! What documents must be like to be found.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{Document, FieldPath, InvalidField, KeyRange, SortKey};

/// Conditions that a filter may have: each is looked at for each document.
pub const MAX_CONDITIONS: usize = 16;
/// Values that `$in` may list.
const MAX_LISTED: usize = 100;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// It is equal. Null is equal to a field that is not there.
    Eq,
    /// It is not.
    Ne,
    /// It is of the same kind and greater.
    Gt,
    /// It is of the same kind and greater or equal.
    Gte,
    /// It is of the same kind and less.
    Lt,
    /// It is of the same kind and less or equal.
    Lte,
    /// It is equal to one of a list.
    In,
    /// It is there, or is not.
    Exists,
}

impl Operator {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "$eq" => Self::Eq,
            "$ne" => Self::Ne,
            "$gt" => Self::Gt,
            "$gte" => Self::Gte,
            "$lt" => Self::Lt,
            "$lte" => Self::Lte,
            "$in" => Self::In,
            "$exists" => Self::Exists,
            _ => return None,
        })
    }
}

/// What one field must be like.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The field.
    pub field: FieldPath,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub operand: Value,
}

/// What documents must be like: all of the conditions hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Vec<Condition>);

/// Why a value is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// It is not a map.
    #[error("a filter is a map of fields")]
    NotAMap,
    /// A field that cannot be.
    #[error(transparent)]
    Field(#[from] InvalidField),
    /// An operator that there is not.
    #[error("there is no operator {0}; there are $eq, $ne, $gt, $gte, $lt, $lte, $in and $exists")]
    Operator(String),
    /// What is compared has no order.
    #[error("{0} compares numbers or strings")]
    Order(&'static str),
    /// `$in` needs a list.
    #[error("$in takes an array of at most {MAX_LISTED} values")]
    List,
    /// `$exists` needs a truth value.
    #[error("$exists takes true or false")]
    Truth,
    /// Too many conditions.
    #[error("a filter has at most {MAX_CONDITIONS} conditions")]
    TooMany,
}

impl Filter {
    /// Reads `#{ field: value, other: #{ "$gt": 1 } }`: a value is to be equal, and a map whose names begin with `$` compares. Numbers take
    /// the form that they have in documents.
    ///
    /// # Errors
    /// See [`InvalidFilter`].
    pub fn read(value: &Value) -> Result<Self, InvalidFilter> {
        let fields = value.as_object().ok_or(InvalidFilter::NotAMap)?;
        let mut conditions = Vec::new();
        for (name, wanted) in fields {
            let field: FieldPath = name.parse()?;
            match wanted.as_object().filter(|operators| compares(operators)) {
                None => conditions.push(Condition::new(field, Operator::Eq, wanted)),
                Some(operators) => {
                    for (name, operand) in operators {
                        let operator = Operator::named(name)
                            .ok_or_else(|| InvalidFilter::Operator(name.chars().take(32).collect()))?;
                        check(operator, operand)?;
                        conditions.push(Condition::new(field.clone(), operator, operand));
                    }
                }
            }
            if conditions.len() > MAX_CONDITIONS {
                return Err(InvalidFilter::TooMany);
            }
        }
        Ok(Self(conditions))
    }

    /// The conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }

    /// Whether a document is like that.
    pub fn matches(&self, document: &Document) -> bool {
        self.0.iter().all(|condition| condition.holds(document.field(&condition.field).as_deref()))
    }

    /// Where the keys of a field are, if the filter says so much of it.
    pub fn range_of(&self, field: &FieldPath) -> Option<KeyRange> {
        let ranges = self.0.iter().filter(|condition| condition.field == *field).filter_map(Condition::range);
        ranges.reduce(KeyRange::and)
    }

    /// Whether a field must be equal to a value.
    pub fn pins(&self, field: &FieldPath) -> bool {
        self.0.iter().any(|condition| condition.field == *field && condition.operator == Operator::Eq)
    }
}

/// Whether a map is one of operators. An empty one is a value.
fn compares(operators: &Map<String, Value>) -> bool {
    operators.keys().any(|name| name.starts_with('$'))
}

fn check(operator: Operator, operand: &Value) -> Result<(), InvalidFilter> {
    let ordered =
        |name| if operand.is_number() || operand.is_string() { Ok(()) } else { Err(InvalidFilter::Order(name)) };
    match operator {
        Operator::Eq | Operator::Ne => Ok(()),
        Operator::Gt => ordered("$gt"),
        Operator::Gte => ordered("$gte"),
        Operator::Lt => ordered("$lt"),
        Operator::Lte => ordered("$lte"),
        Operator::In => match operand.as_array() {
            Some(list) if list.len() <= MAX_LISTED => Ok(()),
            _ => Err(InvalidFilter::List),
        },
        Operator::Exists => operand.as_bool().map(|_| ()).ok_or(InvalidFilter::Truth),
    }
}

impl Condition {
    fn new(field: FieldPath, operator: Operator, operand: &Value) -> Self {
        let mut operand = operand.clone();
        crate::kv::round_large_integers(&mut operand);
        Self { field, operator, operand }
    }

    fn holds(&self, value: Option<&Value>) -> bool {
        let ordering = || compare(value?, &self.operand);
        match self.operator {
            Operator::Eq => equal(value.unwrap_or(&Value::Null), &self.operand),
            Operator::Ne => !equal(value.unwrap_or(&Value::Null), &self.operand),
            Operator::Gt => ordering().is_some_and(Ordering::is_gt),
            Operator::Gte => ordering().is_some_and(Ordering::is_ge),
            Operator::Lt => ordering().is_some_and(Ordering::is_lt),
            Operator::Lte => ordering().is_some_and(Ordering::is_le),
            Operator::In => {
                let list = self.operand.as_array().map(Vec::as_slice).unwrap_or_default();
                list.iter().any(|listed| equal(value.unwrap_or(&Value::Null), listed))
            }
            Operator::Exists => value.is_some() == (self.operand == Value::Bool(true)),
        }
    }

    /// Where the keys are of all values for which it holds; others may be there as well.
    fn range(&self) -> Option<KeyRange> {
        let key = || SortKey::of(Some(&self.operand));
        match self.operator {
            Operator::Eq => Some(KeyRange::of(&key())),
            Operator::Gt | Operator::Gte => Some(KeyRange::from(&key())),
            Operator::Lt | Operator::Lte => Some(KeyRange::up_to(&key())),
            Operator::In => {
                let keys: Vec<_> = self.operand.as_array()?.iter().map(|listed| SortKey::of(Some(listed))).collect();
                let (least, greatest) = (keys.iter().min()?, keys.iter().max()?);
                Some(KeyRange { from: KeyRange::of(least).from, to: KeyRange::of(greatest).to })
            }
            Operator::Ne | Operator::Exists => None,
        }
    }
}

/// The order of two numbers or two strings.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => Some(SortKey::of(Some(a)).cmp(&SortKey::of(Some(b)))),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Whether two values are equal: numbers by what they are worth, not by how they are written.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b || compare(a, b).is_some_and(Ordering::is_eq),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::docs::DocumentBody;
    use crate::id::DocumentId;
    use serde_json::json;

    fn document() -> Document {
        let id = DocumentId::from_uuid(uuid::Uuid::from_u128(7));
        let fields = json!({ "n": 5, "f": 1.0, "s": "m", "b": true, "z": null, "a": [1, { "x": 2 }], "o": { "p": 1 } });
        let body = DocumentBody::new(fields.as_object().unwrap().clone(), id).unwrap();
        Document { id, body, updated_at: Timestamp::from_millis(0) }
    }

    fn found(filter: Value) -> bool {
        let (document, filter) = (document(), Filter::read(&filter).unwrap());
        let found = filter.matches(&document);
        for condition in filter.conditions() {
            // Where an index would look is where the document is.
            let range = filter.range_of(&condition.field).unwrap_or(KeyRange::all());
            let key = document.sort_key(&condition.field);
            assert!(!found || (&range.from..&range.to).contains(&&key), "{filter:?}");
        }
        found
    }

    #[test]
    fn documents_are_found_by_what_they_are_like() {
        for yes in [
            json!({}),
            json!({ "n": 5 }),
            json!({ "n": 5.0, "f": 1, "s": "m", "b": true }),
            json!({ "z": null, "missing": null, "o.missing": null }),
            json!({ "a": [1.0, { "x": 2 }] }),
            json!({ "o": { "p": 1 }, "o.p": 1 }),
            json!({ "n": { "$gt": 4, "$lt": 6, "$gte": 5, "$lte": 5, "$ne": 4 } }),
            json!({ "s": { "$gt": "a", "$lte": "m" } }),
            json!({ "n": { "$in": [1, 5, "x"] } }),
            json!({ "z": { "$exists": true }, "missing": { "$exists": false } }),
            json!({ "missing": { "$ne": 1 } }),
            json!({ "missing": { "$in": [null] } }),
            json!({ "id": "00000000-0000-0000-0000-000000000007" }),
        ] {
            assert!(found(yes.clone()), "{yes}");
        }
        for no in [
            json!({ "n": 6 }),
            json!({ "n": "5" }),
            json!({ "n": 5, "s": "x" }),
            json!({ "n": null }),
            json!({ "n": { "$gt": 5 } }),
            json!({ "n": { "$gt": "4" } }),
            json!({ "s": { "$lt": 9 } }),
            json!({ "missing": { "$lt": 9 } }),
            json!({ "n": { "$in": [] } }),
            json!({ "n": { "$gt": 9, "$lt": 1 } }),
            json!({ "a": [1] }),
            json!({ "o": {} }),
            json!({ "z": { "$exists": false } }),
        ] {
            assert!(!found(no.clone()), "{no}");
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_is_looked_for_as_it_is_stored() {
        let id = DocumentId::from_uuid(uuid::Uuid::from_u128(7));
        let fields = json!({ "n": u64::MAX, "a": [u64::MAX] });
        let body = DocumentBody::new(fields.as_object().unwrap().clone(), id).unwrap();
        let document = Document { id, body, updated_at: Timestamp::from_millis(0) };
        for filter in [json!({ "n": u64::MAX }), json!({ "a": [u64::MAX] }), json!({ "n": { "$in": [u64::MAX] } })] {
            let filter = Filter::read(&filter).unwrap();
            assert!(filter.matches(&document), "{filter:?}");
            let field = &filter.conditions()[0].field;
            let range = filter.range_of(field).unwrap();
            assert!((&range.from..&range.to).contains(&&document.sort_key(field)), "{filter:?}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let many: Map<String, Value> = (0..17).map(|n| (format!("f{n}"), json!(1))).collect();
        for bad in [
            json!([]),
            json!({ "": 1 }),
            json!({ "$or": [] }),
            json!({ "a": { "$regex": "x" } }),
            json!({ "a": { "$gt": 1, "b": 2 } }),
            json!({ "a": { "$gt": null } }),
            json!({ "a": { "$lte": [] } }),
            json!({ "a": { "$in": 1 } }),
            json!({ "a": { "$in": vec![1; 101] } }),
            json!({ "a": { "$exists": 1 } }),
            Value::Object(many),
        ] {
            assert!(Filter::read(&bad).is_err(), "{bad}");
        }
    }
}
