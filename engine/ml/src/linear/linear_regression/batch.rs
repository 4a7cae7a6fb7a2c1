//! Linear regression fitted to a training set as a whole.
//!
//! What is minimised, over `n` rows, is `½ Σ(y - b - w·x)² + l1_reg Σ|w| + l2_reg/2 Σw²`, all of it divided
//! by `n`. The intercept `b` is not penalised. So scikit-learn's `Ridge` has `alpha = l2_reg`, its `Lasso`
//! `alpha = l1_reg / n`, and its `ElasticNet` both of that: `alpha * l1_ratio = l1_reg / n` and
//! `alpha * (1 - l1_ratio) = l2_reg / n`.
//!
//! One pass over the rows sums up what the answer depends on; see `normal_equations`. Models of
//! more than a thousand weights, for which those sums would be millions of numbers, are searched by L-BFGS.

mod config;
#[cfg(test)]
mod tests;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::dot;

pub(crate) use self::config::BatchLinearConfig;
use super::LinearRegression;
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, TrainingSet, linear_numbers, map_shards};
use crate::error::{MlError, Result};
use crate::feature::moments::Moments;
use crate::linear::lbfgs;
use crate::linear::mean_loss::{MeanLoss, score};
use crate::linear::normal_equations::Solution;
use crate::linear::preconditioner::{Penalty, Preconditioner};
use crate::linear::sums::Sums;
use crate::model::{FeatureKind, FeatureSchema, RejectedRow};

/// Weights up to which all their products are summed up: 8 MB then, for each of up to 16 stretches of rows.
const WEIGHTS_SUMMED_MAX: usize = 1024;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchLinearRegression {
    config: BatchLinearConfig,
    set: TrainingSet,
    control: FitControl,
}

/// Checks that a column of this type can be the label.
///
/// # Errors
/// `UnsupportedLabel` unless it is a number.
pub(crate) fn check_numeric_label(column: &str, data_type: &DataType) -> Result<()> {
    if FeatureKind::of(data_type) == Some(FeatureKind::Numeric) || data_type.is_decimal() {
        return Ok(());
    }
    Err(MlError::UnsupportedLabel {
        column: column.to_owned(),
        data_type: data_type.clone(),
        hint: "cast it to DOUBLE PRECISION",
    })
}

/// The labels of a batch as numbers.
///
/// # Errors
/// `UnsupportedLabel` unless they are.
pub(crate) fn numeric_labels(labels: &dyn Array) -> Result<Float64Array> {
    check_numeric_label("label", labels.data_type())?;
    let failed = |source| MlError::ReadColumn { column: "label".to_owned(), source };
    let labels = cast(labels, &DataType::Float64).map_err(failed)?;
    Ok(labels.as_primitive::<Float64Type>().clone())
}

