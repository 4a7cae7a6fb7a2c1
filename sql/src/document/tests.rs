mod mutations;

use expect_test::{Expect, expect};

use super::*;

/// Checks that a graph comes back from its document, through text.
#[track_caller]
pub(crate) fn check_round_trip(graph: &DataflowGraph) {
    let json = PlanDocument::of_graph(graph).unwrap().to_json();
    let again = PlanDocument::from_json(&json).unwrap().to_graph(&Settings::default());
    let (again, _) = again.unwrap_or_else(|error| panic!("{error}\n{json}"));
    for (again, node) in again.nodes.iter().zip(&graph.nodes) {
        assert_eq!(again, node, "{json}");
    }
    assert_eq!(&again, graph, "{json}");
}

/// A plan in which everything is given that has to be.
const CLICKS: &str = r#"{
  "version": 1,
  "settings": {"parallelism": "3"},
  "nodes": [
    {"name": "clicks", "operator": {"source": {
      "connector": "files", "options": {"path": "clicks", "format": "json"},
      "reads": [{"name": "page", "type": "VARCHAR"}, {"name": "bought", "type": "BOOLEAN"},
                {"name": "ts", "type": "TIMESTAMP"}],
      "event_time": {"column": "ts", "watermark": "ts - INTERVAL '2 seconds'"}}}},
    {"name": "pages", "inputs": [{"from": "clicks"}], "operator": {"window_aggregate": {
      "keys": ["page"], "time": "ts", "window": {"tumble": {"size": 60000000}},
      "aggregates": [{"name": "n", "call": "count(*)"}, {"call": "sum(CAST(bought AS BIGINT))"}]}}},
    {"name": "often", "inputs": [{"from": "pages"}], "operator": {"filter": {"predicate": "n > 1"}}},
    {"name": "buys", "inputs": [{"from": "clicks"}], "operator": {"train": {
      "model": "buys", "model_type": "logistic_reg", "label": "bought", "time": "ts", "features": ["page"],
      "publish_every": 3600000000}}},
    {"name": "predicted", "inputs": [{"from": "clicks"}, {"from": "buys", "port": 1}], "operator": {"predict": {
      "model": "buys", "label": "bought", "features": ["page"], "time": "ts"}}},
    {"name": "out", "inputs": [{"from": "often"}], "operator": {"sink": {
      "connector": "files", "options": {"path": "out", "format": "json"}, "time": "window_end"}}},
    {"name": "predictions", "inputs": [{"from": "predicted"}], "operator": {"sink": {"connector": "blackhole"}}}
  ]
}"#;

/// The edges and columns of a plan's graph, or what is wrong with it.
fn graph(json: &str) -> String {
    let document = match PlanDocument::from_json(json) {
        Ok(document) => document,
        Err(error) => return format!("{error}\n"),
    };
    let (graph, _) = match document.to_graph(&Settings::default()) {
        Ok(read) => read,
        Err(error) => return format!("{error}\n"),
    };
    check_round_trip(&graph);
    let mut text = String::new();
    for node in &graph.nodes {
        let columns: Vec<&str> = node.schema.fields().iter().map(|field| field.name().as_str()).collect();
        text += &format!("{} x{}: {}\n", node.name, node.parallelism, columns.join(", "));
        for (_, edge) in graph.inputs(node.id) {
            let from = &graph.node(edge.from).unwrap().name;
            text += &format!("  {} from {from}, {:?}\n", edge.port, edge.partitioning);
        }
    }
    text
}

