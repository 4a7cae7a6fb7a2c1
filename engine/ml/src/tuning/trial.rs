//! What came of each trial of a search.

use bincode::{Decode, Encode};

/// A trial of a search: a model with some values of the options searched.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Trial {
    /// Its number, from 1.
    pub number: u64,
    /// The options that were searched, each with its value here; of a search over model types `model_type` first.
    pub parameters: Vec<(String, String)>,
    /// The measure that trials are compared by, by its option's name.
    pub objective: String,
    /// Its value, of rows that were not learnt; of folds the mean of theirs.
    pub value: Option<f64>,
    /// What became of it.
    pub status: TrialStatus,
    /// Whether it is the best, and so the model.
    pub is_optimal: bool,
    /// What was minimised, of the rows learnt.
    pub training_loss: Option<f64>,
    /// Of the rows not learnt, the log loss of a classifier, or the mean squared error of numbers.
    pub evaluation_loss: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TrialStatus {
    /// Its model was fitted and judged.
    Succeeded,
    /// Successive halving left it behind, judged by a model of some of the rows.
    StoppedEarly,
    /// Its fit failed.
    Failed,
    /// Its options contradict each other.
    Infeasible,
}

impl TrialStatus {
    /// The name, as BigQuery's ML.TRIAL_INFO writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::StoppedEarly => "STOPPED_EARLY",
            Self::Failed => "FAILED",
            Self::Infeasible => "INFEASIBLE",
        }
    }
}
