//! Wrong input of every kind: a message that says what to do, exit status 1, never a panic or a hang.

use std::net::TcpListener;
use std::path::Path;

use crate::command::{Folder, PATIENCE, Run};

/// The head of every source of `rows.csv`.
const ROWS: &str = "CREATE SOURCE rows (ts TIMESTAMP, item VARCHAR, price DOUBLE, late BOOLEAN, WATERMARK FOR ts AS ts)
  WITH (connector = 'files', path = 'rows.csv', format = 'csv');";

/// Runs a script on good rows; the error must contain every part.
#[track_caller]
fn check(sql: &str, parts: &[&str]) {
    let rows = "ts,item,price,late\n2024-01-01 00:00:01,a,1,true\n2024-01-01 00:00:02,b,2,false\n";
    check_in(&Folder::with(&[("rows.csv", rows)]), sql, parts);
}

#[track_caller]
fn check_in(folder: &Folder, sql: &str, parts: &[&str]) {
    for arguments in [&[][..], &["--workers", "2"]] {
        let output = folder.run(sql, arguments);
        assert_eq!(output.stdout, "", "results of a script that failed");
        let message = output.failure();
        for part in parts {
            assert!(message.contains(part), "{arguments:?}: no '{part}' in:\n{message}");
        }
    }
}

#[test]
fn a_script_that_is_not_there() {
    let run = Run::start(Path::new("/"), &["run", "no-such-folder/x.sql"]);
    let message = run.output(PATIENCE).failure();
    assert!(message.contains("cannot read no-such-folder/x.sql: No such file"), "{message}");
}

#[test]
fn a_script_that_is_not_text() {
    let folder = Folder::with(&[]);
    folder.write("latin.sql", b"SELECT '\xe9'");
    let message = Run::start(&folder.path("."), &["run", "latin.sql"]).output(PATIENCE).failure();
    assert!(message.contains("cannot read latin.sql"), "{message}");
}

#[test]
fn data_that_is_not_there() {
    let folder = Folder::new();
    check_in(&folder, &format!("{ROWS} SELECT * FROM rows"), &["Source", "no file matches 'rows.csv'", "relative to"]);
}

#[test]
fn a_column_that_the_file_does_not_have() {
    let folder = Folder::with(&[("rows.csv", "ts,item,cost,late\n2024-01-01 00:00:01,a,1,true\n")]);
    let parts = ["rows.csv: no column 'price'", "the file has ts, item, cost, late"];
    check_in(&folder, &format!("{ROWS} SELECT * FROM rows"), &parts);
}

#[test]
fn a_column_that_the_query_does_not_have() {
    check(&format!("{ROWS}\nSELECT item,\n  prise FROM rows"), &["script.sql: line 4, column 3: ", "prise", "price"]);
}

#[test]
fn a_type_that_the_file_does_not_have() {
    let folder = Folder::with(&[("rows.csv", "item,n\na,1\n")]);
    let write =
        "CREATE SOURCE rows (item VARCHAR, n BIGINT) WITH (connector = 'files', path = 'rows.csv', format = 'csv');
                 CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'parquet') AS SELECT * FROM rows;";
    folder.run(write, &[]).success();
    let read = "CREATE SOURCE kept (item BIGINT, n BIGINT)
                  WITH (connector = 'files', path = 'kept', format = 'parquet'); SELECT * FROM kept";
    check_in(&folder, read, &["part-0.parquet", "column 'item' is Utf8", "cannot be read as Int64"]);
}

#[test]
fn a_type_that_the_query_cannot_use() {
    check(&format!("{ROWS}\nSELECT item * 2 AS twice FROM rows"), &["script.sql: line 3, column 8", "Utf8 * Int64"]);
}

#[test]
fn parquet_that_was_cut_off() {
    let folder = Folder::with(&[("rows.csv", "item,n\na,1\nb,2\n")]);
    let write =
        "CREATE SOURCE rows (item VARCHAR, n BIGINT) WITH (connector = 'files', path = 'rows.csv', format = 'csv');
                 CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'parquet') AS SELECT * FROM rows;";
    folder.run(write, &[]).success();
    let whole = std::fs::read(folder.path("kept/part-0.parquet")).unwrap();
    let read = "CREATE SOURCE kept (item VARCHAR, n BIGINT)
                  WITH (connector = 'files', path = 'kept', format = 'parquet'); SELECT * FROM kept";
    for length in [0, 3, whole.len() / 2, whole.len() - 1] {
        folder.write("kept/part-0.parquet", &whole[..length]);
        check_in(&folder, read, &["kept/part-0.parquet: not readable as Parquet"]);
    }
    // The footer is whole, but what it points to is not.
    let mut damaged = whole.clone();
    damaged[4..40].fill(0xff);
    folder.write("kept/part-0.parquet", &damaged);
    check_in(&folder, read, &["kept/part-0.parquet"]);
}

