//! The queries of Nexmark, after github.com/nexmark/nexmark, and what DataFusion answers over the same log.
//!
//! tests/nexmark/qN.sql is a query over the sources below; qN.batch.sql says the same without window
//! functions, where DataFusion needs that. Every query reads the log as it is generated, and from files.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::command::Folder;
use crate::documents;
use crate::oracle::{Oracle, printed};

/// A hundred seconds of event time, which is ten windows of most queries.
const LOG: &str = "events = 20000, event_rate = 200";

/// The columns that the tables have in files.
const TABLES: [(&str, &str); 3] = [
    (
        "person",
        "id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR,
         date_time TIMESTAMP, extra VARCHAR",
    ),
    (
        "auction",
        "id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP,
         expires TIMESTAMP, seller BIGINT, category BIGINT, extra VARCHAR",
    ),
    (
        "bid",
        "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP,
         extra VARCHAR",
    ),
];

const WATERMARK: &str = "WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'";

/// The bounded table of q13.
const SIDE_INPUT: &str = "CREATE SOURCE side_input (key BIGINT, value VARCHAR)
  WITH (connector = 'files', path = 'side_input.csv', format = 'csv');\n";
const SIDE_KEYS: i64 = 10_000;

/// How the log is read, and by how many.
const RUNS: [(&str, &[&str]); 4] = [
    ("nexmark", &["--parallelism", "1"]),
    ("nexmark", &["--parallelism", "3"]),
    ("csv", &["--parallelism", "3"]),
    ("parquet", &["--workers", "2"]),
];

/// The sources over the generated log, or over files of a format.
fn sources(from: &str) -> String {
    let mut sql = String::from(SIDE_INPUT);
    for (table, columns) in TABLES {
        let (columns, options) = match from {
            "nexmark" => (String::new(), format!("connector = 'nexmark', table = '{table}', {LOG}")),
            format => {
                (format!("{columns}, "), format!("connector = 'files', path = '{table}.{format}', format = '{format}'"))
            }
        };
        sql.push_str(&format!("CREATE SOURCE {table} ({columns}{WATERMARK}) WITH ({options});\n"));
        if table == "bid" {
            sql.push_str(&format!("CREATE SOURCE bid_by_clock ({columns}pt AS PROCTIME()) WITH ({options});\n"));
        }
    }
    sql
}

/// A folder with the log in it, as CSV and as Parquet.
fn log() -> Folder {
    let folder = Folder::new();
    let rows: String = (0..SIDE_KEYS).map(|key| format!("{key},{}\n", side_value(key))).collect();
    folder.write("side_input.csv", format!("key,value\n{rows}"));
    let mut sql = sources("nexmark");
    for (table, _) in TABLES {
        for format in ["csv", "parquet"] {
            let sink = format!("connector = 'files', path = '{table}.{format}', format = '{format}'");
            sql.push_str(&format!("CREATE SINK {table}_{format} WITH ({sink}) AS SELECT * FROM {table};\n"));
        }
    }
    folder.run(&sql, &[]).success();
    folder
}

fn side_value(key: i64) -> String {
    format!("value {}", key % 97)
}

/// DataFusion over the log's Parquet files.
fn oracle(folder: &Folder) -> Oracle {
    let oracle = Oracle::new();
    for (table, _) in TABLES {
        oracle.add_table(table, parquet_rows(&folder.path(&format!("{table}.parquet"))));
    }
    let fields = vec![Field::new("key", DataType::Int64, true), Field::new("value", DataType::Utf8, true)];
    let keys = Int64Array::from_iter_values(0..SIDE_KEYS);
    let values = StringArray::from_iter_values((0..SIDE_KEYS).map(side_value));
    let side_input = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(keys), Arc::new(values)]);
    oracle.add_table("side_input", vec![side_input.unwrap()]);
    oracle
}

fn parquet_rows(folder: &Path) -> Vec<RecordBatch> {
    let files = fs::read_dir(folder).unwrap().map(|entry| File::open(entry.unwrap().path()).unwrap());
    let readers = files.map(|file| ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap());
    readers.flatten().map(Result::unwrap).collect()
}

/// A query's texts: for the stream, and for the batch.
struct Query {
    name: String,
    stream: String,
    batch: String,
}

fn queries() -> Vec<Query> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nexmark");
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let query = |number| {
        let name = format!("q{number}");
        let stream = read(&format!("{name}.sql")).unwrap();
        let batch = read(&format!("{name}.batch.sql")).unwrap_or_else(|_| stream.clone());
        Query { name, stream, batch }
    };
    (0..=22).map(query).collect()
}

#[test]
fn every_query_answers_as_it_does_in_batch() {
    let folder = log();
    let oracle = oracle(&folder);
    let queries = queries();
    let right: Vec<_> = queries.iter().map(|query| oracle.answer(&query.batch).unwrap()).collect();
    for (query, answer) in queries.iter().zip(&right) {
        assert!(!answer.rows.is_empty(), "{} answers nothing", query.name);
    }
    let headers: Vec<&str> = right.iter().map(|answer| answer.header.as_str()).collect();
    let all: String = queries.iter().map(|query| format!("{};\n", query.stream)).collect();
    let mut failures = Vec::new();
    for (from, arguments) in RUNS {
        let arguments = [arguments, &["--format", "csv"]].concat();
        let script = format!("{}{all}", sources(from));
        documents::check_round_trip(&script);
        let output = folder.run(&script, &arguments).success();
        for ((query, answer), right) in queries.iter().zip(printed(&output.stdout, &headers)).zip(&right) {
            if let Some(difference) = answer.difference(right) {
                failures.push(format!("{} from {from} {arguments:?}: {difference}", query.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
