//! Grows a tree: of all leaves, the one whose split gains most is split next (Shi 2007; LightGBM's leaf-wise growth).

use std::ops::Range;

use super::bins::{BinnedRows, FeatureBins};
use super::histogram::{Gradient, Histogram, ROWS_FOR_THREADS, Sum};
use super::monotone::Bounds;
use super::split::{Cut, Search, Split, Whole};
use super::tree::{Child, Node, Test, Tree};
use crate::batch::FitControl;
use crate::batch::parallel::{in_parallel, stretches};
use crate::error::Result;

/// What trees are grown from.
pub(super) struct Grower<'a> {
    pub(super) search: Search<'a>,
    /// Of each row.
    pub(super) gradients: &'a [Gradient],
    pub(super) control: &'a FitControl,
}

/// A tree, and where its rows are.
pub(super) struct Grown {
    pub(super) tree: Tree,
    /// All rows, leaf by leaf.
    pub(super) order: Vec<u32>,
    /// The stretch of each leaf.
    pub(super) leaves: Vec<Range<usize>>,
    /// How each node of the tree cuts bins.
    cuts: Vec<Cut>,
}

impl Grown {
    /// What the tree says of any row.
    pub(super) fn value(&self, binned: &BinnedRows, row: usize) -> f64 {
        let mut place = self.tree.root();
        loop {
            match place {
                Child::Leaf(leaf) => return self.tree.values[leaf as usize],
                Child::Node(node) => {
                    let (cut, node) = (&self.cuts[node as usize], &self.tree.nodes[node as usize]);
                    let goes_left = cut.goes_left(binned.bin(row, node.feature as usize));
                    place = if goes_left { node.left } else { node.right };
                }
            }
        }
    }
}

/// A leaf that may be split.
struct Leaf {
    rows: Range<usize>,
    sum: Sum,
    l2: f64,
    bounds: Bounds,
    depth: u64,
    /// The node above it, and whether it is on its left.
    parent: Option<(usize, bool)>,
    /// Nothing of a leaf that is not split any more.
    best: Option<(Split, Histogram)>,
}

