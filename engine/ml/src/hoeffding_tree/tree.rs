//! The tree: sends rows to leaves, lets leaves grow into splits, and keeps within its limits.

mod alternates;

use std::fmt::Debug;

use bincode::{Decode, Encode};

use super::split::{Split, Test};
use crate::error::{MlError, Result};
use crate::feature::stream::StreamRow;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// How far leaves are made to forget once the tree is too large, so that it does not happen for every row.
const SHARE_KEPT: f64 = 0.75;

/// The features of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// NaN where missing.
    pub(super) numbers: &'a [f64],
    /// By their numbers in the dictionary; any number that it has not for one that was never seen.
    pub(super) categories: &'a [u32],
    /// The slots and values of the intercept and of the numbers in deviations from their means, for leaves with a linear
    /// model; empty for others.
    pub(super) scaled: (&'a [u32], &'a [f64]),
}

impl<'a> From<StreamRow<'a>> for Row<'a> {
    fn from(StreamRow { numbers, categories }: StreamRow<'a>) -> Self {
        Self { numbers, categories, scaled: (&[], &[]) }
    }
}

/// What a tree's leaves are: what they keep of rows, and when they become a split.
pub(crate) trait TreeLeaf: Clone {
    /// What is learnt of a row.
    type Label: Copy;
    /// What is known of the rows of one branch of a split.
    type Branch;
    type Config: TreeLimits + Copy;
    /// Room for work that holds no state, so that no row needs room of its own.
    type Room: Debug + Clone + Default;

    /// The leaf that takes the first rows: of a tree, or of a category without a branch. It will be at this place.
    fn first(config: &Self::Config, features: (usize, usize), place: usize) -> Self;

    /// Learns one row; returns the bytes that it has grown by.
    fn learn(&mut self, row: Row<'_>, label: Self::Label, config: &Self::Config, room: &mut Self::Room) -> usize;

    /// The split that it should become by now, if it is time to look and if its rows are enough to say so.
    fn split(&mut self, features: (usize, usize), config: &Self::Config) -> Option<Split<Self::Branch>>;

    /// The leaf of a branch of this one's split, which will be at this place.
    fn of_branch(&self, branch: Self::Branch, config: &Self::Config, features: (usize, usize), place: usize) -> Self;

    /// Rows of a branch.
    fn rows_of(branch: &Self::Branch) -> f64;

    /// Grows with what a split could gain.
    fn promise(&self) -> f64;

    /// Whether there is something that [`Self::forget`] would free.
    fn knows_features(&self) -> bool;

    /// Forgets what splits are judged by: the leaf will never be split.
    fn forget(&mut self);

    /// Bytes that it holds.
    fn bytes(&self) -> usize;
}

/// How large a tree may get.
pub(crate) trait TreeLimits {
    /// Splits and leaves together.
    fn nodes_max(&self) -> usize;

    /// Bytes that the nodes hold.
    fn bytes_max(&self) -> usize;
}

#[derive(Debug, Clone, Encode, Decode)]
enum Node<L> {
    Leaf(L),
    Branches(Branches),
}

impl<L: TreeLeaf> Node<L> {
    fn bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.bytes(),
            Self::Branches(branches) => branches.bytes::<L>(),
        }
    }
}

/// A split that was made.
#[derive(Debug, Clone, Encode, Decode)]
struct Branches {
    feature: u32,
    test: Test,
    /// Nodes by their number, each after this one.
    children: Vec<u32>,
    /// Rows that went to each child, those from before the split included.
    rows: Vec<f64>,
}

impl Branches {
    /// The branch of a row; `None` where its category has none.
    fn branch(&self, row: Row<'_>) -> Option<usize> {
        let feature = self.feature as usize;
        match &self.test {
            Test::AtMost(_) if row.numbers[feature].is_nan() => Some(self.heaviest()),
            Test::AtMost(threshold) => Some(usize::from(row.numbers[feature] > *threshold)),
            Test::Is(category) => Some(usize::from(row.categories[feature] != *category)),
            Test::Each(categories) => categories.binary_search(&row.categories[feature]).ok(),
        }
    }

    /// The child that a row goes on to.
    fn child(&self, row: Row<'_>) -> usize {
        self.children[self.branch(row).unwrap_or_else(|| self.heaviest())] as usize
    }

    /// The branch that most rows went to, and that those go to of which nothing is known.
    fn heaviest(&self) -> usize {
        (0..self.rows.len())
            .reduce(|best, next| if self.rows[next] > self.rows[best] { next } else { best })
            .unwrap_or(0)
    }

