//! TRANSFORM as a plan: its expressions over the columns of the training query, with the calls of analytic functions as
//! columns of their own, which are constants' expressions once a model is fitted.

mod combined;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, VisitMut, VisitorMut,
    WindowType, visit_expressions,
};
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::functions;
use tidemill_plans::node::Projection;
use tidemill_plans::transform::{Analytic, AnalyticFunction, NAMES, Transform};

use self::combined::combined;
use super::expression::{Expressions, plan_expression};
use super::source::{column_names, type_name};
use crate::ast::{dotted, plain_name, quoted};
use crate::catalog::Catalog;
use crate::error::{Position, Result, SqlError};
use crate::lower::expression::{check_supported, unaliased};
use crate::statement::{Name, TransformClause, TransformItem};

/// Those of a row alone, for messages.
const SCALAR_NAMES: &str =
    "ML.BUCKETIZE, ML.HASH_BUCKETIZE, ML.NGRAMS, ML.NORMALIZER, ML.POLYNOMIAL_EXPAND and ML.FEATURE_CROSS";

/// A clause that was planned.
pub(crate) struct PlannedTransform {
    pub(crate) transform: Transform,
    /// The functions that it calls.
    pub(crate) uses: BTreeSet<String>,
}

/// Plans the clause over the columns of a query. The label has to be in it, as it is; it is no feature.
pub(crate) fn plan_transform(
    clause: &TransformClause,
    columns: &Schema,
    label: Option<&str>,
    catalog: &Catalog,
) -> Result<PlannedTransform> {
    // A row that is asked about may lack what no row of the training set does.
    let nullable = columns.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
    let columns = Schema::new(nullable.collect::<Vec<_>>());
    let mut planning = Planning {
        columns: &columns,
        expressions: Expressions::new(catalog),
        analytics: Vec::new(),
        features: Vec::new(),
        values: Vec::new(),
        label,
        has_label: false,
    };
    for item in &clause.items {
        match item {
            TransformItem::All { except, at } => planning.add_all(except, *at)?,
            TransformItem::Column { expr, name, at } => {
                planning.add(expr, name).map_err(|error| error.at(expr.span()).at(*at))?;
            }
        }
    }
    planning.finish().map_err(|error| error.at(clause.at))
}

struct Planning<'a> {
    /// Those of the query.
    columns: &'a Schema,
    expressions: Expressions<'a>,
    analytics: Vec<Analytic>,
    /// The columns of the analytic functions' values.
    values: Vec<Field>,
    features: Vec<Projection>,
    label: Option<&'a str>,
    has_label: bool,
}

