//! Calendar and clock face: `time::add`, `time::diff`, `time::parts` and `time::from_parts`.
//!
//! Days, weeks, months and years are those of a time zone, where a day may have 23 or 25 hours; smaller units are exact.

use jiff::civil::DateTime;
use jiff::{Span, Unit, ZonedDateTime};
use rhai::{Dynamic, FuncRegistration, Map, Module, NativeCallContext};

use super::{UTC, WORK_BYTES, millis, moment, zone};
use crate::failure::bounded;
use crate::limits::charge_bytes;
use crate::sdk::native::{Fallible, cut, fits_map, short, thrown};

/// The units by name, with the milliseconds of those that have the same everywhere.
const UNITS: [(&str, Unit, i64); 8] = [
    ("years", Unit::Year, 0),
    ("months", Unit::Month, 0),
    ("weeks", Unit::Week, 0),
    ("days", Unit::Day, 0),
    ("hours", Unit::Hour, 3_600_000),
    ("minutes", Unit::Minute, 60_000),
    ("seconds", Unit::Second, 1_000),
    ("milliseconds", Unit::Millisecond, 1),
];

/// Registers the functions into the module `time`.
pub fn register(module: &mut Module) {
    type Call<'a> = NativeCallContext<'a>;
    let function = FuncRegistration::new;
    function("add").set_into_module(module, |call: Call, time: i64, span: Map| add(&call, time, &span, UTC));
    function("add")
        .set_into_module(module, |call: Call, time: i64, span: Map, zone: &str| add(&call, time, &span, zone));
    function("diff")
        .set_into_module(module, |call: Call, from: i64, to: i64, unit: &str| diff(&call, from, to, unit, UTC));
    function("diff").set_into_module(module, |call: Call, from: i64, to: i64, unit: &str, zone: &str| {
        diff(&call, from, to, unit, zone)
    });
    function("parts").set_into_module(module, |call: Call, time: i64| parts(&call, time, UTC));
    function("parts").set_into_module(module, |call: Call, time: i64, zone: &str| parts(&call, time, zone));
    function("from_parts").set_into_module(module, |call: Call, parts: Map| from_parts(&call, &parts, UTC));
    function("from_parts")
        .set_into_module(module, |call: Call, parts: Map, zone: &str| from_parts(&call, &parts, zone));
}

fn zoned(call: &NativeCallContext, name: &str, time: i64, zone_name: &str) -> Fallible<ZonedDateTime> {
    Ok(moment(call, name, time)?.to_zoned_datetime(zone(call, name, zone_name)?))
}

fn unit(call: &NativeCallContext, name: &str, unit: &str) -> Fallible<(Unit, i64)> {
    let known = UNITS.iter().find(|(known, ..)| *known == unit);
    known.map(|(_, unit, millis)| (*unit, *millis)).ok_or_else(|| {
        let names = UNITS.map(|(name, ..)| name).join(", ");
        thrown(call, format!("time::{name}: there is no unit {:?}; there are {names}", cut(unit)))
    })
}

fn integer(call: &NativeCallContext, name: &str, key: &str, value: &Dynamic) -> Fallible<i64> {
    value.as_int().map_err(|kind| thrown(call, format!("time::{name}: {key} is an integer, not {}", short(kind))))
}

/// Adds years and months first, then weeks and days, both on the calendar; then what is exact. Each may be negative.
fn add(call: &NativeCallContext, time: i64, map: &Map, zone_name: &str) -> Fallible<i64> {
    charge_bytes(WORK_BYTES)?;
    let outside = || thrown(call, "time::add: the sum is no time of the years -9999 to 9999");
    let (mut months, mut days, mut exact) = (0_i64, 0_i64, 0_i64);
    for (key, value) in map {
        let (unit, unit_millis) = unit(call, "add", key)?;
        let (sum, factor) = match unit {
            Unit::Year => (&mut months, 12),
            Unit::Month => (&mut months, 1),
            Unit::Week => (&mut days, 7),
            Unit::Day => (&mut days, 1),
            _ => (&mut exact, unit_millis),
        };
        let count = integer(call, "add", key, value)?.checked_mul(factor);
        *sum = count.and_then(|count| sum.checked_add(count)).ok_or_else(outside)?;
    }
    let time = zoned(call, "add", time, zone_name)?;
    let on_calendar = || -> Option<i64> {
        let months = Span::new().try_months(months).ok()?;
        let days = Span::new().try_days(days).ok()?;
        let shown = time.datetime().checked_add(months).ok()?.checked_add(days).ok()?;
        Some(millis(time.time_zone().to_timestamp(shown).ok()?))
    };
    // A moment that is not moved on the calendar stays what it is, where clocks show it twice, too.
    let moved = if months == 0 && days == 0 { Some(millis(time.timestamp())) } else { on_calendar() };
    let sum = moved.and_then(|moved| moved.checked_add(exact)).ok_or_else(outside)?;
    jiff::Timestamp::from_millisecond(sum).map(|_| sum).map_err(|_| outside())
}

