//! Trees and forests fitted to a training set.
//!
//! A fit holds, beside the rows of the set, a byte for each value, and twice that for a moment; for each row 20 bytes
//! of a classifier and 16 of numbers; for each thread that grows a tree up to 28 and 36 bytes a row; a bit for each row
//! and tree, where rows are left out; and the trees, with 32 bytes a split and 12 a leaf, twice where they are written
//! down. The time is that of as many sums as there are trees, features looked at, rows, and levels, multiplied.
//!
//! The loss that is reported is the mean impurity of the trees' leaves.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use super::ForestType;
use super::bins::BinnedColumns;
use super::config::ForestConfig;
use super::evaluation::Evaluation;
use super::grow::{Grower, Grown};
use super::impurity::{ClassImpurity, Impurity, NumberImpurity};
use super::model::Forest;
use super::sample::{RowSet, draw, random_of};
use super::split::Search;
use super::tree::Tree;
use crate::batch::parallel::in_parallel;
use crate::batch::team::{Team, gathered, own_part};
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, Iteration, TrainingSet};
use crate::boosted_trees::Target;
use crate::classes::{ClassReader, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;
use crate::snapshot::BYTES_MAX;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchForest {
    model: ForestType,
    config: ForestConfig,
    labels: Labels,
    set: TrainingSet,
    control: FitControl,
    /// What a snapshot may have.
    pub(super) bytes_max: usize,
}

#[derive(Debug)]
enum Labels {
    Classes(ClassReader),
    Numbers,
}

/// Trees in their order, and the rows that each is made of; none where that is all.
struct Grove {
    trees: Vec<Tree>,
    drawn: Vec<RowSet>,
    /// The mean impurity of the leaves.
    impurity: f64,
}

impl BatchForest {
    /// A model that has no rows, for labels of this type.
    ///
    /// # Errors
    /// `UnsupportedLabel` of a classifier, or `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(
        model: ForestType,
        config: ForestConfig,
        schema: FeatureSchema,
        label: &DataType,
    ) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let labels = match model.is_classifier() {
            true => Labels::Classes(ClassReader::new(LabelKind::of("label", label)?)),
            false => Labels::Numbers,
        };
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { model, config, labels, set, control: FitControl::default(), bytes_max: BYTES_MAX })
    }

    /// What is predicted, and each row's number, or the place of its class.
    fn target(&self) -> Result<(Target, Vec<f64>)> {
        let labels = self.set.chunks().iter().flat_map(Chunk::labels);
        match &self.labels {
            Labels::Numbers if self.set.rows() == 0 => Err(MlError::NoRows),
            Labels::Numbers => Ok((Target::Numbers(self.set.rows()), labels.copied().collect())),
            Labels::Classes(reader) => {
                let (classes, places) = reader.classes(labels.clone())?;
                Ok((Target::Classes(classes), labels.map(|label| places[*label as usize] as f64).collect()))
            }
        }
    }

    fn grow(&self, target: &Target, labels: &[f64], binned: &BinnedColumns) -> Result<Grove> {
        match target {
            Target::Numbers(_) => self.grow_by(&NumberImpurity::new(labels), binned),
            Target::Classes(classes) => {
                let places = labels.iter().map(|label| *label as u32).collect();
                let impurity = ClassImpurity::new(places, classes.names().len(), self.config.criterion);
                self.grow_by(&impurity, binned)
            }
        }
    }

    /// Grows the trees, on as many threads as there are: one each, and if trees are fewer, several for one.
    fn grow_by<I: Impurity>(&self, impurity: &I, binned: &BinnedColumns) -> Result<Grove> {
        let all = self.config.num_parallel_tree as usize;
        let threads = self.control.threads.get();
        let team = self.control.team_for(self.set.rows() as usize * self.set.schema().fields().len());
        let own = own_part(team, all);
        let growers = vec![(); threads.min(own.len()).max(1)];
        let helpers = NonZeroUsize::new(threads / growers.len()).unwrap_or(NonZeroUsize::MIN);
        let control = FitControl { threads: helpers, ..self.control.clone() };
        let grower = Grower { search: Search { config: &self.config, binned }, impurity, control };
        let (next, bytes) = (AtomicUsize::new(own.start), AtomicUsize::new(0));
        let parts = in_parallel(&growers, |()| {
            // A thread takes the next tree when it is done with one: trees differ in size.
            let numbers =
                std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|next| *next < own.end);
            let one = |number| {
                let grown = self.grow_one(&grower, number)?;
                let own = grown.tree.bytes_min();
                // Whichever thread gets there: all trees together are too large, or are not.
                let is_small = bytes.fetch_add(own, Ordering::Relaxed) + own <= self.bytes_max;
                if is_small { Ok(grown) } else { Err(too_large()) }
            };
            numbers.map(one).collect::<Result<Vec<_>>>()
        });
        let grown = parts.into_iter().collect::<Result<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect());
        match team {
            Some(team) => Ok(Grove::of(self.of_all(team, grown)?)),
            None => Ok(Grove::of(grown?)),
        }
    }

    /// The trees of all members, given what has become of this one's. Those of one that are too large are so for all.
    fn of_all(&self, team: &dyn Team, own: Result<Vec<Numbered>>) -> Result<Vec<Numbered>> {
        let own = match own {
            Err(MlError::TreesTooLarge { .. }) => None,
            own => Some(own?),
        };
        let grown = gathered(team, &[own])?.into_iter().collect::<Option<Vec<_>>>().ok_or_else(too_large)?;
        let grown: Vec<Numbered> = grown.into_iter().flatten().collect();
        let bytes: usize = grown.iter().map(|grown| grown.tree.bytes_min()).sum();
        if bytes <= self.bytes_max { Ok(grown) } else { Err(too_large()) }
    }

    fn grow_one<I: Impurity>(&self, grower: &Grower<'_, I>, number: usize) -> Result<Numbered> {
        let mut random = random_of(self.config.seed, number as u64);
        let counts = draw(&self.config, self.set.rows() as usize, &mut random);
        let drawn = self.config.leaves_rows_out().then(|| RowSet::drawn(&counts));
        let Grown { tree, impurity } = grower.grow(&counts, random)?;
        Ok(Numbered { number, tree, impurity, drawn })
    }
}

