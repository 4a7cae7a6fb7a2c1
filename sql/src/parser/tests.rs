//! Errors of the parser, each with its place.

use expect_test::{Expect, expect};

use super::parse_script;

fn check(sql: &str, expect: Expect) {
    let Err(error) = parse_script(sql) else { panic!("no error: {sql}") };
    expect.assert_eq(&format!("{error}\n"));
}

#[test]
fn errors_have_positions() {
    check("SELEC 1", expect![[""]]);
    check("SELECT a FROM t;\nSELECT FROM WHERE", expect![[""]]);
    check("SELECT 'open FROM t", expect![[""]]);
    check("CREATE SOURCE s (a INT", expect![[""]]);
    check("CREATE SOURCE s (a INT) WITH (connector files)", expect![[""]]);
    check("CREATE SOURCE s (a INT) WITH (connector = files)", expect![[""]]);
    check("CREATE SOURCE s (a INT)", expect![[""]]);
    check("CREATE SOURCE x.s (a INT) WITH ()", expect![[""]]);
    check("CREATE SINK s AS SELECT 1", expect![[""]]);
    check("CREATE INDEX i", expect![[""]]);
    check("CREATE OR REPLACE SOURCE s (a INT) WITH ()", expect![[""]]);
    check("DROP INDEX i", expect![[""]]);
    check("SET parallelism", expect![[""]]);
    check("SELECT a FROM t extra words", expect![[""]]);
    check("EXPLAIN ANALYZE SELECT a FROM t", expect![[""]]);
    check("SELECT * FROM ML.PREDICT(MODEL, TABLE t", expect![[""]]);
}

#[test]
fn what_looks_like_a_marker_elsewhere_is_a_name() {
    let sql = "SELECT model FROM t; SELECT a, model m, b FROM t; SELECT f(model, x) FROM t";
    assert_eq!(parse_script(sql).map(|statements| statements.len()).unwrap(), 3);
}
