//! Many writes at once are few transactions, and each is as if it were alone.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use picloud_executor::port::{KvStore, PortCaller, PortError};
use picloud_manager::kv::KvQuota;
use picloud_shared::id::AppId;
use picloud_shared::kv::{KvPlace, KvValue, KvWrite, KvWritten};

use crate::stage::Stage;
use crate::test_store::TestStore;
use crate::world::{NOW, config};

const WRITERS: usize = 64;
const WRITES: usize = 50;

fn place(key: &str) -> KvPlace {
    KvPlace { collection: "default".parse().unwrap(), key: key.parse().unwrap() }
}

fn caller(app: AppId) -> PortCaller {
    PortCaller { app, deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 }
}

/// What 64 threads get of all their writes, some of which are refused.
fn all_at_once(stage: &Stage, app: AppId) -> Vec<Result<KvWritten, PortError>> {
    let kv = Arc::new(stage.kv.clone());
    let writers = (0..WRITERS).map(|writer| {
        let kv = Arc::clone(&kv);
        thread::spawn(move || {
            let write = |number: usize| match number % 5 {
                // Not an integer: refused, whatever else is in its transaction.
                4 => kv.write(&caller(app), place("text"), KvWrite::Increment(1)),
                3 => kv.write(&caller(app), place("sum"), KvWrite::Increment(1)),
                _ => {
                    let value = KvValue::from(i64::try_from(writer * WRITES + number).unwrap());
                    kv.write(&caller(app), place(&format!("{writer}/{number}")), KvWrite::Set { value, ttl: None })
                }
            };
            (0..WRITES).map(write).collect::<Vec<_>>()
        })
    });
    let writers: Vec<_> = writers.collect();
    writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
}

fn many_writers_lose_nothing_and_hinder_nobody(stage: &Stage) {
    let app = AppId::generate(NOW);
    let kv = &stage.kv;
    let text = KvValue::of_json("x".into()).unwrap();
    kv.write(&caller(app), place("text"), KvWrite::Set { value: text.clone(), ttl: None }).unwrap();
    let ends = all_at_once(stage, app);
    let refused = ends.iter().filter(|end| matches!(end, Err(PortError::Refused { code: "not_an_integer", .. })));
    assert_eq!(refused.count(), WRITERS * WRITES / 5);
    let mut sums: Vec<i64> =
        ends.iter().filter_map(|end| if let Ok(KvWritten::Sum(sum)) = end { Some(*sum) } else { None }).collect();
    sums.sort_unstable();
    // Each saw all before it: none is there twice, and none is missing.
    assert_eq!(sums, (1..=i64::try_from(WRITERS * WRITES / 5).unwrap()).collect::<Vec<_>>());
    for writer in 0..WRITERS {
        for number in (0..WRITES).filter(|number| number % 5 < 3) {
            let found = kv.get(&caller(app), &place(&format!("{writer}/{number}"))).unwrap();
            assert_eq!(found.and_then(|value| value.as_integer()), i64::try_from(writer * WRITES + number).ok());
        }
    }
    assert_eq!(kv.get(&caller(app), &place("text")).unwrap(), Some(text));
}

#[test]
fn many_writers_of_sqlite_lose_nothing_and_hinder_nobody() {
    many_writers_lose_nothing_and_hinder_nobody(&Stage::sqlite());
}

#[test]
fn many_writers_of_postgres_lose_nothing_and_hinder_nobody() {
    many_writers_lose_nothing_and_hinder_nobody(&Stage::postgres());
}

#[test]
fn a_refused_write_leaves_the_others_of_its_transaction_where_the_quota_ends() {
    let stage = Stage::with(TestStore::sqlite(), KvQuota { keys: 100, bytes: 1 << 20 }, config());
    let app = AppId::generate(NOW);
    let text = KvValue::of_json("x".into()).unwrap();
    stage.kv.write(&caller(app), place("text"), KvWrite::Set { value: text, ttl: None }).unwrap();
    // What is there already grows on where there is no room for more.
    stage.kv.write(&caller(app), place("sum"), KvWrite::Increment(0)).unwrap();
    let ends = all_at_once(&stage, app);
    let count = |what: fn(&Result<KvWritten, PortError>) -> bool| ends.iter().filter(|end| what(end)).count();
    assert_eq!(count(|end| matches!(end, Ok(KvWritten::Set))), 98);
    assert_eq!(count(|end| matches!(end, Ok(KvWritten::Sum(_)))), WRITERS * WRITES / 5);
    let refused = count(|end| matches!(end, Err(PortError::Refused { code: "quota_exceeded", .. })));
    assert_eq!(refused, WRITERS * WRITES * 3 / 5 - 98);
    let sum = stage.kv.get(&caller(app), &place("sum")).unwrap().and_then(|value| value.as_integer());
    assert_eq!(sum, i64::try_from(WRITERS * WRITES / 5).ok());
}
