//! The cache of compiled programs, bounded in bytes; each is compiled once, however many runs wait for it and however soon
//! they give up.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::hashing::FastHash;
use picloud_shared::snapshot::{ProgramKey, PublishedApp, PublishedScript};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::watch;

use crate::compiled::Program;
use crate::engine::Engines;
use crate::failure::Failed;
use crate::pool::{LEAST_STACK_BYTES, Length, Pool, PoolSize, Refused};

/// A program, or why it cannot be compiled, which is kept as well: a broken script must not cost a parse a request.
type Compiled = Result<Arc<Program>, Arc<Failed>>;

/// A program that is being compiled: nothing until it is there.
type Compiling = watch::Receiver<Option<Compiled>>;

/// Threads that compile. Two, so that the source that takes longest to compile does not hold up all others. At their queue
/// apps take turns, and each may have as many sources there as a burst of requests just after a start can ask for.
pub const COMPILERS: PoolSize =
    PoolSize { threads: 2, spares: 0, lane: 64, waiting: 256, stack_bytes: LEAST_STACK_BYTES, nice: 0 };

/// How long a request waits for its script to be compiled: as long as a full queue of usual sources takes.
pub const COMPILING: Duration = Duration::from_secs(10);

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
    cache: Cache<ProgramKey, Compiled, Bytes, FastHash>,
    /// What is on its way into the cache.
    compiling: Mutex<HashMap<ProgramKey, Compiling>>,
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
        let cache = Cache::with_options(options, Bytes, FastHash::default(), DefaultLifecycle::default());
        Self { cache, compiling: Mutex::default(), engines }
    }

    /// A program that is there.
    pub fn get(&self, script: &PublishedScript) -> Option<Compiled> {
        self.cache.get(script.program.as_ref()?)
    }

    /// The program of an app's script; compiled by `compilers` where it is not there, while others that want it wait. It is
    /// compiled to its end and kept, also when all that wait for it have left.
    ///
    /// # Errors
    /// It does not compile, or there is no capacity to compile it.
    pub async fn get_or_compile(
        self: &Arc<Self>,
        app: &Arc<PublishedApp>,
        script: &Arc<PublishedScript>,
        compilers: &Pool,
    ) -> Compiled {
        let mut compiling = self.compiling(app, script, compilers)?;
        match compiling.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(compiled)) => compiled.clone(),
            _ => Err(Arc::new(Failed::rejected("PiCloud is shutting down"))),
        }
    }

    fn compiling(
        self: &Arc<Self>,
        app: &Arc<PublishedApp>,
        script: &Arc<PublishedScript>,
        compilers: &Pool,
    ) -> Result<Compiling, Arc<Failed>> {
        let mut all = self.lock();
        let key = script.program;
        if let Some(key) = key {
            if let Some(compiling) = all.get(&key) {
                return Ok(compiling.clone());
            }
            // Compiled since the caller looked, perhaps.
            if let Some(compiled) = self.cache.get(&key) {
                return Ok(watch::channel(Some(compiled)).1);
            }
        }
        let (done, compiling) = watch::channel(None);
        let (programs, script, owner) = (Arc::clone(self), Arc::clone(script), Arc::clone(app));
        let submitted = compilers.submit(app.app().id, Length::Long, COMPILING, move || {
            let compiled = programs.compile(&script, &owner);
            if let Some(key) = key {
                programs.cache.insert(key, compiled.clone());
                programs.lock().remove(&key);
            }
            done.send_replace(Some(compiled));
        });
        submitted.map_err(|refused| {
            Arc::new(Failed::rejected(match refused {
                Refused::Lane => "too many scripts of the app are being compiled",
                Refused::Queue => "too many scripts are being compiled",
            }))
        })?;
        if let Some(key) = key {
            all.insert(key, compiling.clone());
        }
        Ok(compiling)
    }

    fn compile(&self, script: &PublishedScript, app: &PublishedApp) -> Compiled {
        let compile = || Program::compile(self.engines.get(&script.row.limits), script, app);
        match catch_unwind(AssertUnwindSafe(compile)) {
            Ok(compiled) => compiled.map(Arc::new).map_err(Arc::new),
            Err(_) => Err(Arc::new(Failed::error("compiling the script broke the interpreter"))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProgramKey, Compiling>> {
        // Nothing that is done under the lock can leave the map half changed.
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
