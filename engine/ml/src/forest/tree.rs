//! A tree, as it answers and as a snapshot has it.
//!
//! Nodes and leaves lie in the order in which a walk to the left first meets them. So a snapshot needs no places of
//! children, and a threshold is two bins: some nine bytes a node, and three a leaf of one class. The rows of a node are
//! those of its leaves; with the gains they say how much each feature matters (Breiman 2001, section 10).

use std::ops::Range;

use bincode::{Decode, Encode};

use super::bins::FeatureBins;
use super::split::{BinSet, Cut, Split, contains};
use crate::error::{MlError, Result};
use crate::explain::Place;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// Nodes and leaves. Node 0 is the root, if there is a node.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// Of the nodes that look at categories, in their order.
    sets: Vec<BinSet>,
    pub(super) leaves: Leaves,
}

/// A split: 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct Node {
    test: Test,
    /// Numbers first, then categories.
    pub(super) feature: u32,
    /// Left and right.
    children: [Child; 2],
    /// How much it lowers the impurity of the tree's rows, as a part of what the root has.
    pub(super) gain: f32,
}

/// Which rows go to the left.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
enum Test {
    /// Those up to this number, which follows from two bins, and maybe those without.
    AtMost { threshold: f64, bins: [u8; 2], missing_left: bool },
    /// Those of the bins in this set.
    In(u32),
}

/// Where rows go: to a node, or to a leaf, which has the highest bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct Child(u32);

impl Child {
    const LEAF: u32 = 1 << 31;

    pub(super) fn node(place: usize) -> Self {
        Self(place as u32)
    }

    pub(super) fn leaf(place: usize) -> Self {
        Self(place as u32 | Self::LEAF)
    }

    fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }

    fn place(self) -> usize {
        (self.0 & !Self::LEAF) as usize
    }
}

/// What leaves say, and the weights of the rows that they are made of.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) enum Leaves {
    Classes {
        /// Where each leaf's classes end.
        ends: Vec<u32>,
        /// The places of the classes that a leaf has, and the rows of each.
        classes: Vec<u32>,
        rows: Vec<u32>,
    },
    Numbers {
        values: Vec<f64>,
        rows: Vec<u32>,
    },
}

impl Leaves {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Classes { ends, .. } => ends.len(),
            Self::Numbers { values, .. } => values.len(),
        }
    }

    /// Adds the share of each class to the sum of its place, or the number to the only sum.
    pub(super) fn add(&self, leaf: usize, sums: &mut [f64]) {
        match self {
            Self::Numbers { values, .. } => sums[0] += values[leaf],
            Self::Classes { classes, rows, .. } => {
                let own = self.classes_of(leaf);
                let all: u64 = rows[own.clone()].iter().map(|rows| u64::from(*rows)).sum();
                for (class, rows) in classes[own.clone()].iter().zip(&rows[own]) {
                    sums[*class as usize] += f64::from(*rows) / all as f64;
                }
            }
        }
    }

    /// The share of a class in a leaf, or its number.
    pub(super) fn share(&self, leaf: usize, class: usize) -> f64 {
        match self {
            Self::Numbers { values, .. } => values[leaf],
            Self::Classes { classes, rows, .. } => {
                let own = self.classes_of(leaf);
                let found = own.clone().find(|place| classes[*place] as usize == class);
                let all: u64 = rows[own].iter().map(|rows| u64::from(*rows)).sum();
                found.map_or(0.0, |place| f64::from(rows[place]) / all as f64)
            }
        }
    }

    /// The weight of the rows in each leaf.
    pub(super) fn weights(&self) -> Vec<f64> {
        match self {
            Self::Numbers { rows, .. } => rows.iter().map(|rows| f64::from(*rows)).collect(),
            Self::Classes { ends, rows, .. } => (0..ends.len())
                .map(|leaf| rows[self.classes_of(leaf)].iter().map(|rows| f64::from(*rows)).sum())
                .collect(),
        }
    }

    /// Where the classes of a leaf are.
    fn classes_of(&self, leaf: usize) -> Range<usize> {
        match self {
            Self::Numbers { .. } => 0..0,
            Self::Classes { ends, .. } => {
                let start = if leaf == 0 { 0 } else { ends[leaf - 1] as usize };
                start..ends[leaf] as usize
            }
        }
    }

    /// Bytes that a snapshot needs for them at least.
    fn bytes_min(&self) -> usize {
        match self {
            Self::Classes { ends, classes, .. } => ends.len() + 2 * classes.len(),
            Self::Numbers { values, .. } => 9 * values.len(),
        }
    }
}

/// What a node asks of rows; those that say yes go to the left.
pub(super) enum Question<'a> {
    /// A number that is at most this, or missing if those go there.
    AtMost { threshold: f64, missing_left: bool },
    /// A bin of this set.
    In(&'a BinSet),
}

