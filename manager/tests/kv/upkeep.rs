//! What has expired, what is counted, and what is removed.

use std::time::{Duration, Instant};

use picloud_executor::port::{KvStore, PortCaller, PortError};
use picloud_manager::kv::{Kv, KvQuota};
use picloud_shared::id::AppId;
use picloud_shared::kv::{KvPlace, KvWrite};
use serde_json::json;

use crate::stage::{Stage, app, given, on_both};

const ACCOUNT: &str = "SELECT COALESCE(SUM(keys), 0), COALESCE(SUM(bytes), 0) FROM kv_apps";
const OF_COLLECTIONS: &str = "SELECT COALESCE(SUM(keys), 0), COALESCE(SUM(bytes), 0) FROM kv_collections";
const HELD: &str = "SELECT COUNT(*), COALESCE(SUM(octet_length(key) + octet_length(value)), 0) FROM kv_entries";

/// A row of two integers, read past the store.
pub fn read(stage: &Stage, sql: &'static str) -> (i64, i64) {
    stage.runtime.block_on(async {
        match stage.test.sqlite_dir() {
            Some(dir) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("data.db"));
                let mut conn = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
                sqlx::query_as(sql).fetch_one(&mut conn).await.unwrap()
            }
            None => {
                let cast = sql.replace("0)", "0)::bigint").replace("COUNT(*)", "COUNT(*)::bigint");
                let mut conn = stage.test.pg_connection().await;
                sqlx::query_as(sqlx::AssertSqlSafe(cast)).fetch_one(&mut conn).await.unwrap()
            }
        }
    })
}

pub fn the_account_is_right(stage: &Stage) {
    let held = read(stage, HELD);
    assert_eq!(read(stage, ACCOUNT), held);
    assert_eq!(read(stage, OF_COLLECTIONS), held);
}

on_both! {
    fn what_has_expired_is_gone_at_once_and_is_removed_by_the_sweeper(stage: &Stage) {
        let source = r#"
            if ctx.request.path == "/" {
                kv::set("a", 1, #{ ttl: 60 });
                kv::set("b", 1, #{ ttl: 61 });
                kv::set("c", 1, #{ ttl: 60 });
                kv::set("c", 2);
                kv::set("d", 1, #{ ttl: 60 });
                kv::incr("d", 1);
            }
            [kv::get("a"), kv::has("b"), kv::get("c"), kv::get("d", 0), kv::list().items.len()]
        "#;
        let shop = app(&[("main", source)]);
        assert_eq!(given(&stage.call(&shop, "main"), source), json!([1, true, 2, 2, 4]));
        let look = || {
            let request = crate::world::request("GET", "https://shop.example.com/look");
            given(&stage.run(shop.call_with("main", request)), source)
        };
        stage.clock.advance(Duration::from_secs(60));
        assert_eq!(look(), json!([null, true, 2, 0, 2]));
        the_account_is_right(stage);
        let sweep = || stage.runtime.block_on(stage.kv.sweep()).unwrap();
        assert_eq!((sweep(), sweep()), (2, 0));
        assert_eq!(look(), json!([null, true, 2, 0, 2]));
        the_account_is_right(stage);
        assert_eq!(read(stage, HELD).0, 2);
    }

    fn more_expire_at_once_than_one_transaction_takes(stage: &Stage) {
        let caller = PortCaller { app: AppId::generate(crate::world::NOW), deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 };
        for number in 0..1_100 {
            let collection = format!("c{}", number % 3).parse().unwrap();
            let place = KvPlace { collection, key: number.to_string().parse().unwrap() };
            let ttl = Some(Duration::from_secs(1));
            stage.kv.write(&caller, place, KvWrite::Set { value: 1.into(), ttl }).unwrap();
        }
        stage.clock.advance(Duration::from_secs(1));
        assert_eq!(stage.runtime.block_on(stage.kv.sweep()).unwrap(), 1_100);
        the_account_is_right(stage);
        assert_eq!(read(stage, HELD), (0, 0));
    }

    fn what_has_expired_gives_way_to_what_needs_its_room_however_much_it_is(stage: &Stage) {
        let caller = PortCaller { app: AppId::generate(crate::world::NOW), deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 };
        let write = |kv: &Kv, key: &str, ttl: Option<u64>| {
            let place = KvPlace { collection: "default".parse().unwrap(), key: key.parse().unwrap() };
            kv.write(&caller, place, KvWrite::Set { value: 1.into(), ttl: ttl.map(Duration::from_secs) })
        };
        let fill = || {
            for number in 0..1_100 {
                write(&stage.kv, &number.to_string(), Some(1)).unwrap();
            }
            stage.clock.advance(Duration::from_secs(1));
        };
        fill();
        // Under a quota that was lowered since, all of it has to go for one.
        let low = stage.under(KvQuota { keys: 2, bytes: 1 << 20 });
        write(&low, "a", None).unwrap();
        assert_eq!(read(stage, HELD).0, 1);
        // What is refused in the end has made room as well.
        write(&low, "b", None).unwrap();
        fill();
        assert!(matches!(write(&low, "c", None), Err(PortError::Refused { code: "quota_exceeded", .. })));
        assert_eq!(read(stage, HELD).0, 2);
        the_account_is_right(stage);
    }

    fn the_account_is_right_after_whatever_is_done(stage: &Stage) {
        let source = r#"
            let other = kv::collection("other");
            for n in 0..300 {
                let key = "k" + random::int(0, 20);
                let store = if n % 3 == 0 { other } else { kv::collection("default") };
                switch n % 7 {
                    0 => store.delete(key),
                    1 => store.cas(key, (), "x"),
                    2 => { try { store.incr(key, n) } catch { } },
                    3 => { let s = ""; s.pad(n, "ä"); store.set(key, s) },
                    _ => store.set(key, n, #{ ttl: 1 + n % 3 }),
                }
            }
        "#;
        let shop = app(&[("main", source)]);
        for _ in 0..3 {
            given(&stage.call(&shop, "main"), source);
            the_account_is_right(stage);
            stage.clock.advance(Duration::from_secs(2));
        }
        stage.runtime.block_on(stage.kv.sweep()).unwrap();
        the_account_is_right(stage);
    }
}
