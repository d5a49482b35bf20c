//! What tells one table's rows from another's, in whatever order they come: how many there are, and a sum over the digests of all.
//! It finds what went wrong, and is no seal: that is over the whole backup.

use serde_json::{Number, Value as Json};
use sha2::{Digest, Sha256};

use crate::repo::tables::Table;
use crate::store::copy::{Row, Value};

/// What was counted of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    columns: Vec<String>,
    /// Whether each column is JSON, whose text a database may write in other words.
    json: Vec<bool>,
    rows: u64,
    sum: u128,
}

impl Tally {
    pub(crate) fn new(table: &Table, columns: &[String]) -> Self {
        let json = columns.iter().map(|column| table.json.contains(&column.as_str())).collect();
        Self { columns: columns.to_vec(), json, rows: 0, sum: 0 }
    }

    /// Of the same columns, with nothing counted.
    pub(crate) fn emptied(&self) -> Self {
        Self { rows: 0, sum: 0, ..self.clone() }
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum as text.
    pub(crate) fn digest(&self) -> String {
        format!("{:032x}", self.sum)
    }

    pub(crate) fn add(&mut self, rows: &[Row]) {
        for row in rows {
            let mut digest = Sha256::new();
            let mut add = |kind: u8, bytes: &[u8]| {
                digest.update([kind]);
                digest.update((bytes.len() as u64).to_be_bytes());
                digest.update(bytes);
            };
            for (value, is_json) in row.iter().zip(&self.json) {
                match value {
                    Value::Null => add(0, &[]),
                    Value::Int(number) => add(1, &number.to_be_bytes()),
                    Value::Text(text) if *is_json => add(2, canonical(text).as_bytes()),
                    Value::Text(text) => add(2, text.as_bytes()),
                    Value::Bytes(bytes) => add(3, bytes),
                }
            }
            let digest: [u8; 32] = digest.finalize().into();
            let (half, _) = digest.split_first_chunk().expect("32 bytes are more than 16");
            self.sum = self.sum.wrapping_add(u128::from_be_bytes(*half));
            self.rows += 1;
        }
    }
}

/// JSON in one way of writing it: members in order, no blanks, and numbers by their value. Text that is no JSON stays as it is.
fn canonical(text: &str) -> std::borrow::Cow<'_, str> {
    match serde_json::from_str::<Json>(text) {
        Ok(mut value) => {
            by_value(&mut value);
            value.to_string().into()
        }
        Err(_) => text.into(),
    }
}

/// Writes whole numbers without a fraction or an exponent, as one of the databases does where the other does not. Those beyond 64 bits
/// are read as the same float from either.
fn by_value(value: &mut Json) {
    match value {
        Json::Number(number) => {
            if let Some(float) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
                // The fewest digits that tell the float, and zeros: what PostgreSQL makes of the same digits.
                let digits = format!("{float}");
                let whole =
                    digits.parse::<i64>().map(Number::from).or_else(|_| digits.parse::<u64>().map(Number::from));
                *number = whole.unwrap_or_else(|_| number.clone());
            }
        }
        Json::Array(items) => items.iter_mut().for_each(by_value),
        Json::Object(members) => members.values_mut().for_each(by_value),
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::tables::TableFile;

    const TABLE: Table = Table { name: "t", file: TableFile::Main, json: &["j"] };

    fn tally(rows: &[(i64, &str)]) -> Tally {
        let mut tally = Tally::new(&TABLE, &["a".to_owned(), "j".to_owned()]);
        for (number, text) in rows {
            tally.add(&[vec![Value::Int(*number), Value::Text((*text).to_owned())]]);
        }
        tally
    }

    #[test]
    fn the_order_of_rows_and_the_way_json_is_written_make_no_difference() {
        let one = tally(&[(1, r#"{"a":1,"b":[1.0,2e3]}"#), (2, "null")]);
        assert_eq!(one, tally(&[(2, " null"), (1, r#"{ "b": [1, 2000], "a": 1 }"#)]));
        for (sqlite, postgres) in [
            ("1e300", &*format!("1{}", "0".repeat(300))),
            ("1e+16", "10000000000000000"),
            ("9300000000000000.0", "9300000000000000.0"),
            ("1.2345678901234568e+18", "1234567890123456800"),
            ("-1e+18", "-1000000000000000000"),
            ("1e+19", "10000000000000000000"),
            ("1e+20", "100000000000000000000"),
            ("-0.0", "0.0"),
            ("1e-7", "0.0000001"),
        ] {
            assert_eq!(tally(&[(1, sqlite)]), tally(&[(1, postgres)]), "{sqlite}");
        }
    }

    #[test]
    fn another_value_one_row_more_and_what_moved_to_another_column_make_one() {
        // Numbers of 64 bits that are one float.
        assert_ne!(tally(&[(1, "9007199254740993")]), tally(&[(1, "9007199254740992")]));
        let one = tally(&[(1, "[1]"), (2, "null")]);
        for other in [&[(1, "[1]")][..], &[(1, "[1]"), (2, "null"), (2, "null")], &[(2, "[1]"), (1, "null")], &[]] {
            assert_ne!(one.digest(), tally(other).digest(), "{other:?}");
        }
    }
}
