//! Capture time. The core never reads a clock: every instant comes with a frame or a `tick`.

use std::fmt;
use std::time::Duration;

/// An instant of capture time, in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of the epoch.
    pub const ZERO: Self = Self(0);
    /// Later than every other instant.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is the later one.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant plus `duration`, at most [`Timestamp::MAX`].
    pub const fn saturating_add(self, duration: Duration) -> Self {
        let nanos = duration.as_nanos();
        if nanos > u64::MAX as u128 { Self::MAX } else { Self(self.0.saturating_add(nanos as u64)) }
    }

    /// This instant by a clock that is `nanos` nanoseconds ahead, or behind.
    pub const fn shifted(self, nanos: i64) -> Self {
        Self(self.0.saturating_add_signed(nanos))
    }
}

/// RFC 3339 in UTC with nine decimals: `2026-08-22T11:34:55.123456789Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buf = [0; 30];
        f.write_str(self.write_rfc3339(&mut buf))
    }
}

impl Timestamp {
    /// Writes the RFC 3339 form into `buf` and returns it as text, with no allocation.
    pub fn write_rfc3339(self, buf: &mut [u8; 30]) -> &str {
        const NANOS: u64 = 1_000_000_000;
        let (secs, nanos) = (self.0 / NANOS, self.0 % NANOS);
        let (days, second_of_day) = (secs / 86_400, secs % 86_400);
        let (year, month, day) = civil_from_days(days);
        buf.copy_from_slice(b"0000-00-00T00:00:00.000000000Z");
        put_decimal(&mut buf[0..4], year);
        put_decimal(&mut buf[5..7], month);
        put_decimal(&mut buf[8..10], day);
        put_decimal(&mut buf[11..13], second_of_day / 3_600);
        put_decimal(&mut buf[14..16], second_of_day / 60 % 60);
        put_decimal(&mut buf[17..19], second_of_day % 60);
        put_decimal(&mut buf[20..29], nanos);
        std::str::from_utf8(buf).unwrap_or_default()
    }
}

fn put_decimal(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of the proleptic Gregorian calendar, `days` days after 1970-01-01: eras of 400 years that
/// begin on 1 March, so that the leap day is the last of its year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_of_known_instants() {
        // Seconds as `date -u -d ... +%s` gives them.
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_787_398_495, "2026-08-22T11:34:55.000000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(Timestamp::from_nanos(secs * 1_000_000_000).to_string(), text);
        }
        assert_eq!(Timestamp::from_nanos(123_456_789).to_string(), "1970-01-01T00:00:00.123456789Z");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.saturating_since(Timestamp::MAX), Duration::ZERO);
    }
}
