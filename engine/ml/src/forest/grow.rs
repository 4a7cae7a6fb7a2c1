//! Grows a tree: a node's rows are cut in two until they are pure, or too few, or at the depth that is allowed.

use std::ops::Range;

use super::impurity::{Impurity, Sample, Sums, is_pure};
use super::sample::below;
use super::split::{Search, Split, better};
use super::tree::{Child, Tree};
use crate::batch::FitControl;
use crate::batch::parallel::{in_parallel, stretches};
use crate::error::Result;
use crate::random::Random;

/// Rows times features below which a thread costs more than it saves.
const ENTRIES_FOR_THREADS: usize = 1 << 18;

/// What trees are grown from.
pub(super) struct Grower<'a, I> {
    pub(super) search: Search<'a>,
    pub(super) impurity: &'a I,
    /// How a thread that grows a tree may be helped, and who may stop it.
    pub(super) control: FitControl,
}

/// A tree, and how impure its leaves are: the mean over the rows that were drawn for it.
pub(super) struct Grown {
    pub(super) tree: Tree,
    pub(super) impurity: f64,
}

/// Rows that are to become a node or a leaf.
struct Open {
    rows: Range<usize>,
    depth: u64,
    /// The node above, and whether they are on its left.
    parent: Option<(usize, bool)>,
}

/// A tree that is being grown.
struct Growth<'a, I: Impurity> {
    grower: &'a Grower<'a, I>,
    /// Node by node.
    samples: Vec<Sample<I::Target>>,
    /// Those that go to the right while a node is cut.
    aside: Vec<Sample<I::Target>>,
    sums: I::Sums,
    /// All features; those drawn for a node come first.
    features: Vec<usize>,
    random: Random,
    tree: Tree,
    /// How many rows were drawn.
    weight: f64,
    /// The impurity of all rows times their weight, and of the leaves.
    whole: f64,
    left: f64,
}

impl<I: Impurity> Grower<'_, I> {
    /// A tree of the rows that were drawn, each so often.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn grow(&self, counts: &[u32], random: Random) -> Result<Grown> {
        let drawn = counts.iter().zip(0_u32..).filter(|(weight, _)| **weight > 0);
        let samples: Vec<_> = drawn
            .map(|(weight, row)| Sample { row, weight: *weight, target: self.impurity.target(row as usize) })
            .collect();
        let whole = self.impurity.impurity(&samples);
        let weight: f64 = samples.iter().map(|sample| f64::from(sample.weight)).sum();
        let growth = Growth {
            grower: self,
            samples,
            aside: Vec::new(),
            sums: self.impurity.sums(),
            features: (0..self.search.binned.features.len()).collect(),
            random,
            tree: Tree::new(self.impurity.leaves()),
            weight,
            whole,
            left: 0.0,
        };
        growth.run()
    }
}

impl<I: Impurity> Growth<'_, I> {
    fn run(mut self) -> Result<Grown> {
        // Left before right, and children behind their node: the order of the tree.
        let mut open = vec![Open { rows: 0..self.samples.len(), depth: 0, parent: None }];
        while let Some(next) = open.pop() {
            self.grower.control.check()?;
            let Some(split) = self.split(&next)? else {
                self.push_leaf(&next);
                continue;
            };
            let bins = &self.grower.search.binned.features[split.feature];
            let node = self.tree.push(&split, bins, self.whole);
            self.tree.put(next.parent, Child::node(node));
            let middle = next.rows.start + self.partition(&split, next.rows.clone());
            let child = |rows, is_left| Open { rows, depth: next.depth + 1, parent: Some((node, is_left)) };
            open.push(child(middle..next.rows.end, false));
            open.push(child(next.rows.start..middle, true));
        }
        Ok(Grown { tree: self.tree, impurity: self.left / self.weight })
    }

    fn push_leaf(&mut self, open: &Open) {
        let (impurity, samples) = (self.grower.impurity, &self.samples[open.rows.clone()]);
        self.left += impurity.impurity(samples);
        self.tree.put(open.parent, Child::leaf(self.tree.leaves.count()));
        impurity.push_leaf(samples, &mut self.tree.leaves);
    }

    /// The split of these rows, if they are to be split.
    fn split(&mut self, open: &Open) -> Result<Option<Split>> {
        let config = self.grower.search.config;
        let is_deep = config.max_tree_depth > 0 && open.depth >= config.max_tree_depth;
        let is_few = (open.rows.len() as u64) < 2 * config.min_rows_in_leaf;
        if is_deep || is_few || is_pure(&self.samples[open.rows.clone()]) {
            return Ok(None);
        }
        let best = self.best(open.rows.clone())?;
        Ok(best.filter(|split| split.gain >= config.min_impurity_decrease * self.weight))
    }

    /// The best split by some features, drawn anew for each node; by more where these have none, until one has.
    fn best(&mut self, rows: Range<usize>) -> Result<Option<Split>> {
        let count = self.features.len();
        let wanted = self.grower.search.config.max_features.of(count);
        if wanted < count {
            (0..wanted).for_each(|place| self.draw_feature(place));
        }
        self.sums.begin(&self.samples[rows.clone()]);
        let mut best = self.of_features(rows.clone(), 0..wanted)?;
        for place in wanted..count {
            if best.is_some() {
                break;
            }
            self.draw_feature(place);
            best = self.of_features(rows.clone(), place..place + 1)?;
        }
        Ok(best)
    }

    /// Puts one of the features from this place on there (Fisher and Yates 1938).
    fn draw_feature(&mut self, place: usize) {
        let drawn = place + below(&mut self.random, self.features.len() - place);
        self.features.swap(place, drawn);
    }

    /// The best split by the features at these places, of equals by the first.
    fn of_features(&mut self, rows: Range<usize>, places: Range<usize>) -> Result<Option<Split>> {
        let Grower { search, impurity, control } = self.grower;
        let (samples, features) = (&self.samples[rows], &self.features[places]);
        let of_some = |features: &[usize], sums: &mut I::Sums| {
            let going = features.iter().take_while(|_| !control.is_stopped());
            going.filter_map(|feature| search.best(*feature, samples, sums)).reduce(better)
        };
        let threads = control.threads.get().min(features.len());
        let best = if threads < 2 || samples.len() * features.len() < ENTRIES_FOR_THREADS {
            of_some(features, &mut self.sums)
        } else {
            let parts = in_parallel(&stretches(features, threads), |features| {
                let mut sums = impurity.sums();
                sums.begin(samples);
                of_some(features, &mut sums)
            });
            parts.into_iter().flatten().reduce(better)
        };
        control.check()?;
        Ok(best)
    }

    /// Puts the rows that go to the left in front of the others, both in their order; returns how many they are.
    fn partition(&mut self, split: &Split, rows: Range<usize>) -> usize {
        let column = &self.grower.search.binned.columns[split.feature];
        let samples = &mut self.samples[rows];
        self.aside.clear();
        let mut left = 0;
        for place in 0..samples.len() {
            let sample = samples[place];
            if split.cut.goes_left(column[sample.row as usize]) {
                samples[left] = sample;
                left += 1;
            } else {
                self.aside.push(sample);
            }
        }
        samples[left..].copy_from_slice(&self.aside);
        left
    }
}