#[test]
fn what_a_model_says_may_have_another_name() {
    let columns = r#"[{"name": "page", "type": "VARCHAR"}, {"name": "bought", "type": "BOOLEAN"},
        {"name": "ts", "type": "TIMESTAMP"}, {"name": "p", "type": "DOUBLE"}, {"name": "v", "type": "BIGINT"},
        {"name": "since", "type": "TIMESTAMP"}]"#;
    let plain = r#""label": "bought", "features": ["page"], "time": "ts"}}}"#;
    let named = plain.replacen(r#""bought""#, r#""bought", "label_type": "DOUBLE""#, 1);
    let named = format!(r#"{}, "columns": {columns}}}"#, &named[..named.len() - 1]);
    assert!(CLICKS.contains(plain));
    let document = PlanDocument::from_json(&CLICKS.replace(plain, &named)).unwrap();
    check_round_trip(&document.to_graph(&Settings::default()).unwrap().0);
}

#[test]
fn what_is_not_said_is_as_it_mostly_is() {
    let expect = expect![[r#"
        clicks x3: page, bought, ts
        pages x3: page, window_start, window_end, window_time, n, sum(CAST(bought AS BIGINT))
          0 from clicks, Hash([0])
        often x3: page, window_start, window_end, window_time, n, sum(CAST(bought AS BIGINT))
          0 from pages, Forward
        buys x1: model_version, learnt_to, rows_learnt, state
          0 from clicks, Rebalance
        predicted x3: page, bought, ts, predicted_bought, predicted_bought_prob, model_version, model_event_time
          0 from clicks, Forward
          1 from buys, Broadcast
        out x1: page, window_start, window_end, window_time, n, sum(CAST(bought AS BIGINT))
          0 from often, Rebalance
        predictions x3: page, bought, ts, predicted_bought, predicted_bought_prob, model_version, model_event_time
          0 from predicted, Forward
    "#]];
    expect.assert_eq(&graph(CLICKS));
}

/// What is wrong with [`CLICKS`] once each of these has been replaced.
#[track_caller]
fn check_wrong(replaced: &[(&str, &str)], expect: Expect) {
    let mut all = String::new();
    for (before, after) in replaced {
        let json = CLICKS.replace(before, after);
        assert_ne!(json, CLICKS, "{before} is not there");
        all += &graph(&json);
    }
    expect.assert_eq(&all);
}

#[test]
fn what_is_not_of_the_form_is_found_with_its_path() {
    check_wrong(
        &[
            (r#""version": 1"#, r#""version": 2"#),
            (r#""version": 1,"#, ""),
            (r#""keys": ["page"]"#, r#""key": ["page"]"#),
            (r#""publish_every": 3600000000"#, r#""publish_every": "1 hour""#),
            (r#"{"filter": {"predicate": "n > 1"}}"#, r#"{"sieve": {"predicate": "n > 1"}}"#),
            (r#""settings": {"parallelism": "3"}"#, r#""settings": {"paralellism": "3"}"#),
            (r#"{"name": "out","#, r#"{"name": "out""#),
        ],
        expect![[r#"
            the plan cannot run: version: it is 2, and this release reads 1
            the plan cannot run: .: missing field `version` at line 23 column 1
            the plan cannot run: nodes[1].operator.window_aggregate.key: unknown field `key`, expected one of `keys`, `time`, `window`, `aggregates`, `updates_within` at line 11 column 11
            the plan cannot run: nodes[3].operator.train.publish_every: invalid type: string "1 hour", expected i64 at line 16 column 31
            the plan cannot run: nodes[2].operator: unknown variant `sieve`, expected one of `source`, `normalize`, `project`, `filter`, `window_assign`, `session_assign`, `late_split`, `window_aggregate`, `session_window`, `aggregate`, `join`, `interval_join`, `temporal_join`, `lookup_join`, `top_n`, `over_window`, `train`, `fit`, `predict`, `union`, `unnest`, `sink` at line 13 column 73
            the plan cannot run: settings.paralellism: unknown setting paralellism; valid are: parallelism, execution, batch.engine, checkpoint_interval, aligned_checkpoint_timeout, checkpoint_storage, from_savepoint, allow_dropped_state, restart_strategy, restart_attempts, restart_delay, restart_delay_max, restart_window, view_interval, update_interval, state_ttl, state_memory, query_memory, result_order, result_endpoints, channel_bytes, source_batch_rows, dead_letter_path, watermark_max_drift, seed
            the plan cannot run: nodes[5].?: expected `,` or `}` at line 19 column 20
        "#]],
    );
}

#[test]
fn what_makes_no_sense_is_found_in_its_node() {
    check_wrong(
        &[
            (r#""predicate": "n > 1""#, r#""predicate": "m > 1""#),
            (r#""predicate": "n > 1""#, r#""predicate": "n + 1""#),
            (r#""predicate": "n > 1""#, r#""predicate": "n > ""#),
            (r#""predicate": "n > 1""#, r#""predicate": "n > random()""#),
            (r#""call": "count(*)""#, r#""call": "upper(page)""#),
            (r#""name": "n", "call""#, r#""name": "page", "call""#),
            (r#""time": "ts", "window""#, r#""time": "page", "window""#),
            (r#""time": "window_end""#, r#""time": "window_start""#),
            (r#"{"tumble": {"size": 60000000}}"#, r#"{"tumble": {"size": 0}}"#),
            (r#"{"tumble": {"size": 60000000}}"#, r#"{"cumulate": {"step": 7, "size": 10}}"#),
            (r#""features": ["page"], "time": "ts"}}"#, r#""features": ["pages"], "time": "ts"}}"#),
            (r#""model_type": "logistic_reg""#, r#""model_type": "tree_of_life""#),
            (r#""label": "bought", "time": "ts", "features": ["page"],"#, r#""time": "ts", "features": ["page"],"#),
            (r#""model_type": "logistic_reg""#, r#""model_type": "kmeans""#),
            (r#"{"from": "buys", "port": 1}"#, r#"{"from": "clicks", "port": 1}"#),
            (r#"{"from": "buys", "port": 1}"#, r#"{"from": "buys", "port": 2}"#),
            (r#", {"from": "buys", "port": 1}"#, ""),
            (r#"[{"from": "pages"}]"#, r#"[{"from": "predicted"}]"#),
            (r#"[{"from": "pages"}]"#, r#"[{"from": "pages", "partitioning": "broadcast"}]"#),
            (
                r#""inputs": [{"from": "clicks"}], "operator": {"window"#,
                r#""inputs": [{"from": "clicks", "partitioning": "rebalance"}], "operator": {"window"#,
            ),
            (r#""name": "buys", "inputs""#, r#""name": "buys", "parallelism": 2, "inputs""#),
            (r#""name": "often""#, r#""name": "pages""#),
            (r#""type": "BOOLEAN""#, r#""type": "TRUTH(2)""#),
            (r#""connector": "blackhole""#, r#""connector": "files", "options": {"path": "p", "shape": "x"}"#),
            (r#""name": "often", "#, r#""name": "often", "columns": [{"name": "a", "type": "BIGINT"}], "#),
            (
                r#"{"name": "clicks", "#,
                r#"{"name": "clicks", "columns": [{"name": "page", "type": "VARCHAR"}, {"name": "bought", "type": "BOOLEAN"},
                    {"name": "at", "type": "TIMESTAMP"}], "#,
            ),
        ],
        expect![[r#"
            the plan cannot run: node 'often', nodes[2].operator.filter.predicate: line 1, column 1: No field named m.
            Valid fields are page, window_start, window_end, window_time, n, "sum(CAST(bought AS BIGINT))"
            the plan cannot run: node 'often', nodes[2].operator.filter.predicate: it is Int64, and a condition is a BOOLEAN
            the plan cannot run: node 'often', nodes[2].operator.filter.predicate: sql parser error: Expected: an expression, found: EOF
            the plan cannot run: node 'often', nodes[2].operator.filter.predicate: random() is not supported; it gives another answer each time a row is replayed; use a column of the row, such as its event time
            the plan cannot run: node 'pages', nodes[1].operator.window_aggregate.aggregates[0]: 'upper(page)' is no call of an aggregate function
            the plan cannot run: node 'pages', nodes[1].operator: there are two columns 'page'
            the plan cannot run: node 'pages', nodes[1].operator.window_aggregate.time: 'page' is no event time here: of the input these are: ts
            the plan cannot run: node 'out', nodes[5].operator.sink.time: 'window_start' is no event time here: of the input these are: window_end, window_time
            the plan cannot run: node 'pages', nodes[1].operator.window_aggregate.window.tumble.size: it is 0, and lengths are positive
            the plan cannot run: node 'pages', nodes[1].operator.window_aggregate.window.cumulate.size: it is 10, and a multiple of the step is needed
            the plan cannot run: node 'predicted', nodes[4].operator.predict.features[0]: there is no column 'pages' in the input; there are: page, bought, ts
            the plan cannot run: node 'buys', nodes[3].operator.train: unknown model_type 'tree_of_life'; valid are: logistic_reg, linear_reg, hoeffding_tree_classifier, hoeffding_adaptive_tree_classifier, adaptive_random_forest_classifier, hoeffding_tree_regressor, half_space_trees, kmeans, contextual_bandit, q_learning
            the plan cannot run: node 'buys', nodes[3].operator.train.label: a model of type logistic_reg needs the column of its label
            the plan cannot run: node 'buys', nodes[3].operator.train.label: a model of type kmeans learns no label
            the plan cannot run: node 'predicted', nodes[4].operator.predict: what comes on port 1 are not the versions of a model: it is read from a train node
            the plan cannot run: node 'predicted', nodes[4].inputs[1].port: the operator has 2 ports, from 0
            the plan cannot run: node 'predicted', nodes[4].inputs: nothing comes on port 1
            the plan cannot run: node 'often', nodes[2].inputs[0].from: no node 'predicted' stands in front of this one
            the plan cannot run: node 'often', nodes[2].inputs[0].partitioning: rows would be there once for each instance
            the plan cannot run: node 'pages', nodes[1].inputs[0].partitioning: rows of one key must meet in one instance: hash, by the operator's keys in their order
            the plan cannot run: node 'buys', nodes[3].parallelism: there can be one instance only: no key says which instance a row belongs to
            the plan cannot run: node 'pages', nodes[2].name: another node has this name
            the plan cannot run: node 'clicks', nodes[0].operator.source.reads[1]: 'TRUTH(2)' is no type: Unsupported SQL type TRUTH(2)
            the plan cannot run: node 'predictions', nodes[6].operator.sink: unknown option 'shape' of sink connector 'files'; valid are: path, format, codec, aws_access_key_id, aws_secret_access_key, aws_session_token, aws_region, aws_endpoint, aws_allow_http, aws_virtual_hosted_style_request, aws_skip_signature
            the plan cannot run: node 'often', nodes[2].columns: there are 1, and the operator makes 6
            the plan cannot run: node 'clicks', nodes[0].columns[2].name: its name is 'ts': a source's columns get their names in its projection
        "#]],
    );
}

#[test]
fn the_form_is_described() {
    let schema = PlanDocument::json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let window = &schema["$defs"]["WindowAggregateDocument"];
    assert_eq!(window["properties"]["time"]["description"], "An event-time column.");
    assert_eq!(window["additionalProperties"], false);
}
