//! An adaptive random forest (Gomes et al. 2017, "Adaptive random forests for evolving data stream classification"): Hoeffding
//! trees that vote, and of which each is replaced once it has become wrong.
//!
//! Trees differ because each learns a row as often as a Poisson distribution of mean 6 says, and because each leaf reads
//! but a few features, drawn for it. Two adaptive windows watch each tree's errors: at the first, more easily alarmed, a new
//! tree begins in the background; at the second it takes the other's place. Votes weigh as much as a tree has been
//! right since.
//!
//! What is drawn follows from the seed, the number of the row and that of the tree, so the same rows give the same forest,
//! however many threads its trees learn on.

mod config;
mod leaf;
mod member;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use self::config::{ForestConfig, LeafConfig};
use self::leaf::{Room, SubsetLeaf};
use self::member::{Block, Member, Stop, TIMES_MAX};
use super::classifier::{ClassLearner, StreamClassifier};
use super::tree::{Row, Tree, TreeState};
use crate::batch::parallel::{owned_in_parallel, worthwhile};
use crate::error::{MlError, Result};
use crate::registry::OptionDoc;

/// Rows that members learn before they wait for each other: enough work for threads, few enough that a member which needs a
/// tree has not much left to learn while the others are done.
const BLOCK_ROWS: usize = 128;

/// About what a tree takes to learn a row, and to say its class.
const NANOSECONDS_A_ROW: usize = 2000;
const NANOSECONDS_A_VOTE: usize = 200;

/// A classifier that learns row by row and follows changes; see the [module](self).
pub(crate) type AdaptiveRandomForest = StreamClassifier<AdaptiveForest>;

/// The trees of a forest.
#[derive(Debug, Clone)]
pub(crate) struct AdaptiveForest {
    config: ForestConfig,
    features: (usize, usize),
    members: Vec<Member<Tree<SubsetLeaf>>>,
    /// Trees planted so far, and rows learnt.
    planted: u64,
    rows: u64,
}

impl AdaptiveForest {
    fn new(config: ForestConfig, features: (usize, usize)) -> Self {
        let mut forest = Self { config, features, members: Vec::new(), planted: 0, rows: 0 };
        for _ in 0..config.trees {
            let tree = forest.plant();
            forest.members.push(Member::new(tree, &config));
        }
        forest
    }

    fn plant(&mut self) -> Tree<SubsetLeaf> {
        let config = self.config.of_tree(self.planted);
        self.planted = self.planted.saturating_add(1);
        Tree::new(config, self.features)
    }

    /// Lets all members learn rows, on several threads where there is enough to do.
    ///
    /// Trees are planted in the order of the rows, and of the members for the same row: the tree for the first stop is
    /// known, since nobody else can come to an earlier one any more, and by then that member may stop again.
    fn learn_block(&mut self, rows: &[(Row<'_>, u32)]) {
        let (config, block) = (self.config, Block { rows, before: self.rows });
        let trees = self.members.len();
        let learn = |(number, member): (usize, &mut Member<_>)| member.learn(number, block, 0, &config);
        let members = self.members.iter_mut().enumerate();
        let mut stops = match worthwhile(trees, rows.len() * trees * NANOSECONDS_A_ROW) {
            1 => members.map(learn).collect(),
            _ => owned_in_parallel(members, learn),
        };
        while let Some((stop, number)) = first_of(&stops) {
            let planted = self.plant();
            let member = &mut self.members[number];
            member.take(planted, stop, &config);
            stops[number] = member.learn(number, block, stop.row + 1, &config);
        }
        self.rows = self.rows.saturating_add(rows.len() as u64);
    }
}

/// The first stop and the number of its member.
fn first_of(stops: &[Option<Stop>]) -> Option<(Stop, usize)> {
    let stopped = stops.iter().enumerate().filter_map(|(number, stop)| Some(((*stop)?, number)));
    stopped.min_by_key(|(stop, number)| (stop.row, *number))
}

impl ClassLearner for AdaptiveForest {
    const MODEL_TYPE: &'static str = "adaptive_random_forest_classifier";
    const SNAPSHOT_TAG: u8 = 64;
    type State = ForestState;

    fn from_options(options: &BTreeMap<String, String>, features: (usize, usize)) -> Result<Self> {
        Ok(Self::new(ForestConfig::from_options(Self::MODEL_TYPE, options, features.0 + features.1)?, features))
    }

    fn option_docs() -> Vec<OptionDoc> {
        ForestConfig::option_docs()
    }

    fn max_categories(&self) -> u32 {
        self.config.tree.growth.max_categories
    }

    fn nanoseconds_a_prediction(&self) -> usize {
        self.members.len() * NANOSECONDS_A_VOTE
    }

    /// The mean of what trees say, each as much as it weighs.
    fn predict(&self, row: Row<'_>, probabilities: &mut [f64]) {
        let (mut own, mut room) = (vec![0.0; probabilities.len()], Room::default());
        let mut total = 0.0;
        probabilities.fill(0.0);
        for member in &self.members {
            member.tree.leaf(row).predict(row, member.tree.config(), &mut room, &mut own);
            let weight = member.weight();
            total += weight;
            probabilities.iter_mut().zip(&own).for_each(|(sum, own)| *sum += weight * own);
        }
        // Rounding must not lead past 1, which no probability is.
        probabilities.iter_mut().for_each(|sum| *sum = (*sum / total).min(1.0));
    }

    fn learn<'a>(&mut self, rows: impl Iterator<Item = (Row<'a>, u32)>) {
        let rows: Vec<_> = rows.collect();
        rows.chunks(BLOCK_ROWS).for_each(|block| self.learn_block(block));
    }

    fn state(&self) -> ForestState {
        let members = self.members.iter().map(|member| member.with(Tree::to_state)).collect();
        ForestState { config: self.config, members, planted: self.planted }
    }

    fn max_categories_of(state: &ForestState) -> Result<u32> {
        state.config.validate()?;
        Ok(state.config.tree.growth.max_categories)
    }

    fn restore(state: ForestState, features: (usize, &[usize]), classes: usize, rows: u64) -> Result<Self> {
        let ForestState { config, members, planted } = state;
        let counts = (features.0, features.1.len());
        let is_member = |member: &Member<_>| {
            member.right <= member.seen
                && member.seen <= rows
                && member.warning.is_plausible(config.warning_delta, rows)
                && member.drift.is_plausible(config.drift_delta, rows)
        };
        if members.len() != config.trees as usize || !members.iter().all(is_member) {
            return Err(MlError::corrupt("the trees do not fit the rows and the options"));
        }
        let repeated = rows.saturating_mul(u64::from(TIMES_MAX));
        let restored = |tree: TreeState<SubsetLeaf, LeafConfig>| {
            let own = *tree.config();
            if own != (LeafConfig { seed: own.seed, ..config.of_tree(0) }) {
                return Err(MlError::corrupt("a tree does not fit the options"));
            }
            tree.into_tree(features, |leaf| leaf.is_plausible(&own, classes, features, repeated))
        };
        let mut forest = Self { config, features: counts, members: Vec::new(), planted, rows };
        for member in members {
            let Member { tree, right, seen, warning, drift, background } = member;
            let (tree, background) = (restored(tree)?, background.map(&restored).transpose()?);
            forest.members.push(Member { tree, right, seen, warning, drift, background });
        }
        Ok(forest)
    }
}

/// A forest as a snapshot holds it.
#[derive(Encode, Decode)]
pub(crate) struct ForestState {
    config: ForestConfig,
    members: Vec<Member<TreeState<SubsetLeaf, LeafConfig>>>,
    planted: u64,
}
