use super::*;

fn schedule(expression: &str, zone: &str) -> CronSchedule {
    CronSchedule { expression: expression.parse().unwrap(), time_zone: zone.parse().unwrap() }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next ticks after that moment, as they are written with the zone's offset.
fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(expression, zone);
    let ticks = std::iter::successors(schedule.next_after(at(after)), |tick| schedule.next_after(*tick));
    let written = |tick: Timestamp| {
        let tick = Instant::from_millisecond(tick.as_millis()).unwrap();
        let offset = schedule.time_zone.zone.to_offset(tick);
        tick.display_with_offset(offset).to_string()
    };
    ticks.take(count).map(written).collect()
}

/// Days and times of a year, without the seconds, of ticks that all have them.
fn short(ticks: Vec<String>) -> Vec<String> {
    ticks.into_iter().map(|tick| tick.replace(":00+", "+").replace(":00-", "-")[5..].to_owned()).collect()
}

#[test]
fn fields_take_numbers_names_ranges_steps_and_lists() {
    let from = "2026-01-01T00:00:00Z";
    for (expression, ticks) in [
        ("0 3 * * *", ["01-01T03:00+00:00", "01-02T03:00+00:00"]),
        ("* * * * *", ["01-01T00:01+00:00", "01-01T00:02+00:00"]),
        ("*/25 * * * *", ["01-01T00:25+00:00", "01-01T00:50+00:00"]),
        ("10-30/20 4,5 * * *", ["01-01T04:10+00:00", "01-01T04:30+00:00"]),
        ("0 0 * jun,DEC *", ["06-01T00:00+00:00", "06-02T00:00+00:00"]),
        ("0 0 * 2-3 *", ["02-01T00:00+00:00", "02-02T00:00+00:00"]),
        ("0 12 * * sun", ["01-04T12:00+00:00", "01-11T12:00+00:00"]),
        ("0 12 * * 7", ["01-04T12:00+00:00", "01-11T12:00+00:00"]),
        ("0 12 * * 6-7", ["01-03T12:00+00:00", "01-04T12:00+00:00"]),
        ("0 12 * * Mon-Tue", ["01-05T12:00+00:00", "01-06T12:00+00:00"]),
        ("  0\t 12 31  * * ", ["01-31T12:00+00:00", "03-31T12:00+00:00"]),
    ] {
        assert_eq!(short(next(expression, "UTC", from, 2)), ticks, "{expression}");
    }
    assert_eq!(
        next("30,45 59 23 * * *", "UTC", from, 3),
        ["2026-01-01T23:59:30+00:00", "2026-01-01T23:59:45+00:00", "2026-01-02T23:59:30+00:00"]
    );
    assert_eq!(next("* * * * * *", "UTC", "2026-01-01T00:00:00.001Z", 1), ["2026-01-01T00:00:01+00:00"]);
}

#[test]
fn a_day_is_as_either_field_says_and_as_both_say_where_one_begins_with_a_star() {
    // 2026-03-01 is a Sunday.
    let from = "2026-02-28T12:00:00Z";
    for (days, ticks) in [
        ("3 * fri", ["03-03T00:00+00:00", "03-06T00:00+00:00", "03-13T00:00+00:00"]),
        ("* * fri", ["03-06T00:00+00:00", "03-13T00:00+00:00", "03-20T00:00+00:00"]),
        ("*/2 * fri", ["03-13T00:00+00:00", "03-27T00:00+00:00", "04-03T00:00+00:00"]),
        ("13 * *", ["03-13T00:00+00:00", "04-13T00:00+00:00", "05-13T00:00+00:00"]),
    ] {
        assert_eq!(short(next(&format!("0 0 {days}"), "UTC", from, 3)), ticks, "{days}");
    }
}

