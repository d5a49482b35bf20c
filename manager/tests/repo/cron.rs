//! Ticks of cron triggers, as the store has them.

use std::sync::Arc;
use std::time::Duration;

use picloud_manager::CronTicks;
use picloud_manager::events::{EventQuota, Events};
use picloud_manager::store::{DatabaseConfig, Store};
use picloud_shared::app::App;
use picloud_shared::clock::{Clock, ManualClock, Timestamp};
use picloud_shared::cron::{CronSchedule, Misfire};
use picloud_shared::id::{AppId, ScriptId, TriggerId};
use picloud_shared::script::{ExecuteAccess, LimitPolicy, ScriptKind};
use picloud_shared::snapshot::{PublishedApp, ScriptRow, SnapshotCell};
use picloud_shared::trigger::{Backoff, MaxAttempts, Trigger, TriggerSource};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use crate::test_store::{TestStore, on_both};

/// The beginning of all tests, less a moment of the hour that it ends.
const START: &str = "2026-01-01T00:00:00.123Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

struct Stage {
    test: TestStore,
    clock: Arc<ManualClock>,
    cell: Arc<SnapshotCell>,
    app: App,
    script: ScriptId,
}

impl Stage {
    fn new(test: TestStore) -> Self {
        let clock = Arc::new(ManualClock::new(at(START)));
        let app = App { id: AppId::generate(at(START)), slug: "shop".parse().unwrap() };
        Self { test, clock, cell: Arc::default(), app, script: ScriptId::generate(at(START)) }
    }

    fn trigger(&self, expression: &str, misfire: Misfire) -> Trigger {
        let schedule =
            CronSchedule { expression: expression.parse().unwrap(), time_zone: "Europe/Zurich".parse().unwrap() };
        Trigger {
            id: TriggerId::generate(at(START)),
            script_id: self.script,
            source: TriggerSource::Cron { schedule, misfire },
            enabled: true,
            max_attempts: MaxAttempts::default(),
            backoff: Backoff::default(),
            timeout: None,
        }
    }

    fn publish(&self, triggers: &[&Trigger]) {
        let script = ScriptRow {
            id: self.script,
            name: "worker".parse().unwrap(),
            kind: ScriptKind::Endpoint,
            version: 1,
            source: "1".parse().unwrap(),
            imports: Vec::new(),
            limits: LimitPolicy::default().defaults,
            execute_access: ExecuteAccess::Open,
        };
        let (app, _) = PublishedApp::new(self.app.clone(), Vec::new(), vec![script], Vec::new());
        let app = app.with_triggers(triggers.iter().copied().cloned().collect());
        let now = self.cell.load_full();
        let app = (self.app.id, Some(Arc::new(app)));
        self.cell.store(Arc::new(now.with_apps(now.version() + 1, [app])));
    }

    /// A node that has just started.
    fn node(&self) -> CronTicks {
        self.node_on(&self.test.store, EventQuota::default())
    }

    fn node_on(&self, store: &Store, quota: EventQuota) -> CronTicks {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let events = Events::new(store.clone(), Arc::clone(&clock), quota, Duration::from_secs(30));
        CronTicks::new(events, Arc::clone(&self.cell), clock)
    }

