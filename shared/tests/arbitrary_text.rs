//! Parsers met with arbitrary text: they never panic, and what they accept keeps their promises.

use std::sync::Arc;

use http::Method;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern, RequestPath};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use picloud_shared::routing::{RouteTable, RouteVerdict};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use uuid::Uuid;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, rng_seed: RngSeed::Fixed(20_260_101), ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_host_that_reads_as_itself_or_is_refused(
        text in prop_oneof![any::<String>(), r"[a-cA-C0-9xn.:@\[\]_%éß。\u{ad}\u{200d}א-]{0,24}", r"\[[0-9a-f:.]{0,24}\](:[0-9]{0,6})?"],
    ) {
        if let Ok(host) = Host::parse_authority(&text) {
            let name = host.as_str();
            prop_assert!((1..=253).contains(&name.len()));
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:[]".contains(&b)));
            prop_assert_eq!(Host::parse_authority(name), Ok(host.clone()));
            let with_port = format!("{name}:443");
            prop_assert_eq!(Host::parse_authority(&with_port), Ok(host.clone()));
            if !name.starts_with('[') {
                let shouted = format!("{}.", name.to_uppercase());
                prop_assert_eq!(Host::parse_authority(&shouted), Ok(host.clone()));
            }
        }
    }

    #[test]
    fn any_text_is_a_claim_that_reads_as_it_shows_or_is_refused(
        text in prop_oneof![any::<String>(), r"(\*\.|\{[a-z_é]{0,3}\}\.)?[a-cA-C0-9x.:_é*{}-]{0,16}"],
    ) {
        if let Ok(pattern) = text.parse::<DomainPattern>() {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern.clone()));
            let shape: DomainPattern = pattern.shape_key().parse().unwrap();
            prop_assert_eq!(shape.shape_key(), pattern.shape_key());
            prop_assert!(shape.overlaps(&pattern));
        }
    }

    #[test]
    fn any_text_is_a_path_of_one_segment_a_slash_or_is_refused(
        text in prop_oneof![any::<String>(), r"/[a./%0-9A-Fé:*\\]{0,16}"],
        taken in 0_usize..6,
    ) {
        if let Ok(path) = RequestPath::parse(&text) {
            prop_assert_eq!(path.segments().len(), text.matches('/').count());
            prop_assert!(!path.segments().iter().any(|s| s == "." || s == ".." || s.contains('\0')));
            prop_assert!(text.ends_with(path.rest_after(taken)));
        }
    }

    #[test]
    fn any_text_is_a_pattern_that_its_own_table_finds_or_is_refused(
        text in prop_oneof![any::<String>(), r"(/|/[a-b]|/:[a-b]|/%6[0-9]|/\*|/\.|[:*%é]){0,8}"],
        kind in select(vec![PathKind::Exact, PathKind::Param, PathKind::Prefix]),
    ) {
        if let Ok(path) = PathPattern::parse(kind, &text) {
            let route = Route {
                id: RouteId::from_uuid(Uuid::from_u128(1)),
                app_id: AppId::from_uuid(Uuid::from_u128(2)),
                script_id: ScriptId::from_uuid(Uuid::from_u128(3)),
                pattern: RoutePattern { host: HostSelector::Any, path, method: RouteMethod::Get },
                is_async: false,
            };
            let table = RouteTable::new([Arc::new(route)]);
            let (host, path) = (Host::parse("x").unwrap(), RequestPath::parse(&text).unwrap());
            let verdict = table.find(&host, &path, &Method::GET);
            prop_assert!(matches!(verdict, RouteVerdict::Matched(_)), "{}", text);
        }
    }
}