#[test]
fn csv_rows_that_are_none_are_dead_letters() {
    let rows = "ts,item,price,late\n2024-01-01 00:00:01,a,1,true\n2024-01-01 00:00:02,short\n\
                2024-01-01 00:00:03,c,cheap,true\n2024-01-01 00:00:04,d,4,false\n,e,5,false\n";
    for workers in [&[][..], &["--workers", "2"]] {
        let folder = Folder::with(&[("rows.csv", rows)]);
        let arguments = [workers, &["--format", "csv", "--set", "dead_letter_path=dead.jsonl"]].concat();
        let sql = format!("{ROWS} SELECT item, price FROM rows ORDER BY item");
        let output = folder.run(&sql, &arguments).success();
        assert_eq!(output.stdout, "item,price\na,1.0\nd,4.0\n");
        assert!(output.stderr.contains("3 to dead letters"), "{}", output.stderr);
        let mut dead = letters(&folder.read("dead.jsonl"));
        dead.sort();
        let [short, no_number, no_time] = dead.as_slice() else { panic!("{dead:?}") };
        assert!(no_number.0.contains("column 'price' is 'cheap'"), "{no_number:?}");
        assert!(no_number.1.contains("rows.csv:4"), "{no_number:?}");
        assert!(short.0.contains("2 fields where the file has 4"), "{short:?}");
        assert!(short.1.contains("rows.csv:3: 2024-01-01 00:00:02,short"), "{short:?}");
        assert!(no_time.0.contains("'ts' is NULL"), "{no_time:?}");
        assert!(no_time.1.contains("item=e"), "{no_time:?}");
    }
}

/// Reason and row of each dead letter.
fn letters(lines: &str) -> Vec<(String, String)> {
    let part = |letter: &serde_json::Value, name: &str| letter[name].as_str().unwrap().to_owned();
    let letter = |line: &str| {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(letter["operator"].is_string(), "{letter}");
        (part(&letter, "reason"), part(&letter, "row"))
    };
    lines.lines().map(letter).collect()
}

const MODEL: &str = "CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'late', publish_every = '1 second') AS
  SELECT ts, late, price FROM rows;";

#[test]
fn a_feature_that_is_no_number_is_a_dead_letter() {
    let rows = "ts,item,price,late\n2024-01-01 00:00:01,a,1,true\n2024-01-01 00:00:02,b,NaN,false\n\
                2024-01-01 00:00:03,c,3,false\n2024-01-01 00:00:04,d,inf,true\n2024-01-01 00:00:05,e,5,\n\
                2024-01-01 00:00:06,f,6,true\n";
    let folder = Folder::with(&[("rows.csv", rows)]);
    let sql = format!(
        "{ROWS}{MODEL} SELECT item, model_version AS version, predicted_late_prob IS NULL AS unknown
                       FROM ML.PREDICT(MODEL m, TABLE rows) ORDER BY item"
    );
    let output = folder.run(&sql, &["--format", "csv", "--set", "dead_letter_path=dead.jsonl"]).success();
    let reasons: Vec<String> = letters(&folder.read("dead.jsonl")).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[0].contains("'price' is NaN"), "{reasons:?}");
    assert!(reasons[1].contains("'price' is infinite"), "{reasons:?}");
    assert!(reasons[2].contains("the label is NULL"), "{reasons:?}");
    assert!(output.stderr.contains("3 to dead letters"), "{}", output.stderr);
    // A row that cannot be learnt cannot be predicted either; nor the first, which no model precedes.
    let rows: Vec<(&str, bool)> =
        output.stdout.lines().skip(1).map(|line| (line.split(',').next().unwrap(), line.ends_with("true"))).collect();
    assert_eq!(rows, [("a", true), ("b", true), ("c", false), ("d", true), ("e", false), ("f", false)]);
}

#[test]
fn a_label_of_one_class() {
    let folder = Folder::with(&[("rows.csv", "ts,item,price,late\n2024-01-01 00:00:01,a,1,true\n")]);
    let sql = format!("{ROWS}{MODEL} SELECT * FROM ML.PREDICT(MODEL m, TABLE rows)");
    check_in(&folder, &sql, &["model m", "all 1 rows learnt have the label true", "both classes"]);
}

#[test]
fn a_name_that_is_taken() {
    check(&format!("{ROWS}\n{ROWS}"), &["script.sql: line 3, column 15: 'rows' already exists: it is a source"]);
}

