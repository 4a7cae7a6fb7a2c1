use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::{Expr, col, lit};
use expect_test::{Expect, expect};

use super::*;
use crate::expr::{StreamExpr, StreamSchema};
use crate::graph::Partitioning;
use crate::ids::{JobId, RunId};
use crate::node::{AggregateEmit, AggregateNode, FilterNode, NodeKind, SinkNode, SourceNode};

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
}

fn source(path: &str) -> NodeKind {
    NodeKind::Source(SourceNode {
        table: String::from("bids"),
        connector: String::from("files"),
        options: [("path", path), ("rows_per_second", "10")].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        declared: Vec::new(),
        columns: StreamSchema(schema(&[("k", DataType::Int64)])),
        projection: Vec::new(),
        event_time: None,
        upsert_key: Vec::new(),
    })
}

fn aggregate(aggregates: Vec<Expr>) -> NodeKind {
    NodeKind::Aggregate(AggregateNode {
        keys: vec![0],
        aggregates: aggregates.into_iter().map(StreamExpr).collect(),
        emit: AggregateEmit::OnUpdate,
        gather_ms: None,
        time: None,
        ttl: None,
    })
}

fn sink(path: &str) -> NodeKind {
    NodeKind::Sink(SinkNode {
        table: String::from("out"),
        connector: String::from("files"),
        options: vec![(String::from("path"), path.to_owned())],
        time: None,
        upsert_keys: Vec::new(),
        order_by: Vec::new(),
        limit: None,
        live: false,
    })
}

/// Nodes one behind the other, each with the object that it belongs to and its output's key.
fn line(nodes: Vec<(&str, NodeKind, &str, DataType)>) -> DataflowGraph {
    let mut graph = DataflowGraph::default();
    let mut last = None;
    for (object, kind, key, data_type) in nodes {
        let keyed = matches!(kind, NodeKind::Aggregate(_));
        let node = graph.add_operator_of(object, kind, 2, schema(&[(key, data_type)]));
        if let Some(last) = last.replace(node) {
            let partitioning = if keyed { Partitioning::Hash(vec![0]) } else { Partitioning::Forward };
            graph.add_edge(last, node, 0, partitioning);
        }
    }
    graph
}

/// Counts of bids.
fn counting(calls: Vec<Expr>) -> DataflowGraph {
    line(vec![
        ("bids", source("in"), "k", DataType::Int64),
        ("hot", aggregate(calls), "k", DataType::Int64),
        ("out", sink("out"), "k", DataType::Int64),
    ])
}

fn savepoint(graph: &DataflowGraph) -> Savepoint {
    let manifest = Manifest { epoch: Epoch(7), ..Manifest::beginning(RunId::first(JobId(3))) };
    Savepoint::of(&manifest, graph).unwrap()
}

