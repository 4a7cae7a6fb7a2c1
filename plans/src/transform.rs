//! TRANSFORM: what features a model makes of the columns of its query, when it is fitted and whenever it is asked.
//!
//! A [`Transform`] is what a statement says: expressions, some over statistics of all rows. Once these are known they are
//! constants, and what is left is a [`FittedTransform`], expressions of a row alone. That is part of the model's version:
//! [`seal`] puts it in front of the weights, so whoever restores the version, be it an operator, a query as a whole, a
//! worker or a server of predictions, makes the same features.

mod analytic;
mod fit;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ExprSchemable;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_ml::preprocessing::ListFeatures;
use tidemill_ml::{MlError, Origin, Predictor};

pub use self::analytic::{AnalyticFunction, Imputed, KnownCategories, NAMES, TargetEncoding, TfIdfFormula};
pub use self::fit::{Fitted, TransformFit};
use crate::codec;
use crate::error::{PlanError, Result};
use crate::expr::{StreamExpr, StreamSchema};
use crate::node::Projection;

/// The first byte of a version that has a transform. A model's own bytes begin with their format's version, 1.
const SEALED: u8 = b'T';

/// That of one with a transform of which some features are lists.
const SEALED_WITH_LISTS: u8 = b'L';

/// A column that rows have while a model is fitted: a number of 0 or more, by which functions of the label deal them to folds.
pub const DRAW_COLUMN: &str = "ml.draw";

/// What features are made of the columns of a query.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Transform {
    /// The columns that it reads.
    pub inputs: StreamSchema,
    /// What has to be known of all rows.
    pub analytics: Vec<Analytic>,
    /// The features, over the inputs and the values of the analytic functions.
    pub features: Vec<Projection>,
}

/// A call of an analytic function, which features read as a column.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Analytic {
    /// The name of that column: the call as it was written.
    pub name: String,
    /// The function.
    pub function: AnalyticFunction,
    /// Its argument, over the inputs, of the type that it reads.
    pub argument: StreamExpr,
}

impl Transform {
    /// The columns that features may read: the inputs and the values of analytic functions.
    pub fn columns(&self) -> Result<Schema> {
        let own = self.inputs.fields().iter().map(|field| field.as_ref().clone());
        let schema = DFSchema::try_from(self.inputs.0.as_ref().clone())?;
        let mut fields: Vec<Field> = own.collect();
        for Analytic { name, function, argument } in &self.analytics {
            fields.push(Field::new(name, function.returns(&argument.0.get_type(&schema)?), true));
        }
        Ok(Schema::new(fields))
    }

    /// The features as a model learns them.
    pub fn outputs(&self) -> Result<SchemaRef> {
        let schema = DFSchema::try_from(self.columns()?)?;
        let field = |feature: &Projection| Ok(Field::new(&feature.name, feature.expr.0.get_type(&schema)?, true));
        Ok(Arc::new(Schema::new(self.features.iter().map(field).collect::<Result<Vec<_>>>()?)))
    }

    /// Whether some function goes by the label.
    #[must_use]
    pub fn reads_label(&self) -> bool {
        self.analytics.iter().any(|analytic| analytic.function.reads_label())
    }

    /// The features as text, each as it would be written in TRANSFORM.
    #[must_use]
    pub fn to_sql(&self) -> Vec<String> {
        let calls = self.analytics.iter().map(|analytic| &analytic.name);
        let calls: Vec<_> = calls.map(|call| (format!("\"{}\"", call.replace('"', "\"\"")), call)).collect();
        let text = |feature: &Projection| {
            let text = calls.iter().fold(feature.expr.to_string(), |text, (column, call)| text.replace(column, call));
            if text == feature.name { text } else { format!("{text} AS {}", feature.name) }
        };
        self.features.iter().map(text).collect()
    }
}

/// A transform whose statistics are known.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct FittedTransform {
    /// The columns that it reads.
    inputs: StreamSchema,
    /// The features.
    outputs: StreamSchema,
    /// Their values, over the inputs.
    features: Vec<StreamExpr>,
}

