//! The contract of a model that is fitted to a whole training set: [`BatchModel`], beside the online ones.
//!
//! Rows are taken batch by batch and kept, encoded, until [`BatchModel::fit`] looks for the weights that
//! fit all of them best. What comes out is a snapshot of the kind that online models write, so serving,
//! prediction and export know no difference.

pub(crate) mod baseline;
pub(crate) mod data_split;
pub(crate) mod draws;
pub(crate) mod history;
#[cfg(all(test, feature = "wgpu"))]
pub(crate) mod on_device;
pub(crate) mod parallel;
mod registry;
mod shards;
pub(crate) mod team;
#[cfg(test)]
pub(crate) mod throughput;
mod training_set;
#[cfg(test)]
pub(crate) mod unlabelled;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::datatypes::Field;
use bincode::{Decode, Encode};

pub use self::baseline::BesideGuess;
pub use self::history::Iteration;
pub use self::registry::{
    batch_option_docs, create_batch, feature_schema, fitted_outputs, needs_label, predicted_label_type, reads_times,
    takes_label, tuning_option_docs, valid_batch_model_types,
};
pub(crate) use self::shards::{map_numbered_shards, map_shards};
pub use self::team::{ENTRIES_FOR_A_TEAM, Team};
pub(crate) use self::training_set::{CLIP, Chunk, Row, TrainingSet, linear_numbers, row_of};
use crate::error::{MlError, Result};
use crate::model::{FeatureSchema, RejectedRow};
use crate::tuning::Trial;

/// Fits a model to all rows of a training set at once.
///
/// One task owns it: it calls `add` for each batch, then `fit` once all rows are there, from one thread at
/// a time. `fit` may take seconds to hours, so it belongs on a thread that may block.
///
/// The same rows in the same order give the same model, bit by bit, however they were cut into batches,
/// whatever the number of threads, and on every machine: sums run over fixed stretches of rows and are added
/// in their order. (A metric's last digit may depend on the machine.) Rows in another order give the same model up to
/// rounding and the tolerance of the search, with categories and DBSCAN's clusters numbered in another order; where a
/// feature has more categories than `max_categories`, the order decides which of them have a weight of their own; a
/// ranker begins with the order of each group's rows; and chance draws rows by their numbers.
pub trait BatchModel: Send {
    /// The name that [`create_batch`] knows this model by.
    fn model_type(&self) -> &'static str;

    /// The features: the columns that `add` reads (a ranker's that of the groups, too), and later the fitted model.
    fn schema(&self) -> &FeatureSchema;

    /// The columns that a fitted model without a label adds to rows. Those of others are
    /// [`label_outputs`](crate::label_outputs).
    fn outputs(&self) -> Vec<Field> {
        Vec::new()
    }

    /// Takes every acceptable row of a batch; `labels` has one value for each row, which a model without a label
    /// does not look at. Returns the others, by ascending row number: bad rows are data, and no error.
    ///
    /// # Errors
    /// `MissingColumn`, `ChangedColumn`, `LabelCount`, `UnsupportedLabel` or `BadRelevance`; nothing is then taken.
    /// `AlreadyFitted` after `fit`.
    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>>;

    /// Rows taken.
    fn rows(&self) -> u64;

    /// Bytes that the rows taken by now hold in memory. `fit` needs some more:
    ///
    /// - a linear model, for each of up to 16 stretches of rows, a copy of the weights, or 8 MB at most of products of
    ///   features; 30 copies of the weights for the search; up to 40 bytes a row for the metrics of a classifier; and 32
    ///   bytes a row for the search of a support vector regression;
    /// - boosted trees two bytes for each value, and for each row 40 bytes, and 16 more for each class of several; 8
    ///   more of either where rows held out end the fit; of a ranker 40 more;
    /// - forests two bytes for each value; for each row 20 bytes, 36 more for each thread and a bit for each tree; and 44
    ///   bytes for each split;
    /// - nearest neighbours as many again as the rows, and the model has as many;
    /// - principal components of up to 2048 encoded features 32 MB at most of products for each stretch;
    /// - an isolation forest 16 bytes a row, and robust z-scores 8 for each thread;
    /// - a matrix factorisation 56 bytes a row, and some copies of what stands for the users and items;
    /// - k-means 24 bytes a row to choose its first centroids, and mini-batches copies of the rows of three of them;
    /// - a Gaussian mixture what k-means needs, and 32 MB at most of products for each stretch;
    /// - DBSCAN a quarter more than as many again as the rows, and 64 bytes a row; the model has the rows that are cores;
    /// - models of series 24 bytes a row;
    /// - a model that splits its rows or is tuned keeps them as they came, and needs for each of `max_parallel_trials`
    ///   trials at a time what its rows and their fit take, encoded.
    fn bytes(&self) -> usize;

