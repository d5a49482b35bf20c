//! The executor compiles Rhai scripts and runs them within hard limits, in this process.
//!
//! It owns everything that touches Rhai. It knows neither the store nor HTTP I/O: it is handed a published script
//! and a request, and gives back a response; what a script may reach beyond that is a port (a trait) of this crate.

mod compiled;
mod context;
mod engine;
mod epoch;
mod executor;
mod failure;
mod fuel;
mod invocation;
mod json;
mod limits;
mod lock_waits;
mod memory;
mod nested;
mod panics;
mod pool;
pub mod port;
mod programs;
mod record;
mod residue;
mod response;
mod room;
mod run;
mod sdk;
#[cfg(test)]
mod sdk_signatures;

pub use compiled::{CheckError, CheckedSource, ModuleSources, SourceError};
pub use executor::{Executor, ExecutorConfig, Load, THREAD_STACK_BYTES};
pub use invocation::{Completion, Input, Invocation, ScriptResponse};
pub use memory::reclaim::give_memory_back;
