//! A Hoeffding adaptive tree (Bifet and Gavaldà 2009, "Adaptive learning from evolving data streams"): a Hoeffding tree that
//! replaces its parts where they have become wrong.
//!
//! Each split watches by an adaptive window whether the rows that pass it are told apart as well as before. Where errors
//! have become more, a new tree begins beside the part below the split, and learns the same rows. Once enough of
//! their errors are known it takes the part's place if it is surely better, and goes if it is surely worse. What is said
//! of rows is what the tree says, and not those beside it.
//!
//! As MOA's. River's `HoeffdingAdaptiveTreeClassifier` also draws how often a leaf learns a row, and lets trees beside
//! parts have a say; both start the tree beside a part anew with each change that comes while there is one.

mod config;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use self::config::DriftConfig;
use super::classifier::{ClassLearner, StreamClassifier};
use super::config::TreeConfig;
use super::leaf::Leaf;
use super::tree::{Row, Tree, TreeState};
use crate::drift::adwin::{Adwin, Change};
use crate::error::{MlError, Result};
use crate::registry::OptionDoc;

/// A classifier that learns row by row and follows changes; see the [module](self).
pub(crate) type HoeffdingAdaptiveTree = StreamClassifier<AdaptiveTree>;

/// A tree, and the trees beside its parts.
#[derive(Debug, Clone)]
pub(crate) struct AdaptiveTree {
    config: DriftConfig,
    tree: Tree<Leaf>,
    /// What is known of the part of the tree at each place, or of the tree beside it that has its root there.
    watches: Vec<Option<Box<Watch>>>,
    /// Bytes of the watches.
    watch_bytes: usize,
    /// Room for the places that a row passes, and for the scores of classes; holds no state.
    path: Vec<usize>,
    scores: Vec<f64>,
}

/// How well a part of a tree does.
#[derive(Debug, Clone, Encode, Decode)]
struct Watch {
    /// 1 for each row that was told wrong, and 0 for others.
    errors: Adwin,
    /// The root of the tree beside the part.
    beside: Option<u32>,
}

impl Watch {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.errors.bytes()
    }
}

/// What becomes of a part of the tree.
enum Verdict {
    Keep,
    /// A new tree begins beside it.
    Plant,
    /// The tree beside it takes its place.
    Replace,
    /// The tree beside it goes.
    Drop,
}

impl AdaptiveTree {
    fn new(config: DriftConfig, tree: Tree<Leaf>) -> Self {
        let watches = vec![None; tree.nodes()];
        Self { config, tree, watches, watch_bytes: 0, path: Vec::new(), scores: Vec::new() }
    }

    /// Whether the part of a tree that begins at a place takes a row for one of another class.
    fn is_wrong(&mut self, place: usize, row: Row<'_>, class: u32) -> bool {
        let mode = self.tree.config().leaf_prediction;
        self.tree.leaf_below(place, row).class(row, mode, &mut self.scores) != Some(class as usize)
    }

    /// Takes note of whether a part told a row wrong, and says what is to become of it.
    fn judge(&mut self, place: usize, is_wrong: bool) -> Verdict {
        let before = self.watches[place].as_ref().map_or(0, |watch| watch.bytes());
        let delta = self.config.drift_delta;
        let watch =
            self.watches[place].get_or_insert_with(|| Box::new(Watch { errors: Adwin::new(delta), beside: None }));
        let mean = watch.errors.mean();
        let change = watch.errors.add(f64::from(u8::from(is_wrong)));
        let (mean_now, width) = (watch.errors.mean(), watch.errors.width());
        let beside = watch.beside;
        self.watch_bytes = self.watch_bytes + watch.bytes() - before;
        match beside.and_then(|root| self.watches[root as usize].as_ref()) {
            None if change == Change::Dropped && mean_now > mean => Verdict::Plant,
            None => Verdict::Keep,
            Some(other) => self.config.compare((mean_now, width), (other.errors.mean(), other.errors.width())),
        }
    }

    /// Watches the parts that a row passes, replaces those that it is time for, and lets the trees beside them learn it.
    fn watch(&mut self, row: Row<'_>, class: u32) {
        let mut path = std::mem::take(&mut self.path);
        self.tree.path(row, &mut path);
        let is_wrong = self.is_wrong(0, row, class);
        let mut is_left = false;
        // The last is a leaf, which has nothing that could be replaced.
        for place in &path[..path.len() - 1] {
            match self.judge(*place, is_wrong) {
                Verdict::Keep => {}
                Verdict::Plant => self.plant(*place),
                Verdict::Drop => {
                    self.drop_beside(*place);
                    is_left = true;
                }
                Verdict::Replace => {
                    self.replace(*place);
                    is_left = true;
                    // What the row would have passed from here on is no part any more.
                    break;
                }
            }
            if let Some(root) = self.beside(*place) {
                let is_wrong = self.is_wrong(root, row, class);
                self.judge(root, is_wrong);
                self.tree.learn_below(root, row, class);
                self.watches.resize(self.tree.nodes(), None);
            }
        }
        self.path = path;
        // Not before, since the path is of places.
        if is_left {
            self.sweep();
        }
    }

    fn learn_row(&mut self, row: Row<'_>, class: u32) {
        self.watch(row, class);
        self.tree.set_bytes_beside(self.watch_bytes);
        self.tree.learn_row(row, class);
        self.watches.resize(self.tree.nodes(), None);
    }

