//! Errors of the parser, each with its place.

use expect_test::{Expect, expect};

use super::parse_script;
use crate::statement::Statement;

fn check(sql: &str, expect: Expect) {
    let Err(error) = parse_script(sql) else { panic!("no error: {sql}") };
    expect.assert_eq(&format!("{error}\n"));
}

#[test]
fn errors_have_positions() {
    check(
        "SELEC 1",
        expect![[r#"
            line 1, column 1: no statement starts with SELEC; valid are: SELECT, WITH, SUBSCRIBE TO, INSERT INTO, CREATE SOURCE, CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE SINK, CREATE MODEL, CREATE FUNCTION, CREATE SAVEPOINT, CREATE ROLE, CREATE USER, CREATE SECRET, COPY, DROP, SHOW, DESCRIBE, EXPLAIN, SET, STOP JOB, RESUME JOB, ALTER JOB, ALTER MODEL, ALTER ROLE, EXPORT MODEL, GRANT, REVOKE, REASSIGN OWNED BY
        "#]],
    );
    check(
        "SELECT a FROM t;\nSELECT FROM WHERE",
        expect![[r#"
        line 2, column 13: expected an expression, found FROM
    "#]],
    );
    check(
        "SELECT 'open FROM t",
        expect![[r#"
        line 1, column 8: Unterminated string literal
    "#]],
    );
    check(
        "CREATE SOURCE s (a INT",
        expect![[r#"
            line 1, column 20: the end in a column is not supported; a column is: name TYPE [NOT NULL], name [TYPE] AS (expression), or name AS PROCTIME()
        "#]],
    );
    check(
        "CREATE SOURCE s (a INT) WITH (connector files)",
        expect![[r#"
        line 1, column 41: expected =, found files
    "#]],
    );
    check(
        "CREATE SOURCE s (a INT) WITH (connector = files)",
        expect![[r#"
            line 1, column 43: expected a value: 'text', a number, true, false or SECRET name, found files
        "#]],
    );
    check(
        "CREATE SOURCE s (a INT)",
        expect![[r#"
        line 1, column 23: expected WITH (connector = '…', …), found the end
    "#]],
    );
    check(
        "CREATE SOURCE x.s (a INT) WITH ()",
        expect![[r#"
        line 1, column 15: a schema in a name is not supported; objects have plain names
    "#]],
    );
    check(
        "CREATE SINK s AS SELECT 1",
        expect![[r#"
        line 1, column 15: expected WITH (…), found AS
    "#]],
    );
    check(
        "CREATE INDEX i",
        expect![[r#"
            line 1, column 8: CREATE INDEX is not supported; SOURCE, TABLE, EXTERNAL TABLE, SINK, VIEW, MATERIALIZED VIEW, MODEL, FUNCTION, SAVEPOINT, ROLE, USER and SECRET can be created
        "#]],
    );
    check(
        "CREATE OR REPLACE SOURCE s (a INT) WITH ()",
        expect![[r#"
            line 1, column 8: OR REPLACE is not supported; only views, functions, models, secrets and tables with a query can be replaced; DROP the old one first
        "#]],
    );
    check(
        "DROP INDEX i",
        expect![[r#"
            line 1, column 6: DROP INDEX is not supported; SOURCE, TABLE, SINK, VIEW, MODEL, FUNCTION, ROLE, USER and SECRET can be dropped
        "#]],
    );
    check(
        "SET parallelism",
        expect![[r#"
        line 1, column 5: expected = or TO behind the setting's name, found the end
    "#]],
    );
    check(
        "SELECT a FROM t extra words",
        expect![[r#"
        line 1, column 23: expected ; or the end of the script, found words
    "#]],
    );
    check(
        "EXPLAIN VERBOSE SELECT a FROM t",
        expect![[r#"
            line 1, column 9: EXPLAIN VERBOSE is not supported; write EXPLAIN, EXPLAIN (FORMAT JSON) or EXPLAIN ANALYZE and the statement
        "#]],
    );
    check(
        "SELECT * FROM ML.PREDICT(MODEL, TABLE t",
        expect![[r#"
        line 1, column 39: expected ), found the end
    "#]],
    );
}

#[test]
fn what_looks_like_a_marker_elsewhere_is_a_name() {
    let sql = "SELECT model FROM t; SELECT a, model m, b FROM t; SELECT f(model, x) FROM t";
    assert_eq!(parse_script(sql).map(|statements| statements.len()).unwrap(), 3);
}

#[test]
fn a_script_of_many_statements_is_gone_through_once() {
    let sql = "SHOW a; SHOW \"é\" ;\n".repeat(20_000);
    let statements = parse_script(&sql).unwrap();
    assert_eq!((statements.len(), statements[1].text(), statements[39_999].line()), (40_000, "SHOW \"é\"", 20_000));
}

/// The options of a model.
#[track_caller]
fn check_options(options: &str, expect: Expect) {
    let sql = format!("CREATE MODEL m WITH ({options}) AS SELECT 1 AS x");
    let statements = parse_script(&sql).unwrap_or_else(|error| panic!("{error}"));
    let Statement::CreateModel(create) = &statements[0].statement else { panic!("no model") };
    let pairs: Vec<String> = create.options.pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    expect.assert_eq(&pairs.join("; "));
}

#[test]
fn lists_and_ranges_are_options() {
    check_options(
        "l2_reg = HPARAM_RANGE(0, 1.5e-3), a = hparam_candidates(['it''s', 'B', -1, true]), b = ['x'], c = [1, 'y'], d = []",
        expect![
            "l2_reg = HPARAM_RANGE(0, 1.5e-3); a = HPARAM_CANDIDATES(['it''s', 'B', -1, true]); b = x; c = [1, 'y']; d = []"
        ],
    );
    let wrong = |options: &str| format!("CREATE MODEL m WITH ({options}) AS SELECT 1 AS x");
    check(
        &wrong("a = HPARAM_RANGE(1)"),
        expect![[r#"
        line 1, column 40: expected ,, found )
    "#]],
    );
    check(
        &wrong("a = HPARAM_CANDIDATES(1, 2)"),
        expect![[r#"
        line 1, column 44: expected [, found 1
    "#]],
    );
    check(
        &wrong("a = [SECRET s]"),
        expect![[r#"
        line 1, column 27: expected a value: 'text', a number, true, false or SECRET name, found SECRET
    "#]],
    );
}
