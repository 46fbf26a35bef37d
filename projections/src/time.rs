//! Times as people write them: RFC 3339, a span before now, or a day.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::Timestamp;

/// What [`since`] and [`until`] understand.
pub const EXPECTED: &str =
    "an RFC 3339 time, a span before now such as -24h, -30m or -7d, or a day such as 2026-11-23";

/// The first instant that is meant. `None`: the text is no time.
#[must_use]
pub fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    instant(text, now).or_else(|| Some(day(text)?.and_time(NaiveTime::MIN).and_utc()))
}

/// The last instant that is meant: of a day, its last microsecond.
#[must_use]
pub fn until(text: &str, now: Timestamp) -> Option<Timestamp> {
    instant(text, now).or_else(|| {
        let end = day(text)?.succ_opt()?.and_time(NaiveTime::MIN).and_utc();
        end.checked_sub_signed(TimeDelta::microseconds(1))
    })
}

fn instant(text: &str, now: Timestamp) -> Option<Timestamp> {
    match text.strip_prefix('-') {
        Some(span) => before(span, now),
        // a + that nobody escaped arrives as a space
        None => DateTime::parse_from_rfc3339(text)
            .or_else(|_| DateTime::parse_from_rfc3339(&text.replace(' ', "+")))
            .ok()
            .map(|at| at.with_timezone(&Utc)),
    }
}

fn before(span: &str, now: Timestamp) -> Option<Timestamp> {
    let (number, unit) = span.split_at_checked(span.len().checked_sub(1)?)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = number.parse().ok()?;
    let span = match unit {
        "s" => TimeDelta::try_seconds(number),
        "m" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        "w" => TimeDelta::try_weeks(number),
        _ => None,
    }?;
    now.checked_sub_signed(span)
}

fn day(text: &str) -> Option<NaiveDate> {
    (text.len() == "2026-11-23".len())
        .then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, first: &str, last: &str) {
        let now = since("2026-11-23T10:00:00Z", Timestamp::UNIX_EPOCH).expect("valid");
        let shown = |at: Option<Timestamp>| at.map_or("none".to_owned(), |at| at.to_rfc3339());
        assert_eq!(shown(since(text, now)), first, "since {text}");
        assert_eq!(shown(until(text, now)), last, "until {text}");
    }

    #[test]
    fn times_as_people_write_them() {
        let same = |text, at| check(text, at, at);
        same("2026-11-23T10:00:00Z", "2026-11-23T10:00:00+00:00");
        same(
            "2026-11-23T10:00:00.5+02:00",
            "2026-11-23T08:00:00.500+00:00",
        );
        same("2026-11-23T10:00:00 02:00", "2026-11-23T08:00:00+00:00");
        same("-24h", "2026-11-22T10:00:00+00:00");
        same("-30m", "2026-11-23T09:30:00+00:00");
        same("-7d", "2026-11-16T10:00:00+00:00");
        check(
            "2026-11-23",
            "2026-11-23T00:00:00+00:00",
            "2026-11-23T23:59:59.999999+00:00",
        );
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "-",
            "-h",
            "24h",
            "--24h",
            "-+4h",
            "-24",
            "-1y",
            "-99999999999999999999h",
            "now",
            "-999999999999d",
            "2026-13-01",
            "2026-1-1",
            "2026-11-23T10:00:00",
            "10:00",
            "-1é",
        ] {
            check(text, "none", "none");
        }
    }
}
