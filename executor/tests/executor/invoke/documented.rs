//! The examples of the page on `invoke`: each is run beside the scripts that the page names, and gives what stands below it.

use serde_json::Value;

use super::{app, json_of};
use crate::world::World;

const PAGE: &str = include_str!("../../../../docs/services/invoke.md");

#[test]
fn every_example_of_the_page_of_invoke_gives_what_stands_below_it() {
    let (mut named, mut examples) = (Vec::new(), Vec::new());
    let mut before = "";
    for part in PAGE.split("```rhai\n") {
        if let Some((source, after)) = part.split_once("```\n") {
            let introduced = before.trim_end().lines().last().unwrap_or_default();
            match introduced.split_once(" named `") {
                Some((_, name)) => named.push((name.split_once('`').unwrap().0, source)),
                None => {
                    let line = after.trim_start().lines().next().unwrap();
                    let stated = line.strip_prefix("Gives `").and_then(|line| line.strip_suffix("`.")).expect(line);
                    examples.push((source, serde_json::from_str::<Value>(stated).unwrap()));
                }
            }
            before = after;
        } else {
            before = part;
        }
    }
    assert!(named.len() >= 2 && examples.len() >= 4, "the examples are gone");
    let world = World::new();
    for (source, expected) in examples {
        let scripts: Vec<_> = [("main", source)].into_iter().chain(named.iter().copied()).collect();
        assert_eq!(json_of(&world.run(app(&scripts).call("main"))), expected, "{source}");
    }
}