impl Planning<'_> {
    /// The query's columns but some.
    fn add_all(&mut self, except: &[Name], at: Position) -> Result<()> {
        for name in except {
            self.check_column(&name.text).map_err(|error| error.at(name.at))?;
        }
        for field in self.columns.fields() {
            if !except.iter().any(|name| name.text == *field.name()) {
                let name = Name { text: field.name().clone(), at };
                self.add(&SqlExpr::Identifier(quoted(field.name())), &name).map_err(|error| error.at(at))?;
            }
        }
        Ok(())
    }

    fn check_column(&self, name: &str) -> Result<()> {
        match self.columns.column_with_name(name) {
            Some(_) => Ok(()),
            None => {
                let names = column_names(self.columns);
                Err(SqlError::invalid(format!("the training query has no column '{name}'; there are: {names}")))
            }
        }
    }

    /// One feature, or the label.
    fn add(&mut self, expr: &SqlExpr, name: &Name) -> Result<()> {
        if Some(name.text.as_str()) == self.label {
            return self.add_label(expr, name);
        }
        if let Some(features) = combined(expr)? {
            let named = |suffix: &str| Name { text: format!("{}_{suffix}", name.text), at: name.at };
            return features.iter().try_for_each(|(suffix, expr)| self.add(expr, &named(suffix)));
        }
        if self.features.iter().any(|feature| feature.name == name.text) {
            let message =
                format!("the feature '{0}' is there twice; * EXCEPT ({0}) leaves the query's column out", name.text);
            return Err(SqlError::invalid(message));
        }
        let mut expr = expr.clone();
        self.take_analytics(&mut expr)?;
        let fields = self.columns.fields().iter().map(|field| field.as_ref().clone());
        let schema = Schema::new(fields.chain(self.values.iter().cloned()).collect::<Vec<_>>());
        let planned = self.expressions.plan(expr, &schema)?;
        check_row_by_row(&planned)?;
        let expr = StreamExpr(unaliased(&planned).clone());
        self.features.push(Projection { name: name.text.clone(), expr });
        Ok(())
    }

    /// The label stays what it is: predictions are compared with it.
    fn add_label(&mut self, expr: &SqlExpr, name: &Name) -> Result<()> {
        if plain_name(expr).as_deref() != self.label {
            let hint = "compute it in the training query, and name it alone here";
            return Err(SqlError::unsupported("a label that TRANSFORM computes", hint));
        }
        if std::mem::replace(&mut self.has_label, true) {
            return Err(SqlError::invalid(format!("the label '{}' is there twice", name.text)));
        }
        self.check_column(&name.text)
    }

    /// Puts columns in the place of calls of analytic functions.
    fn take_analytics(&mut self, expr: &mut SqlExpr) -> Result<()> {
        match expr.visit(&mut Calls { planning: self }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// The column of a call.
    fn value_of(&mut self, call: &Function, name: &str) -> Result<String> {
        let (function, argument) = function_of(call, name)?;
        check_flat(argument, name)?;
        if function.reads_label() {
            self.check_label(name)?;
        }
        let planned = self.expressions.plan(argument.clone(), self.columns)?;
        check_row_by_row(&planned)?;
        let found = planned.get_type(&DFSchema::try_from(self.columns.clone())?)?;
        let reads = function.reads(&found).map_err(|error| {
            SqlError::invalid(format!("{error}, and {argument} is {}", type_name(&found))).at(argument.span())
        })?;
        let planned = unaliased(&planned).clone();
        let planned = if found == reads { planned } else { cast(planned, reads.clone()) };
        let column = function.call(&argument.to_string());
        if !self.analytics.iter().any(|known| known.name == column) {
            self.values.push(Field::new(&column, function.returns(&reads), true));
            self.analytics.push(Analytic { name: column.clone(), function, argument: StreamExpr(planned) });
        }
        Ok(column)
    }

    /// There is a label that has a mean, or classes.
    fn check_label(&self, name: &str) -> Result<()> {
        let Some(label) = self.label else {
            return Err(SqlError::invalid(format!("{name} goes by the label, and this model has none")));
        };
        match self.columns.field_with_name(label).map(Field::data_type) {
            Ok(other) if !(other.is_numeric() || other.is_string() || other == &DataType::Boolean) => {
                let message = format!("{name} goes by numbers or by classes, and the label is {}", type_name(other));
                Err(SqlError::invalid(message))
            }
            // That it is not there is told when it is planned.
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<PlannedTransform> {
        if let (Some(label), false) = (self.label, self.has_label) {
            let message =
                format!("the label '{label}' is not in TRANSFORM, which leaves out what it does not name; add it");
            return Err(SqlError::invalid(message));
        }
        if self.features.is_empty() {
            return Err(SqlError::invalid("TRANSFORM makes no feature: it needs a column besides the label"));
        }
        let exprs = self.features.iter().map(|feature| &feature.expr.0);
        let exprs = exprs.chain(self.analytics.iter().map(|analytic| &analytic.argument.0));
        let read: BTreeSet<String> =
            exprs.flat_map(|expr| expr.column_refs()).map(|column| column.name.clone()).collect();
        if let Some(label) = self.label.filter(|label| read.contains(*label)) {
            let message =
                format!("a feature is made of the label '{label}', which nobody knows yet when the model is asked");
            return Err(SqlError::invalid(message));
        }
        let inputs = self.columns.fields().iter().filter(|field| read.contains(field.name()));
        let inputs = Schema::new(inputs.cloned().collect::<Vec<_>>());
        if inputs.fields().is_empty() {
            return Err(SqlError::invalid("TRANSFORM reads no column of the training query"));
        }
        let inputs = StreamSchema(Arc::new(inputs));
        let transform = Transform { inputs, analytics: self.analytics, features: self.features };
        Ok(PlannedTransform { transform, uses: self.expressions.uses })
    }
}

struct Calls<'a, 'b> {
    planning: &'a mut Planning<'b>,
}

impl VisitorMut for Calls<'_, '_> {
    type Break = SqlError;

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<SqlError> {
        let SqlExpr::Function(call) = &*expr else { return ControlFlow::Continue(()) };
        let Some(name) = analytic_name(call) else { return ControlFlow::Continue(()) };
        match self.planning.value_of(call, &name) {
            Ok(column) => {
                *expr = SqlExpr::Identifier(quoted(&column));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error.at(call.name.span())),
        }
    }
}

/// The name of a function that is ML's and none of a row alone: `ML.STANDARD_SCALER`.
fn analytic_name(call: &Function) -> Option<String> {
    let name = dotted(&call.name);
    if let Some(own) = name.strip_prefix("ml.") {
        return (!is_scalar(own)).then(|| format!("ML.{}", own.to_uppercase()));
    }
    // Somebody may have created a function whose name begins like that.
    let own = format!("ML.{}", name.strip_prefix("ml_")?.to_uppercase());
    NAMES.contains(&own.as_str()).then_some(own)
}

/// Whether there is a function `ml_…` of a row alone.
fn is_scalar(own: &str) -> bool {
    functions::scalar(&format!("ml_{own}")).is_some()
}

/// The analytic function that an expression calls, with its constants, if it calls one.
pub(crate) fn analytic_function(expr: &SqlExpr) -> Result<Option<AnalyticFunction>> {
    match expr {
        SqlExpr::Function(call) => match analytic_name(call) {
            Some(name) => function_of(call, &name).map(|(function, _)| Some(function)),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// The function of a call with its constants, and the argument.
fn function_of<'a>(call: &'a Function, name: &str) -> Result<(AnalyticFunction, &'a SqlExpr)> {
    check_over(call, name)?;
    let (argument, constants) = arguments(call, name)?;
    let constants = constants.into_iter().map(|expr| constant(expr, name)).collect::<Result<Vec<_>>>()?;
    match AnalyticFunction::named(name, &constants)? {
        Some(function) => Ok((function, argument)),
        None => {
            let hint = format!("TRANSFORM has {}, {SCALAR_NAMES}", NAMES.join(", "));
            Err(SqlError::unsupported(format!("the function {name}"), hint))
        }
    }
}

/// A constant behind the first argument.
fn constant(expr: &SqlExpr, name: &str) -> Result<ScalarValue> {
    match plan_expression(expr.clone(), &Schema::empty()) {
        Ok(Expr::Literal(value, _)) => Ok(value),
        _ => {
            let message = format!("{name} takes constants behind its first argument, and not {expr}");
            Err(SqlError::invalid(message).at(expr.span()))
        }
    }
}

/// It is of all rows, and says so.
fn check_over(call: &Function, name: &str) -> Result<()> {
    match &call.over {
        Some(WindowType::WindowSpec(spec))
            if spec.partition_by.is_empty()
                && spec.order_by.is_empty()
                && spec.window_frame.is_none()
                && spec.window_name.is_none() =>
        {
            Ok(())
        }
        Some(_) => {
            let hint = format!("write {name}(…) OVER (): it goes by all rows of the training query");
            Err(SqlError::unsupported(format!("{name} over a part of the rows"), hint))
        }
        // What is not known is told by its own error.
        None if NAMES.contains(&name) => {
            Err(SqlError::invalid(format!("{name} goes by all rows of the training query: write OVER () behind it")))
        }
        None => Ok(()),
    }
}

/// The argument of a call, and the constants behind it.
fn arguments<'a>(call: &'a Function, name: &str) -> Result<(&'a SqlExpr, Vec<&'a SqlExpr>)> {
    let FunctionArguments::List(list) = &call.args else {
        return Err(SqlError::invalid(format!("{name} takes its arguments in parentheses")));
    };
    let plain = |argument: &'a FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
        other => Err(SqlError::invalid(format!("{name} does not take {other}"))),
    };
    let all = list.args.iter().map(plain).collect::<Result<Vec<_>>>()?;
    match all.split_first() {
        Some((first, rest)) => Ok((first, rest.to_vec())),
        None => Err(SqlError::invalid(format!("{name} takes a column: {name}(x) OVER ()"))),
    }
}

/// No analytic function is in the argument of another: its values are known after all rows only.
fn check_flat(argument: &SqlExpr, name: &str) -> Result<()> {
    let mut inner = None;
    let _ = visit_expressions(argument, |expr| match expr {
        SqlExpr::Function(call) if analytic_name(call).is_some() => {
            inner = Some(call.clone());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    match inner.as_ref().and_then(|call| Some((analytic_name(call)?, call.name.span()))) {
        None => Ok(()),
        Some((inner, at)) => {
            let hint = "compute the inner one in the training query, such as avg(x) OVER ()";
            Err(SqlError::unsupported(format!("{inner} within {name}"), hint).at(at))
        }
    }
}

/// Features are made of one row at a time.
fn check_row_by_row(expr: &Expr) -> Result<()> {
    let mut refused = None;
    expr.apply(|inner| match inner {
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => {
            refused = Some(inner.to_string());
            Ok(TreeNodeRecursion::Stop)
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    match refused {
        None => check_supported(expr),
        Some(call) => {
            let hint = format!("of all rows TRANSFORM has {}; others go into the training query", NAMES.join(", "));
            Err(SqlError::unsupported(format!("{call} in TRANSFORM"), hint))
        }
    }
}
