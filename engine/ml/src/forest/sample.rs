//! Which rows a tree is made of: drawn at random, from a sequence that depends on the seed and the tree's number alone.

use bincode::{Decode, Encode};

use super::config::ForestConfig;
use crate::random::{Random, STEP, mixed};

/// The random numbers of a tree.
pub(super) fn random_of(seed: u64, tree: u64) -> Random {
    Random::from_counter(mixed(mixed(seed).wrapping_add(STEP.wrapping_mul(tree))))
}

/// A whole number below another, each about as likely.
pub(super) fn below(random: &mut Random, limit: usize) -> usize {
    random.below(limit as u64) as usize
}

/// How often each row is drawn.
pub(super) fn draw(config: &ForestConfig, rows: usize, random: &mut Random) -> Vec<u32> {
    let draws = ((config.subsample * rows as f64).round() as usize).clamp(1, rows.max(1));
    if config.bootstrap {
        let mut counts = vec![0; rows];
        (0..draws).for_each(|_| counts[below(random, rows)] += 1);
        return counts;
    }
    // Each row with the chance that leaves all sets of so many rows equally likely (Knuth's algorithm S).
    let mut wanted = draws;
    let is_taken = |left: usize| {
        let is_taken = wanted == left || below(random, left) < wanted;
        wanted -= usize::from(is_taken);
        u32::from(is_taken)
    };
    (1..=rows).rev().map(is_taken).collect()
}

/// A bit for each row.
#[derive(Debug, Clone, Default, Encode, Decode)]
pub(super) struct RowSet(Vec<u64>);

impl RowSet {
    /// The rows that are drawn.
    pub(super) fn drawn(counts: &[u32]) -> Self {
        let bits = |counts: &[u32]| counts.iter().rev().fold(0, |bits, count| bits << 1 | u64::from(*count > 0));
        Self(counts.chunks(64).map(bits).collect())
    }

    pub(super) fn contains(&self, row: usize) -> bool {
        self.0.get(row / 64).is_some_and(|bits| bits >> (row % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ForestType;
    use super::*;

    fn config(bootstrap: bool, subsample: f64) -> ForestConfig {
        ForestConfig { bootstrap, subsample, ..ForestConfig::new(ForestType::ForestClassifier) }
    }

    fn drawn(config: &ForestConfig, rows: usize, tree: u64) -> Vec<u32> {
        draw(config, rows, &mut random_of(7, tree))
    }

    #[test]
    fn a_bootstrap_sample_has_as_many_rows_and_leaves_a_third_out() {
        let counts = drawn(&config(true, 1.0), 100_000, 3);
        assert_eq!(counts.iter().sum::<u32>(), 100_000);
        let out = counts.iter().filter(|count| **count == 0).count();
        // A share of 1/e; the standard deviation is below 160 rows.
        assert!((36_288..37_288).contains(&out), "{out}");
        let halves = [&counts[..50_000], &counts[50_000..]].map(|half| half.iter().sum::<u32>());
        assert!(halves[0].abs_diff(halves[1]) < 2000, "{halves:?}");
        assert_eq!(drawn(&config(true, 0.25), 1001, 3).iter().sum::<u32>(), 250);
    }

    #[test]
    fn without_replacement_no_row_is_drawn_twice() {
        let counts = drawn(&config(false, 0.3), 10_000, 0);
        assert_eq!((counts.iter().sum::<u32>(), counts.iter().max()), (3000, Some(&1)));
        let first: u32 = counts[..5000].iter().sum();
        assert!((1350..1650).contains(&first), "{first}");
        assert_eq!(drawn(&config(false, 1.0), 9, 0), [1; 9]);
        // One row is drawn at least.
        assert_eq!(drawn(&config(false, 1e-9), 9, 0).iter().sum::<u32>(), 1);
    }

    #[test]
    fn trees_have_sequences_of_their_own() {
        let config = config(true, 1.0);
        assert_eq!(drawn(&config, 50, 4), drawn(&config, 50, 4));
        assert_ne!(drawn(&config, 50, 4), drawn(&config, 50, 5));
        assert_ne!(draw(&config, 50, &mut random_of(8, 4)), drawn(&config, 50, 4));
    }

    #[test]
    fn a_set_has_the_rows_that_are_drawn() {
        let counts = drawn(&config(true, 1.0), 130, 1);
        let set = RowSet::drawn(&counts);
        assert!((0..130).all(|row| set.contains(row) == (counts[row] > 0)));
        assert!(!set.contains(130) && !set.contains(10_000));
    }
}
