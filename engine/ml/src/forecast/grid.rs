//! The points of a series at equal distances, since models count steps: how far apart they are follows from the data.
//!
//! The step is the most frequent distance between neighbouring times, the smallest of equals. Where all times have the
//! same day of the month, or the last one, and the same time of day, it is a number of months, which are not equally
//! long. Points between without a row, or whose value is NULL, are missing. A time between two points counts at the
//! nearest; the values of several rows at one point are averaged, as BigQuery does.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use bincode::{Decode, Encode};

use super::NoForecast;
use super::calendar::{MonthDay, days_in, days_of, month_day};
use crate::error::{MlError, Result};

/// Points of a series, with those that are missing.
const POINTS_MAX: i128 = 1 << 20;

/// What the times of a column are, and their unit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum TimeType {
    /// Whole numbers; forecasts have BIGINT.
    Integer,
    /// Days since 1970.
    Days,
    /// Milliseconds since 1970, as dates.
    DateMillis,
    Seconds(Option<String>),
    Millis(Option<String>),
    Micros(Option<String>),
    Nanos(Option<String>),
}

impl TimeType {
    /// # Errors
    /// `UnsupportedFeature`.
    pub(super) fn of(column: &str, data_type: &DataType) -> Result<Self> {
        let zone = |zone: &Option<std::sync::Arc<str>>| zone.as_ref().map(|zone| zone.to_string());
        match data_type {
            integer if integer.is_integer() => Ok(Self::Integer),
            DataType::Date32 => Ok(Self::Days),
            DataType::Date64 => Ok(Self::DateMillis),
            DataType::Timestamp(TimeUnit::Second, of) => Ok(Self::Seconds(zone(of))),
            DataType::Timestamp(TimeUnit::Millisecond, of) => Ok(Self::Millis(zone(of))),
            DataType::Timestamp(TimeUnit::Microsecond, of) => Ok(Self::Micros(zone(of))),
            DataType::Timestamp(TimeUnit::Nanosecond, of) => Ok(Self::Nanos(zone(of))),
            _ => Err(MlError::UnsupportedFeature {
                column: column.to_owned(),
                data_type: data_type.clone(),
                hint: "times are a TIMESTAMP, a DATE or whole numbers; cast it to one of these",
            }),
        }
    }

    /// The type of the column of forecasts' times.
    pub(super) fn data_type(&self) -> DataType {
        let zone = |zone: &Option<String>| zone.as_deref().map(Into::into);
        match self {
            Self::Integer => DataType::Int64,
            Self::Days => DataType::Date32,
            Self::DateMillis => DataType::Date64,
            Self::Seconds(of) => DataType::Timestamp(TimeUnit::Second, zone(of)),
            Self::Millis(of) => DataType::Timestamp(TimeUnit::Millisecond, zone(of)),
            Self::Micros(of) => DataType::Timestamp(TimeUnit::Microsecond, zone(of)),
            Self::Nanos(of) => DataType::Timestamp(TimeUnit::Nanosecond, zone(of)),
        }
    }

    /// The column of such times; NULL for those that the type cannot hold.
    ///
    /// # Errors
    /// `BuildTable`.
    pub(super) fn column(&self, times: Vec<Option<i64>>) -> Result<ArrayRef> {
        cast(&Int64Array::from(times), &self.data_type()).map_err(|source| MlError::BuildTable { source })
    }

    /// Units of a day; none of numbers that are no times.
    fn units_of_day(&self) -> Option<i64> {
        const SECONDS: i64 = 86_400;
        match self {
            Self::Integer => None,
            Self::Days => Some(1),
            Self::Seconds(_) => Some(SECONDS),
            Self::DateMillis | Self::Millis(_) => Some(SECONDS * 1000),
            Self::Micros(_) => Some(SECONDS * 1_000_000),
            Self::Nanos(_) => Some(SECONDS * 1_000_000_000),
        }
    }
}

/// Where the points of a series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct Grid {
    /// The first point's time.
    first: i64,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
