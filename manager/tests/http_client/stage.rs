//! An executor whose scripts reach servers of a test.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use picloud_executor::Completion;
use picloud_executor::port::Ports;
use picloud_manager::http_client::{OutgoingHttp, Resolve, Unresolved};
use picloud_shared::clock::ManualClock;
use picloud_shared::script::Limits;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::world::{NOW, Published, World, config, limits, publish, runtime, text};

pub struct Stage {
    world: World,
    pub dns: Arc<Names>,
}

impl Deref for Stage {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// What each name leads to, the next time and so on; the last for ever.
#[derive(Default)]
pub struct Names {
    pub table: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    pub asked: Mutex<Vec<String>>,
}

impl Names {
    pub fn set(&self, name: &str, answers: &[&[&str]]) {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        self.table.lock().unwrap().insert(name.to_owned(), answers.iter().map(parse).collect());
    }
}

#[async_trait]
impl Resolve for Names {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut table = self.table.lock().unwrap();
        let answers = table.get_mut(name).ok_or(Unresolved::None)?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

impl Stage {
    pub fn allowing(allow: impl AsRef<str>) -> Self {
        Self::with(allow, Vec::new())
    }

    pub fn with(allow: impl AsRef<str>, roots: Vec<CertificateDer<'static>>) -> Self {
        let (runtime, dns) = (runtime(), Arc::<Names>::default());
        let http = {
            let _entered = runtime.enter();
            OutgoingHttp::new(allow.as_ref().parse().unwrap(), Arc::clone(&dns) as _, roots)
        };
        let ports = Ports { http: Some(Arc::new(http)), ..Ports::default() };
        Self { world: World::reaching(runtime, config(), Arc::new(ManualClock::new(NOW)), ports), dns }
    }

    /// Runs one script of an app of its own; what it gave.
    pub fn gives(&self, source: &str) -> Value {
        given(&self.run(app(source).call("main")), source)
    }

    /// The code of what a call throws.
    pub fn throws(&self, call: &str) -> String {
        let source = format!("try {{ {call}; return \"nothing\"; }} catch (error) {{ return error.code; }}");
        self.gives(&source).as_str().unwrap().to_owned()
    }
}

/// An app of one script, with the limits of values raised.
pub fn app(source: &str) -> Published {
    let limits =
        Limits { max_string_size: 8 << 20, max_array_size: 1_000_000, max_operations: 100_000_000, ..limits() };
    publish(&[("main", source)], limits)
}

pub fn given(completion: &Completion, source: &str) -> Value {
    assert!(completion.response.is_some(), "{source}\n{:?}", completion.failure);
    match text(completion) {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    }
}