impl Node {
    /// Where rows go from here, left and right.
    pub(super) fn children(&self) -> [Place; 2] {
        self.children.map(|child| match child.is_leaf() {
            true => Place::Leaf(child.place()),
            false => Place::Node(child.place()),
        })
    }
}

impl Tree {
    /// A tree that has neither a node nor a leaf yet.
    pub(super) fn new(leaves: Leaves) -> Self {
        Self { nodes: Vec::new(), sets: Vec::new(), leaves }
    }

    /// Adds a split that leads nowhere yet; `whole` is the impurity of all rows times their weight.
    pub(super) fn push(&mut self, split: &Split, bins: &FeatureBins, whole: f64) -> usize {
        let test = match &split.cut {
            Cut::Number { bins: cut, missing_left, .. } => {
                let threshold = bins.threshold(*cut).unwrap_or(f64::INFINITY);
                Test::AtMost { threshold, bins: *cut, missing_left: *missing_left }
            }
            Cut::Categories(set) => {
                self.sets.push(*set);
                Test::In(self.sets.len() as u32 - 1)
            }
        };
        let nowhere = Child::leaf(0);
        let gain = (split.gain / whole) as f32;
        self.nodes.push(Node { test, feature: split.feature as u32, children: [nowhere; 2], gain });
        self.nodes.len() - 1
    }

    /// Has a node lead to a child; the root has none above it.
    pub(super) fn put(&mut self, parent: Option<(usize, bool)>, child: Child) {
        if let Some((node, is_left)) = parent {
            self.nodes[node].children[usize::from(!is_left)] = child;
        }
    }

    /// The leaf of each row, given its numbers, of which missing ones are NaN, and the bins of its categories.
    ///
    /// All rows go a step before any goes the next: a step waits for memory, and those of other rows meanwhile do not wait
    /// for it.
    pub(super) fn leaves_of<const N: usize>(&self, rows: [(&[f64], &[u8]); N]) -> [usize; N] {
        let mut places = [if self.nodes.is_empty() { Child::leaf(0) } else { Child::node(0) }; N];
        let mut is_open = !self.nodes.is_empty();
        while is_open {
            is_open = false;
            for (place, (numbers, categories)) in places.iter_mut().zip(rows) {
                if !place.is_leaf() {
                    let node = &self.nodes[place.place()];
                    // By its place and not by a branch, which would be guessed wrong as often as right.
                    *place = node.children[usize::from(!self.sends_left(node, numbers, categories))];
                    is_open |= !place.is_leaf();
                }
            }
        }
        places.map(Child::place)
    }

    /// What is asked at a node.
    pub(super) fn question(&self, node: usize) -> Question<'_> {
        match self.nodes[node].test {
            Test::AtMost { threshold, missing_left, .. } => Question::AtMost { threshold, missing_left },
            Test::In(set) => Question::In(&self.sets[set as usize]),
        }
    }

    /// Whether a row goes to the left at a node.
    pub(super) fn goes_left(&self, node: usize, numbers: &[f64], categories: &[u8]) -> bool {
        self.sends_left(&self.nodes[node], numbers, categories)
    }

    #[inline]
    fn sends_left(&self, node: &Node, numbers: &[f64], categories: &[u8]) -> bool {
        match node.test {
            Test::AtMost { threshold, missing_left, .. } => {
                let number = numbers[node.feature as usize];
                (number <= threshold) | (number.is_nan() & missing_left)
            }
            Test::In(set) => contains(&self.sets[set as usize], categories[node.feature as usize - numbers.len()]),
        }
    }

    /// Bytes that a snapshot needs for the tree at least.
    pub(super) fn bytes_min(&self) -> usize {
        8 * self.nodes.len() + self.leaves.bytes_min()
    }
}

/// A tree as a snapshot has it.
#[derive(Debug, Encode, Decode)]
pub(super) struct TreeState {
    nodes: Vec<NodeState>,
    sets: Vec<BinSet>,
    leaves: LeavesState,
}

#[derive(Debug, Encode, Decode)]
struct NodeState {
    feature: u32,
    /// What is so of it, by bit.
    flags: u8,
    /// Of a number.
    bins: [u8; 2],
    gain: f32,
}

const LEFT_IS_LEAF: u8 = 1;
const RIGHT_IS_LEAF: u8 = 2;
const MISSING_LEFT: u8 = 4;
const IS_SET: u8 = 8;

#[derive(Debug, Encode, Decode)]
enum LeavesState {
    /// How many classes each leaf has, the classes, and the rows of each.
    Classes(Vec<u32>, Vec<u32>, Vec<u32>),
    Numbers(Vec<f64>, Vec<u32>),
}

