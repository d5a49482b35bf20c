//! The examples of the page of `docs`: each is run, on both databases, and gives what stands below it.

use serde_json::Value;

use crate::stage::Stage;

const PAGE: &str = include_str!("../../../docs/services/docs.md");

/// Each example of the page, with what it gives.
fn examples() -> Vec<(&'static str, Value)> {
    let blocks = PAGE.split("```rhai\n").skip(1).map(|block| block.split_once("```\n").unwrap());
    let example = |(source, after): (&'static str, &'static str)| {
        let line = after.trim_start().lines().next().unwrap();
        let stated = line.strip_prefix("Gives `").and_then(|line| line.strip_suffix("`.")).expect(line);
        (source, serde_json::from_str(stated).unwrap())
    };
    blocks.map(example).collect()
}

#[test]
fn every_example_of_the_page_of_docs_gives_what_stands_below_it() {
    assert!(examples().len() >= 5, "the examples are gone");
    for stage in [Stage::sqlite(), Stage::postgres()] {
        for (source, expected) in examples() {
            assert_eq!(stage.gives(source), expected, "{source}");
        }
    }
}