/// The same, ready to evaluate.
pub struct PreparedTransform {
    inputs: SchemaRef,
    outputs: SchemaRef,
    features: Vec<Arc<dyn PhysicalExpr>>,
    lists: ListFeatures,
}

impl FittedTransform {
    /// Makes it ready to evaluate.
    pub fn prepare(&self) -> Result<PreparedTransform> {
        let features = self.features.iter().map(|feature| feature.to_physical(&self.inputs)).collect::<Result<_>>()?;
        let (inputs, outputs) = (Arc::clone(&self.inputs.0), Arc::clone(&self.outputs.0));
        Ok(PreparedTransform { inputs, outputs, features, lists: ListFeatures::default() })
    }
}

/// How many rows at a time have the elements of their lists in columns: 4096 features of each are 32 MB.
const EXPANDED_ROWS: usize = 1024;

impl PreparedTransform {
    /// Whether some features are lists.
    #[must_use]
    pub fn has_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Rows in pieces that may be expanded at once; they are one if there is no list to expand. Never none.
    pub fn pieces(&self, rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> + use<> {
        let (rows, step) = (rows.clone(), if self.has_lists() { EXPANDED_ROWS } else { usize::MAX });
        let count = rows.num_rows();
        (0..count.max(1)).step_by(step).map(move |start| rows.slice(start, step.min(count - start)))
    }

    /// The same once it is known which features its lists are.
    #[must_use]
    pub fn with_lists(self, lists: ListFeatures) -> Self {
        Self { lists, ..self }
    }

    /// Features with the elements of lists in the lists' place: what a model learns.
    ///
    /// # Errors
    /// If a list has another length than those of the training set.
    pub fn expanded<'a>(&self, features: &'a RecordBatch) -> Result<Cow<'a, RecordBatch>, MlError> {
        if !self.has_lists() {
            return Ok(Cow::Borrowed(features));
        }
        self.lists.expand(features).map(Cow::Owned)
    }

    /// The columns that it reads.
    #[must_use]
    pub fn inputs(&self) -> &SchemaRef {
        &self.inputs
    }

    /// The features.
    #[must_use]
    pub fn outputs(&self) -> &SchemaRef {
        &self.outputs
    }

    /// The features of rows that have the inputs among their columns.
    ///
    /// # Errors
    /// If one is missing or of another type; or an expression fails or a list has another length than those of the training
    /// set, which is the fault of a row.
    pub fn features(&self, rows: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let inputs = inputs_of(rows, &self.inputs)?;
        let mut columns = Vec::with_capacity(self.features.len());
        for (feature, field) in self.features.iter().zip(self.outputs.fields()) {
            let column = feature.evaluate(&inputs)?.into_array(rows.num_rows())?;
            columns.push(cast_to(&column, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let features = RecordBatch::try_new_with_options(Arc::clone(&self.outputs), columns, &options)?;
        self.lists.check(&features).map_err(|error| DataFusionError::Execution(crate::error::chain(&error)))?;
        Ok(features)
    }
}

/// Whether a column of one type can be read as one of another, and loses nothing: a number that counted is no fraction now.
#[must_use]
pub fn can_read(given: &DataType, wanted: &DataType) -> bool {
    let is_number = |data_type: &DataType| data_type.is_integer() || data_type.is_floating();
    given == wanted
        || given.is_null()
        || (given.is_string() && wanted.is_string())
        || (given.is_integer() && wanted.is_integer())
        || ((is_number(given) || given.is_decimal()) && wanted.is_floating())
        || matches!((given, wanted), (DataType::Timestamp(_, a), DataType::Timestamp(_, b)) if a == b)
        || matches!((element_of(given), element_of(wanted)), (Some(a), Some(b)) if can_read(a, b))
}

/// What a list is of.
fn element_of(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            Some(element.data_type())
        }
        _ => None,
    }
}

fn cast_to(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    cast_with_options(column, data_type, &CastOptions { safe: false, ..Default::default() })
}

