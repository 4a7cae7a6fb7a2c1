//! Look-ups in a file: several rows a key, none, NULL keys, and a file that changes.

use std::fs;
use std::path::Path;

use expect_test::expect;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{harness, joined, schema};

const TTL_NEVER: i64 = i64::MAX / 1_000_000;

fn join(path: &Path, keeps_unmatched: bool, cache_ttl: i64) -> OperatorHarness {
    let input = schema("k:int a:text t:time");
    let columns = schema("id:int name:text");
    let option = |key: &str, value: &str| (String::from(key), String::from(value));
    let table = LookupTable {
        name: String::from("people"),
        connector: String::from("files"),
        options: vec![option("path", &path.display().to_string()), option("format", "csv")],
        declared: vec![String::from("id"), String::from("name")],
        columns: StreamSchema(Arc::clone(&columns)),
        keys: vec![0],
        cache_rows: 10,
        cache_ttl,
    };
    let node = NodeKind::LookupJoin(LookupJoinNode { table, input_keys: vec![0], keeps_unmatched });
    let output = joined(&input, &columns);
    harness(node, &[&input], output)
}

const ROWS: &str = "2 a @1\n1 b @2\n7 c @3\n- d @4\n2 e @5";

#[test]
fn each_row_gets_the_rows_of_its_key_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    fs::write(&path, "id,name\n1,ann\n2,bob\n2,ben\n,nobody\n").unwrap();
    let mut inner = join(&path, false, TTL_NEVER);
    inner.push(0, ROWS).unwrap();
    inner.push(0, "").unwrap();
    inner.watermark(0, 5).unwrap();
    expect![[r#"
        2 a @1 2 bob
        2 a @1 2 ben
        1 b @2 1 ann
        2 e @5 2 bob
        2 e @5 2 ben
        watermark @5
    "#]]
    .assert_eq(&inner.output().unwrap());
    let mut left = join(&path, true, TTL_NEVER);
    left.push(0, ROWS).unwrap();
    left.finish().unwrap();
    expect![[r#"
        2 a @1 2 bob
        2 a @1 2 ben
        1 b @2 1 ann
        7 c @3 - -
        - d @4 - -
        2 e @5 2 bob
        2 e @5 2 ben
        watermark end
    "#]]
    .assert_eq(&left.output().unwrap());
}

#[test]
fn a_file_is_read_again_when_it_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    fs::write(&path, "id,name\n1,ann\n").unwrap();
    // What is in the cache is no state: a twin would ask again.
    let (mut kept, mut fresh) = (join(&path, false, TTL_NEVER).without_twin(), join(&path, false, 0));
    for join in [&mut kept, &mut fresh] {
        join.push(0, "1 a @1").unwrap();
    }
    fs::write(&path, "id,name\n1,amy\n").unwrap();
    for join in [&mut kept, &mut fresh] {
        join.push(0, "1 b @2").unwrap();
    }
    assert_eq!(kept.output().unwrap(), "1 a @1 1 ann\n1 b @2 1 ann\n");
    assert_eq!(fresh.output().unwrap(), "1 a @1 1 ann\n1 b @2 1 amy\n");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let mut join = join(Path::new("/nowhere/people.csv"), false, TTL_NEVER);
    let error = join.push(0, "1 a @1").unwrap_err().to_string();
    assert!(error.contains("no file matches '/nowhere/people.csv'"), "{error}");
}
