//! A linear support vector regression fitted to a training set as a whole.
//!
//! What is minimised, over `n` rows with labels `y` of which the model says `f`, is, all of it divided by `n`:
//!
//! ```text
//! Σ max(0, |y - f| - epsilon)  +  l2_reg/2 Σw²         or the sum of the squares of what is above 0
//! ```
//!
//! This is scikit-learn's `LinearSVR` with `C = 1 / l2_reg`; but the intercept is not penalised here (Ho and Lin 2012).
//!
//! The squares are searched as any smooth loss. The other loss has corners, at which the best predictions mostly are: so
//! what is searched is a smooth loss below it, whose corners are rounded off over `1 / sharpness`, by the method of
//! multipliers (Rockafellar 1976). Each row pulls at its prediction by at most 1. After a search, the pull of each row,
//! its multiplier, moves the label for the next one, which leads closer to the corner: pulls that do not change any more
//! are those of the loss with corners. Labels are standardised meanwhile, so that lengths have no unit.

use arrow::array::{Array, RecordBatch};
use tidemill_compute::kernel::dense::dot;

use super::config::{SvrConfig, TubeLoss};
use super::{MODEL_TYPE, SNAPSHOT_TAG};
use crate::batch::history::History;
use crate::batch::{
    BatchModel, Chunk, FitControl, FitReport, TrainingSet, linear_numbers, map_numbered_shards, map_shards,
};
use crate::error::{MlError, Result};
use crate::feature::moments::Moments;
use crate::linear::lbfgs::{self, Minimum};
use crate::linear::linear_regression::LinearRegression;
use crate::linear::linear_regression::batch::{Residuals, numeric_labels};
use crate::linear::mean_loss::{MeanLoss, score};
use crate::linear::newton;
use crate::linear::normal_equations::Solution;
use crate::linear::preconditioner::{Penalty, Preconditioner};
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;

/// By how much corners are sharper after each search, and how sharp they become, a length of a deviation of the labels
/// being 1. More than that, and the search for a point between the corners meets many of them on its way.
const SHARPER: f64 = 3.0;
const SHARPNESS_MAX: f64 = 1e5;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchLinearSvr {
    config: SvrConfig,
    set: TrainingSet,
    control: FitControl,
}

/// Labels without their mean, and in their deviations; and epsilon likewise.
struct Scaled {
    mean: f64,
    deviation: f64,
    epsilon: f64,
}

impl Scaled {
    fn new(labels: &Moments, rows: f64, epsilon: f64) -> Self {
        let deviation = if labels.squares() > 0.0 { (labels.squares() / rows).sqrt() } else { 1.0 };
        Self { mean: labels.mean(), deviation, epsilon: epsilon / deviation }
    }

    fn label(&self, label: f64) -> f64 {
        (label - self.mean) / self.deviation
    }

    /// How far a label is beyond the tube; below 0 within it.
    fn beyond(&self, distance: f64) -> f64 {
        distance.abs() - self.epsilon
    }
}

/// A tube whose corners are rounded off.
struct Rounded<'a> {
    scaled: &'a Scaled,
    sharpness: f64,
    /// How much each row pulled at its prediction before.
    pulls: &'a [f64],
}

impl Rounded<'_> {
    /// The distance of a row's label, moved by how it pulled, and how far on its way around the corner it is, from 0 to 1.
    fn place(&self, row: usize, said: f64, label: f64) -> (f64, f64) {
        let distance = self.scaled.label(label) - said + self.pulls[row] / self.sharpness;
        (distance, self.sharpness * self.scaled.beyond(distance))
    }

    fn pull(&self, row: usize, said: f64, label: f64) -> f64 {
        let (distance, place) = self.place(row, said, label);
        place.clamp(0.0, 1.0).copysign(distance)
    }

    /// The loss of a row and its slope.
    fn loss(&self, row: usize, said: f64, label: f64) -> (f64, f64) {
        let (distance, place) = self.place(row, said, label);
        // What is NaN is no less than 0, and ends the search.
        let loss = match place {
            within if within <= 0.0 => 0.0,
            around if around < 1.0 => 0.5 * around * around,
            beyond => beyond - 0.5,
        };
        (loss / self.sharpness, -place.clamp(0.0, 1.0).copysign(distance))
    }

    fn curvature(&self, row: usize, said: f64, label: f64) -> f64 {
        let (_, place) = self.place(row, said, label);
        if 0.0 < place && place < 1.0 { self.sharpness } else { 0.0 }
    }
}

