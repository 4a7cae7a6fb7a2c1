//! The rows of a tree, leaf by leaf: a split puts those that go to the left in front of the others, all in their order.

use std::ops::Range;

use super::split::Cut;
use crate::batch::parallel::{owned_in_parallel, stretch, stretches_mut, worthwhile};

/// What it takes to move a row.
const NANOSECONDS_A_ROW: usize = 4;

/// All rows of a tree. The next one uses its memory again.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) order: Vec<u32>,
    /// As many places, for rows on their way.
    spare: Vec<u32>,
}

impl Partition {
    /// Begins with rows in ascending order.
    pub(super) fn begin(&mut self, rows: &[u32]) {
        self.order.clear();
        self.order.extend_from_slice(rows);
        self.spare.resize(rows.len(), 0);
    }

    /// Cuts the rows of a leaf by the bins of one feature; where the right side begins.
    pub(super) fn split(&mut self, leaf: Range<usize>, cut: &Cut, bins: &[u8], threads: usize) -> usize {
        let threads = worthwhile(threads, leaf.len() * NANOSECONDS_A_ROW);
        let length = stretch(leaf.len(), threads);
        let (rows, spare) = (&mut self.order[leaf.clone()], &mut self.spare[leaf.clone()]);
        let parts = stretches_mut(rows, threads).zip(stretches_mut(spare, threads));
        let lefts = owned_in_parallel(parts, |(rows, spare)| split(rows, spare, cut, bins));
        let mut end = 0;
        for (place, left) in lefts.iter().enumerate() {
            let start = place * length;
            rows.copy_within(start..start + left, end);
            end += left;
        }
        let middle = leaf.start + end;
        for (spare, left) in spare.chunks(length).zip(&lefts) {
            let right = spare.len() - left;
            rows[end..end + right].copy_from_slice(&spare[..right]);
            end += right;
        }
        middle
    }
}

/// Leaves the rows that go to the left in front, and copies the others; returns how many the first are.
fn split(rows: &mut [u32], others: &mut [u32], cut: &Cut, bins: &[u8]) -> usize {
    let (mut lefts, mut rights) = (0, 0);
    for place in 0..rows.len() {
        let row = rows[place];
        let goes_left = usize::from(cut.goes_left(bins[row as usize]));
        // Both are written, and one of them counts: no branch that is guessed wrong half of the time.
        rows[lefts] = row;
        others[rights] = row;
        lefts += goes_left;
        rights += 1 - goes_left;
    }
    lefts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_in_their_order_whatever_the_threads() {
        let bins: Vec<u8> = (0..400_000_u32).map(|row| (row.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let cut = Cut::Number { bin: 99, missing: 200, missing_left: Some(true) };
        let goes_left = |row: &u32| bins[*row as usize] <= 99 || bins[*row as usize] == 200;
        let mut partition = Partition::default();
        for threads in [1, 3, 4] {
            let all: Vec<u32> = (0..400_000).collect();
            partition.begin(&all);
            let middle = partition.split(1000..390_001, &cut, &bins, threads);
            let (left, right): (Vec<u32>, Vec<u32>) = (1000..390_001).partition(goes_left);
            assert_eq!(middle, 1000 + left.len());
            let all = [(0..1000).collect(), left, right, (390_001..400_000).collect()].concat();
            assert_eq!(partition.order, all);
        }
    }
}
