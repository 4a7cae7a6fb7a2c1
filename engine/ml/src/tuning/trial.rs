//! What came of each trial of a search, and how it goes with the model that won.

use bincode::{Decode, Encode};

use crate::error::{MlError, Result};
use crate::snapshot;

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

/// The trials of the search that found this model, by their numbers; none of a model that no search found.
///
/// # Errors
/// `StateVersion`, `StateTooLarge` or `CorruptState`. Never panics, whatever the bytes.
pub fn trials(model: &[u8]) -> Result<Vec<Trial>> {
    let Some(payload) = snapshot::around(model)? else { return Ok(Vec::new()) };
    let trials: Vec<Trial> = snapshot::decode(payload)?;
    let are_numbered = (1..).zip(&trials).all(|(number, trial)| trial.number == number);
    if are_numbered && trials.iter().filter(|trial| trial.is_optimal).count() == 1 {
        return Ok(trials);
    }
    Err(MlError::corrupt("its trials are not those of a search"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: u64) -> Trial {
        Trial {
            number,
            parameters: vec![("l2_reg".to_owned(), "0.5".to_owned())],
            objective: "roc_auc".to_owned(),
            value: Some(0.75),
            status: TrialStatus::Succeeded,
            is_optimal: number == 2,
            training_loss: Some(0.5),
            evaluation_loss: None,
            error: None,
        }
    }

    #[test]
    fn trials_go_with_a_model() {
        let model = snapshot::seal(33, &7_u64).unwrap();
        let of_search = vec![trial(1), trial(2)];
        let tuned = snapshot::seal_around(&model, &of_search).unwrap();
        assert_eq!(trials(&tuned).unwrap(), of_search);
        assert_eq!(snapshot::open(&tuned).unwrap(), snapshot::open(&model).unwrap());
        assert_eq!(trials(&model).unwrap(), []);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let model = snapshot::seal(33, &7_u64).unwrap();
        let tuned = snapshot::seal_around(&model, &vec![trial(1), trial(2)]).unwrap();
        for end in 0..tuned.len() {
            assert!(trials(&tuned[..end]).is_err(), "{end}");
        }
        // The length of the model, but for its last bytes, by which it might end elsewhere.
        for place in 3..10 {
            let mut bytes = tuned.clone();
            bytes[place] ^= 0x40;
            assert!(snapshot::open(&bytes).is_err() && trials(&bytes).is_err(), "{place}");
        }
        let nested = snapshot::seal_around(&tuned, &vec![trial(1), trial(2)]).unwrap();
        assert!(snapshot::open(&nested).is_err() && trials(&nested).is_err());
        for wrong in [vec![], vec![trial(1)], vec![trial(2), trial(1)]] {
            let error = trials(&snapshot::seal_around(&model, &wrong).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "model state is corrupt: its trials are not those of a search");
        }
    }
}
