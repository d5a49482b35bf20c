//! Rhai engines: what every script finds, within one profile of data limits. Engines are shared by all scripts of a
//! profile, since one takes 130 us to make and holds nothing of any run.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use picloud_shared::script::Limits;
use quick_cache::sync::Cache;
use rhai::packages::{Package, StandardPackage};
use rhai::{Engine, EvalAltResult, FuncRegistration, Module, NativeCallContext, Shared};

use crate::{compiled, context, limits, sdk};

/// Engines that are kept; operators use a handful of profiles.
const KEPT_ENGINES: usize = 64;

/// Rhai's standard functions, made once for all engines.
static STANDARD: LazyLock<StandardPackage> = LazyLock::new(StandardPackage::new);
/// The limits that Rhai itself enforces; operations and time are the meter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Profile {
    string: usize,
    array: usize,
    map: usize,
    call_levels: usize,
    expr_depth: usize,
}

impl Profile {
    fn of(limits: &Limits) -> Self {
        // Zero would mean no limit to Rhai.
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        Self {
            string: size(limits.max_string_size),
            array: size(limits.max_array_size),
            map: size(limits.max_map_size),
            call_levels: size(limits.max_call_levels),
            expr_depth: size(limits.max_expr_depth),
        }
    }
}

/// The engines in use.
pub struct Engines {
    engines: Cache<Profile, Arc<Engine>>,
    /// What PiCloud adds to the global namespace.
    sdk: Shared<Module>,
}

impl Engines {
    /// None yet. The bodies of responses that scripts build are capped at `max_response_bytes`.
    pub fn new(max_response_bytes: usize) -> Self {
        let mut module = Module::new();
        context::register(&mut module);
        sdk::register(&mut module, max_response_bytes);
        remove_unsafe(&mut module);
        module.build_index();
        Self { engines: Cache::new(KEPT_ENGINES), sdk: module.into() }
    }

    /// The engine for these limits.
    pub fn get(&self, limits: &Limits) -> Arc<Engine> {
        let profile = Profile::of(limits);
        let made: Result<_, Infallible> =
            self.engines.get_or_insert_with(&profile, || Ok(Arc::new(self.engine(profile))));
        match made {
            Ok(engine) => engine,
            Err(never) => match never {},
        }
    }

    fn engine(&self, profile: Profile) -> Engine {
        let mut engine = Engine::new_raw();
        STANDARD.register_into_engine(&mut engine);
        // Searched before the standard functions, so that ours win.
        engine.register_global_module(Shared::clone(&self.sdk));
        sdk::register_into(&mut engine);
        engine
            .set_max_operations(0)
            .set_max_string_size(profile.string)
            .set_max_array_size(profile.array)
            .set_max_map_size(profile.map)
            .set_max_call_levels(profile.call_levels)
            .set_max_expr_depths(profile.expr_depth, profile.expr_depth)
            .on_progress(limits::on_operation)
            .disable_symbol("eval")
            // It gives a function pointer as many arguments as a script likes. The parser makes closures without it.
            .disable_symbol("curry");
        #[expect(deprecated, reason = "Rhai marks what may change in a minor release")]
        engine.on_parse_token(compiled::on_token);
        engine.set_module_resolver(compiled::RunModules);
        engine
    }
}

/// Takes the place of standard functions that no script may have: `sleep` would hold a worker, `get_fn_metadata_list` makes a map
/// for each of as many functions as a source has room for, the others read and write without a bound (`json::parse` and
/// `json::stringify` do it within the limits). Their names stay usable as properties.
fn remove_unsafe(module: &mut Module) {
    fn gone(call: &NativeCallContext) -> Result<(), Box<EvalAltResult>> {
        Err(EvalAltResult::ErrorFunctionNotFound(call.fn_name().to_owned(), call.call_position()).into())
    }
    let fresh = |name: &str| FuncRegistration::new(name).in_global_namespace().with_volatility(true);
    fresh("sleep").set_into_module(module, |call: NativeCallContext, _: i64| gone(&call));
    fresh("sleep").set_into_module(module, |call: NativeCallContext, _: f64| gone(&call));
    fresh("parse_json").set_into_module(module, |call: NativeCallContext, _: &str| gone(&call));
    fresh("get_fn_metadata_list").set_into_module(module, |call: NativeCallContext| gone(&call));
    fresh("get_fn_metadata_list").set_into_module(module, |call: NativeCallContext, _: &str| gone(&call));
    fresh("get_fn_metadata_list").set_into_module(module, |call: NativeCallContext, _: &str, _: i64| gone(&call));
    fresh("to_json").set_into_module(module, |call: NativeCallContext, _: &mut rhai::Map| gone(&call));
}
