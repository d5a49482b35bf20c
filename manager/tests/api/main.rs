//! The admin API, in process against the manager's router, on both databases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/test_store.rs"]
mod test_store;

use picloud_executor::THREAD_STACK_BYTES;

/// Makes each fact a test on either database: `sqlite::a_fact` and `postgres::a_fact`. A fact takes the store, or, after
/// `damaged:`, the whole [`test_store::TestStore`], by which it can do damage.
macro_rules! on_both {
    (damaged: $($fact:ident),+ $(,)?) => {
        on_both! { @tests [test => test] $($fact)+ }
    };
    (@tests [$test:ident => $given:expr] $($fact:ident)+) => {
        mod sqlite {
            $(#[test] fn $fact() {
                crate::run(async || {
                    let $test = crate::test_store::TestStore::sqlite().await;
                    super::$fact(&$given).await;
                });
            })+
        }

        mod postgres {
            $(#[test] fn $fact() {
                crate::run(async || {
                    let $test = crate::test_store::TestStore::postgres().await;
                    super::$fact(&$given).await;
                });
            })+
        }
    };
    ($($fact:ident),+ $(,)?) => {
        on_both! { @tests [test => test.store] $($fact)+ }
    };
}

mod access;
mod app_limits;
mod apps;
mod async_routes;
mod attacks;
mod audit;
mod auth;
mod certificates;
mod conventions;
mod damage;
mod dead_letters;
mod deployments;
mod docs;
mod docs_triggers;
mod documented;
mod env;
mod events;
mod examples;
mod idempotency;
mod keys;
mod kv;
mod kv_triggers;
mod logs;
mod matrix;
mod members;
mod nodes;
mod openapi;
mod outage;
mod protocol;
mod purge;
mod routes;
mod scripts;
mod secrets;
mod service_pages;
mod settings;
mod slugs;
mod stage;
mod start;
mod stats;
mod tail;
mod triggers;
mod users;
mod versions;
mod world;

/// Runs a test on threads whose stacks suit scripts, its own among them.
fn run(test: impl AsyncFnOnce() + Send) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(THREAD_STACK_BYTES).enable_all().build().unwrap();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
        let test = thread.spawn_scoped(scope, || runtime.block_on(test())).unwrap();
        if let Err(panic) = test.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
