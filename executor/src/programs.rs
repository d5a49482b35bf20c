//! The cache of compiled programs, bounded in bytes; each is compiled once, however many runs wait for it.

use std::sync::Arc;

use picloud_shared::snapshot::ProgramKey;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::oneshot;

use crate::compiled::Program;
use crate::engine::Engines;
use crate::executor::Invocation;
use crate::failure::Failed;
use crate::pool::Pool;

/// A program, or why it cannot be compiled, which is kept as well: a broken script must not cost a parse a request.
type Compiled = Result<Arc<Program>, Arc<Failed>>;

/// Weight of a remembered failure.
const FAILURE_BYTES: u64 = 4 * 1024;

#[derive(Clone)]
struct Bytes;

impl Weighter<ProgramKey, Compiled> for Bytes {
    fn weight(&self, _key: &ProgramKey, compiled: &Compiled) -> u64 {
        compiled.as_ref().map_or(FAILURE_BYTES, |program| program.weight() as u64)
    }
}

/// The compiled programs.
pub struct Programs {
    cache: Cache<ProgramKey, Compiled, Bytes>,
    engines: Arc<Engines>,
}

impl Programs {
    /// An empty cache of that many bytes.
    pub fn new(max_bytes: usize, engines: Arc<Engines>) -> Self {
        let options = OptionsBuilder::new()
            .weight_capacity(max_bytes as u64)
            .estimated_items_capacity((max_bytes / (16 * 1024)).max(16))
            // A shard takes only what fits into its part, and one program may be large. Readers do not exclude each other.
            .shards(1)
            .build()
            .expect("both capacities are given");
        let cache = Cache::with_options(options, Bytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { cache, engines }
    }

    /// A program that is there.
    pub fn get(&self, key: ProgramKey) -> Option<Compiled> {
        self.cache.get(&key)
    }

    /// The program of an invocation; compiled by `compilers` where it is not there, while others that want it wait.
    ///
    /// # Errors
    /// It does not compile, or there is no capacity to compile it.
    pub async fn get_or_compile(&self, invocation: &Arc<Invocation>, compilers: &Pool) -> Compiled {
        let guard = match self.cache.get_value_or_guard_async(&invocation.script.program).await {
            Ok(compiled) => return compiled,
            Err(guard) => guard,
        };
        let (done, compiled) = oneshot::channel();
        let (engines, wanted) = (Arc::clone(&self.engines), Arc::clone(invocation));
        let submitted = compilers.submit(Some(invocation.app.app().id), move || {
            let engine = engines.get(&wanted.script.row.limits);
            // Nobody waiting any more means that the process ends.
            let _ = done.send(Program::compile(engine, &wanted.script, &wanted.app));
        });
        if let Err(refused) = submitted {
            return Err(Arc::new(Failed::rejected(&refused.to_string())));
        }
        let compiled: Compiled = match compiled.await {
            Ok(compiled) => compiled.map(Arc::new).map_err(Arc::new),
            Err(_) => Err(Arc::new(Failed::error("compiling the script broke the interpreter"))),
        };
        // The guard's key may have been taken out meanwhile; then the next run compiles again.
        let _ = guard.insert(compiled.clone());
        compiled
    }
}
