//! Sources deliver what is read, and no more.

use expect_test::{Expect, expect};
use tidemill_plans::node::NodeKind;

use super::{check_expressions, graph, session};

/// The columns of each source: what it delivers, and from which columns of its connector.
fn check(sql: &str, expect: Expect) {
    let graph = graph(&mut session(), sql).unwrap();
    check_expressions(&graph);
    let names = |schema: &arrow::datatypes::Schema| {
        schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut text = String::new();
    for node in &graph.nodes {
        if let NodeKind::Source(source) = &node.kind {
            let time = source.event_time.as_ref().map(|time| node.schema.field(time.column).name().as_str());
            text.push_str(&format!(
                "{}: {} from {} of {}, time {}\n",
                source.table,
                names(&node.schema),
                names(&source.columns),
                source.declared.len(),
                time.unwrap_or("-")
            ));
        }
    }
    expect.assert_eq(&text);
}

#[test]
fn only_what_is_read_and_the_event_time_are_delivered() {
    check(
        "SELECT auction FROM bids WHERE price > 1",
        expect![[r#"
        bids: auction, price, ts from auction, price, ts of 4, time ts
    "#]],
    );
    check(
        "SELECT bidder, count(*) AS n FROM bids GROUP BY bidder",
        expect![[r#"
        bids: bidder, ts from bidder, ts of 4, time ts
    "#]],
    );
    check(
        "SELECT * FROM auctions",
        expect![[r#"
        auctions: id, seller, opened, rating from id, seller, opened, rating of 4, time opened
    "#]],
    );
}

#[test]
fn readers_of_one_source_share_what_any_of_them_reads() {
    check(
        "SELECT auction FROM plain; SELECT \"Odd\" FROM plain WHERE auction > 1",
        expect![[r#"
        plain: auction, Odd from auction, Odd of 3, time -
    "#]],
    );
    check(
        "SELECT id FROM auctions WHERE rating > 1; SELECT * FROM auctions",
        expect![[r#"
        auctions: id, seller, opened, rating from id, seller, opened, rating of 4, time opened
    "#]],
    );
}

#[test]
fn a_row_needs_a_column() {
    check(
        "SELECT count(*) AS n FROM plain",
        expect![[r#"
        plain: auction from auction of 3, time -
    "#]],
    );
}

#[test]
fn joins_read_their_keys_and_times() {
    check(
        "SELECT b.price FROM bids b JOIN auctions a ON b.auction = a.id
         AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour'",
        expect![[r#"
            bids: auction, price, ts from auction, price, ts of 4, time ts
            auctions: id, opened from id, opened of 4, time opened
        "#]],
    );
}

#[test]
fn columns_that_are_checked_are_read_and_those_behind_generated_ones_too() {
    let source =
        |columns: &str| format!("CREATE SOURCE s ({columns}) WITH (connector = 'files', path = 'x', format = 'csv'); ");
    let all = source("a INT NOT NULL, b INT, c INT, d INT AS (b + 1) NOT NULL, e INT AS (c + 1)");
    check(
        &format!("{all} SELECT a AS x FROM s"),
        expect![[r#"
        s: a, d from a, b of 3, time -
    "#]],
    );
    check(
        &format!("{all} SELECT e AS x FROM s"),
        expect![[r#"
        s: d, e from a, b, c of 3, time -
    "#]],
    );
    let time = source("a INT, t TEXT, ts AS (CAST(t AS TIMESTAMP)), WATERMARK FOR ts AS ts - INTERVAL '1 second'");
    check(
        &format!("{time} SELECT 1 AS one FROM s"),
        expect![[r#"
        s: ts from t of 2, time ts
    "#]],
    );
    check(
        "CREATE SOURCE n WITH (connector = 'nexmark', table = 'bid'); SELECT price, url AS u FROM n",
        expect![[r#"
            n: price, url from price, url of 7, time -
        "#]],
    );
}
