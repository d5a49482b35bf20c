//! Any text as a script: it compiles or is refused, it runs within its limits, and the process lives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picloud_shared::script::ScriptSource;

fuzz_target!(|text: &str| {
    if let Ok(source) = text.parse::<ScriptSource>() {
        picloud_fuzz::run(source, r#"{"items": [{"id": 1, "name": "a"}, 2.5, null], "on": true}"#.into());
    }
});
