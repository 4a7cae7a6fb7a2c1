//! `ml_predict(MODEL m, …)` in the columns and conditions of a stream: a Predict operator for each different call, whose answer
//! is a column of the stream then.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use tidemill_plans::prediction::Question;

use super::answers::AskedRows;
use super::expression::column;
use super::project::Computed;
use super::stream::{Relation, Stream, make_unique_beside};
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;
use crate::planner::asked_model::answer_fields;
use crate::planner::row_call::asked_in;

/// The first call of a model in an expression; in its arguments there may be others.
pub(super) fn call_in(expr: &Expr) -> Option<Expr> {
    let mut found = None;
    let walked = expr.apply(|inner| {
        if asked_in(inner).is_none() {
            return Ok(TreeNodeRecursion::Continue);
        }
        found = Some(inner.clone());
        Ok(TreeNodeRecursion::Stop)
    });
    walked.ok().and(found)
}

/// What is said of a call where no operator can be put below.
pub(super) fn refused_call() -> SqlError {
    let hint = "write it in the SELECT or the WHERE of a subquery, and use its column around that: \
                SELECT avg(p) FROM (SELECT ml_predict(MODEL m, x) AS p FROM t)";
    SqlError::unsupported("ml_predict here", hint)
}

impl QueryPlanner<'_> {
    /// Asks the models that expressions over a stream call: they read the answers as columns then, which are behind those of
    /// the stream.
    pub(super) fn with_predictions(&mut self, mut stream: Stream, mut exprs: Vec<Expr>) -> Result<(Stream, Vec<Expr>)> {
        while let Some(call) = exprs.iter().find_map(call_in) {
            stream = self.with_prediction(stream, &call, &mut exprs)?;
        }
        Ok((stream, exprs))
    }

    fn with_prediction(&mut self, stream: Stream, call: &Expr, exprs: &mut [Expr]) -> Result<Stream> {
        let Some((asked, arguments)) = asked_in(call) else { return Ok(stream) };
        let model = asked.model.clone();
        let (_, detail) = self.catalog.model_of(&model)?;
        let added = answer_fields(self.catalog, &model, detail, Question::Prediction)?;
        let (width, own) = (stream.width(), stream.schema().fields());
        // The operator calls its columns as the model's statement does, so those that are called so give way.
        let taken: Vec<&str> = added.iter().map(|field| field.name().as_str()).collect();
        let wanted =
            own.iter().map(|field| field.name().clone()).chain(asked.reads.iter().map(|(name, _)| name.clone()));
        let names = make_unique_beside(&taken, wanted);
        let before: Vec<String> = own.iter().map(|field| field.name().clone()).collect();
        let passed = before.iter().map(|name| column(name)).chain(arguments.iter().cloned());
        let columns = names.iter().cloned().zip(passed).map(|(name, expr)| Computed { name, expr }).collect();
        let rows = self.compute(&Relation::all(stream), columns)?.stream;
        let reads = asked.reads.iter().map(|(name, _)| name.clone()).zip(width..).collect();
        let answered = self.answered_rows(&model, AskedRows::of(rows, reads), Question::Prediction)?;
        let said = answered.schema().field(width + arguments.len()).name().clone();
        for expr in exprs {
            *expr = replaced(expr.clone(), call, &said, &before, &names)?;
        }
        Ok(answered)
    }
}

/// An expression that reads the answer in the place of a call, and columns by the names that they have now.
fn replaced(expr: Expr, call: &Expr, said: &str, before: &[String], now: &[String]) -> Result<Expr> {
    let replaced = expr.transform_down(|inner| match &inner {
        inner if inner == call => Ok(Transformed::new(column(said), true, TreeNodeRecursion::Jump)),
        Expr::Column(name) => match before.iter().position(|before| *before == name.name) {
            Some(place) => Ok(Transformed::yes(column(&now[place]))),
            None => Ok(Transformed::no(inner)),
        },
        _ => Ok(Transformed::no(inner)),
    })?;
    Ok(replaced.data)
}