fn too_large() -> MlError {
    let hint = "lower num_parallel_tree or max_tree_depth, or raise min_rows_in_leaf";
    MlError::TreesTooLarge { bytes_max: BYTES_MAX, hint }
}

/// A tree of a forest.
#[derive(Encode, Decode)]
struct Numbered {
    number: usize,
    tree: Tree,
    impurity: f64,
    drawn: Option<RowSet>,
}

impl Grove {
    fn of(mut grown: Vec<Numbered>) -> Self {
        grown.sort_unstable_by_key(|tree| tree.number);
        let impurity = grown.iter().map(|tree| tree.impurity).sum::<f64>() / grown.len() as f64;
        let (trees, drawn): (Vec<_>, Vec<_>) = grown.into_iter().map(|tree| (tree.tree, tree.drawn)).unzip();
        Self { trees, drawn: drawn.into_iter().flatten().collect(), impurity }
    }
}

impl BatchModel for BatchForest {
    fn model_type(&self) -> &'static str {
        self.model.name()
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let labels = match &mut self.labels {
            Labels::Classes(reader) => reader.read(labels)?,
            Labels::Numbers => numeric_labels(labels)?,
        };
        self.set.add(features, &labels)
    }

    fn rows(&self) -> u64 {
        self.set.rows()
    }

    fn bytes(&self) -> usize {
        self.set.bytes()
    }

    fn set_control(&mut self, control: FitControl) {
        self.control = control;
    }

    fn fit(&mut self) -> Result<FitReport> {
        let (target, labels) = self.target()?;
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let binned = BinnedColumns::of(&self.set, self.config.max_bins as usize, self.control.threads.get());
        let Grove { trees, drawn, impurity } = self.grow(&target, &labels, &binned)?;
        let encoder = self.set.encoder(Numbers::WithMissing);
        let forest = Forest::new(self.model, encoder, target, binned.features, trees);
        let metrics = Evaluation { forest: &forest, drawn: &drawn, labels: &labels }.run(&self.set, &self.control)?;
        Ok(FitReport {
            model: forest.snapshot().map_err(|error| match error {
                MlError::StateTooLarge { .. } => too_large(),
                error => error,
            })?,
            rows: self.set.rows(),
            iterations: self.config.num_parallel_tree,
            converged: true,
            loss: impurity,
            metrics,
            trials: Vec::new(),
            history: Iteration::only(impurity),
        })
    }
}
