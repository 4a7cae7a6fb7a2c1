//! One of a forest's trees: how well it does, and the tree that may take its place.
//!
//! Members know nothing of each other, but for the number of trees planted before theirs, which follows from the order of
//! rows. So each learns a block of rows by itself, up to the row after which it needs another tree, and waits for that.

use bincode::{Decode, Encode};

use super::config::ForestConfig;
use super::leaf::{Repeated, Room, SubsetLeaf};
use crate::drift::adwin::{Adwin, Change};
use crate::hoeffding_tree::tree::{Row, Tree};
use crate::random::Random;

/// `e⁻⁶`: how likely a tree does not learn a row.
const NOT_LEARNT: f64 = 0.002_478_752_176_666_358_4;

/// The most often that a tree learns a row; a Poisson distribution of mean 6 says more once in 10¹³ rows.
pub(super) const TIMES_MAX: u32 = 32;

/// A tree and how well it does.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Member<T> {
    pub(super) tree: T,
    /// Rows that it has told right, of those since it began to vote.
    pub(super) right: u64,
    pub(super) seen: u64,
    pub(super) warning: Adwin,
    pub(super) drift: Adwin,
    pub(super) background: Option<T>,
}

/// Rows of a forest's stream, one after the other, and their classes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) rows: &'a [(Row<'a>, u32)],
    /// Rows of the stream before them.
    pub(super) before: u64,
}

/// A row of a block after which a member needs a tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) row: usize,
    /// Whether that takes the other's place at once.
    has_drifted: bool,
}

impl<T> Member<T> {
    pub(super) fn new(tree: T, config: &ForestConfig) -> Self {
        let (warning, drift) = (Adwin::new(config.warning_delta), Adwin::new(config.drift_delta));
        Self { tree, right: 0, seen: 0, warning, drift, background: None }
    }

    /// How much its vote weighs.
    pub(super) fn weight(&self) -> f64 {
        if self.right == 0 { 1.0 } else { self.right as f64 / self.seen as f64 }
    }

    /// The same of other trees.
    pub(super) fn with<U>(&self, mut of: impl FnMut(&T) -> U) -> Member<U> {
        Member {
            tree: of(&self.tree),
            right: self.right,
            seen: self.seen,
            warning: self.warning.clone(),
            drift: self.drift.clone(),
            background: self.background.as_ref().map(of),
        }
    }

    /// Goes on from a stop, with the tree that it needs.
    pub(super) fn take(&mut self, planted: T, stop: Stop, config: &ForestConfig) {
        self.background = Some(planted);
        self.warning = Adwin::new(config.warning_delta);
        if stop.has_drifted {
            self.replace(config);
        }
    }

    /// Lets the tree in the background vote in the other's place.
    fn replace(&mut self, config: &ForestConfig) {
        if let Some(next) = self.background.take() {
            *self = Self::new(next, config);
        }
    }
}

impl Member<Tree<SubsetLeaf>> {
    /// Learns the rows of a block from one on, as the member with this number, up to the first that it needs a tree after.
    pub(super) fn learn(
        &mut self,
        number: usize,
        block: Block<'_>,
        first: usize,
        config: &ForestConfig,
    ) -> Option<Stop> {
        let mut room = Room::default();
        let seed = config.seed.wrapping_add(number as u64);
        for (place, (row, class)) in block.rows.iter().enumerate().skip(first) {
            let times = times(Random::new(seed, block.before.saturating_add(place as u64)));
            let is_wrong = self.learn_row(*row, Repeated { class: *class, times }, &mut room);
            let has_warned = is_worse(&mut self.warning, is_wrong);
            let has_drifted = is_worse(&mut self.drift, is_wrong);
            if has_warned || has_drifted && self.background.is_none() {
                return Some(Stop { row: place, has_drifted });
            }
            if has_drifted {
                self.replace(config);
            }
        }
        None
    }

    /// Lets the tree, and what is in its background, learn a row; returns whether it had told its class wrong.
    fn learn_row(&mut self, row: Row<'_>, label: Repeated, room: &mut Room) -> bool {
        let said = self.tree.leaf(row).class(row, self.tree.config(), room);
        let is_wrong = said != Some(label.class as usize);
        self.seen = self.seen.saturating_add(1);
        self.right = self.right.saturating_add(u64::from(!is_wrong));
        if label.times > 0 {
            self.tree.learn_row(row, label);
            if let Some(background) = &mut self.background {
                background.learn_row(row, label);
            }
        }
        is_wrong
    }
}

/// Whether errors have become more.
fn is_worse(window: &mut Adwin, is_wrong: bool) -> bool {
    let before = window.mean();
    window.add(f64::from(u8::from(is_wrong))) == Change::Dropped && window.mean() > before
}

/// How often a tree learns a row, by a Poisson distribution of mean 6 (Knuth 1969).
pub(super) fn times(mut random: Random) -> u32 {
    let (mut times, mut product) = (0, random.fraction());
    while product > NOT_LEARNT && times < TIMES_MAX {
        product *= random.fraction();
        times += 1;
    }
    times
}
