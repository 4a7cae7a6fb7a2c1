//! A regression tree, as it answers: numbers are compared with a threshold, categories looked up in a set.

use bincode::{Decode, Encode};

use crate::error::{MlError, Result};
use crate::inspect::SplitUse;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// Nodes and leaves. Node 0 is the root, if there is a node; each is behind its parent.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// What each leaf says.
    pub(super) values: Vec<f64>,
    /// How many rows of those that the tree was made of are in each leaf.
    pub(super) rows: Vec<u64>,
}

/// A split.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Node {
    /// Numbers first, then categories.
    pub(super) feature: u32,
    pub(super) test: Test,
    /// Whether rows without the number go to the left.
    pub(super) missing_left: bool,
    pub(super) left: Child,
    pub(super) right: Child,
    /// How much it has lowered the loss of the rows that the tree was made of.
    pub(super) gain: f64,
    /// These rows.
    pub(super) rows: u64,
}

/// Which rows go to the left.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) enum Test {
    /// Those up to this number.
    AtMost(f64),
    /// Those of the categories whose bits are set, by their places in the dictionary.
    In(Vec<u64>),
}

/// Where rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) enum Child {
    Node(u32),
    Leaf(u32),
}

impl Tree {
    /// What the tree says of a row; `categories` are places in the features' dictionaries.
    pub(super) fn value(&self, numbers: &[f64], categories: &[u32]) -> f64 {
        let mut place = self.root();
        loop {
            match place {
                Child::Node(node) => place = self.nodes[node as usize].child(numbers, categories),
                Child::Leaf(leaf) => return self.values[leaf as usize],
            }
        }
    }

    /// Where every row begins.
    pub(super) fn root(&self) -> Child {
        if self.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) }
    }

    /// Checks a tree that comes from elsewhere, of so many numbers and of features with so many categories.
    ///
    /// # Errors
    /// `CorruptState` for one that could lead nowhere.
    pub(super) fn check(&self, numbers: usize, categories: usize) -> Result<()> {
        // Each but the root is the child of one node: whoever goes all ways comes to an end.
        let (mut is_taken, mut is_leaf_taken) = (vec![false; self.nodes.len()], vec![false; self.values.len()]);
        let take = |taken: &mut [bool], place: u32| {
            taken.get_mut(place as usize).is_some_and(|taken| !std::mem::replace(taken, true))
        };
        let mut is_child = |node: usize, child: Child| match child {
            Child::Node(next) => next as usize > node && take(&mut is_taken, next),
            Child::Leaf(leaf) => take(&mut is_leaf_taken, leaf),
        };
        let mut is_node = |(place, node): (usize, &Node)| {
            let feature = node.feature as usize;
            let fits = match &node.test {
                Test::AtMost(threshold) => feature < numbers && threshold.is_finite(),
                Test::In(_) => (numbers..numbers + categories).contains(&feature),
            };
            fits && is_child(place, node.left) && is_child(place, node.right) && node.gain.is_finite()
        };
        let is_value = |value: &f64| value.abs() <= STATE_MAGNITUDE_MAX;
        let is_tree = self.values.len() == self.nodes.len() + 1
            && self.rows.len() == self.values.len()
            && self.nodes.iter().enumerate().all(&mut is_node)
            && self.values.iter().all(is_value)
            && self.rows.iter().all(|rows| *rows > 0);
        if is_tree { Ok(()) } else { Err(MlError::corrupt("a tree leads nowhere")) }
    }
}

impl Node {
    pub(super) fn as_use(&self) -> SplitUse {
        SplitUse { feature: self.feature as usize, gain: self.gain, rows: self.rows as f64 }
    }

    fn child(&self, numbers: &[f64], categories: &[u32]) -> Child {
        if self.goes_left(numbers, categories) { self.left } else { self.right }
    }

    /// Whether a row goes to the left.
    pub(super) fn goes_left(&self, numbers: &[f64], categories: &[u32]) -> bool {
        match &self.test {
            Test::AtMost(threshold) => {
                let number = numbers[self.feature as usize];
                number <= *threshold || (number.is_nan() && self.missing_left)
            }
            Test::In(set) => {
                let place = categories[self.feature as usize - numbers.len()];
                set.get(place as usize / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
            }
        }
    }
}
