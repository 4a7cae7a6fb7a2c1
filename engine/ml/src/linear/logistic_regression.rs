//! Logistic regression that learns online: the log-odds of a row are a linear score, see [`OnlineLinear`].

pub(crate) mod batch;
#[cfg(test)]
mod kept_snapshots;
mod onnx;
mod row_weights;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod throughput;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use tidemill_compute::kernel::logistic::sigmoid;

use self::row_weights::RowWeights;
use super::online::{OnlineLinear, OnlineLinearConfig, OnlineLinearState, SharedOptions};
use super::weights::weights_table;
use crate::class_weights::ClassWeights;
use crate::error::{MlError, Result};
use crate::explain::{Explanations, check_category_rows};
use crate::feature::rows::Rows;
use crate::inspect::ModelTable;
use crate::model::{ClassCounts, FeatureSchema, LearnReport, OnlineSupervised, boolean_labels, predicted_labels};
use crate::options::unknown;
use crate::predictor::{Predictions, Supervised};
use crate::registry::OptionDoc;
use crate::snapshot;

/// A binary classifier, linear in its features; see the [module](self).
#[derive(Debug, Clone)]
pub struct LogisticRegression {
    log_odds: OnlineLinear,
    row_weights: RowWeights,
    classes: ClassCounts,
    /// Rows with each category, slot by slot, of a model that was fitted to all of its rows; otherwise empty.
    category_rows: Vec<u64>,
}

/// The first part of a snapshot, and the whole of most: see [`sections`].
type State = OnlineLinearState<ClassCounts>;

impl LogisticRegression {
    /// The name in `CREATE MODEL`.
    pub const MODEL_TYPE: &'static str = "logistic_reg";

    pub(crate) const SNAPSHOT_TAG: u8 = 1;

    /// A model that has learnt nothing.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, would have no effect
    /// because of another option, or allows more categories than there are slots.
    pub fn new(options: &BTreeMap<String, String>, schema: FeatureSchema) -> Result<Self> {
        let mut config = OnlineLinearConfig::default();
        for (option, value) in options {
            // Read together, by themselves.
            let is_class_weight = matches!(option.as_str(), "auto_class_weights" | "class_weights");
            if !is_class_weight && config.set(option, value)? == SharedOptions::Unknown {
                return Err(unknown(Self::MODEL_TYPE, option, &Self::option_docs()));
            }
        }
        config.validate()?;
        for (option, value) in options {
            config.check_has_effect(option, value)?;
        }
        let row_weights = RowWeights::new(&ClassWeights::from_options(options)?)?;
        let log_odds = OnlineLinear::new(config, schema)?;
        Ok(Self { log_odds, row_weights, classes: ClassCounts::default(), category_rows: Vec::new() })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        OnlineLinearConfig::option_docs().into_iter().chain(ClassWeights::option_docs()).collect()
    }

    /// Reads what [`OnlineSupervised::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors
    /// for bytes that decode to an impossible model.
    pub fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a logistic regression"));
        }
        let (state, rest) = snapshot::decode_first::<State>(payload)?;
        let classes = state.learnt;
        let ClassCounts { negative, positive } = classes;
        let rows = negative.checked_add(positive).ok_or(MlError::corrupt("its row count overflows"))?;
        let log_odds = state.into_score(rows)?;
        let (category_rows, row_weights) = sections(rest)?;
        if !category_rows.is_empty() {
            check_category_rows(&category_rows, log_odds.categories(), rows)?;
        }
        Ok(Self { log_odds, row_weights, classes, category_rows })
    }
}

/// What comes after the first part of a snapshot: rows with each category, then weights of rows. What says nothing is
/// left out at the end, so snapshots from before there was either are read, and are written so still.
///
/// # Errors
/// `CorruptState`; `InvalidOption` for a weight out of range.
fn sections(bytes: &[u8]) -> Result<(Vec<u64>, RowWeights)> {
    if bytes.is_empty() {
        return Ok((Vec::new(), RowWeights::EVEN));
    }
    let (category_rows, rest) = snapshot::decode_first::<Vec<u64>>(bytes)?;
    let row_weights = if rest.is_empty() { RowWeights::EVEN } else { snapshot::decode(rest)? };
    if category_rows.is_empty() && row_weights == RowWeights::EVEN {
        return Err(MlError::corrupt("bytes are left over at its end"));
    }
    row_weights.validate()?;
    Ok((category_rows, row_weights))
}

