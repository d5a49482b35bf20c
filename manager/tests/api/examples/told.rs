//! What is told of calls: all that was sent and answered, but stand-ins for what no two runs have alike. Ids stand in the order in
//! which they came up, moments to the second, and secrets and measured numbers do not stand at all.

use std::collections::BTreeMap;

use picloud_shared::clock::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::documented;
use crate::stage::Call;
use crate::world::{Client, PASSWORD};

/// Members that hold what was measured.
const MEASURED: [&str; 5] = ["duration_us", "duration_us_sum", "bytes", "store_bytes", "schema"];
const DIGITS: &str = "0123456789abcdef";

#[derive(Default)]
pub struct Told {
    calls: BTreeMap<String, CallTold>,
    ids: Vec<Uuid>,
}

/// As the document's builder reads it.
#[derive(Default, Serialize)]
struct CallTold {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    answers: BTreeMap<String, Value>,
}

impl Told {
    /// Makes a call, and tells of it what was not told before: the body with which it succeeds, and one answer of each status.
    pub async fn call(&mut self, client: &Client, call: &str, body: Value, status: u16) -> Value {
        let (method, path) = call.split_once(' ').unwrap();
        let body = Some(body).filter(|body| !body.is_null());
        let made = Call { method: method.to_owned(), path: path.to_owned(), body: body.clone() };
        let answer = made.by(client).await.is(status);
        let address = format!("/api/v1/admin{}", path.split('?').next().unwrap());
        let name = documented::operation(method, &address).unwrap()["operationId"].as_str().unwrap().to_owned();
        let (request, told) = (body.map(|body| self.tidied(body)), self.tidied(answer.clone()));
        let of_call = self.calls.entry(name).or_default();
        if status < 300 && of_call.request.is_none() {
            of_call.request = request;
        }
        if !told.is_null() {
            of_call.answers.entry(status.to_string()).or_insert(told);
        }
        answer
    }

    /// Tells of an event that came in answer to a call.
    pub fn event(&mut self, name: &str, (event, event_id, data): &(String, String, Value)) {
        let (event_id, data) = (self.text("", event_id), self.tidied(data.clone()));
        let text = format!("event: {event}\nid: {event_id}\ndata: {data}\n\n");
        self.calls.entry(name.to_owned()).or_default().answers.insert("200".to_owned(), json!(text));
    }

    /// Tells of an answer that is no JSON.
    pub fn text_of(&mut self, name: &str, answer: &str) {
        let text = self.text("", answer);
        self.calls.entry(name.to_owned()).or_default().answers.insert("200".to_owned(), json!(text));
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.calls).unwrap() + "\n"
    }

    fn tidied(&mut self, mut value: Value) -> Value {
        self.tidy("", &mut value);
        value
    }

    fn tidy(&mut self, member: &str, value: &mut Value) {
        match value {
            Value::Object(members) => members.iter_mut().for_each(|(name, value)| self.tidy(name, value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.tidy(member, item)),
            Value::String(text) => *text = self.text(member, text),
            // What is nothing is nothing each time.
            Value::Number(number) if MEASURED.contains(&member) && number.as_u64() != Some(0) => *value = json!(1234),
            _ => {}
        }
    }

    fn text(&mut self, member: &str, text: &str) -> String {
        match member {
            "password" => return PASSWORD.to_owned(),
            // 32 bytes in base64, which stands for more than one could guess.
            "token" => return format!("{}{}abcdefghijk", DIGITS, DIGITS.to_uppercase()),
            "store" => return "sqlite".to_owned(),
            "product" => return "1.2.3".to_owned(),
            _ => {}
        }
        if text.starts_with("pck_") {
            return format!("pck_{}", &DIGITS.repeat(6)[..text.len() - 4]);
        }
        if let Some((begin, _)) = text.split_once('\n').filter(|(begin, _)| begin.starts_with("-----BEGIN ")) {
            return format!("{begin}\n…\n{}\n", begin.replace("BEGIN", "END"));
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Timestamp::from_millis(moment.as_millis() / 1000 * 1000).to_string();
        }
        self.with_ids(text)
    }

    /// The text with each id in it as a number of its own.
    fn with_ids(&mut self, text: &str) -> String {
        const DIGITS_OF_ID: usize = 36;
        let (mut tidy, mut rest) = (String::new(), text);
        while let Some(first) = rest.chars().next() {
            let id = rest.get(..DIGITS_OF_ID).filter(|_| first.is_ascii_hexdigit());
            let Some(id) = id.and_then(|id| Uuid::parse_str(id).ok()) else {
                tidy.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            };
            let place = self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                self.ids.push(id);
                self.ids.len() - 1
            });
            tidy += &format!("01948a70-8000-7000-8000-{:012}", place + 1);
            rest = &rest[DIGITS_OF_ID..];
        }
        tidy
    }
}