impl Grower<'_> {
    /// A tree of these rows, which are in ascending order.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn grow(&self, mut order: Vec<u32>) -> Result<Grown> {
        let (mut tree, mut cuts) = (Tree::default(), Vec::new());
        let mut leaves = vec![self.root(&order)];
        while leaves.len() < self.search.config.num_leaves as usize {
            self.control.check()?;
            let gain = |leaf: &Leaf| leaf.best.as_ref().map(|(split, _)| split.gain);
            let found = (0..leaves.len()).filter(|place| leaves[*place].best.is_some());
            let best = found.reduce(|best, next| if gain(&leaves[next]) > gain(&leaves[best]) { next } else { best });
            let Some(place) = best else { break };
            let is_last = leaves.len() + 1 == self.search.config.num_leaves as usize;
            if let Some((right, cut)) = self.split(&mut leaves[place], &mut order, &mut tree, is_last) {
                leaves.push(right);
                cuts.push(cut);
            }
        }
        tree.values = leaves.iter().map(|leaf| self.search.value(leaf.sum, leaf.l2, leaf.bounds)).collect();
        for (place, leaf) in leaves.iter().enumerate() {
            put(&mut tree, leaf.parent, Child::Leaf(place as u32));
        }
        Ok(Grown { tree, order, leaves: leaves.into_iter().map(|leaf| leaf.rows).collect(), cuts })
    }

    fn root(&self, order: &[u32]) -> Leaf {
        let sum = Sum::of(order.iter().map(|row| self.gradients[*row as usize]));
        let (rows, l2, bounds) = (0..order.len(), self.search.config.l2_reg, Bounds::NONE);
        let mut root = Leaf { rows, sum, l2, bounds, depth: 0, parent: None, best: None };
        if self.may_split(&root) {
            let histogram = self.histogram(order);
            self.find(&mut root, histogram);
        }
        root
    }

    fn histogram(&self, rows: &[u32]) -> Histogram {
        Histogram::of(self.search.binned, rows, self.gradients, self.control.threads.get())
    }

    fn find(&self, leaf: &mut Leaf, histogram: Histogram) {
        let whole = Whole { sum: leaf.sum, rows: leaf.rows.len(), bounds: leaf.bounds };
        leaf.best = self.search.best(&histogram, whole).map(|split| (split, histogram));
    }

    fn may_split(&self, leaf: &Leaf) -> bool {
        let config = self.search.config;
        leaf.rows.len() as u64 >= 2 * config.min_rows_in_leaf
            && (config.max_tree_depth == 0 || leaf.depth < config.max_tree_depth)
    }

    /// Splits a leaf, which becomes the left one; returns the right one, and how they were cut.
    fn split(&self, leaf: &mut Leaf, order: &mut [u32], tree: &mut Tree, is_last: bool) -> Option<(Leaf, Cut)> {
        let (mut split, mut histogram) = leaf.best.take()?;
        let middle = leaf.rows.start + self.partition(&split, &mut order[leaf.rows.clone()]);
        let (left, right) = (leaf.rows.start..middle, middle..leaf.rows.end);
        if left.is_empty() || right.is_empty() {
            return None;
        }
        if let Cut::Number { missing_left: missing_left @ None, .. } = &mut split.cut {
            // Where no row of the leaf lacks the number, others go with most rows.
            *missing_left = Some(left.len() >= right.len());
        }
        let node = tree.nodes.len();
        tree.nodes.push(self.node(&split, leaf.rows.len()));
        put(tree, leaf.parent, Child::Node(node as u32));

        let mut sum = leaf.sum;
        sum -= split.left;
        let values = [split.left, sum].map(|sum| self.search.value(sum, split.l2, leaf.bounds));
        let [bounds_left, bounds_right] = leaf.bounds.split(self.search.direction(split.feature), values);
        let (l2, depth) = (split.l2, leaf.depth + 1);
        let child = |rows, sum, bounds, is_left| Leaf {
            rows,
            sum,
            l2,
            bounds,
            depth,
            parent: Some((node, is_left)),
            best: None,
        };
        *leaf = child(left, split.left, bounds_left, true);
        let mut other = child(right, sum, bounds_right, false);
        if is_last || !(self.may_split(leaf) || self.may_split(&other)) {
            return Some((other, split.cut));
        }
        let (small, large) = if leaf.rows.len() <= other.rows.len() { (leaf, &mut other) } else { (&mut other, leaf) };
        let of_small = self.histogram(&order[small.rows.clone()]);
        histogram.subtract(&of_small);
        if self.may_split(small) {
            self.find(small, of_small);
        }
        if self.may_split(large) {
            self.find(large, histogram);
        }
        Some((other, split.cut))
    }

    /// Puts the rows that go to the left in front of the others, both in their order; returns how many they are.
    fn partition(&self, split: &Split, rows: &mut [u32]) -> usize {
        let threads = if rows.len() < ROWS_FOR_THREADS { 1 } else { self.control.threads.get() };
        let parts = in_parallel(&stretches(rows, threads), |rows| self.parted(split, rows));
        let (left, right): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let mut place = 0;
        let mut put = |parts: Vec<Vec<u32>>| {
            for part in parts {
                rows[place..place + part.len()].copy_from_slice(&part);
                place += part.len();
            }
            place
        };
        let middle = put(left);
        put(right);
        middle
    }

    /// The rows that go to the left, and the others.
    fn parted(&self, split: &Split, rows: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let binned = self.search.binned;
        let bins = &binned.columns[split.feature];
        let (mut left, mut right) = (vec![0; rows.len()], vec![0; rows.len()]);
        let (mut lefts, mut rights) = (0, 0);
        for row in rows {
            let goes_left = usize::from(split.cut.goes_left(bins[*row as usize]));
            // Both are written, and one of them counts: no branch that is guessed wrong half of the time.
            left[lefts] = *row;
            right[rights] = *row;
            lefts += goes_left;
            rights += 1 - goes_left;
        }
        left.truncate(lefts);
        right.truncate(rights);
        (left, right)
    }

    fn node(&self, split: &Split, rows: usize) -> Node {
        let (test, missing_left) = match (&split.cut, &self.search.binned.features[split.feature]) {
            (Cut::Number { bin, missing_left, .. }, FeatureBins::Numeric { uppers, .. }) => {
                // Behind the last bin all are that have the number.
                let threshold = uppers.get(usize::from(*bin)).copied().unwrap_or(f64::MAX).min(f64::MAX);
                (Test::AtMost(threshold), *missing_left == Some(true))
            }
            (cut, FeatureBins::Categorical { bins, categories }) => (categories_of(cut, bins.len(), categories), false),
            (Cut::Categories(_), FeatureBins::Numeric { .. }) => (Test::In(Vec::new()), false),
        };
        let nowhere = Child::Leaf(0);
        Node {
            feature: split.feature as u32,
            test,
            missing_left,
            left: nowhere,
            right: nowhere,
            gain: split.gain,
            rows: rows as u64,
        }
    }
}

/// The categories whose bins go to the left.
fn categories_of(cut: &Cut, count: usize, categories: &[u32]) -> Test {
    let mut set = vec![0_u64; count.div_ceil(64)];
    for (bin, place) in (1..=u8::MAX).zip(categories) {
        if cut.goes_left(bin) {
            set[*place as usize / 64] |= 1 << (place % 64);
        }
    }
    Test::In(set)
}

/// Has the node above lead to a child.
fn put(tree: &mut Tree, parent: Option<(usize, bool)>, child: Child) {
    if let Some((node, is_left)) = parent {
        let node = &mut tree.nodes[node];
        *(if is_left { &mut node.left } else { &mut node.right }) = child;
    }
}
