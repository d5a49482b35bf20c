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
        ("Fn(\"f\").curry(1)", at("Expecting name of a property", 1, 9)),
        ("curry(|x| x, 1)", at("reserved keyword 'curry' is disabled", 1, 1)),
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

/// Rhai looks for what a call could mean in each combination of its arguments' types, within one operation.
#[test]
fn calls_have_8_arguments_and_closures_capture_16_variables() {
    let world = World::new();
    let list = |count: usize, name: &str| (0..count).map(|n| format!("{name}{n}")).collect::<Vec<_>>().join(", ");
    let ones = |count| vec!["1"; count].join(", ");
    let parameters = |count| format!("fn f({}) {{ 1 }}", list(count, "p"));
    let captures = |count| format!("let f = || [{}];", list(count, "a"));
    for good in [
        format!("{} f({})", parameters(8), ones(8)),
        format!("import \"m\" as m; m::f({})", ones(8)),
        format!("1.f({})", ones(7)),
        captures(16),
    ] {
        assert!(world.check("main", Endpoint, &good, &[("m", Module, "")]).is_ok(), "{good}");
    }
    for (bad, position) in [
        (format!("f({})", ones(9)), (1, 1)),
        (format!("\n f({});", ones(3_000)), (2, 2)),
        (format!("let x = [f({})];", ones(9)), (1, 10)),
        (format!("1.f({})", ones(8)), (1, 3)),
        (format!("let f = |x| x; f.call({})", ones(8)), (1, 18)),
        (format!("import \"m\" as m; m::f({})", ones(9)), (1, 21)),
        (format!("fn g() {{ loop {{ break f({}); }} }}", ones(9)), (1, 23)),
        (format!("switch 1 {{ 1 if f({}) => 2, _ => 3 }}", ones(9)), (1, 17)),
        (format!("`${{f({})}}`", ones(9)), (1, 4)),
    ] {
        let error = world.check("main", Endpoint, &bad, &[("m", Module, "")]).unwrap_err();
        assert_eq!(error.message, "a call has too many arguments, with the object of a method: at most 8", "{bad}");
        assert_eq!((error.line, error.column), (Some(position.0), Some(position.1)), "{bad}");
    }
    for bad in [
        captures(17),
        // What the optimiser knows is captured all the same.
        format!("{} {}", (0..17).map(|n| format!("const a{n} = {n};")).collect::<String>(), captures(17)),
        format!("fn g({}) {{ {} f }}", list(17, "a"), captures(17)),
    ] {
        let error = world.check("main", Endpoint, &bad, &[]).unwrap_err();
        assert_eq!(error.message, "a closure captures too many variables: at most 16", "{bad}");
        assert_eq!(error.line, Some(1));
        assert!(error.column.is_some());
    }
}

#[test]
fn a_closure_that_uses_ctx_where_it_would_fail_is_refused_and_no_other() {
    let world = World::new();
    for (bad, column) in [
        ("ctx.request.query.keys().map(|x| ctx.request.query[x])", 34),
        ("let n = 1; ctx.request.body.items.filter(|x| x > n + ctx.request.body.n).len()", 54),
        ("if true { ctx.request.body.items.map(|x| [x].map(|y| y + ctx.request.body.n)) }", 58),
    ] {
        let error = world.check("main", Endpoint, bad, &[]).unwrap_err();
        assert!(error.message.starts_with("a closure cannot use `ctx` where"), "{bad}: {}", error.message);
        assert_eq!((error.line, error.column), (Some(1), Some(column)), "{bad}");
    }
    for good in [
        "let items = ctx.request.body.items; items.map(|x| x + ctx.request.body.n)",
        "let names = [\"a\"]; ctx.request.query[names.filter(|x| x in ctx.request.query)[0]]",
        "fn f(g) { g.call() } ctx.request.query.get(f(|| ctx.request.method))",
        "ctx.request.body.items.map(|x| x + 1)",
        "let f = |x| ctx.request.method; ctx.request.method == f.call(1)",
    ] {
        assert!(world.check("main", Endpoint, good, &[]).is_ok(), "{good}");
    }
}