impl BatchLinearSvr {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: SvrConfig, schema: FeatureSchema) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    /// The weights, slot by slot, in the unit of the labels.
    fn solve(&self, labels: &Moments) -> Result<Solution> {
        let scaled = Scaled::new(labels, self.set.rows() as f64, self.config.epsilon);
        let found = match self.config.loss {
            TubeLoss::EpsilonInsensitive => self.search_corners(&scaled)?,
            TubeLoss::SquaredEpsilonInsensitive => self.search_squares(&scaled)?,
        };
        let mut weights: Vec<f64> = found.point.iter().map(|weight| weight * scaled.deviation).collect();
        weights[0] += scaled.mean;
        Ok(Solution { weights, iterations: found.iterations, converged: found.converged, history: found.history })
    }

    fn search_squares(&self, scaled: &Scaled) -> Result<Minimum> {
        let distance = |said: f64, label: f64| scaled.label(label) - said;
        let loss = |_: usize, said: f64, label: f64| {
            let distance = distance(said, label);
            let beyond = scaled.beyond(distance);
            if beyond <= 0.0 { (0.0, 0.0) } else { (beyond * beyond, -2.0 * beyond.copysign(distance)) }
        };
        let curvature = |_: usize, said: f64, label: f64| {
            if scaled.beyond(distance(said, label)) > 0.0 { 2.0 } else { 0.0 }
        };
        let start = vec![0.0; self.set.slots()];
        let found = self.minimize((loss, curvature), self.config.l2_reg, start, self.config.max_iterations)?;
        Ok(Minimum { history: found.history.scaled(scaled.deviation * scaled.deviation), ..found })
    }

    /// The losses of the searches for rounded corners cannot be compared; it is that with corners that is noted, after
    /// each of them.
    fn search_corners(&self, scaled: &Scaled) -> Result<Minimum> {
        // Of losses by one deviation, the penalty of weights by their squares counts one more.
        let l2 = self.config.l2_reg * scaled.deviation;
        let mut pulls = vec![0.0; self.set.rows() as usize];
        let (point, mut history) = (vec![0.0; self.set.slots()], History::default());
        let mut all = Minimum { point, loss: 0.0, iterations: 0, converged: false, history: History::default() };
        let mut sharpness = 1.0;
        loop {
            let rounded = Rounded { scaled, sharpness, pulls: &pulls };
            let losses = (
                |row: usize, said: f64, label: f64| rounded.loss(row, said, label),
                |row: usize, said: f64, label: f64| rounded.curvature(row, said, label),
            );
            let steps_left = self.config.max_iterations - all.iterations;
            let found = self.minimize(losses, l2, std::mem::take(&mut all.point), steps_left)?;
            let (next, beyond) = self.pulls(&rounded, &found.point)?;
            let squares = dot(&found.point[1..], &found.point[1..]);
            history.push(scaled.deviation * (beyond + 0.5 * l2 * squares) / self.set.rows() as f64);
            let moved = next.iter().zip(&pulls).fold(0.0, |most: f64, (next, pull)| (next - pull).abs().max(most));
            // A search that begins at its end has cost a step all the same, so this ends.
            all = Minimum { iterations: all.iterations + found.iterations.max(1), ..found };
            pulls = next;
            if moved <= self.config.tolerance * sharpness || !all.converged {
                return Ok(Minimum { history, ..all });
            }
            sharpness = (sharpness * SHARPER).min(SHARPNESS_MAX);
        }
    }

    /// How much each row pulls at its prediction, and how far labels are beyond the tube in all.
    fn pulls(&self, rounded: &Rounded<'_>, weights: &[f64]) -> Result<(Vec<f64>, f64)> {
        let scaled = rounded.scaled;
        let parts = map_numbered_shards(self.set.chunks(), &self.control, |first, chunks| {
            let (mut pulls, mut beyond) = (Vec::new(), 0.0);
            for (row, number) in chunks.iter().flat_map(Chunk::iter).zip(first..) {
                let said = score(&row, weights);
                pulls.push(rounded.pull(number, said, row.label));
                beyond += scaled.beyond(scaled.label(row.label) - said).max(0.0);
            }
            (pulls, beyond)
        })?;
        let (pulls, beyond): (Vec<_>, Vec<f64>) = parts.into_iter().unzip();
        Ok((pulls.concat(), beyond.iter().sum()))
    }

    /// The minimum of the mean of a loss, given with its second derivative, and a penalty.
    fn minimize(
        &self,
        (loss, curvature): (impl Fn(usize, f64, f64) -> (f64, f64) + Sync, impl Fn(usize, f64, f64) -> f64 + Sync),
        l2: f64,
        start: Vec<f64>,
        steps_left: u64,
    ) -> Result<Minimum> {
        let (set, control, rows) = (&self.set, &self.control, self.set.rows() as f64);
        let row_loss = |row: usize, said: f64, label: f64| {
            let (loss, slope) = loss(row, said, label);
            (loss / rows, slope / rows)
        };
        let (l2, config) = (l2 / rows, self.config.search(steps_left));
        let found = if newton::is_fast_enough(set) {
            let loss = MeanLoss::over(set, control, l2, Preconditioner::Identity, row_loss);
            newton::minimize(&loss, |row, said, label| curvature(row, said, label) / rows, start, &config)?
        } else {
            let preconditioner = Preconditioner::new(set, control, 1.0, &Penalty { l1: 0.0, l2 })?;
            lbfgs::minimize(&MeanLoss::over(set, control, l2, preconditioner, row_loss), start, &config)?
        };
        if found.loss.is_finite() {
            return Ok(found);
        }
        Err(MlError::Diverged { hint: "scale the label down, standardise the features or scale them down" })
    }

    /// The mean loss, penalty included, in the label's unit.
    fn loss(&self, weights: &[f64]) -> Result<f64> {
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let rows = chunks.iter().flat_map(Chunk::iter);
            let beyond = rows.map(|row| ((row.label - score(&row, weights)).abs() - self.config.epsilon).max(0.0));
            match self.config.loss {
                TubeLoss::EpsilonInsensitive => beyond.sum::<f64>(),
                TubeLoss::SquaredEpsilonInsensitive => beyond.map(|beyond| beyond * beyond).sum(),
            }
        })?;
        let squares: f64 = weights[1..].iter().map(|weight| weight * weight).sum();
        Ok((parts.iter().sum::<f64>() + 0.5 * self.config.l2_reg * squares) / self.set.rows() as f64)
    }
}

impl BatchModel for BatchLinearSvr {
    fn model_type(&self) -> &'static str {
        MODEL_TYPE
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
        let Solution { weights, iterations, converged, history } = self.solve(&labels)?;
        let (rows, loss) = (self.set.rows(), self.loss(&weights)?);
        if !loss.is_finite() {
            return Err(MlError::Diverged { hint: "scale the label and the features down" });
        }
        let metrics = Residuals::of(&self.set, &self.control, &weights)?.metrics(&labels, rows as f64);
        let encoder = self.set.encoder(linear_numbers(self.config.standardize));
        let category_rows = self.set.category_rows(&self.control)?;
        let model = LinearRegression { model_type: MODEL_TYPE, encoder, weights, rows, category_rows };
        Ok(FitReport {
            model: model.snapshot(SNAPSHOT_TAG)?,
            rows,
            iterations,
            converged,
            loss,
            metrics,
            trials: Vec::new(),
            history: history.ending_with(loss),
        })
    }
}
