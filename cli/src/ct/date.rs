// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Dates, in the local time zone.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The date of a number of nanoseconds since 1970.
pub(super) fn local(nanoseconds: u64) -> Zoned {
    // Any 64-bit number is before the year 2600, which is representable.
    let timestamp = Timestamp::from_nanosecond(nanoseconds.into());
    timestamp.unwrap_or_default().to_zoned(TimeZone::system())
}

/// The date as ctime(3) writes it.
pub(super) fn text(nanoseconds: u64) -> String {
    local(nanoseconds)
        .strftime("%a %b %e %H:%M:%S %Y")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_ctime() {
        let utc = Timestamp::from_second(1_700_000_000).unwrap();
        let shown = utc.to_zoned(TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y");
        assert_eq!(shown.to_string(), "Tue Nov 14 22:13:20 2023");
        assert_eq!(text(0).split(' ').next_back().map(str::len), Some(4));
    }
}
