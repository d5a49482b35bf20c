//! An executor whose scripts reach the key-value store of a test.

use std::ops::Deref;
use std::sync::Arc;

use picloud_executor::port::Ports;
use picloud_executor::{Completion, ExecutorConfig};
use picloud_manager::kv::{Kv, KvQuota};
use picloud_shared::clock::{Clock, ManualClock};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::test_store::TestStore;
use crate::world::{NOW, Published, World, config, limits, publish, runtime, text};

pub struct Stage {
    world: World,
    pub kv: Kv,
    pub test: TestStore,
}

impl Deref for Stage {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// One test, on both databases.
macro_rules! on_both {
    ($(fn $fact:ident($stage:ident: &Stage) $body:block)+) => {$(
        mod $fact {
            use super::*;

            fn holds($stage: &Stage) $body

            #[test]
            fn sqlite() {
                holds(&Stage::sqlite());
            }

            #[test]
            fn postgres() {
                holds(&Stage::postgres());
            }
        }
    )+};
}
pub(crate) use on_both;

impl Stage {
    pub fn sqlite() -> Self {
        Self::with(TestStore::sqlite(), KvQuota::default(), config())
    }

    pub fn postgres() -> Self {
        Self::with(TestStore::postgres(), KvQuota::default(), config())
    }

    pub fn with(opening: impl Future<Output = TestStore>, quota: KvQuota, config: ExecutorConfig) -> Self {
        let runtime = runtime();
        let test = runtime.block_on(opening);
        let clock = Arc::new(ManualClock::new(NOW));
        let kv = open(&runtime, &test, &clock, quota);
        let ports = Ports { kv: Some(Arc::new(kv.clone())), ..Ports::default() };
        Self { world: World::reaching(runtime, config, clock, ports), kv, test }
    }

    /// The same entries under another quota.
    pub fn under(&self, quota: KvQuota) -> Kv {
        open(&self.runtime, &self.test, &self.clock, quota)
    }

    /// Runs one script of an app of its own; what it gave.
    pub fn gives(&self, source: &str) -> Value {
        given(&self.world.eval(source), source)
    }

    /// Runs a script of an app that there is.
    pub fn call(&self, app: &Published, script: &str) -> Completion {
        self.world.run(app.call(script))
    }
}

fn open(runtime: &Runtime, test: &TestStore, clock: &Arc<ManualClock>, quota: KvQuota) -> Kv {
    let _entered = runtime.enter();
    Kv::new(test.store.clone(), Arc::clone(clock) as Arc<dyn Clock>, quota)
}

/// An app of scripts that run each other's data.
pub fn app(scripts: &[(&str, &str)]) -> Published {
    publish(scripts, limits())
}

pub fn given(completion: &Completion, source: &str) -> Value {
    assert!(completion.response.is_some(), "{source}\n{:?}", completion.failure);
    match text(completion) {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    }
}
