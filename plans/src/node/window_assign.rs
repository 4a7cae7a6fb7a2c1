//! Appends `window_start`, `window_end` and `window_time` to each row, once for every window it is in.

use std::fmt;

use crate::time::EventTime;

/// Windows over event time. All sizes are microseconds and positive; windows are half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum WindowSpec {
    /// Windows that follow each other.
    Tumble {
        /// Length of a window.
        size: i64,
        /// Shift of the windows' starts against the epoch.
        offset: i64,
    },
    /// Windows of `size` that start every `slide`; the size need not be a multiple of the slide.
    Hop {
        /// From one window's start to the next.
        slide: i64,
        /// Length of a window.
        size: i64,
        /// Shift of the windows' starts against the epoch.
        offset: i64,
    },
    /// Windows that grow by `step` from one start up to `size`, a multiple of the step, and then start
    /// anew: Flink's CUMULATE.
    Cumulate {
        /// From one window's end to the next.
        step: i64,
        /// Length of the longest window.
        size: i64,
        /// Shift of the windows' starts against the epoch.
        offset: i64,
    },
}

/// One window: from its start up to but without its end, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    /// Its first microsecond.
    pub start: i64,
    /// The first that is no longer in it.
    pub end: i64,
}

/// No two windows end at the same time, so an end names a window.
impl WindowSpec {
    /// Length of the longest window.
    #[must_use]
    pub fn size(self) -> i64 {
        match self {
            Self::Tumble { size, .. } | Self::Hop { size, .. } | Self::Cumulate { size, .. } => size,
        }
    }

    /// From one window's end to the next.
    #[must_use]
    pub fn period(self) -> i64 {
        match self {
            Self::Tumble { size, .. } => size,
            Self::Hop { slide, .. } => slide,
            Self::Cumulate { step, .. } => step,
        }
    }

    /// Whether some times are in no window.
    #[must_use]
    pub fn leaves_gaps(self) -> bool {
        self.size() < self.period()
    }

    /// Shift of the windows' starts against the epoch.
    #[must_use]
    pub fn offset(self) -> i64 {
        match self {
            Self::Tumble { offset, .. } | Self::Hop { offset, .. } | Self::Cumulate { offset, .. } => offset,
        }
    }

    /// The window that ends at `end`, which must be the end of one.
    #[must_use]
    pub fn ending_at(self, end: i64) -> TimeWindow {
        let start = match self {
            Self::Tumble { size, .. } | Self::Hop { size, .. } => end.saturating_sub(size),
            Self::Cumulate { size, offset, .. } => {
                let last = end.saturating_sub(1);
                last.saturating_sub(last.saturating_sub(offset).rem_euclid(size))
            }
        };
        TimeWindow { start, end }
    }

    /// The last end of a window at or before `time`.
    #[must_use]
    pub fn last_end_until(self, time: EventTime) -> i64 {
        let some_end = match self {
            Self::Tumble { offset, .. } | Self::Cumulate { offset, .. } => offset,
            Self::Hop { size, offset, .. } => offset.saturating_add(size),
        };
        time.0.saturating_sub(time.0.saturating_sub(some_end).rem_euclid(self.period()))
    }

    /// The windows that hold `time`, by their ends; none where a slide longer than the size leaves a gap.
    pub fn windows(self, time: EventTime) -> impl Iterator<Item = TimeWindow> {
        let first = self.last_end_until(time);
        let ends = (1..).map(move |n| first.saturating_add(self.period().saturating_mul(n)));
        ends.map(move |end| self.ending_at(end)).take_while(move |window| window.start <= time.0)
    }

    /// The end of the last window that holds `time`.
    #[must_use]
    pub fn last_end(self, time: EventTime) -> Option<i64> {
        let start = time.0.saturating_sub(time.0.saturating_sub(self.offset()).rem_euclid(match self {
            Self::Hop { slide, .. } => slide,
            Self::Tumble { size, .. } | Self::Cumulate { size, .. } => size,
        }));
        Some(start.saturating_add(self.size())).filter(|end| *end > time.0)
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tumble { size, .. } => write!(f, "TUMBLE(size={})", Micros(size))?,
            Self::Hop { slide, size, .. } => write!(f, "HOP(slide={}, size={})", Micros(slide), Micros(size))?,
            Self::Cumulate { step, size, .. } => write!(f, "CUMULATE(step={}, size={})", Micros(step), Micros(size))?,
        }
        if self.offset() != 0 { write!(f, " offset={}", Micros(self.offset())) } else { Ok(()) }
    }
}

/// Prints a duration in its largest whole unit.
pub(crate) struct Micros(pub(crate) i64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in
            [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")]
        {
            if self.0 != 0 && self.0 % unit == 0 {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}us", self.0)
    }
}

/// Window assignment without aggregation.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct WindowAssignNode {
    /// Index of the event-time column in the input.
    pub time: usize,
    /// The windows.
    pub window: WindowSpec,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: WindowSpec, time: i64, expected: &[(i64, i64)]) {
        let windows: Vec<(i64, i64)> = spec.windows(EventTime(time)).map(|window| (window.start, window.end)).collect();
        assert_eq!(windows, expected);
        assert_eq!(spec.last_end(EventTime(time)), expected.last().map(|(_, end)| *end));
        for (start, end) in expected {
            assert_eq!(spec.last_end_until(EventTime(*end)), *end);
            assert_eq!(spec.last_end_until(EventTime(end + spec.period() - 1)), *end);
            assert_eq!(spec.ending_at(*end), TimeWindow { start: *start, end: *end });
        }
    }

    #[test]
    fn a_row_is_in_every_window_that_covers_it() {
        let hop = WindowSpec::Hop { slide: 2, size: 5, offset: 0 };
        check(hop, 7, &[(4, 9), (6, 11)]);
        check(hop, 8, &[(4, 9), (6, 11), (8, 13)]);
        check(hop, -1, &[(-4, 1), (-2, 3)]);
        let tumble = WindowSpec::Tumble { size: 10, offset: 3 };
        check(tumble, 2, &[(-7, 3)]);
        check(tumble, 3, &[(3, 13)]);
    }

    #[test]
    fn a_slide_longer_than_the_size_leaves_gaps() {
        let sampled = WindowSpec::Hop { slide: 10, size: 2, offset: 0 };
        check(sampled, 5, &[]);
        check(sampled, 1, &[(0, 2)]);
        check(sampled, 11, &[(10, 12)]);
    }

    #[test]
    fn cumulating_windows_grow_from_one_start_and_then_start_anew() {
        let cumulate = WindowSpec::Cumulate { step: 2, size: 6, offset: 1 };
        check(cumulate, 1, &[(1, 3), (1, 5), (1, 7)]);
        check(cumulate, 4, &[(1, 5), (1, 7)]);
        check(cumulate, 6, &[(1, 7)]);
        check(cumulate, 7, &[(7, 9), (7, 11), (7, 13)]);
        check(cumulate, -2, &[(-5, -1), (-5, 1)]);
    }
}