#[test]
fn leap_days_are_found_however_far_off() {
    let leap = next("0 0 29 2 *", "UTC", "2092-03-01T00:00:00Z", 2);
    assert_eq!(leap, ["2096-02-29T00:00:00+00:00", "2104-02-29T00:00:00+00:00"]);
    // Only where both fields count, since one begins with a star: a Sunday.
    let sundays = next("0 0 29 2 */7", "UTC", "2026-01-01T00:00:00Z", 4);
    assert_eq!(
        sundays.iter().map(|day| &day[..10]).collect::<Vec<_>>(),
        ["2032-02-29", "2060-02-29", "2088-02-29", "2128-02-29"]
    );
}

#[test]
fn what_is_no_expression_is_refused_with_its_field() {
    let refused = |text: &str| text.parse::<CronExpression>().unwrap_err();
    assert_eq!(refused(""), InvalidExpression::Length);
    assert_eq!(refused(&"*".repeat(129)), InvalidExpression::Length);
    for text in [" ", "* * * *", "* * * * * * *", "@daily"] {
        assert_eq!(refused(text), InvalidExpression::Fields, "{text}");
    }
    for (text, field) in [
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * 32 * *", "day of month"),
        ("* * L * *", "day of month"),
        ("* * ? * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * mon *", "month"),
        ("* * * * 8", "day of week"),
        ("* * * * fri-mon", "day of week"),
        ("* * * * jan", "day of week"),
        ("60 * * * * *", "second"),
        ("*/0 * * * *", "minute"),
        ("5/10 * * * *", "minute"),
        ("-5 * * * *", "minute"),
        ("+5 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("1- * * * *", "minute"),
        ("*/ * * * *", "minute"),
        ("** * * * *", "minute"),
        ("007 * * * *", "minute"),
        ("1-2-3 * * * *", "minute"),
        ("99999999999 * * * *", "minute"),
    ] {
        let InvalidExpression::Field { name, .. } = refused(text) else { panic!("{text}") };
        assert_eq!(name, field, "{text}");
    }
    for never in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 2 */2"] {
        assert_eq!(refused(never), InvalidExpression::Never, "{never}");
    }
    // A day of the week does it.
    assert!("0 0 31 2 mon".parse::<CronExpression>().is_ok());
    assert!(format!("{}1 * * * *", "1,".repeat(59)).parse::<CronExpression>().is_ok());
}

#[test]
fn zones_are_those_of_the_database_by_its_own_names() {
    let zone = |text: &str| text.parse::<CronZone>().map(|zone| zone.to_string());
    assert_eq!(zone("europe/zurich").as_deref(), Ok("Europe/Zurich"));
    assert_eq!(zone("utc").as_deref(), Ok("UTC"));
    assert_eq!(CronZone::default(), "UTC".parse().unwrap());
    for bad in ["", "Europe/Bern", "+01:00", "Etc/Unknown", "Europe/Zurich\0", &"a".repeat(100)] {
        assert_eq!(zone(bad), Err(InvalidZone), "{bad}");
    }
}