enum Step {
    /// So many units of the column.
    Units(i64),
    /// So many months, to this day or the month's last, at this time of day in units.
    Months { months: i64, day: i64, within: i64, units_of_day: i64 },
}

/// A series on its grid.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Regular {
    pub(super) grid: Grid,
    /// One value for each point, the first one not missing; NaN where one is.
    pub(super) values: Vec<f64>,
}

impl Grid {
    /// The time of a point, from 0; none beyond the range of a column.
    pub(super) fn time(&self, point: u64) -> Option<i64> {
        let point = i64::try_from(point).ok()?;
        match self.step {
            Step::Units(units) => self.first.checked_add(units.checked_mul(point)?),
            Step::Months { months, day, within, units_of_day } => {
                let first = month_day(self.first.div_euclid(units_of_day)).month;
                let month = first.checked_add(months.checked_mul(point)?)?;
                // 24 billion years, within which nothing overflows.
                if month.abs() > 1 << 38 {
                    return None;
                }
                let date = MonthDay { month, day: day.min(days_in(month)) };
                days_of(date).checked_mul(units_of_day)?.checked_add(within)
            }
        }
    }

    /// The point that is nearest to a time, the earlier of two.
    pub(super) fn point(&self, time: i64) -> i128 {
        let (distance, step) = match self.step {
            Step::Units(units) => (i128::from(time) - i128::from(self.first), i128::from(units)),
            Step::Months { months, units_of_day, .. } => {
                let month = |time: i64| i128::from(month_day(time.div_euclid(units_of_day)).month);
                (month(time) - month(self.first), i128::from(months))
            }
        };
        (2 * distance + step - 1).div_euclid(2 * step)
    }

    /// Whether points could be so.
    pub(super) fn is_plausible(&self) -> bool {
        match self.step {
            Step::Units(units) => units > 0,
            Step::Months { months, day, units_of_day, .. } => {
                (1..1 << 30).contains(&months) && (1..=31).contains(&day) && units_of_day > 0
            }
        }
    }
}

/// Puts points, which come by time, on a grid.
pub(super) fn regular(points: &[(i64, f64)], times: &TimeType) -> std::result::Result<Regular, NoForecast> {
    let first = points.iter().position(|(_, value)| !value.is_nan()).unwrap_or(points.len());
    let points = &points[first..];
    let mut distinct: Vec<i64> = points.iter().map(|(time, _)| *time).collect();
    distinct.dedup();
    let (Some(first), Some(last)) = (distinct.first(), distinct.last()) else {
        return Err(NoForecast::TooShort { values: 0 });
    };
    let Some(step) = months(&distinct, times).or_else(|| units(&distinct)) else {
        return Err(NoForecast::TooShort { values: 1 });
    };
    let grid = Grid { first: *first, step };
    let count = grid.point(*last) + 1;
    if count > POINTS_MAX {
        return Err(NoForecast::TooLong);
    }
    let mut sums = vec![(0.0, 0_u32); count as usize];
    for (time, value) in points.iter().filter(|(_, value)| !value.is_nan()) {
        if let Some((sum, rows)) = usize::try_from(grid.point(*time)).ok().and_then(|point| sums.get_mut(point)) {
            *sum += value;
            *rows += 1;
        }
    }
    let mean = |(sum, rows): (f64, u32)| if rows == 0 { f64::NAN } else { sum / f64::from(rows) };
    Ok(Regular { grid, values: sums.into_iter().map(mean).collect() })
}

/// The most frequent distance of times, the smallest of equals; none of a single time.
fn units(distinct: &[i64]) -> Option<Step> {
    let distance = |pair: &[i64]| i128::from(pair[1]) - i128::from(pair[0]);
    i64::try_from(most_frequent(distinct.windows(2).map(distance))?).ok().map(Step::Units)
}