#[test]
fn options_that_are_not_there() {
    let source = |options: &str| format!("CREATE SOURCE s (a INT) WITH ({options})");
    let unknown = source("connector = 'files', pth = 'x', path = 'x', format = 'csv'");
    check(&unknown, &["script.sql: line 1, column ", "unknown option 'pth'", "valid are: path, format, header"]);
    let connector = source("connector = 'kafkka'");
    check(
        &connector,
        &["script.sql: line 1, column ", "unknown connector 'kafkka'", "valid are: files, nexmark, datagen, push"],
    );
    let missing = source("connector = 'files', path = 'x'");
    check(&missing, &["script.sql: line 1, column ", "needs the option 'format'"]);
    let wrong = source("connector = 'files', path = 'x', format = 'orc'");
    check(&wrong, &["script.sql: line 1, column ", "'format' is 'orc'", "one of parquet, arrow, avro, csv, json"]);
    let of_model = MODEL.replace("publish_every = '1 second'", "speed = 3");
    check(&format!("{ROWS}\n{of_model}"), &["script.sql: line 3, column ", "speed", "learning_rate", "publish_every"]);
}

#[test]
fn settings_that_are_not_there() {
    check(
        "\n  SET paralelism = 3",
        &["script.sql: line 2, column 7: unknown setting paralelism; valid are: parallelism"],
    );
    check("SET parallelism = 0", &["script.sql: line 1, column 5: ", "a whole number from 1 to 128"]);
    let folder = Folder::new();
    let message = folder.run("SHOW ALL", &["--set", "sead=1"]).failure();
    assert!(message.contains("unknown setting sead; valid are: parallelism"), "{message}");
    let message = folder.run("SHOW ALL", &["--set", "seed"]).failure();
    assert!(message.contains("--set takes name=value, not 'seed'"), "{message}");
    let message = folder.run("SHOW ALL", &["--parallelism", "0"]).failure();
    assert!(message.contains("from 1 to 128"), "{message}");
}

#[test]
fn statements_that_are_not_there() {
    check(
        &format!("{ROWS}\n\n UPSERT x"),
        &["script.sql: line 4, column 2: no statement starts with UPSERT; valid are: SELECT"],
    );
    check("CREATE TRIGGER x", &["script.sql: line 1, column 8: CREATE TRIGGER is not supported; SOURCE"]);
    check("SHOW rivers", &["script.sql: line 1, column 6: ", "SHOW takes SOURCES"]);
    check("SELECT 'a", &["script.sql: line 1, column 8: ", "nterminated"]);
    check(&format!("{ROWS}\nSELECT * FROM"), &["script.sql: ", "found the end"]);
}

#[test]
fn a_dead_letter_file_that_cannot_be_written() {
    check(
        &format!("SET dead_letter_path = 'no/such/folder/dead'; {ROWS} SELECT * FROM rows"),
        &["no/such/folder/dead"],
    );
}

#[test]
fn a_sink_that_cannot_be_written() {
    let sink =
        "CREATE SINK kept WITH (connector = 'files', path = 'rows.csv/kept', format = 'csv') AS SELECT * FROM rows";
    check(&format!("{ROWS} {sink}"), &["cannot make rows.csv/kept"]);
}

#[test]
fn arguments_that_are_wrong_are_refused_before_anything_runs() {
    for arguments in
        [&["run"][..], &["run", "x.sql", "--workers", "0"], &["run", "x.sql", "--format", "xml"], &["walk"]]
    {
        let output = Run::start(Path::new("/"), arguments).output(PATIENCE);
        assert_eq!(output.status, Some(2), "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains("Usage: tidemill") || output.stderr.contains("--help"), "{}", output.stderr);
    }
}

#[test]
fn a_worker_on_a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = Run::start(Path::new("/"), &["worker", "--coordinator", "127.0.0.1:1", "--bind", &address]);
    let message = run.output(PATIENCE).failure();
    assert!(message.contains(&format!("cannot listen on {address}: Address already in use")), "{message}");
}

#[test]
fn a_worker_without_a_coordinator_gives_up_if_it_is_to() {
    let run = Run::start(Path::new("/"), &["worker", "--coordinator", "127.0.0.1:1", "--end-without-coordinator"]);
    let message = run.output(PATIENCE).failure();
    assert!(message.contains("error: coordinator 127.0.0.1:1 cannot be reached"), "{message}");
}

#[test]
fn a_coordinator_that_is_no_address() {
    let message = Run::start(Path::new("/"), &["worker", "--coordinator", "over there"]).output(PATIENCE).failure();
    assert!(message.contains("'over there' is not an address; host:port is one"), "{message}");
}
