//! What features a fitted model makes of columns, in a document.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::node::Projection;
use tidemill_plans::transform::{Analytic, AnalyticFunction, Transform};

use super::expression::{ExprDocument, field_of};
use super::operator::{AnalyticDocument, NamedExpr, TransformDocument};
use crate::dialect::TidemillDialect;
use crate::planner::transform::analytic_function;
use crate::problem::{Problem, Read, Within, wrong};

impl TransformDocument {
    /// How a transform is written down.
    pub(super) fn of(transform: &Transform) -> Self {
        let analytics = transform.analytics.iter().map(|analytic| AnalyticDocument {
            name: analytic.name.clone(),
            function: analytic.function.call("x"),
            argument: ExprDocument::of(&analytic.argument, &transform.inputs),
        });
        // Whoever has planned it knows what its columns are.
        let columns = transform.columns().unwrap_or_else(|_| Schema::empty());
        let features = transform
            .features
            .iter()
            .map(|feature| NamedExpr { name: feature.name.clone(), expr: ExprDocument::of(&feature.expr, &columns) });
        Self { analytics: analytics.collect(), features: features.collect() }
    }

    /// The transform of columns.
    pub(super) fn read(&self, columns: &Schema) -> Read<Transform> {
        let inputs = columns.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
        let inputs = StreamSchema(Arc::new(Schema::new(inputs.collect::<Vec<_>>())));
        let mut transform = Transform { inputs, analytics: Vec::new(), features: Vec::new() };
        for (place, analytic) in self.analytics.iter().enumerate() {
            let read = analytic.read(&transform.inputs).at(place).within("analytics")?;
            transform.analytics.push(read);
        }
        let columns = transform.columns()?;
        for (place, feature) in self.features.iter().enumerate() {
            let (expr, _) = feature.read(&columns).at(place).within("features")?;
            transform.features.push(Projection { name: feature.name.clone(), expr: StreamExpr(expr) });
        }
        Ok(transform)
    }
}

impl AnalyticDocument {
    fn read(&self, inputs: &Schema) -> Read<Analytic> {
        let function = read_function(&self.function).within("function")?;
        let argument = self.argument.read(inputs).within("argument")?;
        let found = field_of("x", &argument, inputs).within("argument")?;
        let reads = function.reads(found.data_type()).map_err(wrong).within("argument")?;
        if *found.data_type() != reads {
            let message = format!("it is {}, and {} reads {reads}: cast it", found.data_type(), function.name());
            return Err(Problem::new(message)).within("argument");
        }
        Ok(Analytic { name: self.name.clone(), function, argument: StreamExpr(argument) })
    }
}

fn read_function(text: &str) -> Read<AnalyticFunction> {
    let dialect = TidemillDialect::default();
    let parsed = Parser::new(&dialect).try_with_sql(text).and_then(|mut parser| {
        let expr = parser.parse_expr()?;
        parser.expect_token(&Token::EOF).map(|_| expr)
    });
    match analytic_function(&parsed.map_err(wrong)?) {
        Ok(Some(function)) => Ok(function),
        Ok(None) => {
            Err(Problem::new(format!("'{text}' is no call of a function of all rows: ML.STANDARD_SCALER(x) OVER ()")))
        }
        Err(error) => Err(wrong(error)),
    }
}
