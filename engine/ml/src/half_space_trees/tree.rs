//! One tree of half-spaces: cuts that no row has a say in, and counts of the rows on either side.
//!
//! All leaves lie at the same depth. A node cuts one feature of the part of the unit cube that it stands for; the feature is
//! drawn by the length of that part along it, and the cut by chance within the part, but for 15 in a hundred at either end,
//! so that no side is a sliver. The paper cuts in the middle of ranges that it draws around the data; these are River's cuts.

use bincode::{Decode, Encode};

use crate::random::Random;

/// The part of a range at either end where it is not cut.
const PADDING: f64 = 0.15;

/// A tree whose nodes lie in rows from the root on: those below the node `n` are `2n + 1` and `2n + 2`.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Tree {
    /// Of each node that is no leaf.
    cuts: Vec<Cut>,
    /// Rows of the window before at each node.
    reference: Vec<u32>,
    /// Rows of the newest window at each node, so far.
    latest: Vec<u32>,
}

/// Rows below a number of a feature go left.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
struct Cut {
    feature: u32,
    at: f64,
}

impl Tree {
    /// A tree with so many cuts above each leaf, in a cube of so many features.
    pub(super) fn grow(features: usize, depth: u32, random: &mut Random) -> Self {
        let inner = (1 << depth) - 1;
        let mut cuts = vec![Cut { feature: 0, at: 0.0 }; inner];
        cut(&mut cuts, 0, &mut vec![(0.0, 1.0); features], random);
        Self { cuts, reference: vec![0; 2 * inner + 1], latest: vec![0; 2 * inner + 1] }
    }

    /// What a row's score counts: the rows of the window before at each node on its way down, twice as much each step. It
    /// stops where less than a tenth of the window was, since a few rows say nothing of how they lie below.
    pub(super) fn mass(&self, row: &[f64], window_rows: u32) -> u64 {
        let (mut node, mut mass, mut depth) = (0, 0, 0);
        loop {
            let rows = u64::from(self.reference[node]);
            mass += rows << depth;
            if node >= self.cuts.len() || rows * 10 < u64::from(window_rows) {
                return mass;
            }
            (node, depth) = (self.below(node, row), depth + 1);
        }
    }

    /// Counts a row in the newest window.
    pub(super) fn count(&mut self, row: &[f64]) {
        let mut node = 0;
        while node < self.cuts.len() {
            self.latest[node] += 1;
            node = self.below(node, row);
        }
        self.latest[node] += 1;
    }

    /// The newest window is full: it is the one before now.
    pub(super) fn turn_window(&mut self) {
        std::mem::swap(&mut self.reference, &mut self.latest);
        self.latest.fill(0);
    }

    /// The node that a row comes to from another; without the number, the one where more rows of the newest window went.
    fn below(&self, node: usize, row: &[f64]) -> usize {
        let (cut, left) = (&self.cuts[node], 2 * node + 1);
        let number = row[cut.feature as usize];
        let goes_left = if number.is_nan() { self.latest[left] >= self.latest[left + 1] } else { number < cut.at };
        if goes_left { left } else { left + 1 }
    }

    /// Whether it is one of so many features with so many cuts above each leaf, and counts of such windows.
    pub(super) fn is_plausible(&self, features: usize, depth: u32, window_rows: u32) -> bool {
        let inner = (1_usize << depth) - 1;
        let counts = [&self.reference, &self.latest];
        self.cuts.len() == inner
            && self.cuts.iter().all(|cut| (cut.feature as usize) < features && (0.0..=1.0).contains(&cut.at))
            && counts.iter().all(|rows| rows.len() == 2 * inner + 1 && rows.iter().all(|rows| *rows <= window_rows))
            // One more row must not turn a count over.
            && self.latest[0] < window_rows
    }
}

