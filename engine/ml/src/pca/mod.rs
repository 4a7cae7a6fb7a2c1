//! Principal component analysis: the directions in which rows differ most, and where each row lies along them.
//!
//! Pearson (1901), Hotelling (1933): the eigenvectors of the covariance matrix (over `n - 1`, as in scikit-learn).
//! Numbers are centred, and scaled by their standard deviations where asked for; a missing one is the mean. Categories
//! are one feature each, 0 or 1, centred as well; one that was never seen is 0 in all of them. Of a direction and its
//! opposite the one is taken whose largest entry, or the first of equals, is positive.

pub(crate) mod batch;
pub(crate) mod config;
mod eigen;
mod randomized;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod truncated;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field};
use bincode::{Decode, Encode};
use tidemill_compute::kernel::sparse::sparse_dot;

use crate::error::{MlError, Result};
use crate::feature::dictionary::Category;
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::ModelTable;
use crate::model::FeatureSchema;
use crate::predictor::Predictor;
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

pub(crate) const SNAPSHOT_TAG: u8 = 30;

/// That of directions of rows as they are.
pub(crate) const TRUNCATED_SNAPSHOT_TAG: u8 = 35;

/// One direction, and how much of the rows' variance lies along it.
#[derive(Debug, Clone, PartialEq)]
struct PrincipalComponent {
    /// From 1, by how much it explains.
    number: usize,
    /// The variance of the rows along the direction.
    eigenvalue: f64,
    /// That, as a part of the variance of all features; 0 where these do not vary.
    explained_variance_ratio: f64,
    /// The part of the variance that this component and those before it explain.
    cumulative_explained_variance_ratio: f64,
    /// The direction, of length 1, by features in the schema's order.
    loadings: Vec<Loading>,
}

/// What a component has of one encoded feature.
#[derive(Debug, Clone, PartialEq)]
struct Loading {
    /// The feature's column.
    feature: String,
    /// The category that it is about; none of a number.
    category: Option<Category>,
    /// The direction's entry.
    value: f64,
}

/// How directions were found; both are answered by the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of rows without their mean.
    Principal,
    /// Of rows as they are.
    Truncated,
}

impl Kind {
    /// The name in `CREATE MODEL`, as in BigQuery if it has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Principal => "pca",
            Self::Truncated => "truncated_svd",
        }
    }

    const fn snapshot_tag(self) -> u8 {
        match self {
            Self::Principal => SNAPSHOT_TAG,
            Self::Truncated => TRUNCATED_SNAPSHOT_TAG,
        }
    }
}

/// Fitted components; they only transform rows.
#[derive(Debug, Clone)]
pub(crate) struct Pca {
    kind: Kind,
    encoder: Encoder,
    components: Vec<Component>,
    /// The variance of all encoded features together.
    total_variance: f64,
    /// The columns that rows get: those past the components are NULL.
    columns: usize,
    rows: u64,
}

/// A direction as rows are multiplied with it.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Component {
    variance: f64,
    /// Slot 0 centres the categories, then come the numbers, then the categories.
    weights: Vec<f64>,
}

impl Pca {
    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        let Some(kind) = [Kind::Principal, Kind::Truncated].into_iter().find(|kind| kind.snapshot_tag() == tag) else {
            return Err(MlError::corrupt("its model tag is not that of principal components"));
        };
        let State { encoder, components, total_variance, columns, rows } = snapshot::decode(payload)?;
        let encoder = encoder.into_encoder(rows)?;
        let is_variance = |variance: f64| (0.0..=STATE_MAGNITUDE_MAX).contains(&variance);
        let is_component = |component: &Component| {
            is_variance(component.variance)
                && component.weights.len() == encoder.slots()
                && component.weights.iter().all(|weight| weight.abs() <= STATE_MAGNITUDE_MAX)
        };
        if !is_variance(total_variance)
            || columns > COLUMNS_MAX
            || components.len() > columns as usize
            || !components.iter().all(is_component)
        {
            return Err(MlError::corrupt("the components do not fit the features"));
        }
        Ok(Self { kind, encoder, components, total_variance, columns: columns as usize, rows })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State {
            encoder: self.encoder.state(),
            components: self.components.clone(),
            total_variance: self.total_variance,
            columns: self.columns as u32,
            rows: self.rows,
        };
        snapshot::seal(self.kind.snapshot_tag(), &state)
    }

    /// The part of the variance that a component explains.
    fn ratio(&self, component: &Component) -> f64 {
        if self.total_variance > 0.0 { component.variance / self.total_variance } else { 0.0 }
    }

    /// The components by how much of the variance each explains.
    fn principal_components(&self) -> Vec<PrincipalComponent> {
        let mut cumulative = 0.0;
        let described = |(component, number): (&Component, usize)| {
            let explained_variance_ratio = self.ratio(component);
            cumulative += explained_variance_ratio;
            PrincipalComponent {
                number,
                eigenvalue: component.variance,
                explained_variance_ratio,
                cumulative_explained_variance_ratio: cumulative,
                loadings: self.loadings(component),
            }
        };
        self.components.iter().zip(1..).map(described).collect()
    }

    fn loadings(&self, component: &Component) -> Vec<Loading> {
        let fields = self.encoder.schema().fields();
        let features = self.encoder.slot_features();
        let mut entries: Vec<_> = features.into_iter().zip(&component.weights[1..]).collect();
        // A feature's categories keep their order.
        entries.sort_by_key(|((feature, _), _)| *feature);
        let loading = |((feature, category), value): ((usize, Option<Category>), &f64)| Loading {
            feature: fields[feature].name.clone(),
            category,
            value: *value,
        };
        entries.into_iter().map(loading).collect()
    }
}

/// More columns than any schema and options ask for.
const COLUMNS_MAX: u32 = 1 << 20;

/// The columns `principal_component_1` and so on.
fn output_fields(columns: usize) -> Vec<Field> {
    let field = |number| Field::new(format!("principal_component_{number}"), DataType::Float64, true);
    (1..=columns).map(field).collect()
}

impl Predictor for Pca {
    fn model_type(&self) -> &'static str {
        self.kind.name()
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        output_fields(self.columns)
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let rows = features.num_rows();
        let mut answers = vec![vec![0.0; rows]; self.components.len()];
        let usable = self.encoder.visit(features, |row, slots, values| {
            for (answer, component) in answers.iter_mut().zip(&self.components) {
                answer[row] = sparse_dot(slots, values, &component.weights);
            }
        })?;
        let array = |answer: Vec<f64>| Arc::new(Float64Array::new(answer.into(), usable.clone())) as ArrayRef;
        let nulls = (answers.len()..self.columns).map(|_| new_null_array(&DataType::Float64, rows));
        Ok(answers.into_iter().map(array).chain(nulls).collect())
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::PrincipalComponents => table::components(&self.principal_components()).map(Some),
            ModelTable::PrincipalComponentInfo => table::info(&self.principal_components()).map(Some),
            _ => Ok(None),
        }
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    components: Vec<Component>,
    total_variance: f64,
    columns: u32,
    rows: u64,
}
