//! TPC-H, beside DataFusion itself in the same run: `cargo bench --bench tpch -- FOLDER [SCALE] [ROUNDS]`, with the folder
//! that `tpchgen-cli parquet -s SCALE --output-dir FOLDER` has filled. `duckdb_times.py` takes DuckDB's times. Of each query the best
//! of the rounds counts, which take turns.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench that cannot be set up has nothing to say")]

use std::path::{Path, PathBuf};

use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use tidemill::cluster::{batch_engine, cores};
use tidemill_batch::ClusterConfig;
use tidemill_coordinator::{BatchEngine, Output, compile};
use tidemill_engine::clock::monotonic_ns;
use tidemill_plans::settings::Settings;
use tokio::runtime::{Builder, Runtime};

const TABLES: [&str; 8] = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// What the queries have for Q11, at the scale of the tests.
const FRACTION: (&str, f64) = ("0.01", 0.0001);

/// The query that the total is without, in the figures of others.
const LEFT_OUT: &str = "q15";

fn main() {
    // Cargo's own argument is left out.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(folder) = arguments.next() else {
        println!("tpch: no folder, no figures; see benches/tpch/main.rs");
        return;
    };
    let scale: f64 = arguments.next().map_or(1.0, |scale| scale.parse().expect("a scale factor"));
    let rounds: usize = arguments.next().map_or(3, |rounds| rounds.parse().expect("a number of rounds"));
    let bench = Bench::new(&folder);
    let mut totals = [0.0; 2];
    println!("{:<6}{:>12}{:>12}", "ms", "tidemill", "datafusion");
    for (name, query) in queries(scale) {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..rounds {
            best[0] = best[0].min(timed(|| bench.tidemill(&query)));
            best[1] = best[1].min(timed(|| bench.datafusion(&query)));
        }
        println!("{name:<6}{:>12.1}{:>12.1}", best[0], best[1]);
        if name != LEFT_OUT {
            totals.iter_mut().zip(best).for_each(|(total, ms)| *total += ms);
        }
    }
    println!("{:<6}{:>12.1}{:>12.1}   without {LEFT_OUT}", "total", totals[0], totals[1]);
}

/// Milliseconds.
fn timed(run: impl FnOnce()) -> f64 {
    let started = monotonic_ns();
    run();
    monotonic_ns().saturating_sub(started) as f64 / 1e6
}

fn queries(scale: f64) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tpch");
    let paths =
        std::fs::read_dir(folder).expect("the queries of the tests").map(|entry| entry.expect("a query").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "sql")).collect();
    paths.sort();
    let query = |path: &PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a query");
        let fraction = format!("{:.10}", FRACTION.1 / scale);
        (name.clone(), if name == "q11" { text.replace(FRACTION.0, &fraction) } else { text })
    };
    paths.iter().map(query).collect()
}

struct Bench {
    runtime: Runtime,
    engine: std::sync::Arc<dyn BatchEngine>,
    tables: String,
    context: SessionContext,
}

impl Bench {
    fn new(folder: &str) -> Self {
        let runtime = Builder::new_multi_thread().enable_all().build().expect("threads");
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(cores() as usize));
        let mut tables = String::from("SET execution = 'batch'; SET result_order = 'arrival';\n");
        for table in TABLES {
            let path = format!("{folder}/{table}.parquet");
            let registered = context.register_parquet(table, &path, ParquetReadOptions::default());
            runtime.block_on(registered).expect("a table");
            tables.push_str(&format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{path}';\n"));
        }
        Self { runtime, engine: batch_engine(ClusterConfig::default()), tables, context }
    }

    /// From the text to the last row, the declarations of the tables among it.
    fn tidemill(&self, query: &str) {
        let (script, settings) = (format!("{}{query}", self.tables), Settings::default());
        let compiled = compile(&script, settings, Vec::new(), Some(self.engine.as_ref())).expect("a plan");
        let [Output::Batch(statement)] = compiled.outputs.as_slice() else { return };
        let Some(plan) = statement.batch() else { return };
        let mut run = self.engine.run(plan.clone(), statement.settings()).expect("a run");
        self.runtime.block_on(async {
            while let Some(rows) = run.next().await {
                rows.expect("rows");
            }
        });
    }

    fn datafusion(&self, query: &str) {
        let rows = async { self.context.sql(query).await?.collect().await };
        self.runtime.block_on(rows).expect("rows");
    }
}