    /// Adds a branch for a row's category.
    fn add(&mut self, row: Row<'_>, child: u32) {
        if let Test::Each(categories) = &mut self.test {
            let category = row.categories[self.feature as usize];
            let place = categories.partition_point(|known| *known < category);
            categories.insert(place, category);
            self.children.insert(place, child);
            self.rows.insert(place, 1.0);
        }
    }

    /// Whether this could be in a tree with these numbers of features and categories.
    fn is_plausible(&self, numbers: usize, categories: &[usize]) -> bool {
        let feature = self.feature as usize;
        let known = |category: &u32| categories.get(feature).is_some_and(|count| (*category as usize) < *count);
        let fits = match &self.test {
            Test::AtMost(threshold) => feature < numbers && threshold.is_finite() && self.children.len() == 2,
            Test::Is(category) => known(category) && self.children.len() == 2,
            Test::Each(each) => {
                each.len() == self.children.len()
                    && each.iter().all(known)
                    && each.is_sorted_by(|left, right| left < right)
            }
        };
        let is_count = |rows: &f64| (0.0..=STATE_MAGNITUDE_MAX).contains(rows);
        fits && !self.children.is_empty() && self.rows.len() == self.children.len() && self.rows.iter().all(is_count)
    }

    fn bytes<L>(&self) -> usize {
        let category = if matches!(self.test, Test::Each(_)) { size_of::<u32>() } else { 0 };
        size_of::<Node<L>>() + self.children.len() * (size_of::<u32>() + size_of::<f64>() + category)
    }
}

/// Nodes of which the first is the root.
#[derive(Debug, Clone)]
pub(crate) struct Tree<L: TreeLeaf> {
    config: L::Config,
    /// Numeric and categorical features.
    features: (usize, usize),
    nodes: Vec<Node<L>>,
    /// Bytes that the nodes hold, and what there is beside them.
    bytes: usize,
    bytes_beside: usize,
    room: L::Room,
}

impl<L: TreeLeaf> Tree<L> {
    /// One leaf without rows.
    pub(super) fn new(config: L::Config, features: (usize, usize)) -> Self {
        let root = L::first(&config, features, 0);
        let (bytes, nodes) = (root.bytes(), vec![Node::Leaf(root)]);
        Self { config, features, nodes, bytes, bytes_beside: 0, room: L::Room::default() }
    }

    pub(super) fn config(&self) -> &L::Config {
        &self.config
    }

    /// The leaf that a row belongs to.
    pub(super) fn leaf(&self, row: Row<'_>) -> &L {
        self.leaf_below(0, row)
    }

    /// The leaf that a row belongs to in the part of the tree that begins at a place.
    pub(super) fn leaf_below(&self, mut place: usize, row: Row<'_>) -> &L {
        loop {
            match &self.nodes[place] {
                Node::Leaf(leaf) => return leaf,
                Node::Branches(branches) => place = branches.child(row),
            }
        }
    }

    /// Learns one row.
    pub(super) fn learn_row(&mut self, row: Row<'_>, label: L::Label) {
        self.learn_below(0, row, label);
    }

    /// Lets the part of the tree that begins at a place learn one row.
    pub(super) fn learn_below(&mut self, place: usize, row: Row<'_>, label: L::Label) {
        let place = self.leaf_to_learn(place, row);
        let Node::Leaf(leaf) = &mut self.nodes[place] else { return };
        self.bytes += leaf.learn(row, label, &self.config, &mut self.room);
        if let Some(split) = leaf.split(self.features, &self.config)
            && self.has_room(split.branches.len())
        {
            self.split(place, split);
        }
        if self.bytes + self.bytes_beside > self.config.bytes_max() {
            self.forget();
        }
    }

    /// The leaf that a row belongs to, past splits that count it; a category without a branch gets one.
    fn leaf_to_learn(&mut self, mut node: usize, row: Row<'_>) -> usize {
        let has_room = self.has_room(1);
        let next = self.nodes.len() as u32;
        while let Node::Branches(branches) = &mut self.nodes[node] {
            let branch = match branches.branch(row) {
                Some(branch) => branch,
                None if has_room => {
                    let before = branches.bytes::<L>();
                    branches.add(row, next);
                    self.bytes += branches.bytes::<L>() - before;
                    let leaf = L::first(&self.config, self.features, next as usize);
                    self.bytes += leaf.bytes();
                    self.nodes.push(Node::Leaf(leaf));
                    return next as usize;
                }
                None => branches.heaviest(),
            };
            branches.rows[branch] += 1.0;
            node = branches.children[branch] as usize;
        }
        node
    }