/// What log-odds say of rows.
fn predictions_of(log_odds: &Rows) -> Predictions {
    let usable = log_odds.usable();
    let positive: Vec<f64> = log_odds.scores().iter().map(|log_odds| sigmoid(*log_odds)).collect();
    let negative: Vec<f64> = positive.iter().map(|probability| 1.0 - probability).collect();
    let [negative, positive] = [negative, positive].map(|class| Float64Array::new(class.into(), usable.clone()));
    let labels = predicted_labels(&positive);
    let places = labels.iter().map(|label| usize::from(label == Some(true))).collect();
    Predictions { labels: Arc::new(labels), probabilities: vec![negative, positive], places }
}

impl Supervised for LogisticRegression {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.log_odds.schema()
    }

    fn label_type(&self) -> DataType {
        DataType::Boolean
    }

    fn class_names(&self) -> Vec<String> {
        ["false", "true"].map(str::to_owned).to_vec()
    }

    fn rows_learnt(&self) -> u64 {
        self.classes.rows()
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        Ok(predictions_of(&self.log_odds.scores(features)?))
    }

    /// What the log-odds are made of: those of a row that is predicted to be false are negated.
    fn explanations(&self, features: &RecordBatch, said: &Predictions) -> Result<Option<Explanations>> {
        let labels = said.labels.as_boolean();
        let class = |row: usize| (usize::from(labels.value(row)), labels.value(row));
        let (weights, rows) = (self.log_odds.weights(), self.classes.rows());
        self.log_odds.explained(features, weights, (rows, &self.category_rows), class).map(Some)
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Weights => weights_table(&self.log_odds.inputs(), &[(None, self.log_odds.weights())]).map(Some),
            _ => Ok(None),
        }
    }
}

impl OnlineSupervised for LogisticRegression {
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport<Predictions>> {
        if labels.len() != features.num_rows() {
            return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
        }
        let labels = boolean_labels("label", labels)?;
        let (classes, row_weights) = (&mut self.classes, self.row_weights);
        let rows = self.log_odds.learn(features, Rows::labelled(labels), |row, log_odds, _| {
            let label = labels.value(row);
            classes.count(label);
            row_weights.of(label, classes) * (sigmoid(log_odds) - f64::from(u8::from(label)))
        })?;
        let said = predictions_of(&rows);
        let (rows, rejected) = rows.into_rejected();
        if rows > 0 {
            self.category_rows.clear();
        }
        Ok(LearnReport { rows, rejected, said })
    }

    /// See [`OnlineLinear::merge`].
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        let others = self.log_odds.restore_copies((Self::SNAPSHOT_TAG, snapshots), Self::restore, |other| {
            (other.row_weights == self.row_weights).then_some(&other.log_odds)
        })?;
        let scores: Vec<_> = others.iter().map(|other| (other.classes.rows(), &other.log_odds)).collect();
        self.log_odds.merge(self.classes.rows(), &scores);
        others.iter().for_each(|other| self.classes.add(other.classes));
        self.category_rows.clear();
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let (state, category_rows) = (self.log_odds.state(self.classes), &self.category_rows);
        match (self.row_weights == RowWeights::EVEN, category_rows.is_empty()) {
            (true, true) => snapshot::seal(Self::SNAPSHOT_TAG, &state),
            (true, false) => snapshot::seal(Self::SNAPSHOT_TAG, &(state, category_rows)),
            (false, _) => snapshot::seal(Self::SNAPSHOT_TAG, &(state, category_rows, self.row_weights)),
        }
    }

    fn class_rows(&self) -> Vec<u64> {
        vec![self.classes.negative, self.classes.positive]
    }

    fn require_classes(&self) -> Result<()> {
        self.classes.require_both()
    }
}
