//! What a port answers at once is read where the run began, and nothing else is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use picloud_executor::port::{KvStore, PortCaller, PortError, Ports};
use picloud_shared::clock::ManualClock;
use picloud_shared::kv::{KvKind, KvPage, KvPlace, KvQuery, KvValue, KvWrite, KvWritten};

use crate::world::{NOW, World, config, limits, publish, runtime, text};

/// One entry of every name, whose value is the app's id as text; it answers at once unless it is told to make its callers wait.
#[derive(Default)]
struct Store {
    must_wait: AtomicBool,
    at_once: AtomicUsize,
    waited: AtomicUsize,
    written: AtomicUsize,
}

fn value(caller: &PortCaller) -> Option<KvValue> {
    KvValue::new(KvKind::Json, format!("\"{}\"", caller.app).into_bytes()).ok()
}

impl KvStore for Store {
    fn get(&self, caller: &PortCaller, _place: &KvPlace) -> Result<Option<KvValue>, PortError> {
        self.waited.fetch_add(1, SeqCst);
        Ok(value(caller))
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    fn get_at_once(&self, caller: &PortCaller, _place: &KvPlace) -> Option<Result<Option<KvValue>, PortError>> {
        self.at_once.fetch_add(1, SeqCst);
        (!self.must_wait.load(SeqCst)).then(|| Ok(value(caller)))
    }

    fn list(&self, _caller: &PortCaller, _query: &KvQuery) -> Result<KvPage, PortError> {
        Err(PortError::unavailable("no lists here"))
    }

    fn write(&self, _caller: &PortCaller, _place: KvPlace, _write: KvWrite) -> Result<KvWritten, PortError> {
        self.written.fetch_add(1, SeqCst);
        Ok(KvWritten::Set)
    }
}

impl Store {
    fn counts(&self) -> [usize; 3] {
        [&self.at_once, &self.waited, &self.written].map(|count| count.swap(0, SeqCst))
    }
}

fn world() -> (World, Arc<Store>) {
    let store = Arc::new(Store::default());
    let ports = Ports { kv: Some(store.clone()), ..Ports::default() };
    (World::reaching(runtime(), config(), Arc::new(ManualClock::new(NOW)), ports), store)
}

#[test]
fn a_script_that_only_reads_what_is_answered_at_once_stays_where_it_began_and_reads_its_own_apps() {
    let (world, store) = world();
    let apps = [(); 2].map(|()| publish(&[("main", "log::info(\"once\"); kv::get(\"a\")")], limits()));
    for app in &apps {
        // A thread that is preempted makes its run look long, which is tried again on a worker; on no machine is each.
        comes_to(|| {
            let completion = world.run(app.call("main"));
            assert_eq!(text(&completion), app.0.app().id.to_string());
            assert_eq!(completion.logs.len(), 1);
            store.counts() == [1, 0, 0]
        });
    }
}

fn comes_to(done: impl FnMut() -> bool) {
    assert!(std::iter::repeat_with(done).take(20_000).any(|done| done), "it never came to that");
}

#[test]
fn a_read_that_would_wait_moves_its_run_to_a_worker_and_later_runs_come_back() {
    let (world, store) = world();
    let published = publish(&[("main", "log::info(\"once\"); kv::get(\"a\")")], limits());
    store.must_wait.store(true, SeqCst);
    let completion = world.run(published.call("main"));
    assert_eq!(text(&completion), published.0.app().id.to_string());
    assert_eq!(completion.logs.len(), 1);
    assert_eq!(store.counts(), [1, 1, 0]);
    store.must_wait.store(false, SeqCst);
    comes_to(|| {
        assert_eq!(text(&world.run(published.call("main"))), published.0.app().id.to_string());
        store.counts() == [1, 0, 0]
    });
}

#[test]
fn what_is_written_after_a_read_is_written_once() {
    let (world, store) = world();
    let published = publish(&[("main", "let was = kv::get(\"a\"); kv::set(\"a\", 1); was")], limits());
    for _ in 0..40 {
        assert_eq!(text(&world.run(published.call("main"))), published.0.app().id.to_string());
    }
    let [at_once, waited, written] = store.counts();
    assert_eq!((waited, written), (40, 40));
    assert!(at_once <= 3, "it began in vain {at_once} times");
}

#[test]
fn reading_again_and_again_is_too_long_for_where_it_began() {
    let (world, store) = world();
    let published = publish(&[("main", "for i in 0..200 { kv::get(\"a\"); } \"done\"")], limits());
    assert_eq!(text(&world.run(published.call("main"))), "done");
    let [at_once, waited, _] = store.counts();
    assert!(at_once < 100 && waited == 200, "{at_once} at once, {waited} on workers");
}
