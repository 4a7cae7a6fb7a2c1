//! Where the search of a fit to many rows begins: at the minimum of a sample of them, with the sample's second derivatives
//! there, since steps of a sixteenth of the rows take a sixteenth of the time. From there the search needs some three steps
//! over all rows to where it would have come anyway, the loss being convex.

use super::Shares;
use crate::batch::{Chunk, FitControl, TrainingSet};
use crate::error::Result;
use crate::linear::lbfgs::{self, SearchConfig};
use crate::linear::mean_loss::MeanLoss;
use crate::linear::newton;
use crate::linear::preconditioner::{Penalty, Preconditioner, are_products_summed};
use crate::model::ClassCounts;
use crate::random::mixed;

/// One row of so many is in the sample.
const STRIDE: u64 = 16;

/// Rows that the sample has at least, and at least for each weight, so that its second derivatives are about those of all.
const ROWS_MIN: u64 = 4096;
const ROWS_A_WEIGHT: u64 = 64;

/// How much more or less often than in all rows a class may be in the sample.
const SHARE_RANGE: std::ops::RangeInclusive<f64> = 0.75..=1.33;

/// The gradient at which the search of the sample ends: what is left differs by chance from that of all rows by more.
const TOLERANCE: f64 = 1e-4;

/// Rows for a first search.
pub(super) struct Sample {
    chunks: Vec<Chunk>,
    /// All rows for each of the sample's.
    per_row: f64,
}

impl Sample {
    /// A sample of a prepared set, if that has rows enough, and weights few enough; and if the sample has its classes.
    pub(super) fn of(set: &TrainingSet, penalty: &Penalty, classes: ClassCounts) -> Option<Self> {
        let rows = set.rows() / STRIDE;
        let is_enough = rows >= ROWS_MIN.max(ROWS_A_WEIGHT * set.slots() as u64);
        if penalty.l1 > 0.0 || !is_enough || !are_products_summed(set) {
            return None;
        }
        // One of each sixteen rows, but not always the same: what comes in turns is there as often as in all rows.
        let chunks = set.copies((0..rows).map(|row| row * STRIDE + mixed(row) % STRIDE));
        let positive = chunks.iter().flat_map(Chunk::labels).filter(|label| **label == 1.0).count() as f64;
        let fits = |own: f64, all: u64| SHARE_RANGE.contains(&(own * STRIDE as f64 / all as f64));
        let have_classes = fits(positive, classes.positive) && fits(rows as f64 - positive, classes.negative);
        have_classes.then(|| Self { chunks, per_row: classes.rows() as f64 / rows as f64 })
    }

    /// The sample's minimum, and the inverse Hessian there.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn search(
        &self,
        set: &TrainingSet,
        control: &FitControl,
        (shares, l2): (&Shares, f64),
        (start, config): (Vec<f64>, &SearchConfig),
    ) -> Result<(Vec<f64>, Preconditioner)> {
        let row_loss = |_: usize, log_odds: f64, label: f64| {
            let (loss, slope) = shares.row_loss(log_odds, label);
            (self.per_row * loss, self.per_row * slope)
        };
        let curvature = |_: usize, log_odds: f64, label: f64| self.per_row * shares.row_curvature(log_odds, label);
        let identity = Preconditioner::Identity;
        let mut loss = MeanLoss { set, chunks: &self.chunks, control, l2, preconditioner: identity, row_loss };
        loss.preconditioner = newton::preconditioner(&loss, curvature, &start)?;
        let tolerance = config.tolerance.max(TOLERANCE);
        let point = lbfgs::minimize(&loss, start, &SearchConfig { tolerance, ..*config })?.point;
        let preconditioner = newton::preconditioner(&loss, curvature, &point)?;
        Ok((point, preconditioner))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;

    use arrow::array::BooleanArray;
    use arrow::compute::concat_batches;
    use arrow::datatypes::DataType;

    use crate::goldens::{assert_all_close, reference_rows};
    use crate::linear::logistic_regression::LogisticRegression;
    use crate::{FeatureSchema, FitControl, FitReport, create_batch};

    /// Fits to the same 4000 rows so many times over.
    fn fit(times: usize, l2_reg: &str, threads: usize, label: impl Fn(usize, bool) -> bool) -> FitReport {
        let (features, labels) = reference_rows(0..4000);
        let features = concat_batches(&features.schema(), std::iter::repeat_n(&features, times)).unwrap();
        let labels: BooleanArray = (0..times * 4000).map(|row| Some(label(row, labels.value(row % 4000)))).collect();
        let options = [("l2_reg", l2_reg), ("tolerance", "1e-10")];
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
        let mut model = create_batch("logistic_reg", &options, &schema, &DataType::Boolean).unwrap();
        model.add(&features, &labels).unwrap();
        model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
        model.fit().unwrap()
    }

    fn weights(report: &FitReport) -> Vec<f64> {
        LogisticRegression::restore(&report.model).unwrap().log_odds.weights().to_vec()
    }

    #[test]
    fn many_rows_have_the_minimum_that_few_have() {
        let few = fit(1, "1", 1, |_, label| label);
        // As much as is lost where rows come twenty times, so the minimum is the same one.
        let many = fit(20, "20", 1, |_, label| label);
        assert!(few.converged && many.converged);
        assert_all_close(&weights(&many), &weights(&few), 1e-7);
        assert!(many.iterations < few.iterations, "{} and {}", many.iterations, few.iterations);
        assert_eq!(fit(20, "20", 3, |_, label| label), many);
    }

    #[test]
    fn a_class_that_no_sample_has_is_found_all_the_same() {
        let rare = fit(20, "1", 1, |row, _| row % 16_000 == 5);
        assert!(rare.converged);
        let share = 5.0 / 80_000.0;
        // Hardly a feature tells the five rows apart: each has about the share of all.
        let log_loss = rare.metrics.iter().find(|(name, _)| name == "log_loss").unwrap().1;
        assert!(log_loss < -share * f64::ln(share) + share, "{log_loss}");
    }
}
