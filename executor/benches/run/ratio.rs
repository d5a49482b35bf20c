//! Scripts that only compute, beside Rhai as it comes and without limits: what budget P6 compares. The runs take turns, and the
//! quickest of each counts, since a busy machine only ever adds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use rhai::packages::{Package, StandardPackage};
use rhai::{Engine, Scope};

use crate::{ADDITIONS, FIB, World, invocation};

const ROUNDS: usize = 300;

#[expect(clippy::print_stdout, reason = "it is a table for people")]
pub fn to_the_engine_alone(_criterion: &mut Criterion) {
    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && argument != "engine") {
        return;
    }
    let world = World::new();
    let mut engine = Engine::new_raw();
    StandardPackage::new().register_into_engine(&mut engine);
    println!("| script | engine alone | run | ratio |\n| --- | ---: | ---: | ---: |");
    for (name, source) in [("10,000 additions", ADDITIONS), ("fib(20)", FIB)] {
        let ast = engine.compile(source).expect("the source compiles");
        let invocation = invocation(source);
        let (mut alone, mut run) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            black_box(engine.eval_ast_with_scope::<i64>(&mut Scope::new(), &ast).expect("the script runs"));
            alone = alone.min(begun.elapsed());
            run = run.min(world.time(&invocation, 1));
        }
        let ratio = run.as_secs_f64() / alone.as_secs_f64();
        println!("| {name} | {alone:.1?} | {run:.1?} | {ratio:.3} |");
    }
}
