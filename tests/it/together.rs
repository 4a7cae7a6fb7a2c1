//! Models that several workers fit together: they are those of one, whatever becomes of workers.

use std::fs;

use crate::cluster::Cluster;
use crate::command::PATIENCE;

/// Enough numbers for the work to be divided.
const ROWS: u64 = 150_000;

/// A cluster of so many workers with a table of eight numbers a row, and a label that follows some of them.
fn cluster(workers: usize) -> Cluster {
    let mut cluster = Cluster::open(0, &[]);
    (0..workers).for_each(|_| cluster.add_worker());
    let number = |row: u64, column: u64| (row * 8 + column).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
    let line = |row: u64| {
        let numbers: Vec<u64> = (0..8).map(|column| number(row, column) % 1000).collect();
        let late = numbers[0] + numbers[1] / 2 + number(row, 9) % 300 > 800;
        let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        format!("{},{late}\n", texts.join(","))
    };
    let lines: String = (0..ROWS).map(line).collect();
    cluster.folder.write("rows.csv", format!("a,b,c,d,e,f,g,h,late\n{lines}"));
    let columns: Vec<String> = "abcdefgh".chars().map(|name| format!("{name} DOUBLE")).collect();
    let columns = columns.join(", ");
    let table = format!(
        "CREATE TABLE rows ({columns}, late BOOLEAN) WITH (connector = 'files', path = 'rows.csv', format = 'csv')"
    );
    cluster.sql(&table).success();
    cluster
}

fn create(options: &str, workers: u32) -> String {
    format!("CREATE MODEL m WITH (label = 'late', workers = {workers}, {options}) AS SELECT * FROM rows")
}

/// The bytes of the model, which goes.
fn taken_away(cluster: &Cluster) -> Vec<u8> {
    let path = cluster.folder.path("m.model");
    cluster.sql(&format!("EXPORT MODEL m TO '{}'", path.display())).success();
    cluster.sql("DROP MODEL m").success();
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn workers_fit_the_model_of_one() {
    let cluster = cluster(2);
    for options in
        ["model_type = 'logistic_reg'", "model_type = 'boosted_tree_classifier', num_leaves = 4, max_iterations = 10"]
    {
        cluster.sql(&create(options, 1)).success();
        let alone = taken_away(&cluster);
        for workers in [2, 3] {
            cluster.sql(&create(options, workers)).success();
            assert!(taken_away(&cluster) == alone, "{options}: {workers} come to something else");
        }
    }
    for worker in &cluster.workers {
        worker.wait_for_line("fitting a part of the model");
    }
}

#[test]
fn a_fit_outlives_a_worker_that_is_killed() {
    let options = "model_type = 'boosted_tree_classifier', num_leaves = 4, max_iterations = 400";
    let mut cluster = cluster(2);
    cluster.sql(&create(options, 1)).success();
    let alone = taken_away(&cluster);
    for _ in 0..2 {
        let creating = cluster.start_sql(&create(options, 2));
        cluster.workers[0].wait_for_line("fitting a part of the model");
        cluster.workers.remove(0).signal("KILL");
        cluster.add_worker();
        creating.output(PATIENCE).success();
        assert!(taken_away(&cluster) == alone, "it is another model");
    }
}

#[test]
fn what_workers_cannot_be_is_told() {
    let cluster = cluster(1);
    for workers in ["0", "17", "'many'"] {
        let refused = cluster
            .sql(&create("model_type = 'logistic_reg'", 1).replace("workers = 1", &format!("workers = {workers}")));
        assert!(refused.stderr.contains("takes a whole number from 1 to 16"), "{}", refused.stderr);
    }
}
