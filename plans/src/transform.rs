//! TRANSFORM: what features a model makes of the columns of its query, when it is fitted and whenever it is asked.
//!
//! A [`Transform`] is what a statement says: expressions, some over statistics of all rows. Once these are known they are
//! constants, and what is left is a [`FittedTransform`], expressions of a row alone. That is part of the model's version:
//! [`seal`] puts it in front of the weights, so whoever restores the version, be it an operator, a query as a whole, a
//! worker or a server of predictions, makes the same features.

mod analytic;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_ml::preprocessing::StatisticCollector;
use tidemill_ml::{MlError, Origin, Predictor};

pub use self::analytic::{AnalyticFunction, Imputed, KnownCategories, NAMES};
use crate::codec;
use crate::error::{PlanError, Result};
use crate::expr::{StreamExpr, StreamSchema};
use crate::node::Projection;

/// The first byte of a version that has a transform. A model's own bytes begin with their format's version, 1.
const SEALED: u8 = b'T';

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

/// Collects what has to be known of all rows.
pub struct TransformFit {
    transform: Transform,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    collectors: Vec<StatisticCollector>,
}

impl TransformFit {
    /// Begins without rows; they come with the transform's inputs among their columns.
    pub fn new(transform: &Transform) -> Result<Self> {
        let schema = DFSchema::try_from(transform.inputs.0.as_ref().clone())?;
        let (mut arguments, mut collectors) = (Vec::new(), Vec::new());
        for analytic in &transform.analytics {
            let data_type = analytic.argument.0.get_type(&schema)?;
            let collector = StatisticCollector::new(analytic.function.statistic(), &data_type);
            collectors.push(collector.map_err(|error| analytic.failed(&error))?);
            arguments.push(analytic.argument.to_physical(&transform.inputs)?);
        }
        Ok(Self { transform: transform.clone(), arguments, collectors })
    }

    /// The arguments of the analytic functions in these rows.
    ///
    /// # Errors
    /// If an expression fails; that may be the fault of a row.
    pub fn arguments(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, DataFusionError> {
        let inputs = inputs_of(rows, &self.transform.inputs.0)?;
        self.arguments.iter().map(|argument| argument.evaluate(&inputs)?.into_array(rows.num_rows())).collect()
    }

    /// Takes them up.
    ///
    /// # Errors
    /// If there are too many categories.
    pub fn add(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        for ((collector, analytic), values) in self.collectors.iter_mut().zip(&self.transform.analytics).zip(arguments)
        {
            collector.add(values).map_err(|error| analytic.failed(&error))?;
        }
        Ok(())
    }

    /// The transform of a row alone.
    ///
    /// # Errors
    /// If a column has no value where one is needed.
    pub fn finish(self) -> Result<FittedTransform> {
        let outputs = StreamSchema(self.transform.outputs()?);
        let mut fitted = Vec::new();
        for (collector, analytic) in self.collectors.into_iter().zip(&self.transform.analytics) {
            let known = collector.finish();
            let expr = analytic.function.fitted(analytic.argument.0.clone(), known.as_ref())?;
            fitted.push((analytic.name.as_str(), expr));
        }
        let place = |expr: Expr| {
            let known = |column: &str| fitted.iter().find(|(name, _)| *name == column).map(|(_, expr)| expr.clone());
            Ok(match &expr {
                Expr::Column(column) => known(&column.name).map_or(Transformed::no(expr), Transformed::yes),
                _ => Transformed::no(expr),
            })
        };
        let mut features = Vec::new();
        for Projection { expr, .. } in self.transform.features {
            features.push(StreamExpr(expr.0.transform_up(place)?.data));
        }
        Ok(FittedTransform { inputs: self.transform.inputs, outputs, features })
    }
}

impl Analytic {
    fn failed(&self, error: &MlError) -> PlanError {
        PlanError::InvalidOption(format!("{}: {error}", self.function.call(&self.argument.to_string())))
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
}

impl FittedTransform {
    /// Makes it ready to evaluate.
    pub fn prepare(&self) -> Result<PreparedTransform> {
        let features = self.features.iter().map(|feature| feature.to_physical(&self.inputs)).collect::<Result<_>>()?;
        Ok(PreparedTransform { inputs: Arc::clone(&self.inputs.0), outputs: Arc::clone(&self.outputs.0), features })
    }
}

impl PreparedTransform {
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
    /// If one is missing or of another type, or an expression fails, which may be the fault of a row.
    pub fn features(&self, rows: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let inputs = inputs_of(rows, &self.inputs)?;
        let mut columns = Vec::with_capacity(self.features.len());
        for (feature, field) in self.features.iter().zip(self.outputs.fields()) {
            let column = feature.evaluate(&inputs)?.into_array(rows.num_rows())?;
            columns.push(cast_to(&column, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.outputs), columns, &options)?)
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

/// A version with the transform in front of its weights.
pub fn seal(transform: &FittedTransform, weights: &[u8]) -> Result<Vec<u8>> {
    let encoded = codec::encode(transform)?;
    let length = u32::try_from(encoded.len())
        .map_err(|_| PlanError::TooLarge { size: encoded.len(), limit: u32::MAX as usize })?;
    let mut sealed = Vec::with_capacity(encoded.len() + weights.len() + 5);
    sealed.push(SEALED);
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
                let (transform, weights) = opened(sealed)?;
                (Some(transform.prepare()?), weights)
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

fn opened(sealed: &[u8]) -> Result<(FittedTransform, &[u8])> {
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