impl Tree {
    pub(super) fn state(&self) -> TreeState {
        let nodes = self.nodes.iter().map(|node| {
            let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
            let (bins, of_test) = match node.test {
                Test::AtMost { bins, missing_left, .. } => (bins, flag(missing_left, MISSING_LEFT)),
                Test::In(_) => ([0, 0], IS_SET),
            };
            let [left, right] = node.children.map(Child::is_leaf);
            let of_children = flag(left, LEFT_IS_LEAF) | flag(right, RIGHT_IS_LEAF);
            NodeState { feature: node.feature, flags: of_test | of_children, bins, gain: node.gain }
        });
        let leaves = match &self.leaves {
            Leaves::Numbers { values, rows } => LeavesState::Numbers(values.clone(), rows.clone()),
            Leaves::Classes { ends, classes, rows } => {
                let starts = [0].into_iter().chain(ends.iter().copied());
                let counts = ends.iter().zip(starts).map(|(end, start)| end - start).collect();
                LeavesState::Classes(counts, classes.clone(), rows.clone())
            }
        };
        TreeState { nodes: nodes.collect(), sets: self.sets.clone(), leaves }
    }
}

impl TreeState {
    /// The tree that wrote this, of a model with these features, and of so many classes, or of numbers.
    ///
    /// # Errors
    /// `CorruptState` for one that could lead nowhere.
    pub(super) fn into_tree(self, features: &[FeatureBins], classes: Option<usize>) -> Result<Tree> {
        let mut sets = 0;
        let nodes: Option<Vec<Node>> = self.nodes.iter().map(|node| node.node(features, &mut sets)).collect();
        let leaves = self.leaves.leaves(classes);
        let (Some(nodes), Some(leaves)) = (nodes, leaves) else { return Err(leads_nowhere()) };
        if sets as usize != self.sets.len() {
            return Err(leads_nowhere());
        }
        let mut tree = Tree { nodes, sets: self.sets, leaves };
        let flags: Vec<u8> = self.nodes.iter().map(|node| node.flags).collect();
        link(&mut tree, &flags)?;
        Ok(tree)
    }
}

fn leads_nowhere() -> MlError {
    MlError::corrupt("a tree leads nowhere")
}

/// Has each node lead to its children, which come in the order of the walk.
fn link(tree: &mut Tree, flags: &[u8]) -> Result<()> {
    let (mut nodes, mut leaves) = (0, 0);
    let mut open = vec![(None, flags.is_empty())];
    while let Some((parent, is_leaf)) = open.pop() {
        if is_leaf {
            tree.put(parent, Child::leaf(leaves));
            leaves += 1;
            continue;
        }
        let own = flags.get(nodes).ok_or_else(leads_nowhere)?;
        tree.put(parent, Child::node(nodes));
        open.push((Some((nodes, false)), own & RIGHT_IS_LEAF != 0));
        open.push((Some((nodes, true)), own & LEFT_IS_LEAF != 0));
        nodes += 1;
    }
    if nodes == flags.len() && leaves == tree.leaves.count() { Ok(()) } else { Err(leads_nowhere()) }
}

impl NodeState {
    /// The node, if it could be one; `sets` counts those before it that look at categories.
    fn node(&self, features: &[FeatureBins], sets: &mut u32) -> Option<Node> {
        let test = match (features.get(self.feature as usize)?, self.flags & IS_SET != 0) {
            (FeatureBins::Categorical { .. }, true) => {
                *sets += 1;
                Test::In(*sets - 1)
            }
            (bins @ FeatureBins::Numeric { .. }, false) => {
                let threshold = bins.threshold(self.bins)?;
                Test::AtMost { threshold, bins: self.bins, missing_left: self.flags & MISSING_LEFT != 0 }
            }
            _ => return None,
        };
        let nowhere = Child::leaf(0);
        let node = Node { test, feature: self.feature, children: [nowhere; 2], gain: self.gain };
        Some(node).filter(|_| self.gain.is_finite())
    }
}

impl LeavesState {
    /// The leaves, if they could be some of so many classes, or of numbers.
    fn leaves(self, classes: Option<usize>) -> Option<Leaves> {
        match (self, classes) {
            (Self::Numbers(values, rows), None) => {
                let is_valid = values.len() == rows.len()
                    && values.iter().all(|value| value.abs() <= STATE_MAGNITUDE_MAX)
                    && rows.iter().all(|rows| *rows > 0);
                Some(Leaves::Numbers { values, rows }).filter(|_| is_valid)
            }
            (Self::Classes(counts, classes, rows), Some(count)) => {
                let mut end = 0_u32;
                let next = |count: &u32| {
                    end = end.checked_add(*count).filter(|_| *count > 0)?;
                    Some(end)
                };
                let ends = counts.iter().map(next).collect::<Option<Vec<u32>>>()?;
                let is_valid = end as usize == classes.len()
                    && classes.len() == rows.len()
                    && classes.iter().all(|class| (*class as usize) < count)
                    && rows.iter().all(|rows| *rows > 0);
                Some(Leaves::Classes { ends, classes, rows }).filter(|_| is_valid)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