    /// The texts that a query of the apps' data gives.
    async fn texts(&self, sql: String) -> Vec<String> {
        match &self.test.config {
            DatabaseConfig::Sqlite { dir } => {
                let path = dir.join("data.db");
                let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            DatabaseConfig::Postgres { .. } => {
                let mut conn = self.test.pg_connection().await;
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// The times of day of the ticks that were made for a trigger, in UTC and in their order.
    async fn made(&self, trigger: &Trigger) -> Vec<String> {
        let id = trigger.id;
        let sql = format!("SELECT payload FROM events WHERE lane = 'trigger:{id}' AND op = 'tick' ORDER BY seq");
        let time = |payload: &String| {
            let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
            assert_eq!(payload["time_zone"], "Europe/Zurich");
            payload["scheduled_at"].as_str().unwrap()[11..19].to_owned()
        };
        self.texts(sql).await.iter().map(time).collect()
    }

    /// How many triggers are kept.
    async fn kept(&self) -> usize {
        self.texts("SELECT schedule FROM cron_triggers".to_owned()).await.len()
    }
}

on_both! {
    async fn several_nodes_make_each_tick_once(test: TestStore) {
        let stage = Stage::new(test);
        let (fast, slow) = (stage.trigger("* * * * * *", Misfire::All), stage.trigger("*/2 * * * * *", Misfire::Once));
        stage.publish(&[&fast, &slow]);
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let store = match &stage.test.config {
                DatabaseConfig::Sqlite { .. } => stage.test.store.clone(),
                config => Store::open(config).await.unwrap(),
            };
            nodes.push(stage.node_on(&store, EventQuota::default()));
        }
        for _ in 0..=6 {
            let looks = nodes.into_iter().map(|mut node| {
                tokio::spawn(async move {
                    node.look().await.unwrap();
                    node
                })
            });
            nodes = futures_util::future::join_all(looks).await.into_iter().map(Result::unwrap).collect();
            stage.clock.advance(Duration::from_secs(1));
        }
        let seconds = |all: &[u32]| all.iter().map(|second| format!("00:00:0{second}")).collect::<Vec<_>>();
        assert_eq!(stage.made(&fast).await, seconds(&[1, 2, 3, 4, 5, 6]));
        assert_eq!(stage.made(&slow).await, seconds(&[2, 4, 6]));
    }

    async fn after_a_downtime_missed_ticks_are_made_as_each_trigger_says(test: TestStore) {
        let stage = Stage::new(test);
        let [skip, once, all] =
            [Misfire::Skip, Misfire::Once, Misfire::All].map(|misfire| stage.trigger("*/10 * * * *", misfire));
        stage.publish(&[&skip, &once, &all]);
        stage.node().look().await.unwrap();
        stage.clock.advance(minutes(35));
        let mut node = stage.node();
        for _ in 0..2 {
            node.look().await.unwrap();
        }
        assert_eq!(stage.made(&skip).await, [""; 0]);
        assert_eq!(stage.made(&once).await, ["00:30:00"]);
        assert_eq!(stage.made(&all).await, ["00:10:00", "00:20:00", "00:30:00"]);
        stage.clock.advance(minutes(5));
        node.look().await.unwrap();
        for trigger in [&skip, &once, &all] {
            assert_eq!(stage.made(trigger).await.last().unwrap(), "00:40:00");
        }
    }

    async fn nothing_ticks_or_begins_while_the_clock_is_behind(test: TestStore) {
        let stage = Stage::new(test);
        let (old, new) = (stage.trigger("*/3 * * * *", Misfire::All), stage.trigger("* * * * *", Misfire::All));
        stage.publish(&[&old]);
        let mut node = stage.node();
        node.look().await.unwrap();
        // The last look makes a tick, and notes that it is later by now.
        for _ in 0..2 {
            stage.clock.advance(Duration::from_secs(150));
            node.look().await.unwrap();
        }
        assert_eq!(stage.made(&old).await, ["00:03:00"]);
        // It starts again, later than the last tick and earlier than what was noted.
        stage.clock.set(at("2026-01-01T00:04:00Z"));
        stage.publish(&[&old, &new]);
        let mut node = stage.node();
        for now in ["1970-01-01T00:00:00Z", "2026-01-01T00:04:00Z", "2026-01-01T00:05:00Z"] {
            stage.clock.set(at(now));
            node.look().await.unwrap();
            assert_eq!((stage.kept().await, stage.made(&old).await.len()), (1, 1), "{now}");
        }
        stage.clock.set(at("2026-01-01T00:06:30Z"));
        node.look().await.unwrap();
        assert_eq!(stage.made(&old).await, ["00:03:00", "00:06:00"]);
        // What is new missed nothing.
        assert_eq!((stage.kept().await, stage.made(&new).await.len()), (2, 0));
        stage.clock.set(at("2026-01-01T00:07:00Z"));
        node.look().await.unwrap();
        assert_eq!(stage.made(&new).await, ["00:07:00"]);
    }

    async fn what_was_off_or_had_another_schedule_begins_anew(test: TestStore) {
        let stage = Stage::new(test);
        let on = stage.trigger("*/10 * * * *", Misfire::All);
        let off = Trigger { enabled: false, ..on.clone() };
        let other = Trigger { source: stage.trigger("*/15 * * * *", Misfire::All).source, ..on.clone() };
        let lenient = match &on.source {
            TriggerSource::Cron { schedule, .. } => {
                let source = TriggerSource::Cron { schedule: schedule.clone(), misfire: Misfire::Once };
                Trigger { source, ..on.clone() }
            }
            _ => unreachable!(),
        };
        let mut node = stage.node();
        stage.publish(&[&on]);
        node.look().await.unwrap();
        stage.publish(&[&off]);
        node.look().await.unwrap();
        assert_eq!(stage.kept().await, 0);
        stage.clock.advance(minutes(60));
        stage.publish(&[&on]);
        node.look().await.unwrap();
        assert_eq!(stage.made(&on).await, [""; 0]);
        stage.clock.advance(minutes(10));
        node.look().await.unwrap();
        assert_eq!(stage.made(&on).await, ["01:10:00"]);
        // By another schedule the hour that nobody looked has no ticks.
        stage.clock.advance(minutes(60));
        stage.publish(&[&other]);
        node.look().await.unwrap();
        stage.clock.advance(minutes(5));
        node.look().await.unwrap();
        assert_eq!(stage.made(&on).await, ["01:10:00", "02:15:00"]);
        // Another policy is no other schedule.
        stage.publish(&[&on]);
        node.look().await.unwrap();
        stage.clock.advance(minutes(25));
        stage.publish(&[&lenient]);
        node.look().await.unwrap();
        assert_eq!(stage.made(&on).await, ["01:10:00", "02:15:00", "02:40:00"]);
    }

    async fn ticks_without_room_wait_and_are_made_up_for(test: TestStore) {
        let stage = Stage::new(test);
        let (once, all) = (stage.trigger("*/10 * * * *", Misfire::Once), stage.trigger("*/10 * * * *", Misfire::All));
        stage.publish(&[&once, &all]);
        let none = EventQuota { events: 0, ..EventQuota::default() };
        let mut full = stage.node_on(&stage.test.store, none);
        for _ in 0..3 {
            full.look().await.unwrap();
            stage.clock.advance(minutes(10));
        }
        assert_eq!((stage.made(&once).await.len(), stage.made(&all).await.len()), (0, 0));
        stage.node().look().await.unwrap();
        assert_eq!(stage.made(&once).await, ["00:30:00"]);
        assert_eq!(stage.made(&all).await, ["00:10:00", "00:20:00", "00:30:00"]);
    }

    async fn of_a_trigger_that_is_gone_nothing_is_kept(test: TestStore) {
        let stage = Stage::new(test);
        let (one, other) = (stage.trigger("* * * * *", Misfire::Once), stage.trigger("* * * * *", Misfire::Once));
        stage.publish(&[&one, &other]);
        let mut node = stage.node();
        node.look().await.unwrap();
        assert_eq!(stage.kept().await, 2);
        stage.publish(&[&other]);
        node.look().await.unwrap();
        assert_eq!(stage.kept().await, 1);
        // Also where it went while nobody looked.
        stage.publish(&[]);
        stage.node().look().await.unwrap();
        assert_eq!(stage.kept().await, 0);
    }
}
