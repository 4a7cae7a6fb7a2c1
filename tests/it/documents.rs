//! Dataflow plans as JSON documents: what they are read back as, and what becomes of those that clients send.

use std::fs;
use std::path::Path;

use tidemill_plans::settings::Settings;
use tidemill_sql::document::PlanDocument;

use crate::cluster::Cluster;
use crate::command::{Folder, PATIENCE, Run};

/// Checks that the graph of a script's job comes back from its document.
#[track_caller]
pub(crate) fn check_round_trip(script: &str) {
    let settings = Settings { parallelism: 3, ..Settings::default() };
    let compiled = tidemill_coordinator::compile(script, settings, Vec::new(), None).unwrap();
    let Some(graph) = compiled.graph else { return };
    let json = PlanDocument::of_graph(&graph).unwrap().to_json();
    let again = PlanDocument::from_json(&json).unwrap().to_graph(&Settings::default());
    let (again, _) = again.unwrap_or_else(|error| panic!("{error}\n{json}"));
    for (again, node) in again.nodes.iter().zip(&graph.nodes) {
        assert_eq!(again, node, "{script}");
    }
    assert_eq!(again, graph, "{script}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_form_of_plans_is_published() {
    let file = root().join("docs/plan.schema.json");
    let schema = PlanDocument::json_schema_text();
    if std::env::var("TIDEMILL_BLESS").is_ok() {
        fs::write(&file, &schema).unwrap();
    }
    let published = fs::read_to_string(&file).unwrap_or_default();
    assert!(published == schema, "docs/plan.schema.json is not what it should be; TIDEMILL_BLESS=1 rewrites it");
    let printed = Run::start(root(), &["submit", "--schema"]).output(PATIENCE).success();
    assert_eq!(printed.stdout, schema);
}

/// A plan that counts by key, and writes what it has counted.
const COUNTS: &str = r#"{"version": 1, "nodes": [
  {"name": "words", "operator": {"source": {"connector": "files", "options": {"path": "words.csv", "format": "csv"},
    "reads": [{"name": "word", "type": "VARCHAR"}, {"name": "n", "type": "BIGINT"}]}}},
  {"name": "many", "inputs": [{"from": "words"}], "operator": {"filter": {"predicate": "n > 1"}}},
  {"name": "counts", "inputs": [{"from": "many"}], "parallelism": 2, "operator": {"aggregate": {"keys": ["word"],
    "aggregates": [{"name": "all", "call": "sum(n)"}]}}},
  {"name": "out", "inputs": [{"from": "counts"}], "operator": {"sink": {"connector": "files",
    "options": {"path": "out", "format": "upsert-json"}, "upsert_keys": ["word"]}}}]}"#;

#[test]
fn a_plan_runs_on_a_cluster_that_runs() {
    let mut cluster = Cluster::open(1, &[]);
    cluster.add_worker();
    cluster.add_worker();
    cluster.folder.write("words.csv", "word,n\na,2\nb,1\na,3\nc,7\n");
    cluster.folder.write("plan.json", COUNTS);
    let url = format!("grpc://127.0.0.1:{}", cluster.port());
    let submit = |plan: &str| Run::start(&cluster.folder.path(""), &["submit", plan, "--url", &url]).output(PATIENCE);
    let said = submit("plan.json").success().stderr;
    let job = said.strip_prefix("job ").and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{said}"));
    let mut lines = written(&cluster.folder.path("out"));
    while lines.len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        lines = written(&cluster.folder.path("out"));
    }
    lines.sort();
    let row =
        |word: &str, all: i64| format!(r#"{{"key":{{"word":"{word}"}},"value":{{"word":"{word}","all":{all}}}}}"#);
    assert_eq!(lines, [row("a", 5), row("c", 7)], "of job {job}");
    cluster.folder.write(
        "result.json",
        COUNTS.replace(
            r#""connector": "files",
    "options": {"path": "out", "format": "upsert-json"}"#,
            r#""connector": "result""#,
        ),
    );
    let refused = submit("result.json").stderr;
    let expected = "error: grpc://";
    assert!(refused.starts_with(expected) && refused.contains("nodes[3].operator.sink.connector"), "{refused}");
}

/// The lines of a sink's finished files.
fn written(folder: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let files = files.map(|file| file.unwrap().path());
    let finished = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    finished.flat_map(|file| fs::read_to_string(file).unwrap().lines().map(String::from).collect::<Vec<_>>()).collect()
}

#[test]
fn a_plan_is_looked_at_without_a_cluster() {
    let folder = Folder::with(&[("plan.json", COUNTS), ("wrong.json", &COUNTS.replace("n > 1", "m > 1"))]);
    let check = |plan: &str| Run::start(&folder.path(""), &["submit", plan, "--check"]).output(PATIENCE);
    let printed = check("plan.json").success().stdout;
    assert!(printed.contains("Aggregate #2 by (word): sum(n) updating [x2]"), "{printed}");
    let refused = check("wrong.json").stderr;
    let expected = "error: the plan cannot run: node 'many', nodes[1].operator.filter.predicate: ";
    assert!(refused.starts_with(expected), "{refused}");
}

#[test]
fn the_plan_of_a_statement_is_printed_and_can_be_submitted() {
    let folder = Folder::with(&[("words.csv", "word,n\na,2\n")]);
    let sql =
        "CREATE SOURCE words (word VARCHAR, n BIGINT) WITH (connector = 'files', path = 'words.csv', format = 'csv');
      CREATE SINK out WITH (connector = 'blackhole');
      EXPLAIN (FORMAT JSON) INSERT INTO out SELECT word, sum(n) AS total FROM words GROUP BY word;";
    let printed = folder.run(sql, &[]).success().stdout;
    folder.write("plan.json", &printed);
    let checked = Run::start(&folder.path(""), &["submit", "plan.json", "--check"]).output(PATIENCE).success().stdout;
    let explained = folder.run(&sql.replace("(FORMAT JSON) ", ""), &[]).success().stdout;
    assert_eq!(checked, explained);
}
