//! Whatever a file holds, and however it is shared, its rows are those that the csv crate finds and
//! Arrow casts.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::SchemaRef;
use csv::ReaderBuilder;
use proptest::prelude::*;
use tempfile::NamedTempFile;
use tidemill_plans::ids::{JobId, OperatorId};

use super::*;
use crate::connector::files::conform::BadRows;
use crate::connector::files::medium::Medium;
use crate::metrics::OperatorStats;
use crate::testing::graph::{cases, schema};
use crate::testing::{show_rows, test_env};

/// Rows, sorted, and how many lines were none.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    rows: Vec<String>,
    bad: u64,
}

/// Whether one split reads all, or each batch is read by another one that begins where the last one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    One,
    Many,
}

fn read(text: &[u8], columns: &SchemaRef, options: &CsvOptions, parallelism: u32, by: By) -> Read {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    let (mut rows, mut bad) = (Vec::new(), 0);
    for subtask in 0..parallelism {
        let (conform, stats) = conform(columns);
        let share = Share { subtask, parallelism };
        let open = || splits(&[Medium::Disk.file(file.path())], &conform, options, share).unwrap().own;
        // One file, so one split at most.
        let Some(mut split) = open().pop() else { continue };
        while let Some(batch) = split.next_batch().unwrap() {
            assert!(batch.num_rows() <= options.batch_rows);
            rows.extend(show_rows(&batch).unwrap().lines().map(String::from));
            if by == By::Many {
                let position = split.position().unwrap();
                split = open().remove(0);
                split.seek(&position).unwrap();
            }
        }
        bad += stats.dead_letter_rows.load(Ordering::Relaxed);
    }
    rows.sort();
    Read { rows, bad }
}

fn conform(columns: &SchemaRef) -> (Conform, Arc<OperatorStats>) {
    let stats = Arc::new(OperatorStats::new(JobId(1), OperatorId(0), 0));
    (Conform::new(Arc::clone(columns), BadRows::new("t", &test_env().unwrap(), Arc::clone(&stats))), stats)
}

/// What the csv crate and Arrow's casts make of a text without a header.
fn reference(text: &[u8], columns: &SchemaRef, null: &str) -> Read {
    let (conform, stats) = conform(columns);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let mut builders: Vec<StringBuilder> = columns.fields().iter().map(|_| StringBuilder::new()).collect();
    let (mut count, mut bad) = (0, 0);
    for record in reader.records() {
        let record = record.unwrap();
        if record.len() != builders.len() {
            bad += 1;
            continue;
        }
        count += 1;
        for (builder, text) in builders.iter_mut().zip(&record) {
            builder.append_option(Some(text).filter(|text| *text != null));
        }
    }
    let arrays: Vec<ArrayRef> = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
    let batch = conform.convert(&arrays, count, &|_| String::new()).unwrap();
    let mut rows: Vec<String> = show_rows(&batch).unwrap().lines().map(String::from).collect();
    rows.sort();
    Read { rows, bad: bad + stats.dead_letter_rows.load(Ordering::Relaxed) }
}

