//! What predictions are made of: how much each feature has moved one away from what the model says on average.
//!
//! A feature's attribution is its Shapley value (Shapley 1953; Lundberg and Lee 2017): the mean, over all orders in
//! which features may become known, of how much the prediction changes when this one does. Attributions sum up to the
//! difference between the prediction and the baseline. They are exact, but for models of the last kind below where a row
//! has more than 11 features, whose error is estimated then. Categories are one feature, however many there are.
//!
//! What a model says where it knows only some of the features is, of a linear model, what it says where the others have
//! the mean of the rows that it was fitted to: so an attribution is the weight times the distance from that mean. (A
//! model that learns online does not count its categories: the attribution of one is its weight.) Of trees it is the
//! mean of the leaves that can still be reached, each by the rows that went there (path-dependent TreeSHAP, Lundberg et
//! al. 2020). Of naive Bayes it is what follows from the features that are known, as if there were no others: features
//! do not depend on each other there, so each adds its own part to the log-odds.
//!
//! Any other model is asked again and again, with features missing (`coalitions`): what it says where it knows only some
//! features is what it says of a row in which the others are NULL, or of texts a category that it has never seen. Of
//! nearest neighbours a missing number is the mean of all rows, and an unseen category is as far from each of them, so
//! that is the mean row, without categories. Rows without what a split of a Hoeffding tree asks for go where most rows
//! went. A user or an item that is not known has the mean of all.
//!
//! `local` says something else: what moves the prediction of any model with a label among rows near one (LIME).
//!
//! Explained is what a model adds up, before it becomes a probability: the number of a regression; the log-odds or the
//! score of the predicted class of a logistic regression and of boosted trees; its decision value of a support vector
//! machine; of naive Bayes its log-odds against the class that comes next. Forests add up probabilities, and
//! probabilities are explained of nearest neighbours and of all that learns along a stream by trees.

mod coalitions;
mod linear;
mod local;
mod quadrature;
mod walk;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema};

pub(crate) use self::coalitions::{Coalitions, Shares, with_missing};
pub(crate) use self::linear::{Explainer, Means, check_category_rows};
pub(crate) use self::local::explanations as local_explanations;
pub use self::local::{Background, explain_locally};
pub(crate) use self::walk::{Place, ShapTree, Walk};
use crate::error::{MlError, Result};
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Predictor, label_outputs};

/// The attributions of some rows.
#[derive(Debug, Clone)]
pub struct Explanations {
    features: Vec<String>,
    /// Of each row, what the model says on average of the class that it predicts, or of the number.
    baselines: Vec<f64>,
    /// Of each row, what it says.
    values: Vec<f64>,
    /// Row by row, one for each feature.
    attributions: Vec<f64>,
    /// About how far the worst of a row's attributions is off; 0 of exact ones.
    errors: Vec<f64>,
    /// The place of each row's predicted class; 0 of numbers.
    classes: Vec<usize>,
    usable: Option<NullBuffer>,
}

impl Explanations {
    /// Of so many rows, of which nothing is known yet.
    pub(crate) fn new(schema: &FeatureSchema, rows: usize) -> Self {
        let features: Vec<_> = schema.fields().iter().map(|feature| feature.name.clone()).collect();
        let attributions = vec![0.0; rows * features.len()];
        let (baselines, values, classes) = (vec![0.0; rows], vec![0.0; rows], vec![0; rows]);
        Self { features, baselines, values, attributions, errors: vec![0.0; rows], classes, usable: None }
    }

    /// Says what a row is predicted as; returns the attributions of its features, in the order of the schema.
    pub(crate) fn explain(&mut self, row: usize, class: usize, baseline: f64, value: f64) -> &mut [f64] {
        self.classes[row] = class;
        self.baselines[row] = baseline;
        self.values[row] = value;
        let width = self.features.len();
        &mut self.attributions[row * width..][..width]
    }

    /// Says what a row is predicted as and how its features share that, which are in this order of places in the schema.
    pub(crate) fn share(&mut self, row: usize, class: usize, shares: &Shares, places: &[usize]) {
        self.errors[row] = shares.error;
        let attributions = self.explain(row, class, shares.baseline, shares.value);
        places.iter().zip(&shares.attributions).for_each(|(place, share)| attributions[*place] = *share);
    }

    /// With the rows that can be predicted; `None` for all.
    pub(crate) fn of_usable(self, usable: Option<NullBuffer>) -> Self {
        Self { usable, ..self }
    }

    /// What the model says of each row on average, which attributions add up from.
    #[must_use]
    pub fn baselines(&self) -> Float64Array {
        self.array(self.baselines.clone())
    }

