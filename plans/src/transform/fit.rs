//! Fitting a transform: what has to be known of all rows is collected, and is a constant of what comes out.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_ml::MlError;
use tidemill_ml::preprocessing::{ListCollector, Statistic, StatisticCollector, TargetRows};

use super::{Analytic, DRAW_COLUMN, FittedTransform, Transform, inputs_of};
use crate::error::{PlanError, Result};
use crate::expr::{StreamExpr, StreamSchema};
use crate::node::Projection;

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

    /// Takes them up; `rows` has the labels, and draws for [`DRAW_COLUMN`], if the transform reads the label.
    ///
    /// # Errors
    /// If there are too many categories.
    pub fn add(&mut self, arguments: &[ArrayRef], rows: &TargetRows<'_>) -> Result<()> {
        for ((collector, analytic), values) in self.collectors.iter_mut().zip(&self.transform.analytics).zip(arguments)
        {
            collector.add(values, rows).map_err(|error| analytic.failed(&error))?;
        }
        Ok(())
    }

    /// The transform of a row alone.
    ///
    /// # Errors
    /// If a column has no value where one is needed.
    pub fn finish(self) -> Result<Fitted> {
        let outputs = StreamSchema(self.transform.outputs()?);
        let (mut fitted, mut to_others, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for (collector, Analytic { name, function, argument }) in
            self.collectors.into_iter().zip(&self.transform.analytics)
        {
            let known = collector.finish();
            if let Some(expr) = function.fitted_to_others(&argument.0, known.as_ref())? {
                to_others.push((name.as_str(), expr));
            }
            fitted.push((name.as_str(), function.fitted(argument.0.clone(), known.as_ref())?));
            if let Some(Statistic::Terms(known)) = known {
                terms.push((name.as_str(), known.terms));
            }
        }
        let terms = terms_of_features(&self.transform.features, &terms);
        let features = || self.transform.features.iter().map(|feature| &feature.expr);
        let inputs = self.transform.inputs.clone();
        let version = FittedTransform { inputs, outputs, features: placed(features(), &fitted)? };
        let learnt = match to_others.is_empty() {
            true => None,
            false => {
                let features = placed(placed(features(), &to_others)?.iter(), &fitted)?;
                let inputs = with_draws(&self.transform.inputs);
                Some(FittedTransform { inputs, features, ..version.clone() })
            }
        };
        Ok(Fitted { version, learnt, terms })
    }
}

/// What a training set makes of a transform.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// For whatever rows are asked about.
    pub version: FittedTransform,
    /// For the rows of the training set, with [`DRAW_COLUMN`], if that is something else.
    pub learnt: Option<FittedTransform>,
    /// What the indices of sparse lists stand for, by feature.
    terms: Vec<(String, Vec<String>)>,
}

impl Fitted {
    /// Collects what features are lists, from those of all rows.
    #[must_use]
    pub fn lists(&self) -> ListCollector {
        let mut lists = ListCollector::new(&self.version.outputs.0);
        self.terms.iter().for_each(|(feature, terms)| lists.name(feature, terms));
        lists
    }
}

/// Features with expressions in the places of some columns.
fn placed<'a>(features: impl Iterator<Item = &'a StreamExpr>, known: &[(&str, Expr)]) -> Result<Vec<StreamExpr>> {
    let place = |expr: Expr| {
        let known = |column: &str| known.iter().find(|(name, _)| *name == column).map(|(_, expr)| expr.clone());
        Ok(match &expr {
            Expr::Column(column) => known(&column.name).map_or(Transformed::no(expr), Transformed::yes),
            _ => Transformed::no(expr),
        })
    };
    features.map(|feature| Ok(StreamExpr(feature.0.clone().transform_up(place)?.data))).collect()
}

/// The terms of features that are a bag of words as it is.
fn terms_of_features(features: &[Projection], terms: &[(&str, Vec<String>)]) -> Vec<(String, Vec<String>)> {
    let mut of_features = Vec::new();
    for Projection { name, expr } in features {
        if let Expr::Column(column) = &expr.0
            && let Some((_, terms)) = terms.iter().find(|(call, _)| *call == column.name)
        {
            of_features.push((name.clone(), terms.clone()));
        }
    }
    of_features
}

fn with_draws(inputs: &StreamSchema) -> StreamSchema {
    let draws = Arc::new(Field::new(DRAW_COLUMN, DataType::Int64, true));
    StreamSchema(Arc::new(Schema::new(inputs.fields().iter().cloned().chain([draws]).collect::<Vec<_>>())))
}

impl Analytic {
    fn failed(&self, error: &MlError) -> PlanError {
        PlanError::InvalidOption(format!("{}: {error}", self.function.call(&self.argument.to_string())))
    }
}