fn check(before: &DataflowGraph, after: &DataflowGraph, expected: &Expect) {
    let migration = Migration::of(&savepoint(before), after);
    let mut text = String::new();
    for (name, fate) in &migration.operators {
        let from = fate.origin().map(|origin| format!(" from {}", origin.operator)).unwrap_or_default();
        text += &format!("{name}: {}{from}\n", fate.name());
    }
    for allow in [false, true] {
        match migration.origins("there", allow) {
            Ok(_) => text += &format!("allow {allow}: begins\n"),
            Err(error) => text += &format!("allow {allow}: {error}\n"),
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn the_same_query_keeps_everything() {
    let graph = counting(vec![count(lit(1))]);
    check(
        &graph,
        &graph,
        &expect![[r#"
        bids.Source: kept from op-0
        hot.Aggregate: kept from op-1
        out.Sink: kept from op-2
        allow false: begins
        allow true: begins
    "#]],
    );
}

#[test]
fn what_has_no_state_may_come_and_go() {
    let filter = NodeKind::Filter(FilterNode { predicate: StreamExpr(col("k").gt(lit(1i64))) });
    let filtered = line(vec![
        ("bids", source("in"), "k", DataType::Int64),
        ("hot", filter, "k", DataType::Int64),
        ("hot", aggregate(vec![count(lit(1))]), "k", DataType::Int64),
        ("out", sink("out"), "k", DataType::Int64),
    ]);
    check(
        &counting(vec![count(lit(1))]),
        &filtered,
        &expect![[r#"
        bids.Source: kept from op-0
        hot.Filter: no state
        hot.Aggregate: kept from op-1
        out.Sink: kept from op-2
        allow false: begins
        allow true: begins
    "#]],
    );
}

#[test]
fn an_aggregation_in_front_leaves_the_one_behind_its_state() {
    let twice = line(vec![
        ("bids", source("in"), "k", DataType::Int64),
        ("hot", aggregate(vec![count(col("k"))]), "k", DataType::Int64),
        ("hot", aggregate(vec![count(lit(1))]), "k", DataType::Int64),
        ("out", sink("out"), "k", DataType::Int64),
    ]);
    check(
        &counting(vec![count(lit(1))]),
        &twice,
        &expect![[r#"
        bids.Source: kept from op-0
        hot.Aggregate: begins empty
        hot.Aggregate_2: kept from op-1
        out.Sink: kept from op-2
        allow false: begins
        allow true: begins
    "#]],
    );
    check(
        &twice,
        &counting(vec![count(lit(1))]),
        &expect![[r#"
        bids.Source: kept from op-0
        hot.Aggregate: kept from op-2
        out.Sink: kept from op-3
        allow false: savepoint 'there': this query cannot go on from it with all of its state: hot.Aggregate (by (k): count(k)) is not in the query; SET allow_dropped_state = true to start without what does not fit
        allow true: begins
    "#]],
    );
}

#[test]
fn other_aggregates_are_refused() {
    check(
        &counting(vec![count(lit(1))]),
        &counting(vec![count(col("k"))]),
        &expect![[r#"
        bids.Source: kept from op-0
        hot.Aggregate: not kept
        out.Sink: kept from op-2
        allow false: savepoint 'there': this query cannot go on from it with all of its state: hot.Aggregate: it kept by (k): count(1), and would keep by (k): count(k) now; SET allow_dropped_state = true to start without what does not fit
        allow true: begins
    "#]],
    );
}

#[test]
fn other_types_and_places_are_refused() {
    let text = line(vec![
        ("bids", source("elsewhere"), "k", DataType::Utf8),
        ("hot", aggregate(vec![count(lit(1))]), "k", DataType::Utf8),
        ("out", sink("out"), "k", DataType::Utf8),
    ]);
    check(
        &counting(vec![count(lit(1))]),
        &text,
        &expect![[r#"
        bids.Source: kept if allowed from op-0
        hot.Aggregate: not kept
        out.Sink: not kept
        allow false: savepoint 'there': this query cannot go on from it with all of its state: bids.Source: it was read from files (path 'in'), and is read from files (path 'elsewhere') now; hot.Aggregate: its input had (k Int64), and has (k Utf8) now; out.Sink: its input had (k Int64), and has (k Utf8) now; SET allow_dropped_state = true to start without what does not fit
        allow true: begins
    "#]],
    );
}

#[test]
fn the_text_is_read_as_it_was_written_or_not_at_all() {
    let mut savepoint = savepoint(&counting(vec![count(lit(1))]));
    let files = vec![SavedFile { path: String::from("state/0-1-0.state"), bytes: 12 }];
    savepoint.tasks.push(SavedTask { stage: 0, subtask: 1, files });
    let text = savepoint.to_text().unwrap();
    assert_eq!(Savepoint::from_text(text.as_bytes(), "there").unwrap(), savepoint);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(Savepoint::from_text(lines.concat().as_bytes(), "there").unwrap(), savepoint, "white space is none");
    expect![[r#"
        {
          "format": 1,
          "checksum": 1281009453,
          "savepoint": {
            "epoch": 7,
            "job": 3,
            "operators": [
              {
                "id": 0,
                "is_head": true,
                "keeps": {
                  "inputs": [],
                  "what": "read from files (path 'in')"
                },
                "kind": "Source",
                "name": "bids.Source",
                "parallelism": 2,
                "stage": 0
              },
              {
                "id": 1,
                "is_head": true,
                "keeps": {
                  "inputs": [
                    [
                      [
                        "k",
                        "Int64"
                      ]
                    ]
                  ],
                  "what": "by (k): count(1)"
                },
                "kind": "Aggregate",
                "name": "hot.Aggregate",
                "parallelism": 2,
                "stage": 1
              },
              {
                "id": 2,
                "is_head": true,
                "keeps": {
                  "inputs": [
                    [
                      [
                        "k",
                        "Int64"
                      ]
                    ]
                  ],
                  "what": "written to files (path 'out')"
                },
                "kind": "Sink",
                "name": "out.Sink",
                "parallelism": 2,
                "stage": 2
              }
            ],
            "tasks": [
              {
                "files": [
                  {
                    "bytes": 12,
                    "path": "state/0-1-0.state"
                  }
                ],
                "stage": 0,
                "subtask": 1
              }
            ]
          }
        }"#]]
    .assert_eq(&text);
    let damaged = text.replace("\"bytes\": 12", "\"bytes\": 13");
    let error = Savepoint::from_text(damaged.as_bytes(), "there").unwrap_err().to_string();
    assert_eq!(error, "savepoint 'there': savepoint.json is damaged: its checksum is wrong");
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    let error = Savepoint::from_text(newer.as_bytes(), "there").unwrap_err().to_string();
    assert_eq!(error, "savepoint 'there': it has format 2, and this release reads up to 1");
    for length in 0..text.trim_end().len() {
        assert!(Savepoint::from_text(&text.as_bytes()[..length], "there").is_err(), "cut after {length}");
    }
}
