//! Times and durations as people write them, and as they are shown.
//!
//! Kafka's tools take times without a zone for UTC; so does this. Deliberately not here: the clock (`host.rs`).

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// Fewer milliseconds since 1970 than this (1973) are taken for something else.
const EARLIEST_MS: i64 = 100_000_000_000;

/// Reads a time as milliseconds since 1970: `2026-11-26T10:00:00.000Z`, with another zone, without one (UTC), without a
/// time of day, in milliseconds since 1970, or as a duration before now (`-2h`).
///
/// # Errors
/// What it should look like.
pub fn parse_time(text: &str, now: Timestamp) -> Result<i64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a time: write 2026-11-26T10:00:00.000Z, milliseconds since 1970, or -2h for two hours ago"
        )
    };
    if let Some(ago) = text.strip_prefix('-') {
        let ago = i64::try_from(parse_duration(ago)?.as_millis()).map_err(|_| wrong())?;
        return Ok(now.as_millisecond().saturating_sub(ago).max(0));
    }
    if let Ok(milliseconds) = text.parse::<i64>() {
        // A year, a date in digits, or seconds: as milliseconds all of them are in 1970, before everything.
        if (1..EARLIEST_MS).contains(&milliseconds) {
            return Err(format!(
                "{text:?} would be a moment in the 1970s: write milliseconds since 1970, or 2026-11-26"
            ));
        }
        return Timestamp::from_millisecond(milliseconds).map(Timestamp::as_millisecond).map_err(|_| wrong());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let utc = text.parse::<DateTime>().and_then(|time| TimeZone::UTC.to_timestamp(time));
    utc.map(|time| time.as_millisecond()).map_err(|_| wrong())
}

/// Reads a duration: `500ms`, `30s`, `5m`, `1h30m`, `7d`, or ISO 8601 (`PT5M`, `P7D`). A day has 24 hours.
///
/// # Errors
/// What it should look like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write 500ms, 30s, 5m, 1h30m, 7d or PT5M");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(exact).map_err(|_| wrong())
}

/// A time as RFC 3339 with milliseconds, in UTC; `None` for what is no time.
pub fn rfc3339(milliseconds: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(milliseconds).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// A stretch of time for a person, in UTC: `2026-11-26 10:00:00.000 .. 10:00:09.120`, the date once if it is the same.
pub fn span(from: i64, to: i64) -> String {
    let shown = |milliseconds: i64| match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => (time.strftime("%Y-%m-%d ").to_string(), time.strftime("%H:%M:%S.%3f").to_string()),
        Err(_) => (String::new(), "?".to_owned()),
    };
    let (from, to) = (shown(from), shown(to));
    let second_date = if from.0 == to.0 { "" } else { &to.0 };
    format!("{}{} .. {second_date}{}", from.0, from.1, to.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_kafkas_tools_read_them() {
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let cases = [
            ("2023-11-14T22:13:20.000Z", 1_700_000_000_000),
            ("2023-11-14T22:13:20.000", 1_700_000_000_000),
            ("2023-11-14T22:13:20", 1_700_000_000_000),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000_000),
            ("2023-11-14", 1_699_920_000_000),
            ("1700000000001", 1_700_000_000_001),
            ("0", 0),
            ("-2h", 1_699_992_800_000),
            ("-PT1S", 1_699_999_999_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text, now), Ok(expected), "{text}");
        }
        for wrong in
            ["", "soon", "-", "-soon", "10:00", "99999999999999999", "2023-13-01", "2023", "20231114", "1700000000"]
        {
            assert!(parse_time(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_in_words_and_in_iso_8601() {
        let cases = [("500ms", 500), ("5m", 300_000), ("1h30m", 5_400_000), ("PT1H", 3_600_000), ("P7D", 604_800_000)];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for wrong in ["", "5", "-5m", "P1M", "1y", "five minutes"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_shown_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_007).as_deref(), Some("2023-11-14T22:13:20.007Z"));
        assert_eq!(rfc3339(i64::MAX), None);
        assert_eq!(span(1_700_000_000_000, 1_700_000_009_120), "2023-11-14 22:13:20.000 .. 22:13:29.120");
        assert_eq!(span(0, 86_400_000), "1970-01-01 00:00:00.000 .. 1970-01-02 00:00:00.000");
    }
}
