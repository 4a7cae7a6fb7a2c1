//! The tree: sends rows to leaves, lets leaves grow into splits, and keeps within its limits.

use bincode::{Decode, Encode};

use super::config::TreeConfig;
use super::leaf::Leaf;
use super::observers::Row;
use super::split::{Split, Test, best_split};
use crate::error::{MlError, Result};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// How far leaves are made to forget once the tree is too large, so that it does not happen for every row.
const SHARE_KEPT: f64 = 0.75;

#[derive(Debug, Clone, Encode, Decode)]
enum Node {
    Leaf(Leaf),
    Branches(Branches),
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

    fn bytes(&self) -> usize {
        let category = if matches!(self.test, Test::Each(_)) { size_of::<u32>() } else { 0 };
        size_of::<Node>() + self.children.len() * (size_of::<u32>() + size_of::<f64>() + category)
    }
}

/// Nodes of which the first is the root.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    config: TreeConfig,
    /// Numeric and categorical features.
    features: (usize, usize),
    nodes: Vec<Node>,
    /// Bytes that the nodes hold.
    bytes: usize,
    /// Room for the scores of classes; holds no state.
    scratch: Vec<f64>,
}

impl Tree {
    /// One leaf without rows.
    pub(super) fn new(config: TreeConfig, features: (usize, usize)) -> Self {
        let root = Leaf::new(Vec::new());
        Self { config, features, bytes: root.bytes(), nodes: vec![Node::Leaf(root)], scratch: Vec::new() }
    }

    /// Writes the probability of each class: of the first ones, as many as there is room for.
    pub(super) fn predict(&self, row: Row<'_>, probabilities: &mut [f64]) {
        let mut node = 0;
        loop {
            match &self.nodes[node] {
                Node::Leaf(leaf) => return leaf.predict(row, self.config.leaf_prediction, probabilities),
                Node::Branches(branches) => {
                    let branch = branches.branch(row).unwrap_or_else(|| branches.heaviest());
                    node = branches.children[branch] as usize;
                }
            }
        }
    }

    /// Learns one row.
    pub(super) fn learn(&mut self, row: Row<'_>, class: u32) {
        let place = self.leaf_of(row);
        let Node::Leaf(leaf) = &mut self.nodes[place] else { return };
        self.bytes += leaf.learn(row, class, self.config.leaf_prediction, &mut self.scratch);
        if leaf.is_due(self.config.grace_period)
            && let Some(split) = best_split(leaf, self.features, &self.config)
            && self.has_room(split.branches.len())
        {
            self.split(place, split);
        }
        if self.bytes > self.config.bytes_max() {
            self.forget();
        }
    }

    /// The leaf that a row belongs to, past splits that count it; a category without a branch gets one.
    fn leaf_of(&mut self, row: Row<'_>) -> usize {
        let has_room = self.has_room(1);
        let (mut node, next) = (0, self.nodes.len() as u32);
        while let Node::Branches(branches) = &mut self.nodes[node] {
            let branch = match branches.branch(row) {
                Some(branch) => branch,
                None if has_room => {
                    let before = branches.bytes();
                    branches.add(row, next);
                    self.bytes += branches.bytes() - before;
                    let leaf = Leaf::new(Vec::new());
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
        self.nodes.len() + nodes <= self.config.max_nodes as usize && self.bytes < self.config.bytes_max()
    }

    fn split(&mut self, place: usize, split: Split) {
        let first = self.nodes.len() as u32;
        let rows = split.branches.iter().map(|weights| weights.iter().sum()).collect();
        let children = (first..).take(split.branches.len()).collect();
        let branches = Branches { feature: split.feature, test: split.test, children, rows };
        self.bytes += branches.bytes();
        for weights in split.branches {
            let leaf = Leaf::new(weights);
            self.bytes += leaf.bytes();
            self.nodes.push(Node::Leaf(leaf));
        }
        if let Node::Leaf(leaf) = std::mem::replace(&mut self.nodes[place], Node::Branches(branches)) {
            self.bytes -= leaf.bytes();
        }
    }

    /// Makes the leaves that could gain least forget what they know of features, until the tree is small enough or
    /// nothing is left to forget.
    fn forget(&mut self) {
        let target = (self.config.bytes_max() as f64 * SHARE_KEPT) as usize;
        let mut leaves: Vec<(f64, usize)> = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            if let Node::Leaf(leaf) = node
                && leaf.observers().is_some_and(|observers| observers.bytes() > 0)
            {
                leaves.push((leaf.promise(), place));
            }
        }
        leaves.sort_by(|(left, _), (right, _)| left.total_cmp(right));
        for (_, place) in leaves {
            if self.bytes <= target {
                break;
            }
            if let Node::Leaf(leaf) = &mut self.nodes[place] {
                self.bytes -= leaf.bytes();
                leaf.forget();
                self.bytes += leaf.bytes();
            }
        }
    }

    pub(super) fn state(&self) -> TreeState {
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
pub(super) struct TreeState {
    config: TreeConfig,
    nodes: Vec<Node>,
}

impl TreeState {
    pub(super) fn config(&self) -> &TreeConfig {
        &self.config
    }

    /// The tree that wrote this, given how many numbers, categories of each feature, classes and rows there are.
    ///
    /// # Errors
    /// `CorruptState`.
    pub(super) fn into_tree(self, features: (usize, &[usize]), classes: usize, rows: u64) -> Result<Tree> {
        let (numbers, categories) = features;
        let mut parents = vec![0_u32; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            let fits = match node {
                Node::Leaf(leaf) => leaf.is_plausible(classes, features, rows),
                Node::Branches(branches) => branches.is_plausible(numbers, categories),
            };
            if !fits {
                return Err(MlError::corrupt("a node does not fit the classes and features"));
            }
            let Node::Branches(branches) = node else { continue };
            for child in &branches.children {
                match parents.get_mut(*child as usize) {
                    // So there is no circle.
                    Some(parents) if *child as usize > place => *parents += 1,
                    _ => return Err(MlError::corrupt("its nodes are no tree")),
                }
            }
        }
        let is_tree =
            parents.split_first().is_some_and(|(root, others)| *root == 0 && others.iter().all(|own| *own == 1));
        if !is_tree || self.nodes.len() > self.config.max_nodes as usize {
            return Err(MlError::corrupt("its nodes are no tree"));
        }
        let bytes = |node: &Node| match node {
            Node::Leaf(leaf) => leaf.bytes(),
            Node::Branches(branches) => branches.bytes(),
        };
        Ok(Tree {
            bytes: self.nodes.iter().map(bytes).sum(),
            config: self.config,
            features: (numbers, categories.len()),
            nodes: self.nodes,
            scratch: Vec::new(),
        })
    }
}
