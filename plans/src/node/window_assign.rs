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
}

impl WindowSpec {
    /// Length of a window.
    #[must_use]
    pub fn size(self) -> i64 {
        match self {
            Self::Tumble { size, .. } | Self::Hop { size, .. } => size,
        }
    }

    /// From one window's start to the next.
    #[must_use]
    pub fn slide(self) -> i64 {
        match self {
            Self::Tumble { size, .. } => size,
            Self::Hop { slide, .. } => slide,
        }
    }

    /// Shift of the windows' starts against the epoch.
    #[must_use]
    pub fn offset(self) -> i64 {
        match self {
            Self::Tumble { offset, .. } | Self::Hop { offset, .. } => offset,
        }
    }

    /// Start of the last window that holds `time`, if the slide leaves no gap there.
    #[must_use]
    pub fn last_start(self, time: EventTime) -> i64 {
        let since = (time.0 - self.offset()).rem_euclid(self.slide());
        time.0 - since
    }

    /// The starts of the windows that hold `time`, latest first.
    pub fn starts(self, time: EventTime) -> impl Iterator<Item = i64> {
        let first = self.last_start(time);
        (0..).map(move |back| first - back * self.slide()).take_while(move |start| start + self.size() > time.0)
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tumble { size, .. } => write!(f, "TUMBLE(size={})", Micros(size))?,
            Self::Hop { slide, size, .. } => write!(f, "HOP(slide={}, size={})", Micros(slide), Micros(size))?,
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

    #[test]
    fn a_row_is_in_every_window_that_covers_it() {
        let hop = WindowSpec::Hop { slide: 2, size: 5, offset: 0 };
        assert_eq!(hop.starts(EventTime(7)).collect::<Vec<_>>(), [6, 4]);
        assert_eq!(hop.starts(EventTime(8)).collect::<Vec<_>>(), [8, 6, 4]);
        assert_eq!(hop.starts(EventTime(-1)).collect::<Vec<_>>(), [-2, -4]);
        let tumble = WindowSpec::Tumble { size: 10, offset: 3 };
        assert_eq!(tumble.starts(EventTime(2)).collect::<Vec<_>>(), [-7]);
        assert_eq!(tumble.starts(EventTime(3)).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_slide_longer_than_the_size_leaves_gaps() {
        let sampled = WindowSpec::Hop { slide: 10, size: 2, offset: 0 };
        assert_eq!(sampled.starts(EventTime(5)).count(), 0);
        assert_eq!(sampled.starts(EventTime(1)).collect::<Vec<_>>(), [0]);
    }
}
