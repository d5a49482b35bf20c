//! The rules of layering, each a pure function from the files of a workspace to what is wrong with them.
//!
//! They read text and know nothing of what it does; the tests below show on made-up files that each rule can fail.

use super::source_text::{code, words};
use std::collections::{BTreeMap, BTreeSet};

/// The files of a workspace, by path from its root: manifests and sources.
pub type Tree = BTreeMap<String, String>;

pub const CRATES: [&str; 4] = ["shared", "executor", "manager", "proxy"];

/// The crates of this workspace that a crate may depend on.
fn may_depend_on(krate: &str) -> &'static [&'static str] {
    match krate {
        "shared" => &[],
        "executor" => &["picloud-shared"],
        "manager" => &["picloud-shared", "picloud-executor"],
        "proxy" => &["picloud-shared", "picloud-executor", "picloud-manager"],
        other => panic!("{other} is no crate of this workspace"),
    }
}

/// A word of the code, and the only places that may say it. A name that ends in `*` stands for all that begin so, a
/// place that ends in `/` for all below it; `proxy binary` is `main.rs` with the modules that it declares.
const WORDS: [(&str, &[&str]); 9] = [
    ("sqlx", &["manager/src/repo.rs", "manager/src/repo/", "manager/src/store.rs", "manager/src/store/"]),
    ("rusqlite", &["manager/src/repo.rs", "manager/src/repo/", "manager/src/store.rs", "manager/src/store/"]),
    (
        "axum",
        &[
            "manager/src/api.rs",
            "manager/src/api/",
            "manager/src/lib.rs",
            "proxy/src/manager_link.rs",
            "proxy/src/manager_link/",
            "proxy binary",
        ],
    ),
    ("pingora*", &["proxy/src/"]),
    ("prometheus_client", &["proxy/src/metrics.rs", "proxy/src/metrics/"]),
    ("rhai", &["executor/src/"]),
    ("picloud_manager", &["proxy binary"]),
    ("anyhow", &["proxy binary"]),
    ("tokio", &["executor/src/", "manager/src/", "proxy/src/"]),
];

/// What may lie at the root, beside hidden files and what `.gitignore` names.
const TOP_LEVEL: [&str; 21] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "dashboard",
    "deny.toml",
    "deploy",
    "docs",
    "executor",
    "manager",
    "migrations",
    "proxy",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "shared",
];

const LONGEST_FILE: usize = 500;
const MEANINGLESS_NAMES: [&str; 7] = ["mod", "util", "utils", "helper", "helpers", "common", "misc"];

fn sources(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    let is_source = |path: &str| CRATES.iter().any(|krate| path.starts_with(&format!("{krate}/src/")));
    tree.iter().map(|(path, text)| (path.as_str(), text.as_str())).filter(move |(path, _)| is_source(path))
}

/// Dependencies of a crate on a crate of this workspace against the arrows.
pub fn wrong_arrows(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for krate in CRATES {
        let manifest = manifest(tree, krate);
        let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
        let tables = targets.filter_map(toml::Value::as_table).chain([&manifest]);
        for name in tables.flat_map(dependencies) {
            if name.starts_with("picloud") && !may_depend_on(krate).contains(&name) {
                wrong.push(format!("{krate} must not depend on {name}"));
            }
        }
    }
    wrong
}

/// The packages that a manifest, or its part for one target, names in any of its dependency tables.
fn dependencies(table: &toml::Table) -> impl Iterator<Item = &str> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.into_iter().filter_map(|section| table.get(section)?.as_table());
    tables.flatten().map(|(name, value)| value.get("package").and_then(toml::Value::as_str).unwrap_or(name))
}

/// Settings that a crate has for itself, though all crates must have them from the workspace.
pub fn out_of_lockstep(tree: &Tree) -> Vec<String> {
    let of_workspace = |value: Option<&toml::Value>| {
        value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
    };
    let mut wrong = Vec::new();
    for krate in CRATES {
        let manifest = manifest(tree, krate);
        let package = manifest.get("package");
        for field in ["version", "edition", "rust-version", "license"] {
            if !of_workspace(package.and_then(|package| package.get(field))) {
                wrong.push(format!("{krate}/Cargo.toml must say {field}.workspace = true"));
            }
        }
        if !of_workspace(manifest.get("lints")) {
            wrong.push(format!("{krate}/Cargo.toml must take the lints of the workspace"));
        }
    }
    wrong
}

fn manifest(tree: &Tree, krate: &str) -> toml::Table {
    tree[&format!("{krate}/Cargo.toml")].parse().expect("a manifest that cargo has read is TOML")
}

