//! Event time and watermarks.
//!
//! Event time has microsecond resolution, as PostgreSQL's TIMESTAMP. A watermark `w` on a channel
//! promises that every later row on that channel has an event time of at least `w`; so a window
//! `[start, end)` is complete once `w >= end`, and a look-up "as of t" once `w > t`.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::temporal_conversions::timestamp_us_to_datetime;

use crate::error::{PlanError, Result};

/// A point in event time: microseconds since 1970-01-01 00:00:00, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every row.
    pub const MIN: Self = Self(i64::MIN);
    /// After every row: a watermark here means that the input has ended.
    pub const MAX: Self = Self(i64::MAX);

    /// How far from 1970 the event time of a row may be.
    pub const YEARS_MAX: i64 = 70_000;

    /// Whether a row may have this time: far enough from the ends of the range that the bounds of
    /// windows and joins can be computed.
    #[must_use]
    pub fn is_valid(self) -> bool {
        const MICROS_MAX: u64 = EventTime::YEARS_MAX.unsigned_abs() * 366 * 86_400_000_000;
        self.0.unsigned_abs() <= MICROS_MAX
    }

    /// Moves by `micros`, staying at the ends of the range: infinity minus an hour is infinity.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        if self == Self::MAX || self == Self::MIN { self } else { Self(self.0.saturating_add(micros)) }
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => f.write_str("-inf"),
            Self::MAX => f.write_str("+inf"),
            Self(us) => match timestamp_us_to_datetime(us) {
                Some(time) => write!(f, "{}", time.format("%Y-%m-%d %H:%M:%S%.f")),
                None => write!(f, "{us}us"),
            },
        }
    }
}

/// A promise about a channel: every later row has an event time of at least this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct Watermark(pub EventTime);

impl Watermark {
    /// Nothing is known yet.
    pub const MIN: Self = Self(EventTime::MIN);
    /// The input has ended.
    pub const MAX: Self = Self(EventTime::MAX);

    /// Whether the window that ends at `end` (exclusive) can have no more rows.
    #[must_use]
    pub fn closes(self, end: EventTime) -> bool {
        self.0 >= end
    }

    /// Whether everything at or before `time` has been seen.
    #[must_use]
    pub fn passed(self, time: EventTime) -> bool {
        self.0 > time || self == Self::MAX
    }

    /// Whether the input has ended.
    #[must_use]
    pub fn is_end(self) -> bool {
        self == Self::MAX
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The type that event-time columns have inside Tidemill.
#[must_use]
pub fn event_time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The values of a timestamp column in microseconds, whatever its unit.
pub fn event_times(column: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let micros = match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, None) => ArrayRef::clone(column),
        DataType::Timestamp(_, _) => cast(column, &event_time_type())?,
        other => {
            return Err(PlanError::InvalidGraph(format!("event time must be a TIMESTAMP, not {other}")));
        }
    };
    Ok(micros.as_primitive::<TimestampMicrosecondType>().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_at_its_end_and_a_lookup_after_its_time() {
        let w = Watermark(EventTime(10));
        assert!(w.closes(EventTime(10)));
        assert!(!w.closes(EventTime(11)));
        assert!(!w.passed(EventTime(10)));
        assert!(w.passed(EventTime(9)));
    }

    #[test]
    fn only_times_that_can_be_computed_with_are_valid() {
        assert!(EventTime(0).is_valid() && EventTime(-62_135_596_800_000_000).is_valid());
        for far in [i64::MIN, -i64::MAX, i64::MAX - 1, i64::MAX] {
            assert!(!EventTime(far).is_valid(), "{far}");
        }
    }

    #[test]
    fn infinity_stays_infinite() {
        assert_eq!(EventTime::MAX.plus(-5), EventTime::MAX);
        assert!(Watermark::MAX.passed(EventTime(i64::MAX - 1)));
        assert_eq!(EventTime::MAX.to_string(), "+inf");
        assert_eq!(EventTime(1_357_000_000_000_000).to_string(), "2013-01-01 00:26:40");
    }
}
