//! Holds the shape of the code: who may depend on whom, who may name which library, what lies where.
//!
//! This file reads the workspace; the rules are in `layering/rules.rs`.

#[path = "layering/rules.rs"]
mod rules;
#[path = "layering/source_text.rs"]
mod source_text;

use rules::{CRATES, Tree};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn this_workspace() -> Tree {
    let mut tree = Tree::new();
    for krate in CRATES {
        read_into(&mut tree, &root().join(krate).join("Cargo.toml"));
        read_into(&mut tree, &root().join(krate).join("src"));
    }
    tree
}

fn read_into(tree: &mut Tree, path: &Path) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of the workspace is readable") {
            read_into(tree, &entry.expect("an entry of the folder is readable").path());
        }
    } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
        let name = path.strip_prefix(root()).expect("the path begins at the root").to_string_lossy().into_owned();
        tree.insert(name, fs::read_to_string(path).expect("a source is text"));
    }
}

#[test]
fn crates_depend_along_the_arrows_only() {
    assert_eq!(rules::wrong_arrows(&this_workspace()), Vec::<String>::new());
}

#[test]
fn all_crates_share_version_licence_and_lints() {
    assert_eq!(rules::out_of_lockstep(&this_workspace()), Vec::<String>::new());
}

#[test]
fn each_library_is_named_only_where_it_is_owned() {
    assert_eq!(rules::words_out_of_place(&this_workspace()), Vec::<String>::new());
}

#[test]
fn files_are_short_well_named_and_introduced() {
    assert_eq!(rules::ill_shaped_files(&this_workspace()), Vec::<String>::new());
}

#[test]
fn the_top_level_is_fixed() {
    let entries = fs::read_dir(root()).expect("the root is readable");
    let names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    let gitignore = fs::read_to_string(root().join(".gitignore")).expect("the root has a .gitignore");
    assert_eq!(rules::strangers_at_the_root(&names, &gitignore), Vec::<String>::new());
}

/// The words of a page that stand in backticks, outside blocks.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    let prose = page.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2))
}

#[test]
fn what_the_pages_of_architecture_and_reliability_name_exists() {
    let page = |name: &str| fs::read_to_string(root().join("docs").join(name)).expect("the page is there");
    let page = page("ARCHITECTURE.md") + &page("reliability.md");
    let mut tree = this_workspace();
    for krate in CRATES {
        read_into(&mut tree, &root().join(krate).join("tests"));
    }
    let is_file = |word: &str| word.contains('/') && word.ends_with(".rs");
    let is_fact = |word: &str| word.split('_').count() > 3 && !word.contains('/');
    let exists = |word: &str| match is_fact(word) {
        true => tree.values().any(|text| text.contains(&format!("fn {word}("))),
        false => {
            CRATES.iter().any(|krate| tree.contains_key(&format!("{krate}/src/{word}"))) || tree.contains_key(word)
        }
    };
    let named: Vec<&str> = quoted(&page).filter(|word| is_file(word) || is_fact(word)).collect();
    assert!(named.len() > 30, "the page names next to nothing: {named:?}");
    assert_eq!(named.into_iter().filter(|word| !exists(word)).collect::<Vec<_>>(), Vec::<&str>::new());
}