impl BatchLinearRegression {
    pub(crate) fn new(config: BatchLinearConfig, schema: FeatureSchema) -> Result<Self> {
        config.check_slots(&schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    /// The weights, slot by slot.
    fn solve(&self, labels: &Moments) -> Result<Solution> {
        if self.set.slots() > WEIGHTS_SUMMED_MAX {
            return self.search(labels);
        }
        let sums = Sums::of(&self.set, self.config.standardize, labels.mean(), &self.control)?;
        let equations = sums.centred();
        let config = &self.config;
        let mut solution = if config.l1_reg > 0.0 {
            equations.lasso(config.l1_reg, config.l2_reg, config.tolerance, config.max_iterations)
        } else {
            equations.ridge(config.l2_reg)
        };
        let intercept = labels.mean() - dot(&sums.means(), &solution.weights);
        solution.weights.insert(0, intercept);
        Ok(solution)
    }

    /// The weights by a search, in which labels are standardised, so that the tolerance has no unit.
    fn search(&self, labels: &Moments) -> Result<Solution> {
        let (rows, mean) = (self.set.rows() as f64, labels.mean());
        let deviation = if labels.squares() > 0.0 { (labels.squares() / rows).sqrt() } else { 1.0 };
        let row_loss = |_: usize, value: f64, label: f64| {
            let error = value - (label - mean) / deviation;
            (0.5 * error * error / rows, error / rows)
        };
        let l2 = self.config.l2_reg / rows;
        let penalty = Penalty { l1: self.config.l1_reg, l2 };
        let preconditioner = Preconditioner::new(&self.set, &self.control, 1.0, &penalty)?;
        let loss = MeanLoss::over(&self.set, &self.control, l2, preconditioner, row_loss);
        let config = self.config.search(rows * deviation);
        let found = lbfgs::minimize(&loss, vec![0.0; self.set.slots()], &config)?;
        let mut weights: Vec<f64> = found.point.iter().map(|weight| weight * deviation).collect();
        weights[0] += mean;
        // In the unit of the labels, and as a sum over all rows.
        let history = found.history.scaled(deviation * deviation * rows);
        Ok(Solution { weights, iterations: found.iterations, converged: found.converged, history })
    }

    fn report(&self, labels: &Moments, solution: Solution) -> Result<FitReport> {
        let rows = self.set.rows();
        let residuals = Residuals::of(&self.set, &self.control, &solution.weights)?;
        let penalized = &solution.weights[1..];
        let l1 = self.config.l1_reg * penalized.iter().map(|weight| weight.abs()).sum::<f64>();
        let l2 = self.config.l2_reg * 0.5 * dot(penalized, penalized);
        let loss = (0.5 * residuals.squares + l1 + l2) / rows as f64;
        if !loss.is_finite() {
            return Err(MlError::Diverged { hint: "scale the label and the features down" });
        }
        let encoder = self.set.encoder(linear_numbers(self.config.standardize));
        let category_rows = self.set.category_rows(&self.control)?;
        let model_type = LinearRegression::MODEL_TYPE;
        let model = LinearRegression { model_type, encoder, weights: solution.weights, rows, category_rows };
        Ok(FitReport {
            model: model.snapshot(LinearRegression::SNAPSHOT_TAG)?,
            rows,
            iterations: solution.iterations,
            converged: solution.converged,
            loss,
            metrics: residuals.metrics(labels, rows as f64),
            trials: Vec::new(),
            history: solution.history.scaled(1.0 / rows as f64).ending_with(loss),
        })
    }
}

impl BatchModel for BatchLinearRegression {
    fn model_type(&self) -> &'static str {
        LinearRegression::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        self.set.add(features, &numeric_labels(labels)?)
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
        if self.set.rows() == 0 {
            return Err(MlError::NoRows);
        }
        self.set.prepare(linear_numbers(self.config.standardize), &self.control)?;
        let mut labels = Moments::default();
        self.set.chunks().iter().flat_map(Chunk::labels).for_each(|label| labels.add(*label));
        let solution = self.solve(&labels)?;
        self.report(&labels, solution)
    }
}

/// Sums of what weights leave of labels.
#[derive(Debug, Clone, Copy, Default, Encode, Decode)]
pub(crate) struct Residuals {
    squares: f64,
    magnitudes: f64,
}

impl Residuals {
    /// Over all rows.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn of(set: &TrainingSet, control: &FitControl, weights: &[f64]) -> Result<Self> {
        let parts = map_shards(set.chunks(), control, |chunks| Self::of_chunks(chunks, weights))?;
        let add = |sum: Self, part: Self| Self {
            squares: sum.squares + part.squares,
            magnitudes: sum.magnitudes + part.magnitudes,
        };
        Ok(parts.into_iter().fold(Self::default(), add))
    }

    fn of_chunks(chunks: &[Chunk], weights: &[f64]) -> Self {
        let mut sums = Self::default();
        for row in chunks.iter().flat_map(Chunk::iter) {
            let left = row.label - score(&row, weights);
            sums.squares += left * left;
            sums.magnitudes += left.abs();
        }
        sums
    }

    /// R² has no value where all labels are the same.
    pub(crate) fn metrics(&self, labels: &Moments, rows: f64) -> Vec<(String, f64)> {
        let mut metrics = vec![("mse".to_owned(), self.squares / rows), ("mae".to_owned(), self.magnitudes / rows)];
        if labels.squares() > 0.0 {
            metrics.insert(0, ("r2".to_owned(), 1.0 - self.squares / labels.squares()));
        }
        metrics
    }
}