/// The same in months, where the times are one in a month or fewer, always on the same day at the same time.
fn months(distinct: &[i64], times: &TimeType) -> Option<Step> {
    let units_of_day = times.units_of_day()?;
    let dates: Vec<MonthDay> = distinct.iter().map(|time| month_day(time.div_euclid(units_of_day))).collect();
    let within = distinct.first()?.rem_euclid(units_of_day);
    let day = dates.iter().map(|date| date.day).max()?;
    let is_regular = |(time, date): (&i64, &MonthDay)| {
        time.rem_euclid(units_of_day) == within && date.day == day.min(days_in(date.month))
    };
    let is_one_in_a_month = dates.windows(2).all(|pair| pair[0].month < pair[1].month);
    if !is_one_in_a_month || !distinct.iter().zip(&dates).all(is_regular) {
        return None;
    }
    let months = most_frequent(dates.windows(2).map(|pair| i128::from(pair[1].month - pair[0].month)))?;
    Some(Step::Months { months: i64::try_from(months).ok()?, day, within, units_of_day })
}

fn most_frequent(distances: impl Iterator<Item = i128>) -> Option<i128> {
    let mut counts: BTreeMap<i128, usize> = BTreeMap::new();
    distances.for_each(|distance| *counts.entry(distance).or_default() += 1);
    // `max_by_key` takes the last of equals, so from the largest distance to the smallest.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(distance, _)| distance)
}

#[cfg(test)]
mod tests {
    use super::{NoForecast, Regular, TimeType, regular};

    fn times(regular: &Regular, points: std::ops::Range<u64>) -> Vec<i64> {
        points.map(|point| regular.grid.time(point).unwrap()).collect()
    }

    #[test]
    fn the_step_is_the_most_frequent_distance_and_gaps_are_missing() {
        let points = [(10, 1.0), (13, 2.0), (16, 3.0), (16, 5.0), (25, f64::NAN), (28, 6.0), (30, 8.0)];
        let found = regular(&points, &TimeType::Integer).unwrap();
        assert_eq!(times(&found, 0..8), [10, 13, 16, 19, 22, 25, 28, 31]);
        let values: Vec<String> = found.values.iter().map(f64::to_string).collect();
        // Two rows at 16 are averaged; 30 counts at 31.
        assert_eq!(values, ["1", "2", "4", "NaN", "NaN", "NaN", "6", "8"]);
    }

    #[test]
    fn months_are_months_however_long_they_are() {
        // The last days of November 1969 to March 1970, but not January's.
        let ends = [-32, -1, 58, 89].map(|day| (day, 1.0));
        let found = regular(&ends, &TimeType::Days).unwrap();
        assert_eq!(times(&found, 0..7), [-32, -1, 30, 58, 89, 119, 150]);
        assert_eq!(found.values.len(), 5);
        assert!(found.values[2].is_nan());
        // The first days of 1970, 1971 and 1972, and then of 1973 and 1974, as timestamps at three o'clock.
        let years = [0, 365, 730].map(|day| (day * 86_400 + 10_800, 1.0));
        let found = regular(&years, &TimeType::Seconds(None)).unwrap();
        assert_eq!(times(&found, 3..5), [1096, 1461].map(|day| day * 86_400 + 10_800));
        // Every 28 days is no month.
        let weeks = [0, 28, 56, 84].map(|day| (day, 1.0));
        assert_eq!(times(&regular(&weeks, &TimeType::Days).unwrap(), 4..6), [112, 140]);
    }

    #[test]
    fn what_has_no_grid() {
        let no_grid = |points: &[(i64, f64)]| regular(points, &TimeType::Integer).err();
        assert_eq!(no_grid(&[]), Some(NoForecast::TooShort { values: 0 }));
        assert_eq!(no_grid(&[(1, f64::NAN), (2, f64::NAN)]), Some(NoForecast::TooShort { values: 0 }));
        assert_eq!(no_grid(&[(1, f64::NAN), (2, 3.0)]), Some(NoForecast::TooShort { values: 1 }));
        assert_eq!(no_grid(&[(0, 1.0), (1, 1.0), (i64::MAX, 1.0)]), Some(NoForecast::TooLong));
        assert_eq!(no_grid(&[(i64::MIN, 1.0), (i64::MAX, 1.0)]), Some(NoForecast::TooShort { values: 1 }));
    }
}
