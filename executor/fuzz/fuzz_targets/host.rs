//! Any text as a host, a claim, a path and a pattern: what is taken reads as it shows, and the rest is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::path_pattern::{PathKind, PathPattern, RequestPath};

fn host(text: &str) {
    let Ok(host) = Host::parse_authority(text) else {
        return;
    };
    let name = host.as_str();
    assert!((1..=253).contains(&name.len()), "{name}");
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:[]".contains(&b)), "{name}");
    assert_eq!(Host::parse_authority(name), Ok(host.clone()));
    assert_eq!(Host::parse_authority(&format!("{name}:443")), Ok(host.clone()));
    if !name.starts_with('[') {
        assert_eq!(Host::parse_authority(&format!("{}.", name.to_uppercase())), Ok(host.clone()));
    }
}

fn claim(text: &str) {
    let Ok(pattern) = text.parse::<DomainPattern>() else {
        return;
    };
    assert_eq!(pattern.to_string().parse(), Ok(pattern.clone()));
    let shape: DomainPattern = pattern.shape_key().parse().expect("a shape is a claim");
    assert_eq!(shape.shape_key(), pattern.shape_key());
    assert!(shape.overlaps(&pattern) && pattern.overlaps(&shape));
}

fn path(text: &str) {
    if let Ok(path) = RequestPath::parse(text) {
        assert_eq!(path.segments().len(), text.matches('/').count());
        assert!(!path.segments().iter().any(|s| s == "." || s == ".." || s.contains('\0')), "{text}");
        for taken in 0..6 {
            assert!(text.ends_with(path.rest_after(taken)));
        }
    }
    for kind in [PathKind::Exact, PathKind::Param, PathKind::Prefix] {
        if let Ok(pattern) = PathPattern::parse(kind, text) {
            assert_eq!(PathPattern::parse(kind, pattern.as_str()), Ok(pattern.clone()));
            assert!(RequestPath::parse(text).is_ok(), "a pattern is a path that can be asked for");
        }
    }
}

fuzz_target!(|text: &str| {
    host(text);
    claim(text);
    path(text);
});
