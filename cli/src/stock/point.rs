//! A point in time as it is typed.
use chrono::{DateTime, TimeDelta, Utc};

/// Reads RFC 3339, or how long ago: `-` with a whole number of s, m, h or d.
pub fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    let wrong = || "is no time such as 2026-11-24T15:32:39Z or -10m".to_owned();
    let Some(ago) = text.strip_prefix('-') else {
        return DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| wrong());
    };
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let (count, unit_s) =
        units.into_iter().find_map(|(unit, unit_s)| Some((ago.strip_suffix(unit)?, unit_s))).ok_or_else(wrong)?;
    // Not as `parse` alone would: it takes a sign.
    let count: i64 =
        count.bytes().all(|digit| digit.is_ascii_digit()).then(|| count.parse().ok()).flatten().ok_or_else(wrong)?;
    let ago = count.checked_mul(unit_s).and_then(TimeDelta::try_seconds).ok_or_else(wrong)?;
    Utc::now().checked_sub_signed(ago).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_so_long_ago() {
        assert_eq!(parse("2026-11-24T16:32:39+01:00").unwrap().to_rfc3339(), "2026-11-24T15:32:39+00:00");
        for (text, seconds) in [("-0s", 0), ("-90s", 90), ("-10m", 600), ("-2h", 7_200), ("-3d", 259_200)] {
            let time = parse(text).unwrap();
            let ago = (Utc::now() - time).num_seconds();
            assert!((seconds..seconds + 60).contains(&ago), "{text} is {ago} s ago");
        }
        for text in [
            "",
            "-",
            "-m",
            "10m",
            "-10",
            "--10m",
            "-+1m",
            "-1.5h",
            "-99999999999999999999d",
            "-9999999999999d",
            "yesterday",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
