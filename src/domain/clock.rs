//! Times: UTC, whole microseconds, as the API shows them and the disk keeps them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Now, cut to whole microseconds so that a time read back equals the time written.
pub fn now() -> Timestamp {
    from_micros(Timestamp::now().as_microsecond())
}

/// The time that many microseconds after the epoch; out of range gives the nearest end.
pub fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// The IANA zone of that name; an unknown name is UTC.
pub fn zone(timezone: &str) -> TimeZone {
    TimeZone::get(timezone).unwrap_or(TimeZone::UTC)
}

/// `2026-11-22 09:54:50 AM UTC+0000`: the form that models read, in the agent's zone (an unknown zone is UTC).
pub fn spoken(time: Timestamp, timezone: &str) -> String {
    time.to_zoned(zone(timezone))
        .strftime("%Y-%m-%d %I:%M:%S %p %Z%z")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spoken_form_follows_the_zone() {
        let time: Timestamp = "2026-11-22T09:54:50Z".parse().unwrap();
        assert_eq!(spoken(time, "UTC"), "2026-11-22 09:54:50 AM UTC+0000");
        assert_eq!(
            spoken(time, "Europe/Paris"),
            "2026-11-22 10:54:50 AM CET+0100"
        );
        assert_eq!(
            spoken(time, "Nowhere/None"),
            "2026-11-22 09:54:50 AM UTC+0000"
        );
    }
}
