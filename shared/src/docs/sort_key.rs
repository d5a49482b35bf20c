//! Values as bytes whose order is theirs, so that any database that compares bytes keeps documents in the order of a field.

use serde_json::Value;

/// Bytes of the longest key. Strings are ordered by their first 256 bytes.
pub const MAX_SORT_KEY_BYTES: usize = 1 + MAX_TEXT_BYTES;
const MAX_TEXT_BYTES: usize = 256;

/// What comes first of two kinds: nothing and null, then false, true, numbers, strings, arrays, maps.
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const NUMBER: u8 = 4;
const TEXT: u8 = 5;
const ARRAY: u8 = 6;
const MAP: u8 = 7;

/// The place of a value in the order of all values. Arrays are all in one place, and maps in another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey(Vec<u8>);

/// The keys from one to before another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first.
    pub from: SortKey,
    /// What comes after the last.
    pub to: SortKey,
}

impl SortKey {
    /// The key of a value, or of none.
    pub fn of(value: Option<&Value>) -> Self {
        Self(match value {
            None | Some(Value::Null) => vec![NULL],
            Some(Value::Bool(false)) => vec![FALSE],
            Some(Value::Bool(true)) => vec![TRUE],
            Some(Value::Number(number)) => of_number(number),
            Some(Value::String(text)) => {
                let mut key = vec![TEXT];
                key.extend_from_slice(&text.as_bytes()[..text.len().min(MAX_TEXT_BYTES)]);
                key
            }
            Some(Value::Array(_)) => vec![ARRAY],
            Some(Value::Object(_)) => vec![MAP],
        })
    }

    /// The key where nothing is ordered by.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// A key that was kept, or came from outside: any bytes are a place.
    pub fn stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The least key after it.
    fn next(&self) -> Self {
        let mut bytes = self.0.clone();
        bytes.push(0);
        Self(bytes)
    }

    /// Keys of its kind begin with this, and those of the next with one more.
    fn kind(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self { from: SortKey::none(), to: SortKey(vec![MAP + 1]) }
    }

    /// Just that one.
    pub fn of(key: &SortKey) -> Self {
        Self { from: key.clone(), to: key.next() }
    }

    /// That and all greater ones of its kind.
    pub fn from(key: &SortKey) -> Self {
        Self { from: key.clone(), to: SortKey(vec![key.kind() + 1]) }
    }

    /// That and all lesser ones of its kind.
    pub fn up_to(key: &SortKey) -> Self {
        Self { from: SortKey(vec![key.kind()]), to: key.next() }
    }

    /// What is in both.
    pub fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), to: self.to.min(other.to) }
    }
}

/// The nearest float by its order as bits, and then by how much the integer is off: so integers of 64 bits are exact among floats.
fn of_number(number: &serde_json::Number) -> Vec<u8> {
    let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let float = exact.map_or_else(|| number.as_f64().unwrap_or_default(), |integer| integer as f64);
    // There are two zeros, which are equal.
    let float = if float == 0.0 { 0.0 } else { float };
    let bits = float.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    // Within 2^11 of it at most.
    let off = exact.map_or(0, |integer| integer - float as i128);
    let off = i64::try_from(off).unwrap_or_default().wrapping_sub(i64::MIN) as u64;
    let mut key = vec![NUMBER];
    key.extend_from_slice(&ordered.to_be_bytes());
    key.extend_from_slice(&off.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(value: &Value) -> SortKey {
        SortKey::of(Some(value))
    }

    #[test]
    fn keys_are_in_the_order_of_their_values() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1.5e300),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-9_007_199_254_740_993_i64),
            json!(-9_007_199_254_740_992_i64),
            json!(-2),
            json!(-1.5),
            json!(0),
            json!(5e-324),
            json!(1),
            json!(1.5),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_994_i64),
            json!(i64::MAX - 1),
            json!(i64::MAX),
            json!(u64::MAX - 1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("\0"),
            json!("a"),
            json!("a\0"),
            json!("aa"),
            json!("b"),
            json!("é"),
            json!([]),
            json!({}),
        ];
        let keys: Vec<_> = values.iter().map(key).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(SortKey::of(None), key(&json!(null)));
        assert_eq!([key(&json!(1.0)), key(&json!(-0.0))], [key(&json!(1)), key(&json!(0))]);
        assert_eq!(key(&json!("x".repeat(9_000))).as_bytes().len(), MAX_SORT_KEY_BYTES);
    }

    #[test]
    fn ranges_take_in_what_they_say_and_stay_within_a_kind() {
        let within = |range: &KeyRange, value: Value| (&range.from..&range.to).contains(&&key(&value));
        let (one, text) = (key(&json!(1)), key(&json!("m")));
        assert!(within(&KeyRange::of(&one), json!(1.0)) && !within(&KeyRange::of(&one), json!(2)));
        assert!(!within(&KeyRange::of(&text), json!("m\0")));
        let from = KeyRange::from(&one);
        assert!(
            within(&from, json!(1))
                && within(&from, json!(1e300))
                && !within(&from, json!(0))
                && !within(&from, json!(""))
        );
        let up_to = KeyRange::up_to(&text);
        assert!(
            within(&up_to, json!(""))
                && within(&up_to, json!("m"))
                && !within(&up_to, json!("n"))
                && !within(&up_to, json!(9))
        );
        assert!(within(&KeyRange::all(), json!({})) && within(&KeyRange::all(), json!(null)));
        let both = KeyRange::from(&one).and(KeyRange::up_to(&key(&json!(2))));
        assert!(within(&both, json!(1.5)) && !within(&both, json!(3)));
    }
}
