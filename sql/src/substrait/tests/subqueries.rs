//! Subqueries with references to the rows around them come to what they come to in SQL.

use expect_test::{Expect, expect};

use super::written::*;
use super::*;
use crate::substrait::messages::*;
use crate::tests::explain_after;

fn auctions() -> RelKind {
    read_of(&["auctions"], &[("id", int64()), ("seller", text())])
}

fn equal(left: Expression, right: Expression) -> Expression {
    call(9, vec![left, right])
}

/// The auctions of the bids for which a condition holds.
fn bids_where(condition: Expression) -> Vec<u8> {
    named(project_only(filter(bids(), condition)), &["auction"])
}

fn project_only(input: RelKind) -> RelKind {
    chosen(project(input, vec![field(0)]), vec![2])
}

#[track_caller]
fn same(condition: Expression, sql: &str) {
    let of_sql = explain_after("", &format!("SELECT auction FROM bids AS b WHERE {sql}"));
    assert!(of_sql.starts_with("Sink"), "{of_sql}");
    assert_eq!(explain(&mut session(), &bids_where(condition)), of_sql);
}

fn refused(condition: Expression, expected: Expect) {
    expected.assert_eq(&explain(&mut session(), &bids_where(condition)));
}

#[test]
fn conditions_may_refer_to_the_row_outside() {
    let of_auction = || filter(auctions(), equal(field(0), outer(1, 0)));
    same(exists(of_auction()), "EXISTS (SELECT 1 FROM auctions AS a WHERE a.id = b.auction)");
    same(call(10, vec![exists(of_auction())]), "NOT EXISTS (SELECT 1 FROM auctions AS a WHERE a.id = b.auction)");
    let sellers = filter(auctions(), equal(field(1), outer(1, 1)));
    let ids = SubqueryKind::In(InPredicate { needles: vec![field(0)], haystack: Some(rel(project_only(sellers))) });
    same(subquery(ids), "b.auction IN (SELECT a.id FROM auctions AS a WHERE a.seller = b.bidder)");
}

#[test]
fn columns_inside_are_told_from_those_outside() {
    let own = filter(bids(), equal(field(1), outer(1, 1)));
    same(exists(own), "EXISTS (SELECT 1 FROM bids AS c WHERE c.bidder = b.bidder)");
    let computed = project(bids(), vec![call(0, vec![field(0), field(0)])]);
    let condition = exists(filter(computed, equal(field(2), outer(1, 2))));
    let around = filter(project(bids(), vec![call(0, vec![field(0), field(0)])]), condition);
    let shown = explain(&mut session(), &named(project_only_third(around), &["twice"]));
    let of_sql = explain_after(
        "",
        "SELECT twice FROM (SELECT auction + auction AS twice FROM bids) AS b
         WHERE EXISTS (SELECT 1 FROM (SELECT auction + auction AS twice FROM bids) AS c WHERE c.twice = b.twice)",
    );
    let joins = |text: &str| text.lines().filter(|line| line.contains("Join")).count();
    assert_eq!(joins(&shown), 1, "{shown}");
    assert_eq!(joins(&of_sql), 1, "{of_sql}");
}

fn project_only_third(input: RelKind) -> RelKind {
    chosen(project(input, vec![field(2)]), vec![3])
}

#[test]
fn rows_further_outside_are_counted() {
    refused(
        exists(filter(auctions(), equal(field(0), outer(2, 0)))),
        expect![[r#"
        root.project.input.filter.condition.subquery.set_predicate.tuples.filter.condition.scalar_function.arguments[1].value.selection.outer_reference: there is no row 2 steps outside; subqueries around it: 1
    "#]],
    );
    refused(
        equal(field(0), outer(0, 0)),
        expect![[r#"
        root.project.input.filter.condition.scalar_function.arguments[1].value.selection.outer_reference: there is no row 0 steps outside; subqueries around it: 0
    "#]],
    );
    refused(
        exists(filter(auctions(), equal(field(0), outer(1, 7)))),
        expect![[r#"
        root.project.input.filter.condition.subquery.set_predicate.tuples.filter.condition.scalar_function.arguments[1].value.selection.outer_reference: there is no column 7; the input has 2, the first is 0
    "#]],
    );
}

#[test]
fn values_are_refused_as_those_of_sql_are() {
    let one = |input: RelKind| SubqueryKind::Scalar(ScalarSubquery { input: Some(rel(input)) });
    refused(
        equal(field(0), subquery(one(auctions()))),
        expect![[r#"
        root.project.input.filter.condition.scalar_function.arguments[1].value.subquery.scalar.input: it has to have one column, and has 2
    "#]],
    );
    refused(
        equal(field(0), subquery(one(project_only(auctions())))),
        expect![[r#"
        a subquery in an expression is not supported; join its table instead
    "#]],
    );
    let any = SetComparison {
        quantifier: ANY,
        operator: 3,
        left: Some(field(0)),
        right: Some(rel(project_only(auctions()))),
    };
    refused(
        subquery(SubqueryKind::Comparison(Box::new(any))),
        expect![[r#"
        a subquery in an expression is not supported; join its table instead
    "#]],
    );
    refused(
        subquery(SubqueryKind::Comparison(Box::default())),
        expect![[r#"
        root.project.input.filter.condition.subquery.set_comparison: this comparison is not supported; any and all of =, <>, <, >, <= and >= can be sent
    "#]],
    );
}
