//! An executor whose scripts reach the documents of a test.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use picloud_executor::port::Ports;
use picloud_executor::{Completion, ExecutorConfig};
use picloud_manager::docs::{DocQuota, Docs};
use picloud_manager::events::{EventQuota, Events};
use picloud_shared::clock::{Clock, ManualClock};
use picloud_shared::id::AppId;
use picloud_shared::script::Limits;
use picloud_shared::snapshot::SnapshotCell;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::test_store::TestStore;
use crate::world::{NOW, Published, World, config, limits, publish, runtime, text};

pub struct Stage {
    world: World,
    pub docs: Docs,
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
        Self::with(TestStore::sqlite(), DocQuota::default(), config())
    }

    pub fn postgres() -> Self {
        Self::with(TestStore::postgres(), DocQuota::default(), config())
    }

    pub fn with(opening: impl Future<Output = TestStore>, quota: DocQuota, config: ExecutorConfig) -> Self {
        let runtime = runtime();
        let test = runtime.block_on(opening);
        let clock = Arc::new(ManualClock::new(NOW));
        let snapshot = Arc::new(SnapshotCell::default());
        let docs = open(&runtime, &test, &clock, &snapshot, quota, EventQuota::default());
        let ports = Ports { docs: Some(Arc::new(docs.clone())), ..Ports::default() };
        Self { world: World::reaching(runtime, config, clock, ports), docs, snapshot, test }
    }

    /// The same documents under another quota, and as another process has them.
    pub fn again(&self, quota: DocQuota) -> Docs {
        open(&self.runtime, &self.test, &self.clock, &self.snapshot, quota, EventQuota::default())
    }

    /// The same documents under another quota of events.
    pub fn under_events(&self, quota: EventQuota) -> Docs {
        open(&self.runtime, &self.test, &self.clock, &self.snapshot, DocQuota::default(), quota)
    }

    /// Runs one script of an app of its own; what it gave.
    pub fn gives(&self, source: &str) -> Value {
        given(&self.world.eval(source), source)
    }

    /// Runs a script of an app that there is; what it gave.
    pub fn call(&self, app: &Published, script: &str) -> Value {
        given(&self.world.run(app.call(script)), script)
    }

    /// Has a collection have indexes of these fields, built.
    pub fn index(&self, app: AppId, collection: &str, fields: &[&str]) {
        let fields = fields.iter().map(|field| field.parse().unwrap()).collect();
        let collection = collection.parse().unwrap();
        self.runtime.block_on(self.docs.build_indexes(app, &collection, fields)).unwrap();
    }
}

fn open(
    runtime: &Runtime,
    test: &TestStore,
    clock: &Arc<ManualClock>,
    snapshot: &Arc<SnapshotCell>,
    quota: DocQuota,
    of_events: EventQuota,
) -> Docs {
    let _entered = runtime.enter();
    let clock = || Arc::clone(clock) as Arc<dyn Clock>;
    let events = Events::new(test.store.clone(), clock(), of_events, Duration::from_secs(30));
    Docs::new(test.store.clone(), clock(), quota, events, Arc::clone(snapshot))
}

/// An app of scripts that run each other's data.
pub fn app(scripts: &[(&str, &str)]) -> Published {
    // Each insert is a commit, and the machine may be busy.
    let patient = Limits { timeout: Duration::from_secs(60), ..limits() };
    crate::world::publish_endpoints(&scripts.iter().map(|(name, source)| (*name, *source, patient)).collect::<Vec<_>>())
}

pub fn alone(source: &str) -> Published {
    publish(&[("main", source)], limits())
}

pub fn given(completion: &Completion, source: &str) -> Value {
    assert!(completion.response.is_some(), "{source}\n{:?}", completion.failure);
    match text(completion) {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    }
}
