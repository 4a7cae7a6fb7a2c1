//! Plans that PyPI's datafusion has made of queries come to what the queries come to.

use expect_test::{Expect, expect};

use super::*;
use crate::tests::explain_after;

/// Checks what a plan comes to where that is not what SQL comes to.
fn check(name: &str, form: &str, expected: Expect) {
    expected.assert_eq(&explain(&mut session(), &made(name, form).unwrap()));
}

#[test]
fn what_is_optimised_elsewhere_may_be_another_plan() {
    check(
        "filter",
        "optimised",
        expect![[r#"
        Sink #3 select_1 to result [x1]
          Project #2 auction, (price * 2.0) AS twice [x2] -> rebalance
            Filter #1 ((price > 10.0) AND bidder LIKE 'a%') [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
    "#]],
    );
    check(
        "self_join",
        "parsed",
        expect![[r#"
        Sink #5 select_1 to result [x1]
          Project #4 auction AS a, auction_2 AS b [x2] -> rebalance
            IntervalJoin #3 left (bidder, ts) = (bidder, ts), ts - ts in [0us, 0us] [x2] -> forward
              Project #1 auction, bidder, ts [x2] -> hash(bidder, ts)
                Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
              Project #2 auction, bidder, ts [x2] -> hash(bidder, ts)
                Source #0 (see above) [x2] -> forward
    "#]],
    );
}

#[test]
fn plans_come_to_what_their_queries_come_to() {
    let mut told = String::new();
    for (name, sql) in queries() {
        let of_sql = explain_after("", sql);
        let outcome = FORMS.map(|form| match made(name, form).map(|plan| explain(&mut session(), &plan)) {
            None => "not sent",
            Some(same) if same == of_sql => "as SQL",
            Some(other) if other.starts_with("Sink") => "otherwise",
            Some(refused) if of_sql.ends_with(&format!(": {}", refused.trim_end())) => "refused as SQL",
            Some(_) => "refused",
        });
        told += &format!("{name:16} parsed: {}, optimised: {}\n", outcome[0], outcome[1]);
    }
    expect![[r#"
        filter           parsed: as SQL, optimised: otherwise
        having           parsed: as SQL, optimised: as SQL
        distinct_values  parsed: as SQL, optimised: as SQL
        join             parsed: as SQL, optimised: as SQL
        self_join        parsed: otherwise, optimised: otherwise
        top              parsed: as SQL, optimised: as SQL
        first            parsed: as SQL, optimised: as SQL
        union_all        parsed: as SQL, optimised: as SQL
        union            parsed: as SQL, optimised: as SQL
        case             parsed: as SQL, optimised: as SQL
        texts            parsed: as SQL, optimised: as SQL
        dates            parsed: as SQL, optimised: as SQL
        newest           parsed: as SQL, optimised: as SQL
        running          parsed: as SQL, optimised: as SQL
        within           parsed: as SQL, optimised: as SQL
        literals         parsed: as SQL, optimised: as SQL
        rows             parsed: as SQL, optimised: as SQL
        exists           parsed: not sent, optimised: as SQL
        not_exists       parsed: not sent, optimised: otherwise
        self_exists      parsed: not sent, optimised: as SQL
        self_in          parsed: as SQL, optimised: as SQL
        in_with_row      parsed: not sent, optimised: as SQL
        not_in           parsed: refused as SQL, optimised: otherwise
        under_or         parsed: refused as SQL, optimised: refused as SQL
        value            parsed: refused as SQL, optimised: refused as SQL
        value_shown      parsed: refused as SQL, optimised: refused as SQL
        value_with_row   parsed: not sent, optimised: otherwise
        any              parsed: refused as SQL, optimised: refused
        structs          parsed: as SQL, optimised: as SQL
        struct_field     parsed: as SQL, optimised: as SQL
        maps             parsed: as SQL, optimised: as SQL
    "#]]
    .assert_eq(&told);
}