/// Whole units from one moment to another; negative where `to` is the earlier.
fn diff(call: &NativeCallContext, from: i64, to: i64, unit_name: &str, zone_name: &str) -> Fallible<i64> {
    charge_bytes(WORK_BYTES)?;
    let (unit, unit_millis) = unit(call, "diff", unit_name)?;
    let (first, last) = (zoned(call, "diff", from, zone_name)?, zoned(call, "diff", to, zone_name)?);
    if unit_millis > 0 {
        return Ok((to - from) / unit_millis);
    }
    let span = first.until((unit, &last)).map_err(|error| thrown(call, format!("time::diff: {}", bounded(&error))))?;
    Ok(match unit {
        Unit::Year => span.get_years().into(),
        Unit::Month => span.get_months().into(),
        Unit::Week => span.get_weeks().into(),
        _ => span.get_days().into(),
    })
}

fn parts(call: &NativeCallContext, time: i64, zone_name: &str) -> Fallible<Map> {
    charge_bytes(WORK_BYTES)?;
    let time = zoned(call, "parts", time, zone_name)?;
    let week = time.iso_week_date();
    let entries: [(&str, i64); 11] = [
        ("year", time.year().into()),
        ("month", time.month().into()),
        ("day", time.day().into()),
        ("hour", time.hour().into()),
        ("minute", time.minute().into()),
        ("second", time.second().into()),
        ("millisecond", time.millisecond().into()),
        ("weekday", time.weekday().to_monday_one_offset().into()),
        ("day_of_year", time.day_of_year().into()),
        ("week", week.week().into()),
        ("week_year", week.year().into()),
    ];
    fits_map(call, entries.len())?;
    Ok(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

/// The moment at which a zone's clocks show these parts. Where they show them twice it is the first time; where they skip
/// them it is as long after the skip as the parts are after its beginning (RFC 5545, 3.3.5).
fn from_parts(call: &NativeCallContext, map: &Map, zone_name: &str) -> Fallible<i64> {
    const KNOWN: [&str; 7] = ["year", "month", "day", "hour", "minute", "second", "millisecond"];
    charge_bytes(WORK_BYTES)?;
    let mut values = [None, Some(1), Some(1), Some(0), Some(0), Some(0), Some(0)];
    for (key, value) in map {
        let Some(at) = KNOWN.iter().position(|known| *known == key.as_str()) else {
            let (key, known) = (cut(key), KNOWN.join(", "));
            return Err(thrown(call, format!("time::from_parts: there is no part {key:?}; there are {known}")));
        };
        values[at] = Some(integer(call, "from_parts", key, value)?);
    }
    if values[0].is_none() {
        return Err(thrown(call, "time::from_parts: parts must have a year"));
    }
    let shown = shown(values).ok_or_else(|| thrown(call, "time::from_parts: there is no such date or time of day"))?;
    let time = zone(call, "from_parts", zone_name)?.to_timestamp(shown);
    Ok(millis(time.map_err(|error| thrown(call, format!("time::from_parts: {}", bounded(&error))))?))
}

/// What a calendar and a clock show, if they can.
fn shown([year, month, day, hour, minute, second, millisecond]: [Option<i64>; 7]) -> Option<DateTime> {
    let small = |value: Option<i64>| i8::try_from(value?).ok();
    let millisecond = millisecond.filter(|value| (0..1_000).contains(value))?;
    let nanosecond = i32::try_from(millisecond).ok()? * 1_000_000;
    let year = i16::try_from(year?).ok()?;
    DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, nanosecond).ok()
}