    /// Sets how many threads `fit` may use, and who may stop it. The default is one thread and nobody.
    fn set_control(&mut self, control: FitControl);

    /// Fits the model to the rows taken. A second call does it again, to the same end.
    ///
    /// # Errors
    /// `NoRows` or `TooFewRows`; `OneClass` or `SameClass` for a classifier, `NoOrder` for a ranker; `InvalidOption` for
    /// an option that the rows contradict;
    /// `Diverged`; `Stopped`; `StateTooLarge` or `TooManyRows` where the model is too large for a snapshot.
    fn fit(&mut self) -> Result<FitReport>;
}

/// What a fit came to.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct FitReport {
    /// The fitted model, as a snapshot that [`restore_predictor`](crate::restore_predictor) reads.
    pub model: Vec<u8>,
    /// Rows that it was fitted to.
    pub rows: u64,
    /// Steps that the search took, or all searches together; 1 where the answer is computed at once.
    pub iterations: u64,
    /// Whether the search ended by itself, and not for `max_iterations`.
    pub converged: bool,
    /// What was minimised, penalties included; each model type says what that is.
    pub loss: f64,
    /// How well the model fits the rows that it was fitted to, by the name of SQL's function.
    /// Of a model that was given a `data_split_method`, how well it fits rows that it has not learnt: those for the test,
    /// or else those held out. (Boosted trees say those of the rows learnt beside the latter, as `training_` and a name.)
    /// Behind them are those of a guess that looks at no feature, by the same rows, as `baseline_` and
    /// a name: the share of each class as its probability, or the mean of the labels.
    pub metrics: Vec<(String, f64)>,
    /// What was tried, if options were searched: the model is that of the best trial.
    pub trials: Vec<Trial>,
    /// The loss after each step, by their numbers; of a fit that takes none, one that says its loss. Of very many, some:
    /// each second, or fourth, and so on, and the last.
    pub history: Vec<Iteration>,
}

/// Which of so many rows of a batch are taken.
pub(crate) fn taken(rows: usize, rejected: &[RejectedRow]) -> BooleanArray {
    let mut is_taken = vec![true; rows];
    rejected.iter().for_each(|rejected| is_taken[rejected.row] = false);
    is_taken.into()
}

impl FitReport {
    /// Whether the model does no better than a guess that looks at no feature; by the rows that say its measures.
    #[must_use]
    pub fn is_no_better_than_a_guess(&self) -> bool {
        BesideGuess::of(&self.metrics).is_some_and(|beside| beside.is_no_better())
    }
}

/// How a fit runs. It never changes what comes out.
#[derive(Debug, Clone)]
pub struct FitControl {
    /// Threads that may work at the same time, the caller's included; more than 16 are of no use.
    pub threads: NonZeroUsize,
    /// Set by somebody else, it ends the fit with `Stopped` within the time of about a thousand rows.
    pub stop: Arc<AtomicBool>,
    /// The others who fit the same model to the same rows at the same time, if there are any.
    pub team: Option<Arc<dyn Team>>,
}

impl Default for FitControl {
    fn default() -> Self {
        Self { threads: NonZeroUsize::MIN, stop: Arc::new(AtomicBool::new(false)), team: None }
    }
}

impl FitControl {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Those with whom work that goes through so many numbers and categories is divided, if it is.
    pub(crate) fn team_for(&self, entries: usize) -> Option<&dyn Team> {
        self.team.as_deref().filter(|team| team.size() > 1 && entries >= team.entries_min())
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(MlError::Stopped) } else { Ok(()) }
    }
}
