//! A store that is gone, read-only or full: named as unavailable, soon, and well again by itself.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use picloud_manager::repo::RepoError;
use picloud_manager::repo::users::{self, PasswordHash};
use picloud_manager::store::{DatabaseConfig, Store};
use sqlx::{Connection, SqliteConnection};

use crate::own_cluster::OwnCluster;
use crate::relay::Relay;
use crate::rows::{add_app, add_script, add_user, script, user};
use crate::test_store::TestStore;

/// Long enough for the acquire timeout of 2.5 s on a busy machine.
const SOON: Duration = Duration::from_secs(4);

async fn write(store: &Store, username: &str) -> Result<(), RepoError> {
    let mut tx = store.begin().await?;
    users::insert(&mut tx, &user(username), &PasswordHash::from_phc(String::new())).await?;
    tx.commit().await
}

async fn read(store: &Store) -> Result<u64, RepoError> {
    users::count(&mut store.read().await?).await
}

fn assert_unavailable<T: std::fmt::Debug>(result: Result<T, RepoError>) {
    assert!(matches!(result, Err(RepoError::Unavailable(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_unavailable_and_a_restarted_one_serves_the_first_call() {
    let cluster = OwnCluster::start();
    let store = Store::open(&cluster.config()).await.unwrap();
    write(&store, "ada").await.unwrap();

    // Fill the pool with connections that the restart kills.
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(store.read().await.unwrap());
    }
    drop(held);
    cluster.crash();
    cluster.start_again();
    write(&store, "bob").await.unwrap();
    assert_eq!(read(&store).await.unwrap(), 2);
    assert!(store.is_reachable().await);

    // Stopped in the middle of a unit of work.
    let mut tx = store.begin().await.unwrap();
    users::insert(&mut tx, &user("cyd"), &PasswordHash::from_phc(String::new())).await.unwrap();
    cluster.crash();
    assert_unavailable(tx.commit().await);
    let started = Instant::now();
    assert_unavailable(write(&store, "dan").await);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    let started = Instant::now();
    assert_unavailable(read(&store).await);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(!store.is_reachable().await);

    cluster.start_again();
    write(&store, "dan").await.unwrap();
    assert_eq!(read(&store).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_goes_silent_under_units_of_work_costs_the_pool_nothing() {
    let cluster = OwnCluster::start();
    let relay = Relay::start(cluster.address()).await;
    let store = Store::open(&cluster.config_by(relay.address())).await.unwrap();
    write(&store, "ada").await.unwrap();
    // All connections that the pool may have.
    let mut under_way = Vec::new();
    for _ in 0..10 {
        let mut tx = store.begin_read().await.unwrap();
        assert_eq!(users::count(&mut tx).await.unwrap(), 1);
        under_way.push(tx);
    }
    relay.silence();
    drop(under_way);
    assert_eq!(read(&store).await.unwrap(), 1);
    write(&store, "bob").await.unwrap();
    assert_eq!(read(&store).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_of_work_that_wait_for_their_turn_leave_the_connections_to_readers() {
    let test = TestStore::postgres().await;
    let under_way = test.store.begin().await.unwrap();
    // Twice as many as there are connections.
    let writes = (0..20).map(|n| {
        let store = test.store.clone();
        tokio::spawn(async move { write(&store, &format!("user{n}")).await })
    });
    let writes: Vec<_> = writes.collect();
    for _ in 0..100 {
        assert_eq!(read(&test.store).await.unwrap(), 0);
    }
    drop(under_way);
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(read(&test.store).await.unwrap(), 20);
}

/// A request that its client gave up, or a task that the end of the process stopped, at each point where beginning waits.
#[tokio::test]
async fn a_unit_of_work_given_up_while_it_begins_leaves_no_transaction_to_the_next_user() {
    let test = TestStore::postgres().await;
    let all = 0..10;
    for polls in 0..20 {
        let mut beginning = Box::pin(test.store.begin());
        for _ in 0..polls {
            if futures_util::poll!(&mut beginning).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(beginning);
        // Within a transaction that was left open, a statement rules out that one of another kind begins.
        let mut readers = try_join_all(all.clone().map(|_| test.store.read())).await.unwrap();
        for reader in &mut readers {
            users::count(reader).await.unwrap();
        }
        drop(readers);
        try_join_all(all.clone().map(|_| test.store.begin_read())).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_cannot_be_opened_and_says_so_soon() {
    let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://ada:hunter2@127.0.0.1:{free_port}/cloud").parse().unwrap();
    let started = Instant::now();
    let error = Store::open(&DatabaseConfig::Postgres { url }).await.unwrap_err();
    assert!(started.elapsed() < SOON);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://ada@{}/cloud?sslmode=disable", silent.local_addr().unwrap()).parse().unwrap();
    let started = Instant::now();
    assert!(Store::open(&DatabaseConfig::Postgres { url }).await.is_err());
    assert!(started.elapsed() < SOON);
}

/// Sets up the one connection that writes, which keeps the setting.
async fn on_writer(test: &TestStore, pragma: &'static str) {
    test.store.begin().await.unwrap().execute_unchecked(pragma).await.unwrap();
}

#[tokio::test]
async fn a_full_sqlite_file_is_unavailable_for_writes_still_read_and_well_with_space() {
    let test = TestStore::sqlite().await;
    let app = add_app(&test.store, "shop").await;
    on_writer(&test, "PRAGMA max_page_count = 1").await;
    let large = script(app.id, "large");
    let large = picloud_manager::repo::scripts::Script { source: "x".repeat(100_000).parse().unwrap(), ..large };
    let mut tx = test.store.begin().await.unwrap();
    assert!(test.store.is_writable().await, "nothing has failed");
    assert_unavailable(picloud_manager::repo::scripts::insert(&mut tx, &large, None).await);
    drop(tx);
    assert_eq!(read(&test.store).await.unwrap(), 0);
    assert!(!test.store.is_writable().await);
    on_writer(&test, "PRAGMA max_page_count = 4294967294").await;
    add_script(&test.store, app.id, "large").await;
}

/// Another process that writes to this file and does not end.
async fn hold(test: &TestStore, file: &str) -> SqliteConnection {
    let path = test.sqlite_dir().unwrap().join(file);
    let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    other
}

/// Some time later, for whoever remembers that a write failed.
async fn later() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_store_that_could_not_be_written_is_tried_again_each_file_for_itself() {
    let test = TestStore::sqlite().await;
    let (mut main, mut logs) = (hold(&test, "main.db").await, hold(&test, "logs.db").await);
    assert!(test.store.is_writable().await, "nothing has failed");
    let (in_main, in_logs) = tokio::join!(write(&test.store, "ada"), test.store.begin_logs());
    assert_unavailable(in_main);
    assert_unavailable(in_logs);
    assert!(!test.store.is_writable().await);
    for file in [&mut main, &mut logs] {
        later().await;
        assert!(!test.store.is_writable().await);
        sqlx::query("ROLLBACK").execute(file).await.unwrap();
    }
    later().await;
    assert!(test.store.is_writable().await);
    write(&test.store, "ada").await.unwrap();
}

#[tokio::test]
async fn a_postgres_database_that_became_read_only_is_not_writable_until_it_is_again() {
    let test = TestStore::postgres().await;
    // For new sessions, so that those there are have to end.
    let read_only = async |is_on| {
        let set = "BEGIN READ WRITE; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {on}', \
            current_database()); END $$; COMMIT; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        test.tamper(&set.replace("{on}", if is_on { "on" } else { "off" })).await;
    };
    read_only(true).await;
    assert_unavailable(write(&test.store, "ada").await);
    assert!(test.store.is_reachable().await && !test.store.is_writable().await);
    later().await;
    assert!(!test.store.is_writable().await);
    read_only(false).await;
    later().await;
    assert!(test.store.is_writable().await);
    write(&test.store, "ada").await.unwrap();
}

#[tokio::test]
async fn a_read_only_sqlite_file_is_unavailable_for_writes_and_still_read() {
    let test = TestStore::sqlite().await;
    add_user(&test.store, "ada").await;
    let mut tx = test.store.begin().await.unwrap();
    tx.execute_unchecked("PRAGMA query_only = on").await.unwrap();
    let bob = user("bob");
    assert_unavailable(users::insert(&mut tx, &bob, &PasswordHash::from_phc(String::new())).await);
    assert_eq!(read(&test.store).await.unwrap(), 1);
    tx.execute_unchecked("PRAGMA query_only = off").await.unwrap();
    drop(tx);
    write(&test.store, "bob").await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_that_another_process_holds_is_unavailable_for_writes_and_still_read() {
    let test = TestStore::sqlite().await;
    add_user(&test.store, "ada").await;
    let mut other = hold(&test, "main.db").await;
    assert_unavailable(write(&test.store, "bob").await);
    assert_eq!(read(&test.store).await.unwrap(), 1);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    write(&test.store, "bob").await.unwrap();
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let test = TestStore::sqlite().await;
    test.store.close().await;
    assert_unavailable(write(&test.store, "ada").await);
    assert_unavailable(read(&test.store).await);
    assert!(!test.store.is_reachable().await);
}
