//! What ClickBench's 43 queries ask, over a table of that shape, against DuckDB's answers (tests/clickbench/expected.py).

use std::fs;
use std::path::Path;

use crate::answers::{compare, queries};
use crate::command::Folder;

#[test]
fn queries_answer_as_duckdb_does() {
    let folder = Folder::new();
    let hits = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clickbench/hits.parquet")).unwrap();
    folder.write("hits.parquet", hits);
    let table = "CREATE EXTERNAL TABLE hits STORED AS PARQUET LOCATION 'hits.parquet';\n";
    let queries = queries("tests/clickbench");
    assert_eq!(queries.len(), 43);
    let selects: String = queries.iter().map(|query| format!("{};\n", fs::read_to_string(query).unwrap())).collect();
    let output = folder.run(&format!("{table}{selects}"), &["--format", "csv", "--set", "execution=batch"]);
    compare("parquet", output.success(), &queries);
}