#[test]
fn a_time_that_is_skipped_ticks_once_when_the_clocks_are_set() {
    for (expression, zone, after, ticks) in [
        // 2026-03-29, 02:00 -> 03:00.
        (
            "30 2 * * *",
            "Europe/Zurich",
            "2026-03-28T00:00:00Z",
            ["03-28T02:30+01:00", "03-29T03:00+02:00", "03-30T02:30+02:00"],
        ),
        (
            "*/20 2 * * *",
            "Europe/Zurich",
            "2026-03-28T12:00:00Z",
            ["03-29T03:00+02:00", "03-30T02:00+02:00", "03-30T02:20+02:00"],
        ),
        // With a time that it coincides with, it is one tick.
        (
            "30 1-3 * * *",
            "Europe/Zurich",
            "2026-03-29T00:00:00Z",
            ["03-29T01:30+01:00", "03-29T03:00+02:00", "03-29T03:30+02:00"],
        ),
        (
            "0 2,3 * * *",
            "Europe/Zurich",
            "2026-03-29T00:00:00Z",
            ["03-29T03:00+02:00", "03-30T02:00+02:00", "03-30T03:00+02:00"],
        ),
        // 2026-03-08, 02:00 -> 03:00.
        (
            "15 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["03-08T03:00-04:00", "03-09T02:15-04:00", "03-10T02:15-04:00"],
        ),
        // 2026-10-04, 02:00 -> 02:30.
        (
            "15,45 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            ["10-04T02:30+11:00", "10-04T02:45+11:00", "10-05T02:15+11:00"],
        ),
        // 2026-04-24, 00:00 -> 01:00: the day begins an hour later.
        (
            "0 0 * * *",
            "Africa/Cairo",
            "2026-04-23T12:00:00Z",
            ["04-24T01:00+03:00", "04-25T00:00+03:00", "04-26T00:00+03:00"],
        ),
    ] {
        assert_eq!(short(next(expression, zone, after, 3)), ticks, "{expression} {zone}");
    }
}

#[test]
fn a_time_that_comes_twice_ticks_the_first_time() {
    for (expression, zone, after, ticks) in [
        // 2026-10-25, 03:00 -> 02:00.
        (
            "30 2 * * *",
            "Europe/Zurich",
            "2026-10-24T12:00:00Z",
            ["10-25T02:30+02:00", "10-26T02:30+01:00", "10-27T02:30+01:00"],
        ),
        (
            "0,30 2-3 * * *",
            "Europe/Zurich",
            "2026-10-25T00:00:00Z",
            ["10-25T02:30+02:00", "10-25T03:00+01:00", "10-25T03:30+01:00"],
        ),
        // Asked for within the second time.
        (
            "*/10 2 * * *",
            "Europe/Zurich",
            "2026-10-25T01:15:00Z",
            ["10-26T02:00+01:00", "10-26T02:10+01:00", "10-26T02:20+01:00"],
        ),
        // 2026-11-01, 02:00 -> 01:00.
        (
            "59 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            ["11-01T01:59-04:00", "11-02T01:59-05:00", "11-03T01:59-05:00"],
        ),
        // 2026-04-05, 02:00 -> 01:30.
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T12:00:00Z",
            ["04-05T01:45+11:00", "04-06T01:45+10:30", "04-07T01:45+10:30"],
        ),
    ] {
        assert_eq!(short(next(expression, zone, after, 3)), ticks, "{expression} {zone}");
    }
}

#[test]
fn a_schedule_of_all_hours_goes_by_the_time_that_passes() {
    for (expression, zone, after, ticks) in [
        (
            "*/30 * * * *",
            "Europe/Zurich",
            "2026-03-29T00:00:00Z",
            ["03-29T01:30+01:00", "03-29T03:00+02:00", "03-29T03:30+02:00", "03-29T04:00+02:00"],
        ),
        (
            "15 * * * *",
            "America/New_York",
            "2026-03-08T06:00:00Z",
            ["03-08T01:15-05:00", "03-08T03:15-04:00", "03-08T04:15-04:00", "03-08T05:15-04:00"],
        ),
        (
            "*/30 * * * *",
            "Europe/Zurich",
            "2026-10-25T00:00:00Z",
            ["10-25T02:30+02:00", "10-25T02:00+01:00", "10-25T02:30+01:00", "10-25T03:00+01:00"],
        ),
        (
            "0 0-23 * * *",
            "America/New_York",
            "2026-11-01T04:00:00Z",
            ["11-01T01:00-04:00", "11-01T01:00-05:00", "11-01T02:00-05:00", "11-01T03:00-05:00"],
        ),
        (
            "*/20 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:30:00Z",
            ["04-05T01:40+11:00", "04-05T01:40+10:30", "04-05T02:00+10:30", "04-05T02:20+10:30"],
        ),
        (
            "*/20 * * * *",
            "Australia/Lord_Howe",
            "2026-10-03T15:10:00Z",
            ["10-04T02:40+11:00", "10-04T03:00+11:00", "10-04T03:20+11:00", "10-04T03:40+11:00"],
        ),
    ] {
        assert_eq!(short(next(expression, zone, after, 4)), ticks, "{expression} {zone}");
    }
}

