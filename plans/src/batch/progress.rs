//! How far a query as a whole has come, as people are told.
//!
//! What is counted may begin anew, or turn out to be more than was thought. A [`Fraction`] of all of it is told, too: it
//! never goes back, and is whole only once the query has ended.

use std::fmt;

use crate::explain::analyze::shown_bytes;

/// So many of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Share {
    /// Those that are done.
    pub done: u32,
    /// All that are known.
    pub all: u32,
}

/// A part of a whole, in ten thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub struct Fraction(u16);

/// How far a query has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct BatchProgress {
    /// How often it has begun anew, since a worker was lost.
    pub restarts: u32,
    /// Its stages; one, where all of it runs in one process.
    pub stages: Share,
    /// Its tasks; in one process the parts of tables that it reads.
    pub tasks: Share,
    /// Rows of tables that it has read.
    pub rows: u64,
    /// How many there are, if that is known.
    pub rows_all: Option<u64>,
    /// Bytes of files that it has read, or need not read.
    pub bytes: u64,
    /// How many there are, if that is known.
    pub bytes_all: Option<u64>,
    /// Bytes that had no room in memory.
    pub spilled_bytes: u64,
    /// How much of all this is done, if that is known.
    pub fraction: Option<Fraction>,
}

impl Share {
    /// Counts these, too.
    pub fn add(&mut self, other: Self) {
        self.done += other.done;
        self.all += other.all;
    }

    /// How much of all is done; nothing if there is nothing.
    #[must_use]
    pub fn fraction(self) -> Option<Fraction> {
        Fraction::of(u64::from(self.done), u64::from(self.all))
    }
}

impl Fraction {
    /// All of it.
    pub const WHOLE: Self = Self(10_000);

    /// The most that is told of what has not ended: whatever was counted, something is still to be done.
    pub const NEARLY: Self = Self(9_900);

    /// So much of all; nothing if there is nothing.
    #[must_use]
    pub fn of(done: u64, all: u64) -> Option<Self> {
        let parts = u128::from(done.min(all)) * u128::from(Self::WHOLE.0);
        let parts = parts.checked_div(u128::from(all))?;
        u16::try_from(parts).ok().map(Self)
    }

    /// From 0 to 1.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE.0)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 / 100)
    }
}

impl BatchProgress {
    /// What is told behind an earlier progress: its fraction is none that goes back.
    #[must_use]
    pub fn behind(self, earlier: Self) -> Self {
        let fraction = self.fraction.map(|fraction| fraction.min(Fraction::NEARLY));
        Self { fraction: fraction.max(earlier.fraction), ..self }
    }

    /// The same of a query that has done all that it had to.
    #[must_use]
    pub fn ended(self) -> Self {
        Self { fraction: Some(Fraction::WHOLE), ..self }
    }
}

/// In words, two spaces between what is told: `stage 2/4  tasks 5/16  rows 12.3M/60M  41%`.
impl fmt::Display for BatchProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.stages.all > 1 {
            words.push(format!("stage {}/{}", (self.stages.done + 1).min(self.stages.all), self.stages.all));
        }
        if self.tasks.all > 1 {
            words.push(format!("tasks {}/{}", self.tasks.done, self.tasks.all));
        }
        let all = self.rows_all.map(|all| format!("/{}", shown_count(all.max(self.rows)))).unwrap_or_default();
        words.push(format!("rows {}{all}", shown_count(self.rows)));
        if let Some(all) = self.bytes_all.filter(|_| self.rows_all.is_none()) {
            words.push(format!("read {}/{}", shown_bytes(self.bytes.min(all)), shown_bytes(all)));
        }
        if self.spilled_bytes > 0 {
            words.push(format!("spilled {}", shown_bytes(self.spilled_bytes)));
        }
        words.extend(self.fraction.map(|fraction| fraction.to_string()));
        if self.restarts > 0 {
            words.push(format!("again after a worker was lost ({})", self.restarts));
        }
        f.write_str(&words.join("  "))
    }
}

/// A number that people read at a glance.
fn shown_count(count: u64) -> String {
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| count >= *unit) else { return count.to_string() };
    let tenths = count / (unit / 10);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{name}"),
        (whole, _) if whole >= 100 => format!("{whole}{name}"),
        (whole, tenth) => format!("{whole}.{tenth}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_never_goes_back_and_is_whole_at_the_end_alone() {
        let told = [Some((1, 10)), Some((9, 10)), None, Some((2, 10)), Some((10, 10)), Some((50, 10)), Some((0, 0))];
        let mut last = BatchProgress::default();
        let mut fractions = Vec::new();
        for counts in told {
            let fraction = counts.and_then(|(done, all)| Fraction::of(done, all));
            last = BatchProgress { fraction, ..BatchProgress::default() }.behind(last);
            fractions.push(last.fraction.unwrap().value());
        }
        assert_eq!(fractions, [0.1, 0.9, 0.9, 0.9, 0.99, 0.99, 0.99]);
        assert_eq!(last.ended().fraction, Some(Fraction::WHOLE));
        assert_eq!(Fraction::WHOLE.value(), 1.0);
    }

    #[test]
    fn as_much_as_there_is_can_be_counted() {
        assert_eq!(Fraction::of(u64::MAX, u64::MAX), Some(Fraction::WHOLE));
        assert_eq!(Fraction::of(u64::MAX / 2, u64::MAX).unwrap().to_string(), "49%");
        assert_eq!(Fraction::of(1, 0), None);
    }

    #[test]
    fn it_is_told_in_words() {
        let progress = BatchProgress {
            stages: Share { done: 1, all: 4 },
            tasks: Share { done: 5, all: 16 },
            rows: 12_345_678,
            rows_all: Some(60_000_000),
            fraction: Fraction::of(41, 100),
            ..BatchProgress::default()
        };
        assert_eq!(progress.to_string(), "stage 2/4  tasks 5/16  rows 12.3M/60M  41%");
        let of_files = BatchProgress {
            restarts: 1,
            stages: Share { done: 0, all: 1 },
            rows: 999,
            bytes: 512,
            bytes_all: Some(2048),
            spilled_bytes: 3 << 20,
            ..BatchProgress::default()
        };
        let words = "rows 999  read 512 B/2.0 KiB  spilled 3.0 MiB  again after a worker was lost (1)";
        assert_eq!(of_files.to_string(), words);
    }

    #[test]
    fn counts_are_short() {
        let shown = [0, 999, 1000, 1999, 123_456, 1_000_000, 2_500_000_000].map(shown_count);
        assert_eq!(shown, ["0", "999", "1k", "1.9k", "123k", "1M", "2.5G"]);
    }
}
