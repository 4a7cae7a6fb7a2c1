//! Grows a tree: of all leaves, the one whose split gains most is split next (Shi 2007; LightGBM's leaf-wise growth).

use std::ops::Range;

use super::bins::{BinnedRows, FeatureBins};
use super::division::{Division, Stretches};
use super::histogram::{Gradient, Histogram, Histograms, Siblings, Sum};
use super::monotone::Bounds;
use super::partition::Partition;
use super::split::{Cut, Search, Split, Whole};
use super::tree::{Child, Node, Test, Tree};
use crate::batch::FitControl;
use crate::error::Result;

/// Rows whose scores stay in a cache while one leaf after the other adds to them.
const ROWS_IN_CACHE: usize = 1 << 14;

/// What trees are grown from.
pub(super) struct Grower<'a> {
    pub(super) search: Search<'a>,
    /// Of each row.
    pub(super) gradients: &'a [Gradient],
    pub(super) control: &'a FitControl,
    pub(super) division: &'a Division<'a>,
}

/// Memory that one tree after the other is grown in.
#[derive(Debug, Default)]
pub(super) struct Space {
    rows: Partition,
    histograms: Histograms,
}

/// A tree, and where its rows are.
pub(super) struct Grown<'a> {
    pub(super) tree: Tree,
    /// All rows, leaf by leaf, in ascending order in each.
    order: &'a [u32],
    /// The stretch of each leaf.
    leaves: Vec<Range<usize>>,
    /// How each node of the tree cuts bins.
    cuts: Vec<Cut>,
}

impl Grown<'_> {
    /// Adds what the tree says of its own rows to scores, which are those of the rows from `start` on.
    pub(super) fn add_to(&self, start: usize, scores: &mut [f64]) {
        let mut leaves: Vec<&[u32]> = self.leaves.iter().map(|leaf| &self.order[leaf.clone()]).collect();
        leaves.iter_mut().for_each(|rows| *rows = within(rows, start..start + scores.len()));
        for (place, scores) in scores.chunks_mut(ROWS_IN_CACHE).enumerate() {
            let start = start + place * ROWS_IN_CACHE;
            for (rows, value) in leaves.iter_mut().zip(&self.tree.values) {
                let (own, others) = rows.split_at(within(rows, start..start + scores.len()).len());
                own.iter().for_each(|row| scores[*row as usize - start] += value);
                *rows = others;
            }
        }
    }

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

/// Those of ascending rows that are in a range.
pub(super) fn within(rows: &[u32], range: Range<usize>) -> &[u32] {
    let place = |end: usize| rows.partition_point(|row| (*row as usize) < end);
    &rows[place(range.start)..place(range.end)]
}

/// A leaf that may be split.
struct Leaf {
    /// Where its rows are, of those that are this process' own.
    rows: Range<usize>,
    /// How many it has, those of all processes together.
    count: usize,
    sum: Sum,
    l2: f64,
    bounds: Bounds,
    depth: u64,
    /// The node above it, and whether it is on its left.
    parent: Option<(usize, bool)>,
    /// Nothing of a leaf that is not split any more.
    best: Option<(Split, Histogram)>,
}

impl Leaf {
    fn whole(&self) -> Whole {
        Whole { sum: self.sum, rows: self.count, bounds: self.bounds }
    }

    /// Keeps what was found, if anything was.
    fn keep(&mut self, best: Option<Split>, own: Histogram, histograms: &mut Histograms) {
        match best {
            Some(split) => self.best = Some((split, own)),
            None => histograms.free([own]),
        }
    }
}