    fn has_room(&self, nodes: usize) -> bool {
        self.nodes.len() + nodes <= self.config.nodes_max() && self.bytes + self.bytes_beside < self.config.bytes_max()
    }

    fn split(&mut self, place: usize, split: Split<L::Branch>) {
        let first = self.nodes.len() as u32;
        let rows = split.branches.iter().map(L::rows_of).collect();
        let children = (first..).take(split.branches.len()).collect();
        let branches = Branches { feature: split.feature, test: split.test, children, rows };
        self.bytes += branches.bytes::<L>();
        let Node::Leaf(leaf) = std::mem::replace(&mut self.nodes[place], Node::Branches(branches)) else { return };
        self.bytes -= leaf.bytes();
        for branch in split.branches {
            let child = leaf.of_branch(branch, &self.config, self.features, self.nodes.len());
            self.bytes += child.bytes();
            self.nodes.push(Node::Leaf(child));
        }
    }

    /// Makes the leaves that could gain least forget what they know of features, until the tree is small enough or
    /// nothing is left to forget.
    fn forget(&mut self) {
        let target = (self.config.bytes_max() as f64 * SHARE_KEPT) as usize;
        let mut leaves: Vec<(f64, usize)> = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            if let Node::Leaf(leaf) = node
                && leaf.knows_features()
            {
                leaves.push((leaf.promise(), place));
            }
        }
        leaves.sort_by(|(left, _), (right, _)| left.total_cmp(right));
        for (_, place) in leaves {
            if self.bytes + self.bytes_beside <= target {
                break;
            }
            if let Node::Leaf(leaf) = &mut self.nodes[place] {
                self.bytes -= leaf.bytes();
                leaf.forget();
                self.bytes += leaf.bytes();
            }
        }
    }

    pub(super) fn to_state(&self) -> TreeState<L, L::Config> {
        TreeState { config: self.config, nodes: self.nodes.clone() }
    }

    /// Splits, and leaves.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let splits = self.nodes.iter().filter(|node| matches!(node, Node::Branches(_))).count();
        (splits, self.nodes.len() - splits)
    }

    /// Bytes that the nodes hold.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A tree as a snapshot holds it.
#[derive(Encode, Decode)]
pub(crate) struct TreeState<L, Config> {
    config: Config,
    nodes: Vec<Node<L>>,
}

impl<L: TreeLeaf> TreeState<L, L::Config> {
    pub(super) fn config(&self) -> &L::Config {
        &self.config
    }

    /// Splits and leaves.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The tree that wrote this, given how many numbers there are, and categories of each feature; `is_plausible` says
    /// whether a leaf could be one of it.
    ///
    /// # Errors
    /// `CorruptState`.
    pub(super) fn into_tree(self, features: (usize, &[usize]), is_plausible: impl Fn(&L) -> bool) -> Result<Tree<L>> {
        self.into_trees(features, |_| None, is_plausible)
    }

    /// The same of a tree with others beside it; `beside` says the root of the one that belongs to a place.
    ///
    /// # Errors
    /// `CorruptState`.
    pub(super) fn into_trees(
        self,
        features: (usize, &[usize]),
        beside: impl Fn(usize) -> Option<u32>,
        is_plausible: impl Fn(&L) -> bool,
    ) -> Result<Tree<L>> {
        let (numbers, categories) = features;
        let mut parents = vec![0_u32; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            let fits = match node {
                Node::Leaf(leaf) => is_plausible(leaf),
                Node::Branches(branches) => branches.is_plausible(numbers, categories),
            };
            if !fits {
                return Err(MlError::corrupt("a node does not fit the rows and features"));
            }
            let children = if let Node::Branches(branches) = node { &branches.children[..] } else { &[] };
            for child in children.iter().copied().chain(beside(place)) {
                match parents.get_mut(child as usize) {
                    // So there is no circle.
                    Some(parents) if child as usize > place => *parents += 1,
                    _ => return Err(MlError::corrupt("its nodes are no tree")),
                }
            }
        }
        let is_tree =
            parents.split_first().is_some_and(|(root, others)| *root == 0 && others.iter().all(|own| *own == 1));
        if !is_tree || self.nodes.len() > self.config.nodes_max() {
            return Err(MlError::corrupt("its nodes are no tree"));
        }
        Ok(Tree {
            bytes: self.nodes.iter().map(Node::bytes).sum(),
            bytes_beside: 0,
            config: self.config,
            features: (numbers, categories.len()),
            nodes: self.nodes,
            room: L::Room::default(),
        })
    }
}
