//! Linear support vector machine: hyperplanes that keep the classes a margin apart.
//!
//! A row's decision value is an intercept, plus a weight times each number, plus the weight of each feature's
//! category. Of two classes, a positive value predicts the second. Several have a hyperplane each, against the rows of
//! all others, and the largest value decides.
//!
//! A decision value is no probability. One is made of it by Platt's calibration (1999), a sigmoid fitted to the
//! decision values of the rows that the model was fitted to; of several classes, the sigmoids' values are divided by
//! their sum. The prediction is the decision's: where rows of the classes overlap unevenly, another class may have the
//! larger probability.

pub(crate) mod batch;
mod calibration;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::sparse::sparse_dot;

use self::calibration::Calibration;
use crate::classes::Classes;
use crate::error::{MlError, Result};
use crate::explain::{Explainer, Explanations, Means, check_category_rows};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::ModelTable;
use crate::linear::weights::weights_table;
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// A fitted classifier; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct LinearSvm {
    encoder: Encoder,
    classes: Classes,
    planes: Planes,
    /// Rows with each category, slot by slot.
    category_rows: Vec<u64>,
}

/// The hyperplanes: one for the second of two classes, or one for each of several.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Planes {
    /// The weights of one after another: its intercept, its numbers' weights, its categories'.
    weights: Vec<f64>,
    /// What makes a probability of each one's decision value.
    calibrations: Vec<Calibration>,
}

impl LinearSvm {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "linear_svm";

    pub(crate) const SNAPSHOT_TAG: u8 = 20;

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a support vector machine"));
        }
        let state: State = snapshot::decode(payload)?;
        state.classes.check()?;
        let encoder = state.encoder.into_encoder(state.classes.total_rows())?;
        if !state.planes.is_plausible(&encoder, state.classes.names().len()) {
            return Err(MlError::corrupt("the hyperplanes do not fit the classes, the features and their categories"));
        }
        let categories = encoder.slots() - 1 - encoder.numeric();
        check_category_rows(&state.category_rows, categories, state.classes.total_rows())?;
        Ok(Self { encoder, classes: state.classes, planes: state.planes, category_rows: state.category_rows })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let Self { encoder, classes, planes, category_rows } = self.clone();
        snapshot::seal(Self::SNAPSHOT_TAG, &State { encoder: encoder.state(), classes, planes, category_rows })
    }
}

/// How many hyperplanes so many classes need.
fn planes_of(classes: usize) -> usize {
    if classes == 2 { 1 } else { classes }
}

impl Planes {
    /// Each one's decision value of a row, given the row's product with a hyperplane's weights.
    fn decide(&self, decisions: &mut [f64], product: impl Fn(&[f64]) -> f64) {
        let each = self.weights.len() / self.calibrations.len().max(1);
        for (decision, weights) in decisions.iter_mut().zip(self.weights.chunks_exact(each.max(1))) {
            *decision = product(weights);
        }
    }

    /// The place of the class that decision values predict: of equals, the first.
    fn predicted(decisions: &[f64]) -> usize {
        match decisions {
            [only] => usize::from(*only > 0.0),
            several => {
                let larger = |best: usize, next: usize| if several[next] > several[best] { next } else { best };
                (0..several.len()).reduce(larger).unwrap_or(0)
            }
        }
    }

    /// Writes the probability of each class.
    fn probabilities(&self, decisions: &[f64], probabilities: &mut [f64]) {
        if let ([decision], [calibration], [first, second]) = (decisions, &self.calibrations[..], &mut *probabilities) {
            [*first, *second] = calibration.probabilities(*decision);
            return;
        }
        let mut sum = 0.0;
        for ((probability, decision), calibration) in probabilities.iter_mut().zip(decisions).zip(&self.calibrations) {
            *probability = calibration.probabilities(*decision)[1];
            sum += *probability;
        }
        // Far from all classes each may be too small for a number.
        let equal = 1.0 / probabilities.len() as f64;
        probabilities
            .iter_mut()
            .for_each(|probability| *probability = if sum > 0.0 { *probability / sum } else { equal });
    }

    fn is_plausible(&self, encoder: &Encoder, classes: usize) -> bool {
        self.calibrations.len() == planes_of(classes)
            && self.weights.len() == self.calibrations.len() * encoder.slots()
            && self.weights.iter().all(|weight| weight.abs() <= STATE_MAGNITUDE_MAX)
            && self.calibrations.iter().all(Calibration::is_plausible)
    }
}

impl Supervised for LinearSvm {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn label_type(&self) -> DataType {
        self.classes.kind().data_type()
    }

    fn class_names(&self) -> Vec<String> {
        self.classes.names().to_vec()
    }

    fn rows_learnt(&self) -> u64 {
        self.classes.total_rows()
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let (rows, count) = (features.num_rows(), self.classes.names().len());
        let mut places = vec![0; rows];
        let mut probabilities = vec![vec![0.0; rows]; count];
        let (mut decisions, mut row_probabilities) = (vec![0.0; planes_of(count)], vec![0.0; count]);
        let usable = self.encoder.visit(features, |row, slots, values| {
            self.planes.decide(&mut decisions, |weights| sparse_dot(slots, values, weights));
            places[row] = Planes::predicted(&decisions);
            self.planes.probabilities(&decisions, &mut row_probabilities);
            for (class, probability) in probabilities.iter_mut().zip(&row_probabilities) {
                class[row] = *probability;
            }
        })?;
        Ok(self.classes.predictions_of(places, probabilities, usable))
    }

    /// Of two classes, those of the plane that speaks for the second.
    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        let ModelTable::Weights = which else { return Ok(None) };
        let names: Vec<_> = match self.planes.calibrations.len() {
            1 => vec![None],
            _ => self.classes.names().iter().map(|name| Some(name.as_str())).collect(),
        };
        let of_planes: Vec<_> = names.into_iter().zip(self.planes.weights.chunks_exact(self.encoder.slots())).collect();
        weights_table(&self.encoder.inputs(), &of_planes).map(Some)
    }

    fn explanations(&self, features: &RecordBatch, _said: &Predictions) -> Result<Option<Explanations>> {
        let means = Means::new(&self.encoder.inputs(), self.classes.total_rows(), &self.category_rows);
        let planes = self.planes.weights.chunks_exact(self.encoder.slots());
        let explainers: Vec<_> = planes.map(|weights| Explainer::new(&means, weights)).collect();
        let mut decisions = vec![0.0; explainers.len()];
        let mut explanations = Explanations::new(self.schema(), features.num_rows());
        let usable = self.encoder.visit(features, |row, slots, values| {
            self.planes.decide(&mut decisions, |weights| sparse_dot(slots, values, weights));
            let class = Planes::predicted(&decisions);
            // The only plane of two classes speaks for the second.
            let (plane, speaks_for) = if explainers.len() == 1 { (0, class == 1) } else { (class, true) };
            explainers[plane].explain((row, slots, values), (class, speaks_for), &mut explanations);
        })?;
        Ok(Some(explanations.of_usable(usable)))
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    classes: Classes,
    planes: Planes,
    category_rows: Vec<u64>,
}