impl Grower<'_> {
    /// A tree of these rows, which are in ascending order and this process' own, and of those of the others.
    ///
    /// # Errors
    /// `Stopped`, `Team`.
    pub(super) fn grow<'a>(&self, rows: &[u32], space: &'a mut Space) -> Result<Grown<'a>> {
        space.rows.begin(rows);
        let (mut tree, mut cuts) = (Tree::default(), Vec::new());
        let mut leaves = vec![self.root(space)?];
        while leaves.len() < self.search.config.num_leaves as usize {
            self.control.check()?;
            let gain = |leaf: &Leaf| leaf.best.as_ref().map(|(split, _)| split.gain);
            let found = (0..leaves.len()).filter(|place| leaves[*place].best.is_some());
            let best = found.reduce(|best, next| if gain(&leaves[next]) > gain(&leaves[best]) { next } else { best });
            let Some(place) = best else { break };
            let is_last = leaves.len() + 1 == self.search.config.num_leaves as usize;
            if let Some((right, cut)) = self.split(&mut leaves[place], space, &mut tree, is_last)? {
                leaves.push(right);
                cuts.push(cut);
            }
        }
        tree.values = leaves.iter().map(|leaf| self.search.value(leaf.sum, leaf.l2, leaf.bounds)).collect();
        tree.rows = leaves.iter().map(|leaf| leaf.count as u64).collect();
        for (place, leaf) in leaves.iter().enumerate() {
            put(&mut tree, leaf.parent, Child::Leaf(place as u32));
        }
        space.histograms.free(leaves.iter_mut().filter_map(|leaf| leaf.best.take()).map(|(_, histogram)| histogram));
        let leaves = leaves.into_iter().map(|leaf| leaf.rows).collect();
        Ok(Grown { tree, order: &space.rows.order, leaves, cuts })
    }

    fn root(&self, space: &mut Space) -> Result<Leaf> {
        let (rows, l2, bounds) = (0..space.rows.order.len(), self.search.config.l2_reg, Bounds::NONE);
        let count = self.division.count(rows.len())?;
        let mut root = Leaf { rows, count, sum: Sum::default(), l2, bounds, depth: 0, parent: None, best: None };
        // The sum of a root that is not split is nobody's concern.
        if self.may_split(&root) {
            let (mut own, Stretches { to_add, added }) = self.histograms(&root, space)?;
            root.sum = [&own].into_iter().chain(&to_add).fold(Sum::default(), |all, part| all + part.sum());
            let siblings = Siblings { small: &mut own, stretches: &to_add, large: None };
            let [best, _] = self.search.best(siblings, [Some(root.whole()), None], self.control.threads.get());
            space.histograms.free(to_add.into_iter().chain(added));
            root.keep(best, own, &mut space.histograms);
        }
        Ok(root)
    }

    fn histograms(&self, leaf: &Leaf, space: &mut Space) -> Result<(Histogram, Stretches)> {
        let (binned, rows) = (self.search.binned, &space.rows.order[leaf.rows.clone()]);
        let (mut own, stretches) = space.histograms.of(binned, rows, self.gradients, self.control.threads.get());
        let stretches = self.division.add_up(&mut own, stretches, binned)?;
        Ok((own, stretches))
    }

    fn may_split(&self, leaf: &Leaf) -> bool {
        let config = self.search.config;
        leaf.count as u64 >= 2 * config.min_rows_in_leaf
            && (config.max_tree_depth == 0 || leaf.depth < config.max_tree_depth)
    }

    /// Splits a leaf, which becomes the left one; returns the right one, and how they were cut.
    fn split(&self, leaf: &mut Leaf, space: &mut Space, tree: &mut Tree, is_last: bool) -> Result<Option<(Leaf, Cut)>> {
        let Some((mut split, histogram)) = leaf.best.take() else { return Ok(None) };
        let (bins, threads) = (&self.search.binned.columns[split.feature], self.control.threads.get());
        let middle = space.rows.split(leaf.rows.clone(), &split.cut, bins, threads);
        let rows = [leaf.rows.start..middle, middle..leaf.rows.end];
        let left = self.division.count(rows[0].len())?;
        let counts = [left, leaf.count - left];
        if counts.contains(&0) {
            space.histograms.free([histogram]);
            return Ok(None);
        }
        if let Cut::Number { missing_left: missing_left @ None, .. } = &mut split.cut {
            // Where no row of the leaf lacks the number, others go with most rows.
            *missing_left = Some(counts[0] >= counts[1]);
        }
        let node = tree.nodes.len();
        tree.nodes.push(self.node(&split, leaf.count));
        put(tree, leaf.parent, Child::Node(node as u32));

        let [left, mut other] = self.children(leaf, &split, (rows, counts), node);
        *leaf = left;
        if is_last || !(self.may_split(leaf) || self.may_split(&other)) {
            space.histograms.free([histogram]);
            return Ok(Some((other, split.cut)));
        }
        let siblings = if counts[0] <= counts[1] { [leaf, &mut other] } else { [&mut other, leaf] };
        self.find(siblings, histogram, space)?;
        Ok(Some((other, split.cut)))
    }

    /// The two sides of a split, which nobody has looked for splits of yet.
    fn children(
        &self,
        leaf: &Leaf,
        split: &Split,
        (rows, counts): ([Range<usize>; 2], [usize; 2]),
        node: usize,
    ) -> [Leaf; 2] {
        let mut right = leaf.sum;
        right -= split.left;
        let values = [split.left, right].map(|sum| self.search.value(sum, split.l2, leaf.bounds));
        let [bounds_left, bounds_right] = leaf.bounds.split(self.search.direction(split.feature), values);
        let (l2, depth, [rows_left, rows_right]) = (split.l2, leaf.depth + 1, rows);
        let child = |rows, count, sum, bounds, is_left| {
            let parent = Some((node, is_left));
            Leaf { rows, count, sum, l2, bounds, depth, parent, best: None }
        };
        [
            child(rows_left, counts[0], split.left, bounds_left, true),
            child(rows_right, counts[1], right, bounds_right, false),
        ]
    }

    /// Looks for the splits of two siblings, the one with fewer rows first, given the histogram of both together.
    fn find(&self, [small, large]: [&mut Leaf; 2], mut of_large: Histogram, space: &mut Space) -> Result<()> {
        let (mut of_small, Stretches { to_add, added }) = self.histograms(small, space)?;
        let wholes = [&*small, &*large].map(|leaf| self.may_split(leaf).then(|| leaf.whole()));
        let siblings = Siblings { small: &mut of_small, stretches: &to_add, large: Some(&mut of_large) };
        let [best_small, best_large] = self.search.best(siblings, wholes, self.control.threads.get());
        space.histograms.free(to_add.into_iter().chain(added));
        small.keep(best_small, of_small, &mut space.histograms);
        large.keep(best_large, of_large, &mut space.histograms);
        Ok(())
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