/// What its names cost is counted while a source is read. With 9,000 names the first took 45 s to compile.
#[test]
fn a_source_whose_names_would_take_long_to_compile_is_refused_before_they_have() {
    const LONGEST: usize = 128 * 1024;
    let world = World::new();
    let names = |count: usize| (0..count).map(|n| format!("N{n:X}")).collect::<Vec<_>>();
    let lets = |count| names(count).iter().map(|name| format!("let {name};")).collect::<String>();
    let filled = |head: String, unit: &dyn Fn(usize) -> String, tail: &str| {
        let mut source = head;
        for number in 0.. {
            let unit = unit(number);
            if source.len() + unit.len() + tail.len() > LONGEST {
                break;
            }
            source += &unit;
        }
        source + tail
    };
    for source in [
        format!("{} let z = {} [{}]; 1", lets(7_000), "||".repeat(14), names(7_000).join(",")),
        format!("{} let z = {} [{}]; 1", lets(2_000), "||".repeat(10), names(2_000).join(",")),
        filled(lets(4_000), &|_| "N0;".to_owned(), "1"),
        filled(lets(4_000), &|_| "x.y;".to_owned(), "1"),
        filled(String::new(), &|n| format!("||N{n:X};"), "1"),
        filled("let f = ||{".to_owned(), &|n| format!("N{n:X};||{n};"), "};"),
        filled(String::new(), &|_| format!("let z={}[{}];", "||".repeat(14), names(100).join(",")), "1"),
        filled("fn f(".to_owned(), &|n| format!("N{n:X},"), "z){}"),
        filled("switch 1{".to_owned(), &|n| format!("{n}=>1,"), "_=>1}"),
    ] {
        let limits = Limits { max_expr_depth: 128, ..limits() };
        let error = world.check_within("main", Endpoint, &source, &[], limits).unwrap_err();
        assert!(error.message.starts_with("the source has too many names"), "{}: {}", &source[..60], error.message);
        assert_eq!(error.line, Some(1));
    }
    // The largest that people write are far from it.
    let handler = |n: usize| {
        format!(
            "fn handler_{n}(ctx, order) {{ let total = 0; for item in order.items {{ if item.price > 0 {{ total += item.price * \
             item.quantity; }} }} let dear = order.items.filter(|item| item.price > total / 2); log::info(`order ${{order.id}}`, \
             #{{ total: total, dear: dear.len() }}); respond(201, #{{ id: order.id, total: total }}) }}\n"
        )
    };
    assert!(world.check("main", Endpoint, &filled(String::new(), &handler, "1"), &[]).is_ok());
    let values =
        |n: usize| format!("let value_{n} = ctx.request.query.value_{n}; if value_{n} == () {{ value_{n} = {n}; }}\n");
    let values: String = (0..600).map(values).collect();
    assert!(world.check("main", Endpoint, &values, &[]).is_ok());
}

#[test]
fn a_program_too_large_in_memory_is_refused() {
    let world = World::new();
    let captured: Vec<_> = (0..16).map(|n| format!("a{n}")).collect();
    // Much memory for each byte of the source, and little time.
    let module = format!("||[{}];", captured.join(",")).repeat(700) + &"f();".repeat(20_000);
    let others: Vec<_> = (0..8).map(|n| (format!("m{n}"), Module, module.as_str())).collect();
    let others: Vec<_> = others.iter().map(|(name, kind, source)| (name.as_str(), *kind, *source)).collect();
    let import = |count: usize| (0..count).map(|n| format!("import \"m{n}\" as m{n};")).collect::<String>();
    assert!(world.check("main", Endpoint, &import(2), &others).is_ok());
    let error = world.check("main", Endpoint, &import(8), &others).unwrap_err();
    assert!(error.message.contains("a script takes at most 60 MiB once it is compiled"), "{}", error.message);
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
