//! Any value as a response: what is sent is what the page on scripts says, and as JSON it comes back through a request's body.
#![no_main]

use std::collections::BTreeMap;
use std::fmt::Write;

use arbitrary::Arbitrary;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use libfuzzer_sys::fuzz_target;
use picloud_executor::ScriptResponse;
use picloud_shared::execution::Outcome;
use picloud_shared::script::ScriptSource;
use serde_json::{Value as Json, json};

/// As deep as a literal may nest in a script of the default limits, with room for what stands around it.
const DEEPEST: usize = 40;

#[derive(Debug, Arbitrary)]
enum Value {
    Unit,
    Bool(bool),
    Int(i64),
    Float(f64),
    Char(char),
    Text(String),
    Blob(Vec<u8>),
    Array(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

/// What a value is as JSON; nothing where it has none.
fn as_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Unit => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Float(number) => Json::Number(serde_json::Number::from_f64(*number)?),
        Value::Char(character) => json!(character),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!(BASE64.encode(bytes)),
        Value::Array(items) => Json::Array(items.iter().map(as_json).collect::<Option<_>>()?),
        Value::Map(fields) => {
            let field = |(key, value): (&String, &Value)| Some((key.clone(), as_json(value)?));
            Json::Object(fields.iter().map(field).collect::<Option<_>>()?)
        }
    })
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

/// Text as a literal of Rhai.
fn quoted(text: &str) -> String {
    let escaped = text.chars().fold(String::new(), |mut all, character| {
        let _ = write!(all, "\\U{:08x}", u32::from(character));
        all
    });
    format!("\"{escaped}\"")
}

fn literal(value: &Value) -> String {
    match value {
        Value::Unit => "()".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        // A number without its sign is too large.
        Value::Int(i64::MIN) => format!("({} - 1)", i64::MIN + 1),
        Value::Int(number) => format!("({number})"),
        Value::Float(number) if number.is_nan() => "(0.0 / 0.0)".to_owned(),
        Value::Float(number) if number.is_infinite() => format!("({}1.0 / 0.0)", if *number < 0.0 { "-" } else { "" }),
        Value::Float(number) => format!("parse_float(\"{number:e}\")"),
        Value::Char(character) => format!("'\\U{:08x}'", u32::from(*character)),
        Value::Text(text) => quoted(text),
        Value::Blob(bytes) => format!("base64::decode(\"{}\")", BASE64.encode(bytes)),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(",")),
        Value::Map(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{}: {}", quoted(key), literal(value));
            format!("#{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
    }
}

/// Whether a map is a response in itself.
fn is_response(value: &Value) -> bool {
    let Value::Map(fields) = value else {
        return false;
    };
    matches!(fields.get("status"), Some(Value::Int(_)))
        && fields.keys().all(|key| ["status", "headers", "body"].contains(&key.as_str()))
}

fn is_what_the_page_says(value: &Value, response: &ScriptResponse) {
    let (status, body) = (response.status.as_u16(), &response.body[..]);
    let content_type = response.headers.get("content-type").map(|value| value.to_str().expect("it is text"));
    match value {
        Value::Unit => assert_eq!((status, content_type, body), (204, None, &b""[..])),
        Value::Text(text) => {
            assert_eq!((status, content_type, body), (200, Some("text/plain; charset=utf-8"), text.as_bytes()));
        }
        Value::Blob(bytes) => {
            assert_eq!((status, content_type, body), (200, Some("application/octet-stream"), &bytes[..]));
        }
        value if is_response(value) => {
            let Value::Map(fields) = value else { unreachable!("it was just looked at") };
            let Some(Value::Int(asked)) = fields.get("status") else { unreachable!("it was just looked at") };
            assert_eq!(i64::from(status), *asked);
        }
        value => {
            assert_eq!((status, content_type), (200, Some("application/json")));
            assert_eq!(Some(serde_json::from_slice::<Json>(body).expect("it is JSON")), as_json(value));
        }
    }
}

fuzz_target!(|value: Value| {
    if depth(&value) > DEEPEST {
        return;
    }
    let Ok(source) = literal(&value).parse::<ScriptSource>() else {
        return;
    };
    let completion = picloud_fuzz::run(source, "".into());
    let json = as_json(&value);
    match &completion.response {
        Some(response) => is_what_the_page_says(&value, response),
        // It was too much for the small limits, or cannot be sent.
        None if completion.outcome == Outcome::BudgetExceeded => return,
        None => assert!(json.is_none() || is_response(&value), "{:?}", completion.failure),
    }
    if let Some(json) = json {
        let echo = "json(ctx.request.body)".parse().expect("it is short");
        let completion = picloud_fuzz::run(echo, json.to_string().into());
        if completion.outcome != Outcome::BudgetExceeded {
            let response = completion.response.expect("what is JSON can be read and written");
            assert_eq!(serde_json::from_slice::<Json>(&response.body).expect("it is JSON"), json);
        }
    }
});
