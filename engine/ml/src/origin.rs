//! How a fitted model came about: the steps of its fit, and the trials of the search that found it. It goes with the
//! model and is no part of it: whoever reads the bytes as a model finds that model.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use bincode::{Decode, Encode};

use crate::batch::{FitReport, Iteration};
use crate::error::{MlError, Result};
use crate::snapshot::{self, Around};
use crate::tuning::Trial;

/// What is known of how a model came about. Nothing of models that learn online, that were imported, or whose bytes are
/// of a release that did not keep it.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub struct Origin {
    /// The trials of the search that found it, by their numbers; none of a model that no search found.
    pub trials: Vec<Trial>,
    /// The steps of its fit, by their numbers; of a search, of the fit of the best trial.
    pub history: Vec<Iteration>,
}

impl Origin {
    /// What goes with the model that these bytes are.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`. Never panics, whatever the bytes.
    pub fn of(model: &[u8]) -> Result<Self> {
        let origin = match snapshot::around(model)? {
            None => return Ok(Self::default()),
            Some((Around::Trials, payload)) => Self { trials: snapshot::decode(payload)?, history: Vec::new() },
            Some((Around::Origin, payload)) => snapshot::decode(payload)?,
        };
        origin.check()?;
        Ok(origin)
    }

    fn check(&self) -> Result<()> {
        let Self { trials, history } = self;
        let are_numbered = (1..).zip(trials).all(|(number, trial)| trial.number == number);
        let best = trials.iter().filter(|trial| trial.is_optimal).count();
        if !are_numbered || best != usize::from(!trials.is_empty()) {
            return Err(MlError::corrupt("its trials are not those of a search"));
        }
        if !history.is_sorted_by(|one, next| one.number < next.number) {
            return Err(MlError::corrupt("the steps of its fit are not in their order"));
        }
        Ok(())
    }
}

impl FitReport {
    /// The fitted model together with how it came about, as bytes that [`Origin::of`] reads, and that are the model to
    /// whoever reads models. The steps of the fit are left out where they have no room.
    ///
    /// # Errors
    /// `StateTooLarge` past 256 MiB.
    pub fn kept(&self) -> Result<Vec<u8>> {
        let Self { model, trials, history, .. } = self;
        let origin = Origin { trials: trials.clone(), history: history.clone() };
        match snapshot::seal_around(model, &origin) {
            Err(MlError::StateTooLarge { .. }) if trials.is_empty() => Ok(model.clone()),
            Err(MlError::StateTooLarge { .. }) => {
                snapshot::seal_around(model, &Origin { history: Vec::new(), ..origin })
            }
            kept => kept,
        }
    }
}

/// The steps of a fit as a table, SQL's ML.TRAINING_INFO: a row for each, with the columns of BigQuery ML but for
/// `duration_ms` (a fit reads no clock): `training_run`, which is 0; `iteration` from 0; `loss`, of the rows learnt;
/// `eval_loss`, of the rows held out, NULL where the fit does not look at any; `learning_rate`, NULL where there is none.
///
/// # Errors
/// `BuildTable`.
pub fn training_table(history: &[Iteration]) -> Result<RecordBatch> {
    let numbers =
        |of: fn(&Iteration) -> Option<f64>| -> ArrayRef { Arc::new(history.iter().map(of).collect::<Float64Array>()) };
    let iterations = history.iter().map(|iteration| iteration.number as i64);
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("training_run", Arc::new(Int64Array::from_value(0, history.len())), true),
        ("iteration", Arc::new(Int64Array::from_iter_values(iterations)), true),
        ("loss", numbers(|iteration| Some(iteration.loss)), true),
        ("eval_loss", numbers(|iteration| iteration.evaluation_loss), true),
        ("learning_rate", numbers(|iteration| iteration.learning_rate), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|source| MlError::BuildTable { source })
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use expect_test::expect;

    use super::*;
    use crate::tuning::TrialStatus;

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

    fn iteration(number: u64) -> Iteration {
        Iteration { number, loss: 0.5, evaluation_loss: (number > 0).then_some(0.75), learning_rate: Some(0.125) }
    }

    fn report(trials: &[u64], history: &[u64]) -> FitReport {
        FitReport {
            model: snapshot::seal(33, &7_u64).unwrap(),
            rows: 1,
            iterations: 1,
            converged: true,
            loss: 0.5,
            metrics: Vec::new(),
            trials: trials.iter().copied().map(trial).collect(),
            history: history.iter().copied().map(iteration).collect(),
        }
    }

    #[test]
    fn what_is_known_goes_with_a_model() {
        for (trials, history) in [(&[1, 2][..], &[0, 1, 5][..]), (&[], &[0]), (&[], &[]), (&[1, 2], &[])] {
            let report = report(trials, history);
            let kept = report.kept().unwrap();
            assert_eq!(snapshot::open(&kept).unwrap(), snapshot::open(&report.model).unwrap());
            assert_eq!(Origin::of(&kept).unwrap(), Origin { trials: report.trials, history: report.history });
            assert_eq!(Origin::of(&report.model).unwrap(), Origin::default());
        }
    }

    #[test]
    fn bytes_of_before_are_read() {
        // A model with the trial of its search, as it was kept before there was anything else to keep.
        let kept = "0146030000000000000001210701010106 6c325f72656703302e3507726f635f61756301000000000000e83f000101000000000000e03f0000";
        let bytes: Vec<u8> = hex(kept);
        let Origin { trials, history } = Origin::of(&bytes).unwrap();
        assert_eq!((trials, history), (vec![Trial { number: 1, is_optimal: true, ..trial(1) }], Vec::new()));
        assert_eq!(snapshot::open(&bytes).unwrap(), (33, &[7][..]));
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (16 * pair[0] + pair[1]) as u8).collect()
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let report = report(&[1, 2], &[0, 1]);
        let kept = report.kept().unwrap();
        for end in 0..kept.len() {
            assert!(Origin::of(&kept[..end]).is_err(), "{end}");
        }
        // The length of the model, but for its last bytes, by which it might end elsewhere.
        for place in 3..10 {
            let mut bytes = kept.clone();
            bytes[place] ^= 0x40;
            assert!(snapshot::open(&bytes).is_err() && Origin::of(&bytes).is_err(), "{place}");
        }
        let nested = FitReport { model: kept, ..report }.kept().unwrap();
        assert!(snapshot::open(&nested).is_err() && Origin::of(&nested).is_err());
    }

    #[test]
    fn what_no_fit_leaves_is_an_error() {
        for wrong in [&[1][..], &[2, 1], &[2]] {
            let error = Origin::of(&report(wrong, &[0]).kept().unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "model state is corrupt: its trials are not those of a search");
        }
        for wrong in [[0, 0], [1, 0]] {
            let error = Origin::of(&report(&[], &wrong).kept().unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "model state is corrupt: the steps of its fit are not in their order");
        }
    }

    #[test]
    fn steps_are_a_table() {
        expect![[r#"
            +--------------+-----------+------+-----------+---------------+
            | training_run | iteration | loss | eval_loss | learning_rate |
            +--------------+-----------+------+-----------+---------------+
            | 0            | 0         | 0.5  |           | 0.125         |
            | 0            | 4         | 0.5  | 0.75      | 0.125         |
            +--------------+-----------+------+-----------+---------------+"#]]
        .assert_eq(
            &pretty_format_batches(&[training_table(&[iteration(0), iteration(4)]).unwrap()]).unwrap().to_string(),
        );
        assert_eq!(training_table(&[]).unwrap().num_rows(), 0);
    }
}
