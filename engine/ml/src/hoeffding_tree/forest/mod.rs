//! An adaptive random forest (Gomes et al. 2017, "Adaptive random forests for evolving data stream classification"): Hoeffding
//! trees that vote, and of which each is replaced once it has become wrong.
//!
//! Trees differ because each learns a row as often as a Poisson distribution of mean 6 says, and because each leaf reads
//! but a few features, drawn for it. Two adaptive windows watch each tree's errors: at the first, more easily alarmed, a new
//! tree begins in the background; at the second it takes the other's place. Votes weigh as much as a tree has been
//! right since.
//!
//! What is drawn follows from the seed, the number of the row and that of the tree, so the same rows give the same forest.

mod config;
mod leaf;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use self::config::{ForestConfig, LeafConfig};
use self::leaf::{Repeated, SubsetLeaf};
use super::classifier::{ClassLearner, StreamClassifier};
use super::tree::{Row, Tree, TreeState};
use crate::drift::adwin::{Adwin, Change};
use crate::error::{MlError, Result};
use crate::random::Random;
use crate::registry::OptionDoc;

/// `e⁻⁶`: how likely a tree does not learn a row.
const NOT_LEARNT: f64 = 0.002_478_752_176_666_358_4;

/// The most often that a tree learns a row; a Poisson distribution of mean 6 says more once in 10¹³ rows.
const TIMES_MAX: u32 = 32;

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
    /// Room for the scores of classes; holds no state.
    scores: Vec<f64>,
}

/// A tree and how well it does.
#[derive(Debug, Clone, Encode, Decode)]
struct Member<T> {
    tree: T,
    /// Rows that it has told right, of those since it began to vote.
    right: u64,
    seen: u64,
    warning: Adwin,
    drift: Adwin,
    background: Option<T>,
}

impl<T> Member<T> {
    fn new(tree: T, config: &ForestConfig) -> Self {
        let (warning, drift) = (Adwin::new(config.warning_delta), Adwin::new(config.drift_delta));
        Self { tree, right: 0, seen: 0, warning, drift, background: None }
    }

    /// How much its vote weighs.
    fn weight(&self) -> f64 {
        if self.right == 0 { 1.0 } else { self.right as f64 / self.seen as f64 }
    }

    /// The same of other trees.
    fn with<U>(&self, mut of: impl FnMut(&T) -> U) -> Member<U> {
        Member {
            tree: of(&self.tree),
            right: self.right,
            seen: self.seen,
            warning: self.warning.clone(),
            drift: self.drift.clone(),
            background: self.background.as_ref().map(of),
        }
    }
}

/// Whether errors have become more.
fn is_worse(window: &mut Adwin, is_wrong: bool) -> bool {
    let before = window.mean();
    window.add(f64::from(u8::from(is_wrong))) == Change::Dropped && window.mean() > before
}

/// How often a tree learns a row, by a Poisson distribution of mean 6 (Knuth 1969).
fn times(mut random: Random) -> u32 {
    let (mut times, mut product) = (0, random.fraction());
    while product > NOT_LEARNT && times < TIMES_MAX {
        product *= random.fraction();
        times += 1;
    }
    times
}

impl AdaptiveForest {
    fn new(config: ForestConfig, features: (usize, usize)) -> Self {
        let mut forest = Self { config, features, members: Vec::new(), planted: 0, rows: 0, scores: Vec::new() };
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

    /// Lets one tree, and what is in its background, learn a row.
    fn learn_member(&mut self, number: usize, row: Row<'_>, class: u32) {
        let times = times(Random::new(self.config.seed.wrapping_add(number as u64), self.rows));
        let member = &mut self.members[number];
        let said = member.tree.leaf(row).class(row, member.tree.config(), &mut self.scores);
        let is_wrong = said != Some(class as usize);
        member.seen = member.seen.saturating_add(1);
        member.right = member.right.saturating_add(u64::from(!is_wrong));
        if times > 0 {
            let label = Repeated { class, times };
            member.tree.learn_row(row, label);
            if let Some(background) = &mut member.background {
                background.learn_row(row, label);
            }
        }
        let (has_warned, has_drifted) =
            (is_worse(&mut member.warning, is_wrong), is_worse(&mut member.drift, is_wrong));
        if has_warned {
            let background = self.plant();
            let member = &mut self.members[number];
            member.warning = Adwin::new(self.config.warning_delta);
            member.background = Some(background);
        }
        if has_drifted {
            let next = self.members[number].background.take();
            let next = next.unwrap_or_else(|| self.plant());
            self.members[number] = Member::new(next, &self.config);
        }
    }
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

    /// The mean of what trees say, each as much as it weighs.
    fn predict(&self, row: Row<'_>, probabilities: &mut [f64]) {
        let mut own = vec![0.0; probabilities.len()];
        let mut total = 0.0;
        probabilities.fill(0.0);
        for member in &self.members {
            member.tree.leaf(row).predict(row, member.tree.config(), &mut own);
            let weight = member.weight();
            total += weight;
            probabilities.iter_mut().zip(&own).for_each(|(sum, own)| *sum += weight * own);
        }
        // Rounding must not lead past 1, which no probability is.
        probabilities.iter_mut().for_each(|sum| *sum = (*sum / total).min(1.0));
    }

    fn learn(&mut self, row: Row<'_>, class: u32) {
        for number in 0..self.members.len() {
            self.learn_member(number, row, class);
        }
        self.rows = self.rows.saturating_add(1);
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
        let mut forest = Self { config, features: counts, members: Vec::new(), planted, rows, scores: Vec::new() };
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