    /// What the model says of each row, which attributions add up to.
    #[must_use]
    pub fn values(&self) -> Float64Array {
        self.array(self.values.clone())
    }

    /// Of each row about how far the worst of its attributions is off, one standard deviation; 0 of exact ones.
    #[must_use]
    pub fn errors(&self) -> Float64Array {
        self.array(self.errors.clone())
    }

    /// The attributions of a row, one for each feature of the schema; all 0 of a row that cannot be predicted.
    #[must_use]
    pub fn attributions(&self, row: usize) -> &[f64] {
        let width = self.features.len();
        self.attributions.get(row * width..(row + 1) * width).unwrap_or_default()
    }

    /// The probability of each row's predicted class; NULL before a class is known.
    fn probability(&self, said: &Predictions) -> Float64Array {
        if said.probabilities.is_empty() {
            return Float64Array::new_null(said.labels.len());
        }
        let of_row = |(row, class): (usize, &usize)| said.probabilities.get(*class).map_or(0.0, |of| of.value(row));
        self.array(self.classes.iter().enumerate().map(of_row).collect())
    }

    fn array(&self, values: Vec<f64>) -> Float64Array {
        Float64Array::new(values.into(), self.usable.clone())
    }

    /// Of each row the features whose attributions are the largest, whatever their signs, largest first: so many, or all
    /// that there are. Of equals, the schema's first.
    fn top_features(&self, top_k: usize) -> Result<ListArray> {
        let rows = self.values.len();
        let (mut names, mut values, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(rows));
        let mut order = Vec::with_capacity(self.features.len());
        for row in 0..rows {
            let is_usable = self.usable.as_ref().is_none_or(|usable| usable.is_valid(row));
            let attributions = if is_usable { self.attributions(row) } else { &[] };
            order.clear();
            order.extend(attributions.iter().zip(&self.features));
            order.sort_by(|(one, _), (other, _)| other.abs().total_cmp(&one.abs()));
            order.truncate(top_k);
            names.extend(order.iter().map(|(_, name)| name.as_str()));
            values.extend(order.iter().map(|(value, _)| **value));
            lengths.push(order.len());
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(names)), Arc::new(Float64Array::from(values))];
        let build = |source| MlError::BuildTable { source };
        let structs = StructArray::try_new(attribution_fields(), columns, None).map_err(build)?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        ListArray::try_new(Arc::new(attribution_item()), offsets, Arc::new(structs), self.usable.clone()).map_err(build)
    }
}

fn attribution_fields() -> Fields {
    Fields::from(vec![
        Field::new("feature", DataType::Utf8, false),
        Field::new("attribution", DataType::Float64, false),
    ])
}

fn attribution_item() -> Field {
    Field::new("item", DataType::Struct(attribution_fields()), false)
}

/// What a model says of rows, and why, in the columns of BigQuery's ML.EXPLAIN_PREDICT: those of its predictions, the
/// `probability` of a predicted class, and its attributions, of each row the `top_k` largest.
///
/// # Errors
/// `NotExplained` by a model without a label, `MissingColumn`, `ChangedColumn` or `TooManyExplained`.
pub fn explain(model: &dyn Predictor, label: &str, features: &RecordBatch, top_k: usize) -> Result<RecordBatch> {
    let explained = model.explain(label, features, top_k)?;
    explained.ok_or_else(|| MlError::NotExplained { model_type: model.model_type() })
}

/// The columns of [`explain`], of a model that predicts labels of this type.
#[must_use]
pub fn explained_outputs(label: &str, data_type: &DataType) -> Vec<Field> {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let mut fields = label_outputs(label, data_type);
    if !data_type.is_floating() {
        fields.push(number("probability"));
    }
    let attributions = DataType::List(Arc::new(attribution_item()));
    fields.push(Field::new("top_feature_attributions", attributions, true));
    fields.extend(["baseline_prediction_value", "prediction_value", "approximation_error"].map(number));
    fields
}

/// What [`explain`] says, of a model with a label.
pub(crate) fn explained_table(
    label: &str,
    said: &Predictions,
    explanations: &Explanations,
    top_k: usize,
) -> Result<RecordBatch> {
    let is_class = !said.labels.data_type().is_floating();
    let mut columns = said.columns();
    columns.extend(is_class.then(|| Arc::new(explanations.probability(said)) as ArrayRef));
    columns.push(Arc::new(explanations.top_features(top_k)?));
    columns.extend(
        [explanations.baselines(), explanations.values(), explanations.errors()].map(|of| Arc::new(of) as ArrayRef),
    );
    let schema = Schema::new(explained_outputs(label, said.labels.data_type()));
    RecordBatch::try_new(Arc::new(schema), columns).map_err(|source| MlError::BuildTable { source })
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod throughput;