/// The columns of rows that are inputs.
fn inputs_of(rows: &RecordBatch, inputs: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let column = |field: &Arc<Field>| {
        let Some(column) = rows.column_by_name(field.name()) else {
            let names: Vec<_> = rows.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
            let message = format!("TRANSFORM reads the column '{}'; there are: {}", field.name(), names.join(", "));
            return Err(DataFusionError::Plan(message));
        };
        if !can_read(column.data_type(), field.data_type()) {
            return Err(DataFusionError::Plan(format!(
                "TRANSFORM reads the column '{}', which was {} when the model was made but is {} now; cast it",
                field.name(),
                field.data_type(),
                column.data_type()
            )));
        }
        Ok(cast_to(column, field.data_type())?)
    };
    let columns = inputs.fields().iter().map(column).collect::<Result<Vec<_>, DataFusionError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    // Nullable whatever was declared: a row that is asked about may lack a value.
    let nullable = inputs.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// A version with the transform in front of its weights, and which features its lists are.
pub fn seal(transform: &FittedTransform, lists: &ListFeatures, weights: &[u8]) -> Result<Vec<u8>> {
    let (first, encoded) = match lists.is_empty() {
        true => (SEALED, codec::encode(transform)?),
        false => (SEALED_WITH_LISTS, codec::encode(&(transform, lists))?),
    };
    let length = u32::try_from(encoded.len())
        .map_err(|_| PlanError::TooLarge { size: encoded.len(), limit: u32::MAX as usize })?;
    let mut sealed = Vec::with_capacity(encoded.len() + weights.len() + 5);
    sealed.push(first);
    sealed.extend(length.to_le_bytes());
    sealed.extend(encoded);
    sealed.extend_from_slice(weights);
    Ok(sealed)
}

/// A version that answers rows with the columns of its query: it makes features of them first, if it has a transform.
pub struct FittedModel {
    transform: Option<PreparedTransform>,
    predictor: Box<dyn Predictor>,
    origin: Origin,
}

impl FittedModel {
    /// The version that bytes are.
    ///
    /// # Errors
    /// If they are none, or another release's.
    pub fn restore(version: &[u8]) -> Result<Self, RestoreError> {
        let (transform, weights) = match version.split_first() {
            Some((&SEALED, sealed)) => {
                let (transform, weights) = opened::<FittedTransform>(sealed)?;
                (Some(transform.prepare()?), weights)
            }
            Some((&SEALED_WITH_LISTS, sealed)) => {
                let ((transform, lists), weights) = opened::<(FittedTransform, ListFeatures)>(sealed)?;
                (Some(transform.prepare()?.with_lists(lists)), weights)
            }
            _ => (None, version),
        };
        let origin = Origin::of(weights)?;
        Ok(Self { transform, predictor: tidemill_ml::restore_predictor(weights)?, origin })
    }

    /// What it answers with.
    #[must_use]
    pub fn predictor(&self) -> &dyn Predictor {
        self.predictor.as_ref()
    }

    /// How it came about.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What makes its features, if they are not the columns themselves.
    #[must_use]
    pub fn transform(&self) -> Option<&PreparedTransform> {
        self.transform.as_ref()
    }

    /// The features of rows that have what it reads among their columns.
    ///
    /// # Errors
    /// As of [`PreparedTransform::features`].
    pub fn features(&self, rows: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        match &self.transform {
            Some(transform) => transform.features(rows),
            None => Ok(rows.clone()),
        }
    }

    /// The names of the columns that it reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<String> {
        match &self.transform {
            Some(transform) => transform.inputs.fields().iter().map(|field| field.name().clone()).collect(),
            None => self.predictor.schema().fields().iter().map(|feature| feature.name.clone()).collect(),
        }
    }
}

fn opened<T: bincode::Decode<()>>(sealed: &[u8]) -> Result<(T, &[u8])> {
    let cut_short = || PlanError::InvalidGraph(String::from("a model's version is cut short"));
    let (length, rest) = sealed.split_first_chunk::<4>().ok_or_else(cut_short)?;
    let (encoded, weights) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut_short)?;
    Ok((codec::decode(encoded)?, weights))
}

/// Why a version cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Its weights.
    #[error(transparent)]
    Weights(#[from] MlError),
    /// What makes its features.
    #[error("the model's TRANSFORM cannot be read")]
    Transform(#[from] PlanError),
}
