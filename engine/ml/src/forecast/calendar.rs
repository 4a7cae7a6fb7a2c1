//! Months and days of the proleptic Gregorian calendar, from days since 1970-01-01.
//!
//! A year here begins in March, so that the leap day is its last one, and 400 years are one cycle of 146,097 days.

/// Days of 400 years.
const DAYS_OF_CYCLE: i64 = 146_097;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;

/// A month, counted from the March of year 0, and its day from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MonthDay {
    pub(super) month: i64,
    pub(super) day: i64,
}

/// The date that is so many days after 1970-01-01.
pub(super) fn month_day(days: i64) -> MonthDay {
    let days = days.saturating_add(DAYS_BEFORE_1970);
    let (cycle, day) = (days.div_euclid(DAYS_OF_CYCLE), days.rem_euclid(DAYS_OF_CYCLE));
    // Days without the leap days before: one each 4 years, none each 100, one each 400.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - first_day(year);
    let month = (5 * day + 2) / 153;
    MonthDay { month: (cycle * 400 + year) * 12 + month, day: day - days_before(month) + 1 }
}

/// Days from 1970-01-01 to a date.
pub(super) fn days_of(date: MonthDay) -> i64 {
    let (year, month) = (date.month.div_euclid(12), date.month.rem_euclid(12));
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    cycle * DAYS_OF_CYCLE + first_day(year) + days_before(month) + date.day - 1 - DAYS_BEFORE_1970
}

/// Days of a month.
pub(super) fn days_in(month: i64) -> i64 {
    days_of(MonthDay { month: month + 1, day: 1 }) - days_of(MonthDay { month, day: 1 })
}

/// Days before a year of a cycle.
fn first_day(year: i64) -> i64 {
    365 * year + year / 4 - year / 100
}

/// Days before a month in its year, March being 0: their lengths repeat every five months, which have 153 days.
fn days_before(month: i64) -> i64 {
    (153 * month + 2) / 5
}

#[cfg(test)]
mod tests {
    use super::{MonthDay, days_in, days_of, month_day};

    #[test]
    fn every_day_of_a_cycle_is_the_one_after_the_day_before() {
        let mut before = month_day(-100_000);
        for days in -99_999..100_000 {
            let date = month_day(days);
            assert_eq!(days_of(date), days);
            let next = MonthDay { day: before.day + 1, ..before };
            let first = MonthDay { month: before.month + 1, day: 1 };
            assert!(date == next || (date == first && before.day == days_in(before.month)), "day {days}");
            before = date;
        }
    }

    #[test]
    fn known_dates() {
        // 1970-01-01 and 2000-02-29; month 0 is the March of year 0.
        assert_eq!(month_day(0), MonthDay { month: 1969 * 12 + 10, day: 1 });
        assert_eq!(month_day(11_016), MonthDay { month: 1999 * 12 + 11, day: 29 });
        assert_eq!((days_in(1999 * 12 + 11), days_in(1899 * 12 + 11), days_in(1969 * 12)), (29, 28, 31));
    }
}