/// Words said where [`WORDS`] does not let them be said.
pub fn words_out_of_place(tree: &Tree) -> Vec<String> {
    let binary = binary_files(tree);
    let mut wrong = Vec::new();
    for (path, text) in sources(tree) {
        let code = code(text);
        let said = words(&code);
        for (word, places) in WORDS {
            let says = said.iter().any(|said| match word.strip_suffix('*') {
                Some(start) => said.starts_with(start),
                None => *said == word,
            });
            let allowed = places.iter().any(|place| match *place {
                "proxy binary" => binary.contains(path),
                folder if folder.ends_with('/') => path.starts_with(folder),
                file => path == file,
            });
            if says && !allowed {
                wrong.push(format!("{path} must not say {word}"));
            }
        }
    }
    wrong
}

/// `main.rs` of the proxy and the files of the modules that it declares, but not those of the library.
fn binary_files(tree: &Tree) -> BTreeSet<String> {
    let modules = |root: &str| declared_modules(tree.get(root).map_or("", String::as_str));
    let library = modules("proxy/src/lib.rs");
    let binary: BTreeSet<_> = modules("proxy/src/main.rs").difference(&library).cloned().collect();
    let of_binary = |path: &str| {
        let module = path.strip_prefix("proxy/src/").map(|path| path.split(['/', '.']).next().unwrap_or_default());
        path == "proxy/src/main.rs" || module.is_some_and(|module| binary.contains(module))
    };
    tree.keys().filter(|path| of_binary(path)).cloned().collect()
}

fn declared_modules(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let items = code.split([';', '{', '}']).map(|item| item.split_whitespace().collect::<Vec<_>>());
    items
        .filter_map(|item| {
            item.iter().position(|word| *word == "mod").and_then(|at| item.get(at + 1)).map(ToString::to_string)
        })
        .collect()
}

/// Files of the sources that are too long, badly named, or do not open by telling what they own.
pub fn ill_shaped_files(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in sources(tree) {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{path} has {lines} lines, more than {LONGEST_FILE}: split it by concept"));
        }
        let parts = path.trim_end_matches(".rs").split('/').skip(2);
        for name in parts.filter(|name| MEANINGLESS_NAMES.contains(name)) {
            wrong.push(format!("{path}: {name} is no name for what a file owns"));
        }
        if !text.starts_with("//!") && !path.ends_with("/tests.rs") && !path.contains("/tests/") {
            wrong.push(format!("{path} must open with what it owns and must not know (//!)"));
        }
    }
    wrong
}

