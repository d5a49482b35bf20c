//! Lists from outside that are refused as soon as they prove too long, and not once all of them is in memory: three bytes of
//! JSON can become many times as much.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A list of at most so many items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtMost<T, const MOST: usize>(pub Vec<T>);

impl<T, const MOST: usize> Default for AtMost<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while items.len() < MOST {
                    match given.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(items),
                    }
                }
                match given.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::custom(format!("at most {MOST} can be listed"))),
                    None => Ok(items),
                }
            }
        }

        deserializer.deserialize_seq(Items::<T, MOST>(PhantomData)).map(Self)
    }
}

/// At most so many items, each of a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtMostNamed<K, V, const MOST: usize>(pub BTreeMap<K, V>);

impl<'de, K, V, const MOST: usize> Deserialize<'de> for AtMostNamed<K, V, MOST>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<K, V, const MOST: usize>(PhantomData<(K, V)>);

        impl<'de, K, V, const MOST: usize> Visitor<'de> for Members<K, V, MOST>
        where
            K: Deserialize<'de> + Ord,
            V: Deserialize<'de>,
        {
            type Value = BTreeMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<BTreeMap<K, V>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = given.next_entry()? {
                    if members.len() == MOST {
                        return Err(A::Error::custom(format!("at most {MOST} can be named")));
                    }
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is given twice"));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Members::<K, V, MOST>(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Two = AtMost<u8, 2>;

    #[test]
    fn a_list_is_read_up_to_one_item_too_many() {
        let read = |json: &str| serde_json::from_str::<Two>(json).map_err(|error| error.to_string());
        for (json, items) in [("[]", vec![]), ("[1]", vec![1]), ("[1,2]", vec![1, 2])] {
            assert_eq!(read(json), Ok(AtMost(items)));
        }
        // What follows is no JSON, and nobody looks.
        assert!(read("[1,2,3,!").unwrap_err().starts_with("at most 2 can be listed at "));
        assert!(read("[1,256]").is_err() && read("{}").unwrap_err().contains("expected a list"));
    }

    #[test]
    fn members_are_read_up_to_one_too_many_and_each_once() {
        let read = |json: &str| {
            let read = serde_json::from_str::<AtMostNamed<String, u8, 2>>(json);
            read.map(|AtMostNamed(members)| members.into_iter().collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        assert_eq!(read("{}"), Ok(vec![]));
        assert_eq!(read(r#"{"b":2,"a":1}"#), Ok(vec![("a".to_owned(), 1), ("b".to_owned(), 2)]));
        // What follows is no JSON, and nobody looks.
        assert!(read(r#"{"a":1,"b":2,"c":3,!"#).unwrap_err().starts_with("at most 2 can be named at "));
        assert!(read(r#"{"a":1,"a":2}"#).unwrap_err().starts_with("a name is given twice at "));
        assert!(read(r#"{"a":256}"#).is_err() && read("[]").unwrap_err().contains("expected an object"));
    }
}
