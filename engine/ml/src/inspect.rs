//! What a fitted model knows, as tables: SQL's ML.WEIGHTS and its like. Their columns are BigQuery ML's.

mod feature_rows;
mod importance;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

pub(crate) use self::feature_rows::FeatureRows;
pub(crate) use self::importance::{SplitUse, importance_table};
use crate::error::{MlError, Result};
use crate::options::invalid;
use crate::predictor::Predictor;

/// A table that some model types have. Each says what its columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelTable {
    /// The weights of a linear model, a row for each feature and one for the intercept.
    Weights,
    /// How much trees use each feature.
    FeatureImportance,
    /// The directions of a principal component analysis, a row for each of their features.
    PrincipalComponents,
    /// How much of the variance each of them explains.
    PrincipalComponentInfo,
    /// Where the centres of clusters lie, a row for each cluster and feature.
    Centroids,
    /// What is known of each series: its model, how well that fits, and why there is none.
    SeriesInfo,
    /// The coefficients of each series' ARIMA model.
    ArimaCoefficients,
    /// The orders of each series' ARIMA model, and how well it fits.
    ArimaEvaluate,
    /// The trials of the search that found it, as [`trial_table`](crate::trial_table) shows them.
    TrialInfo,
    /// The steps of its fit, as [`training_table`](crate::training_table) shows them.
    TrainingInfo,
}

impl ModelTable {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Weights,
        Self::FeatureImportance,
        Self::PrincipalComponents,
        Self::PrincipalComponentInfo,
        Self::Centroids,
        Self::SeriesInfo,
        Self::ArimaCoefficients,
        Self::ArimaEvaluate,
        Self::TrialInfo,
        Self::TrainingInfo,
    ];

    /// The name of SQL's function, without `ml.`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::FeatureImportance => "feature_importance",
            Self::PrincipalComponents => "principal_components",
            Self::PrincipalComponentInfo => "principal_component_info",
            Self::Centroids => "centroids",
            Self::SeriesInfo => "series_info",
            Self::ArimaCoefficients => "arima_coefficients",
            Self::ArimaEvaluate => "arima_evaluate",
            Self::TrialInfo => "trial_info",
            Self::TrainingInfo => "training_info",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

impl fmt::Display for ModelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ML.{}", self.name().to_uppercase())
    }
}

/// What comes after the series of a model, as [`Predictor::forecast`] says it.
///
/// # Errors
/// `NoSeries` if models of its type have none, or those of [`Predictor::forecast`].
pub fn forecast_of(model: &dyn Predictor, horizon: usize, confidence_level: f64) -> Result<RecordBatch> {
    model.forecast(horizon, confidence_level)?.ok_or_else(|| MlError::NoSeries { model_type: model.model_type() })
}

/// Which rows are anomalies: of a model of series `is_anomaly`, `lower_bound`, `upper_bound` and `anomaly_probability`, of
/// others what they answer. `threshold` is the probability from which on a value of a series is one.
///
/// # Errors
/// `NoAnomalies` if models of its type cannot tell; `InvalidOption` for a threshold that it does not take; or those of
/// [`Predictor::answers`].
pub fn anomalies_of(model: &dyn Predictor, features: &RecordBatch, threshold: Option<f64>) -> Result<RecordBatch> {
    if let Some(said) = model.anomalies(features, threshold)? {
        return Ok(said);
    }
    let fields = model.outputs("");
    if !fields.iter().any(|field| field.name() == "is_anomaly") {
        return Err(MlError::NoAnomalies { model_type: model.model_type() });
    }
    if let Some(threshold) = threshold {
        let expected = "nothing: what an anomaly is was said in CREATE MODEL";
        return Err(invalid("anomaly_prob_threshold", &threshold.to_string(), expected));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), model.answers(features)?)
        .map_err(|source| MlError::BuildTable { source })
}

/// What a model knows, as a table.
///
/// # Errors
/// `NoTable` if models of its type do not have it, or `BuildTable`.
pub fn table_of(model: &dyn Predictor, table: ModelTable) -> Result<RecordBatch> {
    if let Some(rows) = model.table(table)? {
        return Ok(rows);
    }
    let mut tables = Vec::new();
    for other in ModelTable::ALL {
        tables.extend(model.table(other)?.map(|_| other.to_string()));
    }
    let tables = if tables.is_empty() { String::from("none of these tables") } else { tables.join(", ") };
    Err(MlError::NoTable { model_type: model.model_type(), table, tables })
}
