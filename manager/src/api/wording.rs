//! What is wrong with a field, in the product's words. serde and the parsers behind it speak of Rust's types, and their texts
//! are not ours to promise.

use std::borrow::Cow;

/// What a message of serde, or of a parser that it called, says of a field. A message of our own stays as it is.
pub(crate) fn own_words(message: &str) -> Cow<'_, str> {
    // serde_json adds where in the text it was, which means nothing beside the field's name.
    let message = message.rfind(" at line ").map_or(message, |at| &message[..at]);
    of_a_value(message).or_else(|| of_a_field(message)).or_else(|| of_a_parser(message)).unwrap_or(message.into())
}

fn of_a_value(message: &str) -> Option<Cow<'static, str>> {
    let of_type = message.strip_prefix("invalid type: ");
    let (found, wanted) = of_type.or_else(|| message.strip_prefix("invalid value: "))?.rsplit_once(", expected ")?;
    let found = match of_type {
        Some(found) => kind(found.rsplit_once(", expected ")?.0),
        None => quoted(found).unwrap_or("that value"),
    };
    Some(format!("{} belongs here, not {found}", place(wanted)).into())
}

fn of_a_field(message: &str) -> Option<Cow<'static, str>> {
    if message.starts_with("missing field") {
        return Some("it is missing".into());
    }
    if message.starts_with("duplicate field") {
        return Some("it is given twice".into());
    }
    let (unknown, known) = message.split_once(", expected ").or_else(|| message.split_once(", there are no "))?;
    let known = known.strip_prefix("one of ").unwrap_or(known).replace("` or `", "`, `").replace('`', "");
    if unknown.starts_with("unknown field") {
        return Some(match message.contains(", there are no ") {
            true => "there is no such field".into(),
            false => format!("there is no such field; those that there are: {known}").into(),
        });
    }
    let variant = quoted(unknown.strip_prefix("unknown variant ")?)?;
    Some(format!("{variant:?} is none of {known}").into())
}

/// The texts of the standard library's parsers, and of uuid's.
fn of_a_parser(message: &str) -> Option<Cow<'static, str>> {
    let text = match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => "a whole number belongs here",
        "number too large to fit in target type" | "number out of range" => "the number is too large",
        "number too small to fit in target type" => "the number is too small",
        "expected value" => "a value of another kind belongs here",
        "provided string was not `true` or `false`" => "true or false belongs here",
        message if message.starts_with("UUID parsing failed") => {
            "an id is a UUID such as 0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a"
        }
        _ => return None,
    };
    Some(text.into())
}

/// What serde found, by its beginning: the value itself may be long, or secret.
fn kind(found: &str) -> &'static str {
    let kinds = [
        ("string", "a text"),
        ("integer", "a number"),
        ("floating point", "a number with a fraction"),
        ("boolean", "true or false"),
        ("null", "null"),
        ("unit", "null"),
        ("map", "an object"),
        ("sequence", "a list"),
    ];
    kinds.iter().find(|(start, _)| found.starts_with(start)).map_or("that value", |(_, kind)| kind)
}

fn place(wanted: &str) -> Cow<'static, str> {
    match wanted {
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" => "a whole number from 0 to 4294967295".into(),
        "u64" | "usize" => "a whole number from 0 on".into(),
        "i64" => "a whole number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "a borrowed string" | "string or map" | "a formatted UUID string" => "a text".into(),
        "a sequence" => "a list".into(),
        "a map" => "an object".into(),
        wanted if wanted.starts_with("struct ") => "an object".into(),
        wanted => wanted.to_owned().into(),
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> Option<&str> {
    text.split_once('`')?.1.rsplit_once('`').map(|(quoted, _)| quoted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    fn of_json<T: DeserializeOwned>(value: serde_json::Value) -> String {
        let error = serde_json::from_str::<T>(&value.to_string()).err().unwrap().to_string();
        own_words(&error).into_owned()
    }

    fn of_query<T: DeserializeOwned>(query: &str) -> String {
        let error = serde_urlencoded::from_str::<T>(query).err().unwrap().to_string();
        own_words(&error).into_owned()
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Fields {
        first: u8,
        second: Option<Word>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        One,
        Two,
    }

    #[test]
    fn nothing_of_serdes_words_is_left() {
        for (said, expected) in [
            (of_json::<u8>(json!(256)), "a whole number from 0 to 255 belongs here, not 256"),
            (of_json::<u16>(json!(-1)), "a whole number from 0 to 65535 belongs here, not -1"),
            (of_json::<u32>(json!("1")), "a whole number from 0 to 4294967295 belongs here, not a text"),
            (of_json::<u64>(json!(1.5)), "a whole number from 0 on belongs here, not a number with a fraction"),
            (of_json::<u64>(json!([1, ", expected u8"])), "a whole number from 0 on belongs here, not a list"),
            (of_json::<String>(json!(1)), "a text belongs here, not a number"),
            (of_json::<String>(json!(null)), "a text belongs here, not null"),
            (of_json::<bool>(json!("no, expected `a`")), "true or false belongs here, not a text"),
            (of_json::<Vec<u8>>(json!({})), "a list belongs here, not an object"),
            (of_json::<Vec<u8>>(json!(true)), "a list belongs here, not true or false"),
            (of_json::<BTreeMap<String, u8>>(json!([])), "an object belongs here, not a list"),
            (of_json::<Fields>(json!(1)), "an object belongs here, not a number"),
            (of_json::<Fields>(json!({})), "it is missing"),
            (of_json::<Fields>(json!({ "third": 1 })), "there is no such field; those that there are: first, second"),
            (of_json::<NoFields>(json!({ "third": 1 })), "there is no such field"),
            (of_json::<Word>(json!("three`")), "\"three`\" is none of one, two"),
            (of_json::<Word>(json!(3)), "a value of another kind belongs here"),
            (of_json::<uuid::Uuid>(json!("x")), "an id is a UUID such as 0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a"),
            (of_json::<uuid::Uuid>(json!(1)), "a text belongs here, not a number"),
            (of_query::<Fields>("first=x"), "a whole number belongs here"),
            (of_query::<Fields>("first="), "a whole number belongs here"),
            (of_query::<Fields>("first=256"), "the number is too large"),
            (of_query::<Fields>("first=1&first=1"), "it is given twice"),
            (of_query::<Fields>("first=1&second=x"), "\"x\" is none of one, two"),
            (of_query::<BTreeMap<String, bool>>("a=1"), "true or false belongs here"),
        ] {
            assert_eq!(said, expected);
        }
        let ours = "a slug is 1 to 63 of a-z, 0-9 and -";
        assert_eq!(own_words(ours), ours);
    }
}
