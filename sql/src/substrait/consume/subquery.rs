//! Subqueries: IN and EXISTS, of which optimising makes joins, and values, which are refused as those of SQL are.
//!
//! What is inside may refer to the rows around it. A column has its name and a relation's to be told by; so a relation
//! within gets a name of its own where its columns are called like some outside.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison as Compared, SetQuantifier};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery as PlanSubquery};

use super::Consumer;
use super::names::column_number;
use crate::problem::{Problem, Read, Within};
use crate::substrait::messages::{
    ALL, ANY, EXISTS, InPredicate, OuterReference, Rel, SetComparison, Subquery, SubqueryKind,
};

/// The operators of comparisons, by their numbers, of which the first is 1.
const COMPARISONS: [Operator; 6] =
    [Operator::Eq, Operator::NotEq, Operator::Lt, Operator::Gt, Operator::LtEq, Operator::GtEq];

/// The row around a subquery.
pub(super) struct Outside {
    schema: DFSchema,
    columns: HashSet<Column>,
}

impl Outside {
    fn new(schema: &DFSchema) -> Self {
        Self { schema: schema.clone(), columns: schema.columns().into_iter().collect() }
    }
}

impl Consumer<'_> {
    pub(super) fn subquery(&mut self, subquery: &Subquery, schema: &DFSchema) -> Read<Expr> {
        match &subquery.kind {
            Some(SubqueryKind::In(predicate)) => self.in_subquery(predicate, schema).within("in_predicate"),
            Some(SubqueryKind::Set(predicate)) if predicate.operation == EXISTS => {
                let subquery = self.inside(predicate.tuples.as_ref(), "tuples", schema).within("set_predicate")?;
                Ok(Expr::Exists(Exists { subquery, negated: false }))
            }
            Some(SubqueryKind::Scalar(scalar)) => {
                self.one_column(scalar.input.as_ref(), "input", schema).within("scalar").map(Expr::ScalarSubquery)
            }
            Some(SubqueryKind::Comparison(comparison)) => self.compared(comparison, schema).within("set_comparison"),
            _ => {
                let hint = "join its table instead";
                Err(Problem::unsupported("a subquery that is no value, comparison, IN or EXISTS", hint))
            }
        }
    }

    fn in_subquery(&mut self, predicate: &InPredicate, schema: &DFSchema) -> Read<Expr> {
        let [needle] = predicate.needles.as_slice() else {
            let hint = "join the tables with a condition for each value";
            return Err(Problem::unsupported("IN of more than one value", hint)).within("needles");
        };
        let expr = self.expression(needle, schema).at(0).within("needles")?;
        let subquery = self.one_column(predicate.haystack.as_ref(), "haystack", schema)?;
        Ok(Expr::InSubquery(InSubquery::new(Box::new(expr), subquery, false)))
    }

    fn compared(&mut self, comparison: &SetComparison, schema: &DFSchema) -> Read<Expr> {
        let place = usize::try_from(comparison.operator).ok().and_then(|number| number.checked_sub(1));
        let quantifier = match comparison.quantifier {
            ANY => Some(SetQuantifier::Any),
            ALL => Some(SetQuantifier::All),
            _ => None,
        };
        let (Some(operator), Some(quantifier)) = (place.and_then(|place| COMPARISONS.get(place)), quantifier) else {
            return Err(Problem::unsupported("this comparison", "any and all of =, <>, <, >, <= and >= can be sent"));
        };
        let left = self.required(comparison.left.as_ref(), schema, "left")?;
        let subquery = self.one_column(comparison.right.as_ref(), "right", schema)?;
        Ok(Expr::SetComparison(Compared::new(Box::new(left), subquery, *operator, quantifier)))
    }

    /// A subquery whose rows are values.
    fn one_column(&mut self, rel: Option<&Rel>, member: &str, schema: &DFSchema) -> Read<PlanSubquery> {
        let subquery = self.inside(rel, member, schema)?;
        match subquery.subquery.schema().fields().len() {
            1 => Ok(subquery),
            more => Err(Problem::new(format!("it has to have one column, and has {more}"))).within(member),
        }
    }

    /// A subquery in an expression over the columns of `schema`.
    fn inside(&mut self, rel: Option<&Rel>, member: &str, schema: &DFSchema) -> Read<PlanSubquery> {
        self.count(schema.fields().len())?;
        self.outside.push(Outside::new(schema));
        let plan = self.input(rel, member);
        self.outside.pop();
        let subquery = Arc::new(plan?);
        let outer_ref_columns = subquery.all_out_ref_exprs();
        Ok(PlanSubquery { subquery, outer_ref_columns, spans: Spans::new() })
    }

    /// A relation of a subquery, whose columns are not taken for those outside.
    pub(super) fn apart_from_outside(&mut self, plan: LogicalPlan) -> Read<LogicalPlan> {
        let own = plan.schema().columns();
        if !own.iter().any(|column| self.outside.iter().any(|outside| outside.columns.contains(column))) {
            return Ok(plan);
        }
        self.renamed += 1;
        Ok(LogicalPlanBuilder::from(plan).alias(format!("__inside_{}", self.renamed))?.build()?)
    }

    /// A column of the row around this subquery, or around one that is around it.
    pub(super) fn outer_column(&self, reference: OuterReference, number: i32) -> Read<Expr> {
        let steps = usize::try_from(reference.steps_out).ok().filter(|steps| *steps > 0);
        let place = steps.and_then(|steps| self.outside.len().checked_sub(steps));
        let Some(outside) = place.and_then(|place| self.outside.get(place)) else {
            return Err(Problem::new(format!(
                "there is no row {} steps outside; subqueries around it: {}",
                reference.steps_out,
                self.outside.len()
            )))
            .within("outer_reference");
        };
        let place = column_number(&outside.schema, number).within("outer_reference")?;
        let (qualifier, field) = outside.schema.qualified_field(place);
        Ok(Expr::OuterReferenceColumn(Arc::clone(field), Column::from((qualifier, field))))
    }
}
