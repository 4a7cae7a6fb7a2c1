//! A leaf that reads a few of the features, drawn for it.

use bincode::{Decode, Encode};

use super::config::LeafConfig;
use crate::hoeffding_tree::leaf::Leaf;
use crate::hoeffding_tree::split::{ClassRows, Split, Test};
use crate::hoeffding_tree::tree::{Row, TreeLeaf};
use crate::random::Random;

/// A leaf of classes, and the features that it reads.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) struct SubsetLeaf {
    leaf: Leaf,
    /// Numeric features, and categorical ones, in ascending order.
    numbers: Vec<u32>,
    categories: Vec<u32>,
}

/// A row's class, and how often it is learnt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeated {
    pub(super) class: u32,
    pub(super) times: u32,
}

impl SubsetLeaf {
    /// A leaf at a place of a tree, which decides about the features that it reads.
    fn new(leaf: Leaf, config: &LeafConfig, features: (usize, usize), place: usize) -> Self {
        let mut random = Random::new(config.seed, place as u64);
        let mut all: Vec<u32> = (0..(features.0 + features.1) as u32).collect();
        let wanted = (config.features as usize).min(all.len());
        for drawn in 0..wanted {
            let other = drawn + random.below((all.len() - drawn) as u64) as usize;
            all.swap(drawn, other);
        }
        all.truncate(wanted);
        all.sort_unstable();
        let numeric = all.partition_point(|feature| (*feature as usize) < features.0);
        let categories = all.split_off(numeric).into_iter().map(|feature| feature - features.0 as u32).collect();
        Self { leaf, numbers: all, categories }
    }

    /// Writes the probability of each class: of the first ones, as many as there is room for.
    pub(super) fn predict(&self, row: Row<'_>, config: &LeafConfig, room: &mut Room, probabilities: &mut [f64]) {
        self.leaf.predict(room.read.of(self, row), config.tree.leaf_prediction, probabilities);
    }

    /// The class that it says of a row; none before its first one.
    pub(super) fn class(&self, row: Row<'_>, config: &LeafConfig, room: &mut Room) -> Option<usize> {
        self.leaf.class(room.read.of(self, row), config.tree.leaf_prediction, &mut room.scores)
    }

    /// Whether rows of so many classes, in trees of this shape, could have led here.
    pub(super) fn is_plausible(
        &self,
        config: &LeafConfig,
        classes: usize,
        features: (usize, &[usize]),
        rows: u64,
    ) -> bool {
        let (numbers, categories) = features;
        let ascend = |own: &[u32], most: usize| {
            own.is_sorted_by(|left, right| left < right) && own.last().is_none_or(|last| (*last as usize) < most)
        };
        if !ascend(&self.numbers, numbers)
            || !ascend(&self.categories, categories.len())
            || self.numbers.len() + self.categories.len() > config.features as usize
        {
            return false;
        }
        let own: Vec<usize> = self.categories.iter().map(|feature| categories[*feature as usize]).collect();
        self.leaf.is_plausible(classes, (self.numbers.len(), &own), rows)
    }
}

/// Room for what a leaf reads of a row, and for the scores of classes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    read: Read,
    scores: Vec<f64>,
}

/// A part of a row's features.
#[derive(Debug, Clone, Default)]
struct Read {
    numbers: Vec<f64>,
    categories: Vec<u32>,
}

impl Read {
    /// What a leaf reads of a row.
    fn of(&mut self, leaf: &SubsetLeaf, row: Row<'_>) -> Row<'_> {
        self.numbers.clear();
        self.numbers.extend(leaf.numbers.iter().map(|feature| row.numbers[*feature as usize]));
        self.categories.clear();
        self.categories.extend(leaf.categories.iter().map(|feature| row.categories[*feature as usize]));
        Row { numbers: &self.numbers, categories: &self.categories, scaled: (&[], &[]) }
    }
}

impl TreeLeaf for SubsetLeaf {
    type Label = Repeated;
    type Branch = ClassRows;
    type Config = LeafConfig;
    type Room = Room;

    fn first(config: &LeafConfig, features: (usize, usize), place: usize) -> Self {
        Self::new(Leaf::new(Vec::new()), config, features, place)
    }

    fn learn(&mut self, row: Row<'_>, label: Repeated, config: &LeafConfig, room: &mut Room) -> usize {
        let Room { read, scores } = room;
        let row = read.of(self, row);
        (0..label.times).map(|_| self.leaf.learn(row, label.class, &config.tree, scores)).sum()
    }

    fn split(&mut self, _: (usize, usize), config: &LeafConfig) -> Option<Split<ClassRows>> {
        let own = (self.numbers.len(), self.categories.len());
        let mut split = self.leaf.split(own, &config.tree)?;
        let names = if matches!(split.test, Test::AtMost(_)) { &self.numbers } else { &self.categories };
        split.feature = names[split.feature as usize];
        Some(split)
    }

    fn of_branch(&self, branch: ClassRows, config: &LeafConfig, features: (usize, usize), place: usize) -> Self {
        Self::new(Leaf::new(branch), config, features, place)
    }

    fn rows_of(branch: &ClassRows) -> f64 {
        Leaf::rows_of(branch)
    }

    fn promise(&self) -> f64 {
        self.leaf.promise()
    }

    fn knows_features(&self) -> bool {
        self.leaf.knows_features()
    }

    fn forget(&mut self) {
        self.leaf.forget();
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Leaf>()
            + self.leaf.bytes()
            + (self.numbers.len() + self.categories.len()) * size_of::<u32>()
    }
}