#[test]
fn time_ends_and_ticks_with_it() {
    assert_eq!(schedule("* * * * *", "UTC").next_after(Timestamp::from_millis(i64::MAX)), None);
    assert_eq!(schedule("0 0 29 2 *", "Asia/Tokyo").next_after(at("9998-01-01T00:00:00Z")), None);
    for zone in ["UTC", "Europe/Zurich"] {
        assert!(schedule("0 3 * * *", zone).next_after(Timestamp::from_millis(i64::MIN)).is_some());
    }
}

fn due(expression: &str, ticked_at: &str, now: &str, misfire: Misfire) -> Option<Vec<String>> {
    let due = schedule(expression, "UTC").due(at(ticked_at), at(now), misfire)?;
    assert!(due.ticks.last().is_none_or(|last| *last == due.until));
    Some(due.ticks.iter().map(|tick| tick.to_string()[11..19].to_owned()).collect())
}

#[test]
fn nothing_is_due_before_its_time_or_twice() {
    for misfire in [Misfire::Skip, Misfire::Once, Misfire::All] {
        let due = |ticked_at, now| due("0 3 * * *", ticked_at, now, misfire);
        assert_eq!(due("2026-01-01T00:00:00Z", "2026-01-01T02:59:59.999Z"), None);
        assert_eq!(due("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z"), Some(vec!["03:00:00".to_owned()]));
        assert_eq!(due("2026-01-01T03:00:00Z", "2026-01-01T03:00:00Z"), None);
        assert_eq!(due("2026-01-01T03:00:00Z", "2026-01-02T02:00:00Z"), None);
        // Of a clock that went back.
        assert_eq!(due("2026-01-01T03:00:00Z", "2020-01-01T00:00:00Z"), None);
    }
}

#[test]
fn missed_ticks_are_skipped_made_as_one_or_all_made() {
    let due = |now, misfire| due("*/10 * * * *", "2026-01-01T00:00:00Z", now, misfire).unwrap();
    // An hour and more later; the last one is late by five minutes, or not late.
    for (now, skip, last) in [
        ("2026-01-01T00:35:00Z", vec![], "00:30:00"),
        ("2026-01-01T00:31:00Z", vec!["00:30:00"], "00:30:00"),
        ("2026-01-01T00:31:00.001Z", vec![], "00:30:00"),
        ("2026-01-01T00:40:00Z", vec!["00:40:00"], "00:40:00"),
    ] {
        assert_eq!(due(now, Misfire::Skip), skip);
        assert_eq!(due(now, Misfire::Once), [last]);
    }
    assert_eq!(due("2026-01-01T00:35:00Z", Misfire::All), ["00:10:00", "00:20:00", "00:30:00"]);
    // What was skipped is done with.
    let skipped =
        schedule("*/10 * * * *", "UTC").due(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:35:00Z"), Misfire::Skip);
    assert_eq!(skipped.unwrap().until, at("2026-01-01T00:30:00Z"));
}

#[test]
fn of_years_of_missed_ticks_the_newest_hundred_are_made() {
    let schedule = schedule("* * * 1 * *", "UTC");
    let due = schedule.due(at("1970-01-01T00:00:00Z"), at("2026-05-31T00:00:00Z"), Misfire::All).unwrap();
    assert_eq!(due.ticks.len(), MAX_MISSED);
    assert_eq!((due.ticks[0], due.until), (at("2026-05-01T23:58:20Z"), at("2026-05-01T23:59:59Z")));
    assert!(due.ticks.is_sorted());
}