/// Cuts the part of the cube that a node stands for, and the parts below.
fn cut(cuts: &mut [Cut], node: usize, part: &mut [(f64, f64)], random: &mut Random) {
    if node >= cuts.len() {
        return;
    }
    let feature = drawn_by_length(part, random);
    let (low, high) = part[feature];
    let at = low + (high - low) * (PADDING + (1.0 - 2.0 * PADDING) * random.fraction());
    cuts[node] = Cut { feature: feature as u32, at };
    part[feature] = (low, at);
    cut(cuts, 2 * node + 1, part, random);
    part[feature] = (at, high);
    cut(cuts, 2 * node + 2, part, random);
    part[feature] = (low, high);
}

/// A feature, the more likely, the longer the part is along it.
fn drawn_by_length(part: &[(f64, f64)], random: &mut Random) -> usize {
    let length = |(low, high): &(f64, f64)| high - low;
    let mut left = random.fraction() * part.iter().map(length).sum::<f64>();
    let reached = part.iter().position(|side| {
        left -= length(side);
        left < 0.0
    });
    reached.unwrap_or(part.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::{Cut, Tree};
    use crate::random::Random;

    /// Cuts at x < ½ and below at y < ¼ and at x < ¾.
    fn tree() -> Tree {
        let cut = |feature, at| Cut { feature, at };
        Tree { cuts: vec![cut(0, 0.5), cut(1, 0.25), cut(0, 0.75)], reference: vec![0; 7], latest: vec![0; 7] }
    }

    #[test]
    fn masses_by_hand() {
        let mut tree = tree();
        for row in [[0.1, 0.1], [0.2, 0.1], [0.3, 0.9], [0.6, 0.5]] {
            tree.count(&row);
        }
        assert_eq!(tree.mass(&[0.1, 0.1], 4), 0, "the window is not full");
        tree.turn_window();
        assert_eq!((&tree.reference, &tree.latest), (&vec![4, 3, 1, 2, 1, 1, 0], &vec![0; 7]));
        // 4 + 2 · 3 + 4 · 2, and 4 + 2 · 1 + 4 · 0.
        assert_eq!((tree.mass(&[0.0, 0.0], 4), tree.mass(&[0.9, 0.0], 4)), (18, 6));
        // A tenth of 31 rows is more than 3: it goes no further down than there.
        assert_eq!((tree.mass(&[0.0, 0.0], 30), tree.mass(&[0.0, 0.0], 31)), (18, 10));
        // Rows on a cut go right.
        assert_eq!(tree.mass(&[0.5, 0.0], 4), 4 + 2 + 4);
    }

    #[test]
    fn a_row_without_a_number_goes_where_the_newest_went() {
        let mut tree = tree();
        tree.count(&[f64::NAN, 0.9]);
        assert_eq!(tree.latest, [1, 1, 0, 0, 1, 0, 0], "left where there are none");
        tree.count(&[0.6, 0.0]);
        tree.count(&[0.6, 0.0]);
        tree.count(&[f64::NAN, 0.0]);
        assert_eq!(tree.latest, [4, 1, 3, 0, 1, 3, 0]);
    }

    #[test]
    fn cuts_lie_within_their_parts_and_follow_their_lengths() {
        let mut roots = [0; 3];
        for stream in 0..3000 {
            let tree = Tree::grow(3, 6, &mut Random::new(5, stream));
            assert!(tree.is_plausible(3, 6, 1));
            let [root, left, right] = [tree.cuts[0], tree.cuts[1], tree.cuts[2]];
            roots[root.feature as usize] += 1;
            assert!((0.15..=0.85).contains(&root.at));
            if left.feature == root.feature {
                assert!((0.15 * root.at..=0.85 * root.at).contains(&left.at));
            }
            if right.feature == root.feature {
                let high = 1.0 - root.at;
                assert!((root.at + 0.1499 * high..=root.at + 0.8501 * high).contains(&right.at));
            }
        }
        // Five standard deviations are 129.
        assert!(roots.iter().all(|count: &i32| (count - 1000).abs() < 130), "{roots:?}");
    }
}
