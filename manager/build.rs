//! Has the crate built again when the dashboard is, where its files go into the binary.

use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts everything by the environment")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What is not optimised reads the files when it runs.
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        // A path that does not exist would count as changed at every build.
        let build = Path::new("../dashboard/build");
        let watched = if build.is_dir() { build } else { Path::new("../dashboard") };
        println!("cargo::rerun-if-changed={}", watched.display());
    }
}
