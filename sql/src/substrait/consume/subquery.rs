//! Subqueries in conditions: IN and EXISTS, of which optimising makes joins.

use std::sync::Arc;

use datafusion::common::{DFSchema, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, Subquery as PlanSubquery};

use super::Consumer;
use super::names::apart;
use crate::problem::{Problem, Read, Within};
use crate::substrait::messages::{EXISTS, InPredicate, Rel, Subquery, SubqueryKind};

impl Consumer<'_> {
    pub(super) fn subquery(&mut self, subquery: &Subquery, schema: &DFSchema) -> Read<Expr> {
        let hint = "join its table instead";
        match &subquery.kind {
            Some(SubqueryKind::In(predicate)) => self.in_subquery(predicate, schema).within("in_predicate"),
            Some(SubqueryKind::Set(predicate)) if predicate.operation == EXISTS => {
                let subquery = self.apart_from(predicate.tuples.as_ref(), "tuples", schema).within("set_predicate")?;
                Ok(Expr::Exists(Exists { subquery, negated: false }))
            }
            Some(SubqueryKind::Scalar(_)) => Err(Problem::unsupported("a subquery as a value", hint)),
            _ => Err(Problem::unsupported("a subquery that is no IN and no EXISTS", hint)),
        }
    }

    fn in_subquery(&mut self, predicate: &InPredicate, schema: &DFSchema) -> Read<Expr> {
        let [needle] = predicate.needles.as_slice() else {
            let hint = "join the tables with a condition for each value";
            return Err(Problem::unsupported("IN of more than one value", hint)).within("needles");
        };
        let expr = self.expression(needle, schema).at(0).within("needles")?;
        let subquery = self.apart_from(predicate.haystack.as_ref(), "haystack", schema)?;
        if subquery.subquery.schema().fields().len() != 1 {
            return Err(Problem::new("it has to have one column")).within("haystack");
        }
        Ok(Expr::InSubquery(InSubquery::new(Box::new(expr), subquery, false)))
    }

    /// A subquery. Once it is joined, its columns must not be taken for those outside.
    fn apart_from(&mut self, rel: Option<&Rel>, member: &str, outer: &DFSchema) -> Read<PlanSubquery> {
        let plan = apart(self.input(rel, member)?, outer)?;
        Ok(PlanSubquery { subquery: Arc::new(plan), outer_ref_columns: Vec::new(), spans: Spans::new() })
    }
}
