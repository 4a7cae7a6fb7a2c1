//! For how long a log keeps rows that all jobs have read: as Kafka does it, by age and by size, segment by segment.

use super::MAX_BYTES_OPTION;
use crate::connector::option;
use crate::settings::parse_duration_ms;

/// The option that says for how long.
pub const RETENTION_OPTION: &str = "retention";

/// The option that says how many bytes.
pub const BYTES_OPTION: &str = "retention_bytes";

/// A segment has this part of what is kept, so that not much more is kept than was said.
const SEGMENTS: u64 = 4;

/// How many bytes a log has at most, and how much of it is kept that everybody has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// What is pushed beyond these is refused.
    pub max_bytes: Option<u64>,
    /// What is removed, the oldest first.
    pub retention: Retention,
}

impl Kept {
    /// What the options of a source say, which have been checked.
    #[must_use]
    pub fn of(options: &[(String, String)]) -> Self {
        let max_bytes = option(options, MAX_BYTES_OPTION).and_then(|bytes| bytes.parse().ok());
        Self { max_bytes, retention: Retention::of(options) }
    }
}

/// How much is kept; everything by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// For how many milliseconds.
    pub ms: Option<u64>,
    /// How many bytes.
    pub bytes: Option<u64>,
}

impl Retention {
    /// What the options of a source say, which have been checked.
    #[must_use]
    pub fn of(options: &[(String, String)]) -> Self {
        Self {
            ms: option(options, RETENTION_OPTION).and_then(parse_duration_ms),
            bytes: option(options, BYTES_OPTION).and_then(|bytes| bytes.parse().ok()),
        }
    }

    /// Whether everything is kept.
    #[must_use]
    pub fn is_for_ever(self) -> bool {
        self == Self::default()
    }

    /// Whether a segment of so many bytes that was begun so long ago is complete.
    #[must_use]
    pub fn ends_segment(self, bytes: u64, age_ms: u64) -> bool {
        self.bytes.is_some_and(|kept| bytes >= kept / SEGMENTS) || self.ms.is_some_and(|kept| age_ms >= kept / SEGMENTS)
    }

    /// The oldest of some segments that is kept; each has its number, its bytes, and for how many milliseconds nothing
    /// was written to it. The last one is kept in any case: rows come behind it.
    #[must_use]
    pub fn kept_from(self, segments: &[(u64, u64, u64)]) -> Option<u64> {
        let mut bytes = 0;
        let mut kept = segments.last()?.0;
        for (segment, size, age_ms) in segments.iter().rev().skip(1) {
            bytes += size;
            if self.bytes.is_some_and(|most| bytes > most) || self.ms.is_some_and(|longest| *age_ms > longest) {
                break;
            }
            kept = *segment;
        }
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(options: &[(&str, &str)]) -> Retention {
        Retention::of(&options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn the_oldest_segments_go_first_and_the_last_one_stays() {
        let segments = [(3, 100, 9_000), (4, 100, 5_000), (5, 100, 900), (6, 100, 800)];
        let kept = |options: &[(&str, &str)]| retention(options).kept_from(&segments);
        assert_eq!(kept(&[]), Some(3));
        assert_eq!(kept(&[("retention", "5s")]), Some(4));
        assert_eq!(kept(&[("retention", "1ms")]), Some(6));
        assert_eq!(kept(&[("retention_bytes", "200")]), Some(4));
        assert_eq!(kept(&[("retention_bytes", "1")]), Some(6));
        assert_eq!(kept(&[("retention_bytes", "200"), ("retention", "1s")]), Some(5));
        assert_eq!(retention(&[]).kept_from(&[]), None);
        assert!(retention(&[("max_bytes", "7")]).is_for_ever() && !retention(&[("retention", "1d")]).is_for_ever());
    }

    #[test]
    fn segments_are_parts_of_what_is_kept() {
        assert!(!retention(&[]).ends_segment(u64::MAX, u64::MAX));
        let both = retention(&[("retention", "4s"), ("retention_bytes", "400")]);
        assert!(both.ends_segment(100, 0) && both.ends_segment(0, 1000) && !both.ends_segment(99, 999));
    }
}
