//! An executor whose scripts reach the key-value store of a test.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use picloud_executor::port::Ports;
use picloud_executor::{Completion, ExecutorConfig};
use picloud_manager::events::{EventQuota, Events};
use picloud_manager::kv::{Kv, KvQuota};
use picloud_shared::clock::{Clock, ManualClock};
use picloud_shared::snapshot::SnapshotCell;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::test_store::TestStore;
use crate::world::{NOW, Published, World, config, limits, publish, runtime, text};

pub struct Stage {
    world: World,
    pub kv: Kv,
    pub events: Events,
    pub snapshot: Arc<SnapshotCell>,
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
        let snapshot = Arc::new(SnapshotCell::default());
        let (kv, events) = open(&runtime, &test, &clock, &snapshot, quota, EventQuota::default());
        let ports = Ports { kv: Some(Arc::new(kv.clone())), ..Ports::default() };
        Self { world: World::reaching(runtime, config, clock, ports), kv, events, snapshot, test }
    }

    /// The same entries under another quota.
    pub fn under(&self, quota: KvQuota) -> Kv {
        open(&self.runtime, &self.test, &self.clock, &self.snapshot, quota, EventQuota::default()).0
    }

    /// The same entries under another quota of events.
    pub fn under_events(&self, quota: EventQuota) -> Kv {
        open(&self.runtime, &self.test, &self.clock, &self.snapshot, KvQuota::default(), quota).0
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

fn open(
    runtime: &Runtime,
    test: &TestStore,
    clock: &Arc<ManualClock>,
    snapshot: &Arc<SnapshotCell>,
    quota: KvQuota,
    of_events: EventQuota,
) -> (Kv, Events) {
    let _entered = runtime.enter();
    let clock = || Arc::clone(clock) as Arc<dyn Clock>;
    let events = Events::new(test.store.clone(), clock(), of_events, Duration::from_secs(30));
    (Kv::new(test.store.clone(), clock(), quota, events.clone(), Arc::clone(snapshot)), events)
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
