//! `time::*`: moments as integer milliseconds since 1970-01-01T00:00:00Z, so that they go through JSON unchanged.
//!
//! Moments lie in the years -9999 to 9999. Time zones come from the IANA database that is built in, and from nowhere else,
//! so that a script means the same on each machine.

mod calendar;

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use rhai::{Dynamic, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};

use super::log;
use super::native::{self, Fallible, cut, fits_map, fits_string, thrown};
use crate::failure::bounded;
use crate::limits::charge_bytes;
use crate::memory::beside;

/// What one step with a calendar and a time zone costs in bytes of work: some 2 us.
const WORK_BYTES: usize = 200;
/// Bytes of a pattern. A directive writes 255 characters at most, and one that writes so many is three bytes long or more.
const MAX_PATTERN_BYTES: usize = 256;
const UTC: &str = "UTC";

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("now").with_volatility(true).set_into_module(module, clock_millis);
        FuncRegistration::new("parse").set_into_module(module, parse);
        let format = || FuncRegistration::new("format");
        format().set_into_module(module, |call: NativeCallContext, time: i64| rfc3339(&call, time, UTC));
        format().set_into_module(module, |call: NativeCallContext, time: i64, zone: &str| rfc3339(&call, time, zone));
        format().set_into_module(module, by_pattern);
        FuncRegistration::new("zone").set_into_module(module, zone_at);
        calendar::register(module);
    })
});

/// The module `time`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// The time by the run's clock.
pub fn clock_millis() -> i64 {
    // Natives are called by runs only, each of which has a clock.
    log::now().map_or(0, picloud_shared::clock::Timestamp::as_millis)
}

/// A moment that is within bounds.
fn moment(call: &NativeCallContext, name: &str, millis: i64) -> Fallible<Timestamp> {
    Timestamp::from_millisecond(millis).map_err(|_| {
        thrown(call, format!("time::{name}: {millis} is no time in milliseconds of the years -9999 to 9999"))
    })
}

/// A moment as milliseconds; a part of one counts as begun, before 1970 as after.
fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// A time zone by its IANA name, in any case.
fn zone(call: &NativeCallContext, name: &str, zone: &str) -> Fallible<TimeZone> {
    // A zone is kept once it was read, and there are some 600.
    beside(|| ZONES.get(cut(zone))).ok().filter(|zone| !zone.is_unknown()).ok_or_else(|| {
        let zone = cut(zone);
        thrown(call, format!("time::{name}: there is no time zone {zone:?}; name one as Europe/Vienna or UTC"))
    })
}

/// Whether a text has the form of RFC 3339, 5.6; whether it is a time is jiff's to say, which reads other forms, too.
fn has_form(text: &str) -> bool {
    let shaped = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't' | b' '),
                b'+' => matches!(byte, b'+' | b'-'),
                form => byte == form,
            })
    };
    let Some((time, mut rest)) = text.as_bytes().split_at_checked(19) else {
        return false;
    };
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    shaped(time, b"0000-00-00T00:00:00") && (matches!(rest, b"Z" | b"z") || shaped(rest, b"+00:00"))
}

fn parse(call: NativeCallContext, text: &str) -> Fallible<i64> {
    charge_bytes(WORK_BYTES)?;
    let parsed = if has_form(text) { text.parse::<Timestamp>().ok() } else { None };
    parsed.map(millis).ok_or_else(|| {
        let text = cut(text);
        thrown(&call, format!("time::parse: {text:?} is no time as RFC 3339 writes it, such as 2026-01-31T12:00:00Z"))
    })
}

/// RFC 3339 with three decimals: `Z` for UTC, the offset of the zone otherwise.
fn rfc3339(call: &NativeCallContext, time: i64, zone_name: &str) -> Fallible<ImmutableString> {
    charge_bytes(WORK_BYTES)?;
    let time = moment(call, "format", time)?;
    let text = if zone_name == UTC {
        format!("{time:.3}")
    } else {
        let offset = zone(call, "format", zone_name)?.to_offset(time);
        format!("{:.3}", time.display_with_offset(offset))
    };
    fits_string(call, text.len())?;
    Ok(text.into())
}

/// By a pattern of `strftime`.
fn by_pattern(call: NativeCallContext, time: i64, zone_name: &str, pattern: &str) -> Fallible<ImmutableString> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(thrown(&call, format!("time::format: pattern has at most {MAX_PATTERN_BYTES} bytes")));
    }
    charge_bytes(WORK_BYTES * (1 + pattern.len()))?;
    let time = moment(&call, "format", time)?.to_zoned_datetime(zone(&call, "format", zone_name)?);
    let text = strtime::format(pattern, &time)
        .map_err(|error| thrown(&call, format!("time::format: pattern: {}", bounded(&error))))?;
    fits_string(&call, text.len())?;
    Ok(text.into())
}

/// What a zone has at a moment.
fn zone_at(call: NativeCallContext, time: i64, zone_name: &str) -> Fallible<Map> {
    charge_bytes(WORK_BYTES)?;
    let zone = zone(&call, "zone", zone_name)?;
    let info = zone.to_offset_info(moment(&call, "zone", time)?);
    let entries: [(&str, Dynamic); 4] = [
        ("name", zone.iana_name().unwrap_or(UTC).into()),
        ("abbreviation", info.abbreviation().into()),
        ("offset_seconds", i64::from(info.offset().seconds()).into()),
        ("dst", info.dst().is_dst().into()),
    ];
    fits_map(&call, entries.len())?;
    Ok(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_of_rfc_3339_is_read() {
        for text in [
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1937-01-01t12:00:27.87+00:20",
            "2026-01-01 00:00:00.123456789z",
        ] {
            assert!(has_form(text) && text.parse::<Timestamp>().is_ok(), "{text}");
        }
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00,5Z",
            "2026-01-01T00:00:00.1234567890Z",
            "2026-01-01T00:00:00+01",
            "2026-01-01T00:00:00Z[Europe/Vienna]",
            "20260101T000000Z",
            "+002026-01-01T00:00:00Z",
            "2026-01-01T00:00:0äZ",
        ] {
            assert!(!has_form(text), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_millisecond_counts_as_begun() {
        let read = |text: &str| millis(text.parse().unwrap());
        assert_eq!(read("1970-01-01T00:00:00.0019Z"), 1);
        assert_eq!(read("1969-12-31T23:59:59.9999Z"), -1);
    }
}