fn options(columns: &SchemaRef, batch_rows: usize, null: &str) -> CsvOptions {
    let declared: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
    let pairs = [("header", "false"), ("null_value", null)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    CsvOptions::new(&pairs, &declared, batch_rows).unwrap()
}

fn check(text: &str, columns: &str, batch_rows: usize, block_bytes: u64, null: &str) {
    check_by(By::One, text, columns, batch_rows, block_bytes, null);
}

fn check_by(by: By, text: &str, columns: &str, batch_rows: usize, block_bytes: u64, null: &str) {
    let columns = schema(columns);
    let wanted = reference(text.as_bytes(), &columns, null);
    let options = options(&columns, batch_rows, null).with_block_bytes(block_bytes);
    for parallelism in [1, 2, 3] {
        let found = read(text.as_bytes(), &columns, &options, parallelism, by);
        let what = format!("{parallelism} subtasks, blocks of {block_bytes}, batches of {batch_rows}, by {by:?}");
        assert_eq!(found, wanted, "{what}: {text:?}");
    }
}

/// Pieces that CSV gives a meaning to, and some that it does not.
fn malformed() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "\"",
        "\"",
        "\"\"",
        ",",
        ",",
        ",\"",
        "\",",
        "\n",
        "\n",
        "\r\n",
        "\r",
        " ",
        "a",
        "bc",
        "é",
        "1",
        "-2",
        "NA",
        "\u{feff}",
        "a longer text, with a comma",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Values that one type or another has, and some that look like it.
fn values() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "-?[0-9]{1,20}",
        "[-+]?[0-9]{0,10}\\.[0-9]{0,10}",
        "[-+]?[0-9]{1,3}[eE]-?[0-9]{1,3}",
        "(1[0-9]|20|00|99)[0-9]{2}-[01][0-9]-[0-3][0-9]",
        "(1[0-9]|20|00|99)[0-9]{2}-[01][0-9]-[0-3][0-9][ Tt][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?Z?",
        "(true|false|TRUE|t|f|yes|0|1|NaN|inf|-0|NA|) ?",
        "\\PC{0,12}",
    ];
    // Commonly, all values of a column are of one form.
    prop::collection::vec((value, "[a-z]{0,3}"), 1..20).prop_map(|rows| {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        rows.iter().map(|(value, other)| format!("{},{other}\n", quoted(value))).collect()
    })
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn malformed_text_is_read_as_the_csv_crate_does(
        text in malformed(), batch_rows in 1usize..5, block_bytes in 1u64..40,
    ) {
        check(&text, "k:text v:int", batch_rows, block_bytes, "NA");
        check(&text, "k:text", batch_rows, block_bytes, "");
    }

    #[test]
    fn values_are_those_that_arrow_casts(text in values(), batch_rows in 1usize..30) {
        for kind in ["text", "int", "float", "bool", "time", "int!"] {
            check(&text, &format!("v:{kind} k:text"), batch_rows, 64, "");
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn who_goes_on_from_a_position_reads_what_is_behind_it(
        text in malformed(), batch_rows in 1usize..5, block_bytes in 1u64..40,
    ) {
        check_by(By::Many, &text, "k:text v:int", batch_rows, block_bytes, "NA");
        check_by(By::Many, &text, "k:text", batch_rows, block_bytes, "");
    }
}

#[test]
fn usual_values_of_every_type_are_read_from_their_bytes() {
    let columns = schema("i:int f:float b:bool t:time k:text");
    let text = "12,0.1,true,2024-02-29 23:59:59.123456,a\n-7,-3,false,1969-12-31T00:00:00,\n,,,,\n";
    let mut records = Records::new(&[0, 1, 2, 3, 4], 5);
    let mut start = 0;
    while let Some(end) = records.cut(Syntax { delimiter: b',' }, text.as_bytes(), start, false) {
        start = end;
    }
    let (conform, _) = conform(&columns);
    let mut batch = conform.begin(3, &|_| String::new());
    for column in 0..5 {
        push_column(&mut batch, &records.column(text.as_bytes(), column), b"").unwrap();
    }
    let rows = show_rows(&batch.finish().unwrap()).unwrap();
    assert_eq!(rows, "12 0.1 true @1709251199.123456 a\n-7 -3.0 false @-86400 -\n- - - - -\n");
    check(text, "i:int f:float b:bool t:time k:text", 10, 1000, "");
}

#[test]
fn a_record_belongs_to_the_block_that_it_begins_in() {
    let columns = schema("k:text");
    // Blocks of 8 bytes: the first record reaches into the third one, and hides a line end.
    let text = "\"one\n two three\"\nfour\nfive\n";
    let options = options(&columns, 10, "").with_block_bytes(8);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let shares = (0..2).map(|subtask| {
        let (conform, _) = conform(&columns);
        let share = Share { subtask, parallelism: 2 };
        let mut own = splits(&[Medium::Disk.file(file.path())], &conform, &options, share).unwrap().own;
        let mut rows = String::new();
        for split in &mut own {
            while let Some(batch) = split.next_batch().unwrap() {
                rows.push_str(&show_rows(&batch).unwrap());
            }
        }
        rows
    });
    let shares: Vec<String> = shares.collect();
    assert_eq!(shares, ["one\n two three\nfour\nfive\n", ""]);
}

#[test]
fn a_file_that_grows_meanwhile_is_an_error_if_subtasks_share_it() {
    let columns = schema("k:text");
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"one\ntwo\n").unwrap();
    let (conform, _) = conform(&columns);
    let options = options(&columns, 10, "").with_block_bytes(4);
    let files = [Medium::Disk.file(file.path())];
    let mut shared = splits(&files, &conform, &options, Share { subtask: 0, parallelism: 2 }).unwrap().own;
    let mut alone = splits(&files, &conform, &options, Share { subtask: 0, parallelism: 1 }).unwrap().own;
    file.write_all(b"three\n").unwrap();
    let error = shared[0].next_batch().unwrap_err().to_string();
    assert!(error.ends_with("it had 8 bytes when the job was deployed and has 14 now"), "{error}");
    assert_eq!(alone[0].next_batch().unwrap().unwrap().num_rows(), 3);
}
