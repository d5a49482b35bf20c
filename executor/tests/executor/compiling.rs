//! Sources that are small and would be dear to compile. Each took minutes, or gigabytes, while Rhai's optimiser was in use: it copies
//! constants to wherever they are used, and goes through the last case of a `switch` twice, and so through those within it. Its walk
//! does so for each pattern of a case.

use std::fs;

use picloud_shared::execution::Outcome;
use picloud_shared::script::ScriptKind::Endpoint;
use picloud_shared::script::{Limits, ScriptSource};

use crate::world::{World, limits, publish};

const MIB: usize = 1024 * 1024;

/// Arrays of ten times the one before.
fn tenfold(levels: usize) -> String {
    let first = "const A0 = [1,1,1,1,1,1,1,1,1,1];".to_owned();
    let next = |level: usize| format!("const A{} = [{}];", level + 1, vec![format!("A{level}"); 10].join(","));
    first + &(0..levels).map(next).collect::<String>()
}

fn nested(head: &str, middle: &str, tail: &str, depth: usize) -> String {
    format!("let n = 1; {}{middle}{}", head.repeat(depth), tail.repeat(depth))
}

/// The most memory that this process has had, which is one test's own.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// That there is an answer at all is the point: those that double at each level would outlive the test.
#[test]
fn no_small_source_is_dear_to_compile() {
    let world = World::new();
    let deep = Limits { max_expr_depth: 128, ..limits() };
    let longest = ScriptSource::MAX_BYTES;
    let before = peak();
    for source in [
        tenfold(12),
        tenfold(5) + "[" + &vec!["A4"; 200].join(",") + "].type_of()",
        nested("switch n{_=>", "2", "}", 61),
        nested("switch n{0..9=>", "2", "}", 61),
        nested("switch n{1|2|3=>", "2", "}", 61),
        nested("a[switch n{1|2|3=>", "2", "}]=1", 40),
        nested("loop{break switch n{1|2|3=>", "2", "}}", 40),
        nested("switch 1{_=>", "2", "}", 61),
        nested("switch n{1 if n>0=>2,_=>", "2", "}", 61),
        nested("if n>0 {", "2", "} else {3}", 61),
        nested("[", "n", "]", 120),
        nested("#{a:", "n", "}", 120),
        nested("`${", "n", "}`", 30),
        "{}".repeat(longest / 2),
        ";".repeat(longest),
        "1;".repeat(longest / 2),
        "{1}".repeat(longest / 3),
        "if true{}".repeat(longest / 9),
        format!("[{}]", "[],".repeat(longest / 3 - 1)),
        format!("const A = 1; {}", "A;".repeat(longest / 2 - 10)),
    ] {
        let name = format!("{}...", &source[..source.len().min(40)]);
        if let Err(error) = world.check_within("main", Endpoint, &source, &[], deep) {
            let known =
                ["the source has too many", "Expression exceeds", "a script takes at most", "Size of array literal"];
            assert!(known.iter().any(|known| error.message.starts_with(known)), "{name}: {}", error.message);
        }
        assert!(peak() < before + 300 * MIB, "{name}: {} MiB", (peak() - before) / MIB);
    }
}

#[test]
fn constants_are_values_of_the_run_and_within_its_limits() {
    let world = World::new();
    let text = format!("const S0 = \"{}\"; const S1 = `{}`; S1.len()", "a".repeat(1_000), "${S0}".repeat(1_000));
    let arrays = tenfold(5) + "A5.len()";
    for (source, limit) in [(text, "max_string_size"), (arrays, "max_array_size")] {
        let completion = world.run(publish(&[("main", &source)], limits()).call("main"));
        assert_eq!(completion.outcome, Outcome::BudgetExceeded, "{:?}", completion.failure);
        assert_eq!(completion.failure.unwrap().limit.as_deref(), Some(limit));
    }
}
