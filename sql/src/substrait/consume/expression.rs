//! Expressions over the columns of a relation's input.

use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Case, Expr, cast, try_cast};

use super::Consumer;
use super::names::column_at;
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{
    Cast, Expression, ExpressionKind, FieldReference, IfThen, RETURN_NULL, ReferenceKind, ReferenceRoot, SegmentKind,
    SingularOrList, Switch,
};

impl Consumer<'_> {
    pub(super) fn expression(&mut self, expression: &Expression, schema: &DFSchema) -> Read<Expr> {
        self.count(1)?;
        let Some(kind) = &expression.kind else {
            return Err(Problem::unsupported("an expression of a kind that is not known", "send another, or SQL"));
        };
        match kind {
            ExpressionKind::Literal(literal) => self.literal(literal),
            ExpressionKind::Selection(reference) => self.reference(reference, schema).within("selection"),
            ExpressionKind::Scalar(call) => self.scalar_function(call, schema).within("scalar_function"),
            ExpressionKind::Window(call) => {
                self.over(call, &call.partitions, &call.sorts, schema).within("window_function")
            }
            ExpressionKind::IfThen(case) => self.if_then(case, schema).within("if_then"),
            ExpressionKind::Switch(switch) => self.switch(switch, schema).within("switch_expression"),
            ExpressionKind::SingularOrList(list) => self.in_list(list, schema).within("singular_or_list"),
            ExpressionKind::Cast(cast) => self.cast(cast, schema).within("cast"),
            ExpressionKind::Subquery(subquery) => self.subquery(subquery, schema).within("subquery"),
            other => Err(unsupported(other)),
        }
    }

    /// An expression that has to be there.
    pub(super) fn required(&mut self, expression: Option<&Expression>, schema: &DFSchema, member: &str) -> Read<Expr> {
        let expression = expression.ok_or_else(|| Problem::new("it is missing")).within(member)?;
        self.expression(expression, schema).within(member)
    }

    pub(super) fn optional(
        &mut self,
        expression: Option<&Expression>,
        schema: &DFSchema,
        member: &str,
    ) -> Read<Option<Box<Expr>>> {
        let read = expression.map(|expression| self.expression(expression, schema).map(Box::new));
        read.transpose().within(member)
    }

    /// CASE. A first condition without a value is what the others are compared with.
    fn if_then(&mut self, case: &IfThen, schema: &DFSchema) -> Read<Expr> {
        let (base, whens) = match case.ifs.split_first() {
            Some((first, whens)) if first.then.is_none() => (first.condition.as_ref(), whens),
            _ => (None, case.ifs.as_slice()),
        };
        let expr = self.optional(base, schema, "if")?;
        let when_then_expr = each(whens, |clause| {
            let condition = self.required(clause.condition.as_ref(), schema, "if")?;
            Ok((Box::new(condition), Box::new(self.required(clause.then.as_ref(), schema, "then")?)))
        });
        let when_then_expr = when_then_expr.within("ifs")?;
        if when_then_expr.is_empty() {
            return Err(Problem::new("it has no condition")).within("ifs");
        }
        let else_expr = self.optional(case.otherwise.as_ref(), schema, "else")?;
        Ok(Expr::Case(Case { expr, when_then_expr, else_expr }))
    }

    fn switch(&mut self, switch: &Switch, schema: &DFSchema) -> Read<Expr> {
        let matched = self.required(switch.matched.as_ref(), schema, "match")?;
        let when_then_expr = each(&switch.ifs, |clause| {
            let value = clause.value.as_ref().ok_or_else(|| Problem::new("it is missing")).within("if")?;
            let value = self.literal(value).within("if")?;
            Ok((Box::new(value), Box::new(self.required(clause.then.as_ref(), schema, "then")?)))
        });
        let when_then_expr = when_then_expr.within("ifs")?;
        if when_then_expr.is_empty() {
            return Err(Problem::new("it has no value")).within("ifs");
        }
        let else_expr = self.optional(switch.otherwise.as_ref(), schema, "else")?;
        Ok(Expr::Case(Case { expr: Some(Box::new(matched)), when_then_expr, else_expr }))
    }

    fn in_list(&mut self, list: &SingularOrList, schema: &DFSchema) -> Read<Expr> {
        let value = self.required(list.value.as_ref(), schema, "value")?;
        let options = each(&list.options, |option| self.expression(option, schema)).within("options")?;
        Ok(Expr::InList(InList::new(Box::new(value), options, false)))
    }

    fn cast(&mut self, given: &Cast, schema: &DFSchema) -> Read<Expr> {
        let wanted = given.wanted.as_ref().ok_or_else(|| Problem::new("it is missing")).within("type")?;
        let wanted = self.data_type(wanted).within("type")?;
        let input = self.required(given.input.as_ref(), schema, "input")?;
        Ok(match given.on_failure {
            RETURN_NULL => try_cast(input, wanted),
            _ => cast(input, wanted),
        })
    }

    fn reference(&self, reference: &FieldReference, schema: &DFSchema) -> Read<Expr> {
        let number = field_number(reference)?;
        match reference.root {
            None | Some(ReferenceRoot::Row(_)) => column_at(schema, number),
            Some(ReferenceRoot::Outer(outer)) => self.outer_column(outer, number),
            Some(ReferenceRoot::Expression(_) | ReferenceRoot::Lambda(_)) => {
                let hint = "refer to the columns of the relation's input, or of what is around a subquery";
                Err(Problem::unsupported("a reference to something else than a row", hint))
            }
        }
    }
}

fn field_number(reference: &FieldReference) -> Read<i32> {
    if let Some(ReferenceKind::Direct(segment)) = &reference.kind
        && let Some(SegmentKind::Field(field)) = &segment.kind
        && field.child.is_none()
    {
        return Ok(field.field);
    }
    let hint = "refer to a column; the function get_field takes a field of a struct";
    Err(Problem::unsupported("a reference to a part of a column", hint))
}

fn unsupported(kind: &ExpressionKind) -> Problem {
    let (what, hint) = match kind {
        ExpressionKind::MultiOrList(_) => ("multi_or_list", "compare the values one by one, with and, and or"),
        ExpressionKind::Nested(_) => ("nested", "the functions named_struct and make_array make structs and lists"),
        ExpressionKind::Parameter(_) => ("dynamic_parameter", "send the value as a literal, or SQL with parameters"),
        ExpressionKind::Enum(_) => ("enum", "it is an argument of a function"),
        _ => ("lambda", "unnest the list in a view"),
    };
    Problem::unsupported(format!("{what} as an expression"), hint)
}