    fn beside(&self, place: usize) -> Option<usize> {
        self.watches[place].as_ref().and_then(|watch| watch.beside).map(|root| root as usize)
    }

    fn plant(&mut self, place: usize) {
        if let (Some(watch), Some(root)) = (&mut self.watches[place], self.tree.plant()) {
            watch.beside = Some(root);
            let watch = Watch { errors: Adwin::new(self.config.drift_delta), beside: None };
            self.watch_bytes += watch.bytes();
            self.watches.push(Some(Box::new(watch)));
        }
    }

    fn drop_beside(&mut self, place: usize) {
        if let Some(watch) = &mut self.watches[place] {
            watch.beside = None;
        }
    }

    /// The part's errors are from now on those of the tree that takes its place.
    fn replace(&mut self, place: usize) {
        if let Some(root) = self.beside(place) {
            self.tree.graft(place, root as u32);
            self.watches[place] = self.watches[root].take();
        }
    }

    /// Forgets what neither the tree nor those beside its parts lead to.
    fn sweep(&mut self) {
        let watches = &self.watches;
        let places = self.tree.sweep(|place| watches[place].as_ref().and_then(|watch| watch.beside));
        let mut kept = places.iter();
        self.watches.retain(|_| kept.next().is_some_and(Option::is_some));
        for watch in self.watches.iter_mut().flatten() {
            watch.beside = watch.beside.and_then(|root| places[root as usize]);
        }
        self.watch_bytes = self.watches.iter().flatten().map(|watch| watch.bytes()).sum();
    }
}

impl DriftConfig {
    /// What becomes of a part, given its share of errors and of how many rows, and those of the tree beside it.
    ///
    /// The shares of `n` and `m` rows differ by less than `√(2 p (1 - p) ln(2/α) (1/n + 1/m))` with probability `1 - α`
    /// if there is no difference.
    fn compare(&self, own: (f64, u64), other: (f64, u64)) -> Verdict {
        let window = u64::from(self.drift_window);
        if own.1 <= window || other.1 <= window {
            return Verdict::Keep;
        }
        let per_rows = 1.0 / own.1 as f64 + 1.0 / other.1 as f64;
        let share = own.0.clamp(0.0, 1.0);
        let bound = (2.0 * share * (1.0 - share) * ln(2.0 / self.switch_significance) * per_rows).sqrt();
        match own.0 - other.0 {
            better if better > bound => Verdict::Replace,
            better if -better > bound => Verdict::Drop,
            _ => Verdict::Keep,
        }
    }
}

impl ClassLearner for AdaptiveTree {
    const MODEL_TYPE: &'static str = "hoeffding_adaptive_tree_classifier";
    const SNAPSHOT_TAG: u8 = 63;
    type State = AdaptiveState;

    fn from_options(options: &BTreeMap<String, String>, features: (usize, usize)) -> Result<Self> {
        let (config, tree) = DriftConfig::from_options(Self::MODEL_TYPE, options)?;
        Ok(Self::new(config, Tree::new(tree, features)))
    }

    fn option_docs() -> Vec<OptionDoc> {
        DriftConfig::option_docs()
    }

    fn max_categories(&self) -> u32 {
        self.tree.config().growth.max_categories
    }

    fn predict(&self, row: Row<'_>, probabilities: &mut [f64]) {
        self.tree.leaf(row).predict(row, self.tree.config().leaf_prediction, probabilities);
    }

    fn learn<'a>(&mut self, rows: impl Iterator<Item = (Row<'a>, u32)>) {
        rows.for_each(|(row, class)| self.learn_row(row, class));
    }

    fn state(&self) -> AdaptiveState {
        AdaptiveState { config: self.config, tree: self.tree.to_state(), watches: self.watches.clone() }
    }

    fn max_categories_of(state: &AdaptiveState) -> Result<u32> {
        state.config.validate()?;
        state.tree.config().growth.validate()?;
        Ok(state.tree.config().growth.max_categories)
    }

    fn restore(state: AdaptiveState, features: (usize, &[usize]), classes: usize, rows: u64) -> Result<Self> {
        let AdaptiveState { config, tree, watches } = state;
        let is_watch = |watch: &Watch| watch.errors.is_plausible(config.drift_delta, rows);
        if watches.len() != tree.nodes() || !watches.iter().flatten().all(|watch| is_watch(watch)) {
            return Err(MlError::corrupt("what is known of errors does not fit the rows and the tree"));
        }
        // The errors of a tree beside a part are known from its first row on.
        let roots = watches.iter().flatten().filter_map(|watch| watch.beside);
        if !roots.clone().all(|root| matches!(watches.get(root as usize), Some(Some(watch)) if watch.beside.is_none()))
        {
            return Err(MlError::corrupt("a tree beside another has none of its errors"));
        }
        let beside = |place: usize| watches[place].as_ref().and_then(|watch| watch.beside);
        let tree = tree.into_trees(features, beside, |leaf| leaf.is_plausible(classes, features, rows))?;
        let mut restored = Self::new(config, tree);
        restored.watch_bytes = watches.iter().flatten().map(|watch| watch.bytes()).sum();
        restored.watches = watches;
        restored.tree.set_bytes_beside(restored.watch_bytes);
        Ok(restored)
    }
}

/// A tree and those beside it as a snapshot holds them.
#[derive(Encode, Decode)]
pub(crate) struct AdaptiveState {
    config: DriftConfig,
    tree: TreeState<Leaf, TreeConfig>,
    watches: Vec<Option<Box<Watch>>>,
}
