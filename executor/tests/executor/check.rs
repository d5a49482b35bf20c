//! What saving a source checks.

use picloud_shared::script::Limits;
use picloud_shared::script::ScriptKind::{Endpoint, Module};

use crate::world::{World, limits};

#[test]
fn imports_are_listed_once_in_order_of_appearance_wherever_they_stand() {
    let world = World::new();
    let source = r#"
        fn late() { import "c" as c; c::f() }
        import "b" as b;
        if b::f() { import "a" as a; a::f(); }
        let x = loop { break if true { import "d" as d; d::f() } else { 2 } };
        import "b" as again;
        let f = || { import "e" as e; };
    "#;
    let others = ["a", "b", "c", "d", "e"].map(|name| (name, Module, "fn f() { true }"));
    let checked = world.check("main", Endpoint, source, &others).unwrap();
    let names: Vec<_> = checked.imports.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["c", "b", "a", "d", "e"]);
}

#[test]
fn what_is_wrong_is_told_with_its_position_and_its_chain() {
    let world = World::new();
    let others = [
        ("m", Module, "fn f() { 1 }"),
        ("page", Endpoint, "1"),
        ("to-none", Module, r#"import "none" as n;"#),
        ("to-page", Module, r#"import "page" as p;"#),
        ("back", Module, r#"import "self" as s;"#),
        ("ping", Module, r#"import "pong" as p;"#),
        ("pong", Module, r#"import "ping" as p;"#),
        ("broken", Module, "let x = 1;\nlet = 2;"),
        ("dynamic", Module, "let n = 1; import n as m;"),
    ];
    let at = |message: &str, line, column| (message.to_owned(), Some(line), Some(column));
    for (source, expected) in [
        ("let x = ;", at("Unexpected ';'", 1, 9)),
        ("eval(\"1\")", at("reserved keyword 'eval' is disabled", 1, 1)),
        ("1;\nimport \"none\" as n;", at("there is no module `none`", 2, 1)),
        ("import \"No Name\" as n;", at("there is no module `No Name`", 1, 1)),
        (
            "let n = \"m\"; import n as m;",
            at("an import names its module by a literal string, such as import \"name\" as m", 1, 14),
        ),
        (
            "let n = 1; import `${n}` as m;",
            at("an import names its module by a literal string, such as import \"name\" as m", 1, 12),
        ),
        ("import \"page\" as p;", at("`page` is an endpoint; only modules can be imported", 1, 1)),
        (
            "import \"to-page\" as p;",
            at("`page` is an endpoint; only modules can be imported (self -> to-page -> page)", 1, 1),
        ),
        ("import \"to-none\" as p;", at("there is no module `none` (self -> to-none -> none)", 1, 1)),
        ("import \"back\" as b;", at("modules import each other in a circle: self -> back -> self", 1, 1)),
        ("import \"self\" as b;", at("modules import each other in a circle: self -> self", 1, 1)),
        ("fn f() {\n import \"ping\" as p; }", at("modules import each other in a circle: ping -> pong -> ping", 2, 2)),
        (
            "import \"broken\" as b;",
            at("the module `broken` cannot be used: Expecting name of a variable, line 2, column 5", 1, 1),
        ),
        (
            "import \"dynamic\" as d;",
            at(
                "the module `dynamic` cannot be used: an import names its module by a literal string, such as import \
                 \"name\" as m, line 1, column 12",
                1,
                1,
            ),
        ),
    ] {
        let error = world.check("self", Module, source, &others).unwrap_err();
        assert_eq!((error.message, error.line, error.column), expected, "{source}");
    }
    let error = world.check("self", Endpoint, "import \"self\" as s;", &others).unwrap_err();
    assert_eq!(error.message, "`self` is an endpoint; only modules can be imported");
    assert!(world.check("self", Endpoint, "import \"m\" as m; m::f()", &others).is_ok());
}

#[test]
fn a_module_that_two_others_import_is_no_circle() {
    let world = World::new();
    let others =
        [("left", Module, r#"import "base" as b;"#), ("right", Module, r#"import "base" as b;"#), ("base", Module, "")];
    assert!(world.check("main", Endpoint, r#"import "left" as l; import "right" as r;"#, &others).is_ok());
}

#[test]
fn chains_and_numbers_of_modules_are_bounded() {
    let world = World::new();
    let chain: Vec<(String, String)> =
        (0..100).map(|n| (format!("m{n}"), format!("import \"m{}\" as m;", n + 1))).collect();
    let others: Vec<_> = chain.iter().map(|(name, source)| (name.as_str(), Module, source.as_str())).collect();
    let error = world.check("main", Endpoint, "import \"m0\" as m;", &others).unwrap_err();
    assert!(error.message.starts_with("a script may reach 256 modules"), "{}", error.message);

    let wide: Vec<String> = (0..300).map(|n| format!("m{n}")).collect();
    let others: Vec<_> = wide.iter().map(|name| (name.as_str(), Module, "")).collect();
    let source: String = wide.iter().map(|name| format!("import \"{name}\" as x;")).collect();
    let error = world.check("main", Endpoint, &source, &others).unwrap_err();
    assert!(error.message.starts_with("a script may reach 256 modules"), "{}", error.message);
}

#[test]
fn the_depth_of_expressions_is_the_scripts_own_limit() {
    let world = World::new();
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let check = |depth: usize, max_expr_depth| {
        let limits = Limits { max_expr_depth, ..limits() };
        world.check_within("main", Endpoint, &nested(depth), &[], limits)
    };
    assert!(check(20, 64).is_ok());
    assert_eq!(check(40, 64).unwrap_err().message, "Expression exceeds maximum complexity");
    assert!(check(40, 128).is_ok());
}

/// Each of these made some parser recurse without a bound. Whatever the answer, there must be one.
#[test]
fn no_source_overflows_the_stack_of_the_parser() {
    let world = World::new();
    const LONGEST: usize = 128 * 1024;
    let filled = |head: &str, unit: &str, tail: &str| {
        let units = (LONGEST - head.len() - tail.len()) / unit.len();
        format!("{head}{}{tail}", unit.repeat(units))
    };
    for source in [
        filled("", "(", ""),
        filled("", "[", ""),
        filled("", "{", ""),
        filled("", "#{a:", ""),
        filled("", "!", "true"),
        filled("", "-", "1"),
        filled("1", "+1", ""),
        filled("let x = 1; x", "+x", ""),
        filled("let x = 1; x", "**x", ""),
        filled("let x = 1; x", "??x", ""),
        filled("let x = true; x", "&&x", ""),
        filled("let x = 1; x", ".x", ""),
        filled("let x = 1; x", "[0]", ""),
        filled("let x = 1; x", ".f()", ""),
        filled("let x = 1; if x==0{}", "else if x==0{}", ""),
        filled("", "if true {", ""),
        filled("", "while true {", ""),
        filled("", "try{", ""),
        filled("", "||", "1"),
        filled("", "|x|", "1"),
        filled("", "fn f(){", ""),
        filled("", "f(", ""),
        filled("", "switch 1{1=>", ""),
        filled("", "`${", ""),
        filled("", "/*", ""),
        filled("", "return ", "1"),
        filled("", "throw ", "1"),
        filled("let x = 1; x", "=x", ""),
        filled("", "a::", "b()"),
        filled("", "let a=", "1"),
        filled("", "Fn(", ""),
        filled("", ";", ""),
        filled("", "\0", ""),
        filled("\"", "\\", ""),
    ] {
        let limits = Limits { max_expr_depth: 128, ..limits() };
        let _either = world.check_within("main", Endpoint, &source, &[], limits);
    }
    assert!(world.check("main", Endpoint, "1", &[]).is_ok());
}