/// Entries of the root that are neither known nor ignored.
pub fn strangers_at_the_root(entries: &[String], gitignore: &str) -> Vec<String> {
    let ignored: Vec<_> = gitignore.lines().map(|line| line.trim_matches('/')).collect();
    let known = |name: &str| name.starts_with('.') || TOP_LEVEL.contains(&name) || ignored.contains(&name);
    entries.iter().filter(|name| !known(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace in order, with some files laid over it.
    fn tree(files: &[(&str, &str)]) -> Tree {
        let manifest = |dependencies: &str| {
            format!(
                "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
                 license.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n{dependencies}"
            )
        };
        let mut tree = Tree::from([
            ("shared/Cargo.toml".to_owned(), manifest("")),
            ("executor/Cargo.toml".to_owned(), manifest("picloud-shared.workspace = true")),
            ("manager/Cargo.toml".to_owned(), manifest("picloud-executor.workspace = true")),
            ("proxy/Cargo.toml".to_owned(), manifest("picloud-manager.workspace = true")),
            ("proxy/src/lib.rs".to_owned(), "//! The library.\npub mod io;\npub mod manager_link;".to_owned()),
            ("proxy/src/main.rs".to_owned(), "//! The binary.\nmod boot;\nfn main() {}".to_owned()),
        ]);
        tree.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
        tree
    }

    #[test]
    fn a_workspace_in_order_breaks_no_rule() {
        let tree = tree(&[
            ("manager/src/repo/users.rs", "//! Users.\nuse sqlx::Row;"),
            ("manager/src/api/users.rs", "//! Users.\nuse axum::Json;"),
            ("executor/src/engine.rs", "//! Owns rhai, knows no axum.\nuse rhai::Engine;"),
            ("proxy/src/io.rs", "//! The wire.\nuse pingora_core::apps;"),
            ("proxy/src/boot/store.rs", "//! Joins.\nuse picloud_manager::Manager; use anyhow::Context;"),
            ("proxy/src/manager_link.rs", "//! The link.\nuse axum::body::Body;"),
        ]);
        for rule in [wrong_arrows, out_of_lockstep, words_out_of_place, ill_shaped_files] {
            assert_eq!(rule(&tree), Vec::<String>::new());
        }
    }

    #[test]
    fn an_arrow_that_points_back_is_found() {
        let manifest = tree(&[])["manager/Cargo.toml"].clone();
        for section in
            ["dependencies.picloud-proxy", "dev-dependencies.picloud-proxy", "build-dependencies.picloud-proxy"]
        {
            let turned = format!("{manifest}\n[{section}]\nworkspace = true");
            assert_eq!(
                wrong_arrows(&tree(&[("manager/Cargo.toml", &turned)])),
                ["manager must not depend on picloud-proxy"]
            );
        }
    }

    #[test]
    fn a_dependency_renamed_or_of_one_target_is_found() {
        let manifest = tree(&[])["executor/Cargo.toml"].clone();
        let renamed = format!("{manifest}\nfriend = {{ package = \"picloud-manager\", path = \"../manager\" }}");
        assert_eq!(
            wrong_arrows(&tree(&[("executor/Cargo.toml", &renamed)])),
            ["executor must not depend on picloud-manager"]
        );
        let of_target = format!("{manifest}\n[target.'cfg(unix)'.dependencies]\npicloud-manager.workspace = true");
        assert_eq!(
            wrong_arrows(&tree(&[("executor/Cargo.toml", &of_target)])),
            ["executor must not depend on picloud-manager"]
        );
    }

    #[test]
    fn a_crate_with_a_version_or_lints_of_its_own_is_found() {
        let manifest = tree(&[])["shared/Cargo.toml"].clone();
        let own_version = manifest.replace("version.workspace = true\nedition", "version = \"9.9.9\"\nedition");
        assert_eq!(
            out_of_lockstep(&tree(&[("shared/Cargo.toml", &own_version)])),
            ["shared/Cargo.toml must say version.workspace = true"]
        );
        let own_lints = manifest.replace("[lints]\nworkspace = true", "");
        assert_eq!(
            out_of_lockstep(&tree(&[("shared/Cargo.toml", &own_lints)])),
            ["shared/Cargo.toml must take the lints of the workspace"]
        );
    }

    #[test]
    fn each_word_is_found_where_it_does_not_belong() {
        for (path, text, word) in [
            ("manager/src/service/users.rs", "fn f() -> sqlx::Result<()> {}", "sqlx"),
            ("manager/src/publish.rs", "use axum::Json;", "axum"),
            ("proxy/src/dispatch.rs", "use axum::body::Body;", "axum"),
            ("manager/src/api/users.rs", "use pingora_http::RequestHeader;", "pingora*"),
            ("proxy/src/dispatch.rs", "use ::rhai::Engine;", "rhai"),
            ("shared/src/script.rs", "use rhai::AST;", "rhai"),
            ("proxy/src/io.rs", "use picloud_manager::Manager;", "picloud_manager"),
            ("proxy/src/io.rs", "fn f() -> anyhow::Result<()> {}", "anyhow"),
            ("shared/src/clock.rs", "use tokio::time;", "tokio"),
            ("proxy/src/dispatch.rs", "use prometheus_client::registry::Registry;", "prometheus_client"),
        ] {
            let found = words_out_of_place(&tree(&[(path, text)]));
            assert_eq!(found, [format!("{path} must not say {word}")]);
        }
    }

    #[test]
    fn a_module_of_the_library_does_not_become_the_binarys_by_being_declared_twice() {
        let tree = tree(&[
            ("proxy/src/main.rs", "//! The binary.\nmod io;\nfn main() {}"),
            ("proxy/src/io.rs", "//! The wire.\nuse picloud_manager::Manager;"),
        ]);
        assert_eq!(words_out_of_place(&tree), ["proxy/src/io.rs must not say picloud_manager"]);
    }

    #[test]
    fn ill_shaped_files_are_found() {
        let long = format!("//! Long.\n{}", "\n".repeat(LONGEST_FILE));
        for (path, text, found) in [
            ("shared/src/route.rs", long.as_str(), "501 lines"),
            ("shared/src/route/mod.rs", "//! Routes.", "mod is no name"),
            ("shared/src/utils/text.rs", "//! Text.", "utils is no name"),
            ("shared/src/route.rs", "// Not an introduction.", "must open with"),
        ] {
            let wrong = ill_shaped_files(&tree(&[(path, text)]));
            assert!(wrong.len() == 1 && wrong[0].contains(found), "{path}: {wrong:?}");
        }
    }

    #[test]
    fn a_stranger_at_the_root_is_found() {
        let entries = ["shared", ".git", "target", "notes"].map(ToOwned::to_owned);
        assert_eq!(strangers_at_the_root(&entries, "/target\n"), ["notes"]);
    }
}
