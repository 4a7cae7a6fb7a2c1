//! Files written and read back; what does not fit is a dead letter. How subtasks share files and what
//! sinks leave behind have files of their own.

mod changelogs;
mod columnar;
mod committing;
mod objects;
mod seeking;
mod sharing;
mod watching;
mod writing;

use std::fs;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, Int64Array, NullArray, RecordBatch, StringArray, StringDictionaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use expect_test::{Expect, expect};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;
use tidemill_plans::change::with_absent_values;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::settings::Settings;

use super::*;
use crate::connector::SourceEvent;
use crate::task::DeadLetters;
use crate::testing::graph::schema;
use crate::testing::{parse_rows, show_rows, test_env};

/// What rows are written as and read back from.
const FORMATS: [&str; 5] = ["parquet", "arrow", "avro", "csv", "json"];

/// A folder of files, and what reading them came to.
struct Files {
    folder: TempDir,
    options: Vec<(String, String)>,
    batch_rows: u32,
    /// The columns of a key.
    keys: Vec<usize>,
    /// Where the checkpoints are of the job whose sinks these are, if it has any.
    checkpoints: Option<String>,
    attempt: u32,
}

impl Files {
    fn new(format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = vec![
            (String::from("path"), folder.path().display().to_string()),
            (String::from("format"), format.to_owned()),
        ];
        Self { folder, options, batch_rows: 3, keys: Vec::new(), checkpoints: None, attempt: 0 }
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.options.retain(|(name, _)| name != option);
        self.options.push((option.to_owned(), value.to_owned()));
        self
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn sink(&self, subtask: u32, schema: &SchemaRef) -> Box<dyn Sink> {
        self.try_sink(subtask, schema).unwrap()
    }

    fn try_sink(&self, subtask: u32, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        let node = SinkNode {
            table: String::from("out"),
            connector: String::from("files"),
            options: self.options.clone(),
            time: None,
            upsert_keys: self.keys.clone(),
            order_by: vec![],
            limit: None,
            live: false,
        };
        let env = TaskEnv { attempt: self.attempt, checkpoints: self.checkpoints.clone(), ..test_env()? };
        open_sink(&node, OperatorId(1), subtask, &env, Arc::clone(schema))
    }

    /// Writes parts, batches parted by `---`.
    fn write(&self, schema: &SchemaRef, parts: &[&str]) {
        for (subtask, rows) in parts.iter().enumerate() {
            let mut sink = self.sink(subtask as u32, schema);
            for rows in rows.split("---") {
                sink.write(&parse_rows(schema, rows).unwrap()).unwrap();
            }
            sink.finish().unwrap();
        }
    }

    /// Opens the source of one of `parallelism` subtasks.
    fn open(&self, schema: &SchemaRef, subtask: u32, parallelism: u32) -> Result<Opened> {
        let letters = tempfile::NamedTempFile::new().unwrap();
        let settings = Settings {
            dead_letter_path: letters.path().display().to_string(),
            source_batch_rows: self.batch_rows,
            ..Settings::default()
        };
        let dead_letters = Arc::new(DeadLetters::open(&settings)?);
        let env = TaskEnv { settings, dead_letters, ..test_env()? };
        let stats = Arc::new(OperatorStats::new(JobId(1), OperatorId(0), 0));
        let node = SourceNode {
            table: String::from("t"),
            connector: String::from("files"),
            options: self.options.clone(),
            declared: schema.fields().iter().map(|field| field.name().clone()).collect(),
            columns: StreamSchema(Arc::clone(schema)),
            projection: vec![],
            event_time: None,
            upsert_key: self.keys.iter().map(|key| schema.field(*key).name().clone()).collect(),
        };
        let source = open_source(&node, &env, Arc::clone(&stats), subtask, parallelism)?;
        Ok(Opened { source, stats, letters })
    }

    /// What one of `parallelism` subtasks reads; then `bad n` and the dead letters, if there are any.
    fn read_share(&self, schema: &SchemaRef, subtask: u32, parallelism: u32) -> Result<String> {
        let mut opened = self.open(schema, subtask, parallelism)?;
        let mut text = String::new();
        loop {
            match opened.source.next_event()? {
                SourceEvent::Batch(batch) => {
                    assert!(batch.num_rows() <= self.batch_rows as usize);
                    let read = if self.keys.is_empty() { Arc::clone(schema) } else { with_absent_values(schema) };
                    assert_eq!(batch.schema(), read);
                    text.push_str(&show_rows(&batch)?);
                }
                SourceEvent::Idle | SourceEvent::CaughtUp => {}
                SourceEvent::End => break,
            }
        }
        let bad = opened.bad_rows();
        if bad > 0 {
            text.push_str(&format!("bad {bad}\n{}", fs::read_to_string(opened.letters.path()).unwrap()));
        }
        Ok(self.anonymous(&text))
    }

    /// A text without the folder's random name.
    fn anonymous(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "FOLDER")
    }

    fn read(&self, schema: &SchemaRef) -> String {
        match self.read_share(schema, 0, 1) {
            Ok(text) => text,
            Err(error) => {
                self.anonymous(&error.chain()).replace(&std::env::current_dir().unwrap().display().to_string(), "HERE")
            }
        }
    }
}

/// A source, with what it counts and where its dead letters go.
struct Opened {
    source: Box<dyn Source>,
    stats: Arc<OperatorStats>,
    letters: tempfile::NamedTempFile,
}

impl Opened {
    fn bad_rows(&self) -> u64 {
        self.stats.dead_letter_rows.load(Ordering::Relaxed)
    }
}

fn check(files: &Files, fields: &str, expected: Expect) {
    expected.assert_eq(&files.read(&schema(fields)));
}

const ALL_TYPES: &str = "k:text i:int f:float b:bool t:time";

#[test]
fn what_a_sink_writes_a_source_reads() {
    let rows = "a 1 0.1 true @1.5\n- - - - -\nb -2 1e300 false @1700000000.123456\n---\nc 3 -0.5 - @-5";
    for format in FORMATS {
        let files = Files::new(format);
        files.write(&schema(ALL_TYPES), &[rows, "d 4 1.0 true @2"]);
        assert_eq!(files.names(), [format!("part-0.{format}"), format!("part-1.{format}")]);
        check(
            &files,
            ALL_TYPES,
            expect![[r#"
            a 1 0.1 true @1.5
            - - - - -
            b -2 1e300 false @1700000000.123456
            c 3 -0.5 - @-5
            d 4 1.0 true @2
        "#]],
        );
    }
}

#[test]
fn parts_without_rows_can_be_read() {
    for format in FORMATS {
        let files = Files::new(format);
        files.write(&schema(ALL_TYPES), &["", "d 4 1.0 true @2"]);
        check(
            &files,
            ALL_TYPES,
            expect![[r#"
            d 4 1.0 true @2
        "#]],
        );
    }
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    for format in FORMATS {
        let files = Files::new(format);
        files.write(&schema(ALL_TYPES), &["a 1 0.5 true @2"]);
        check(
            &files,
            "b:bool i:int k:text",
            expect![[r#"
            true 1 a
        "#]],
        );
    }
}

#[test]
fn files_that_are_missing_or_not_what_they_should_be_are_errors() {
    let missing = Files::new("csv").with("path", "no/such/*.csv");
    check(&missing, "v:int", expect!["no file matches 'no/such/*.csv'; the path is relative to HERE"]);
    check(&Files::new("csv"), "v:int", expect!["no file matches 'FOLDER'; the path is relative to HERE"]);
    let csv = Files::new("csv");
    csv.put("a.csv", "a,b\n1,2\n");
    check(&csv, "a:int c:int", expect!["FOLDER/a.csv: no column 'c'; the file has a, b"]);
    let empty = Files::new("csv");
    empty.put("a.csv", "");
    check(&empty, "v:int", expect!["FOLDER/a.csv: no column 'v'; the file has "]);
    let parquet = Files::new("parquet");
    parquet.write(&schema("a:text"), &["x"]);
    check(&parquet, "a:text c:int", expect!["FOLDER/part-0.parquet: no column 'c'; the file has a"]);
    check(&parquet, "a:int", expect!["FOLDER/part-0.parquet: column 'a' is Utf8, which cannot be read as Int64"]);
}

#[test]
fn a_parquet_file_that_was_cut_off_is_an_error() {
    let files = Files::new("parquet");
    files.write(&schema("a:text"), &["x"]);
    let path = files.folder.path().join("part-0.parquet");
    let whole = fs::read(&path).unwrap();
    files.put("part-0.parquet", &whole[..whole.len() - 10]);
    check(
        &files,
        "a:text",
        expect!["FOLDER/part-0.parquet: not readable as Parquet: Parquet error: Invalid Parquet file. Corrupt footer"],
    );
    files.put("part-0.parquet", &whole[..2]);
    check(
        &files,
        "a:text",
        expect!["FOLDER/part-0.parquet: not readable as Parquet: EOF: Parquet file too small. Size is 2 but need 8"],
    );
}

#[test]
fn csv_rows_that_do_not_fit_are_dead_letters() {
    let files = Files::new("csv");
    files.put(
        "a.csv",
        b"v,k,n\n1,a,1\nx,b,2\n3,c\n4,d,4,5\n,e,5\n6,f,\n\n7,\xff,7\n99999999999999999999,g,8\n\"9\",\"h, i\",9\n",
    );
    check(
        &files,
        "v:int! k:text n:int",
        expect![[r#"
            1 a 1
            6 f -
            9 h, i 9
            bad 6
            {"operator":"Source t","reason":"2 fields where the file has 3","row":"FOLDER/a.csv:4: 3,c"}
            {"operator":"Source t","reason":"column 'v' is 'x', not Int64","row":"FOLDER/a.csv:3"}
            {"operator":"Source t","reason":"4 fields where the file has 3","row":"FOLDER/a.csv:5: 4,d,4,5"}
            {"operator":"Source t","reason":"column 'v' is 'NULL', not NOT NULL","row":"FOLDER/a.csv:6"}
            {"operator":"Source t","reason":"column 'v' is '99999999999999999999', not Int64","row":"FOLDER/a.csv:10"}
            {"operator":"Source t","reason":"column 'k' is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0","row":"FOLDER/a.csv:9"}
        "#]],
    );
}

#[test]
fn csv_options_change_how_it_is_read() {
    let files = Files::new("csv").with("header", "false").with("delimiter", "|").with("null_value", "NA");
    files.put("a.csv", "1|a\nNA|NA\n3||\n4|\n");
    check(
        &files,
        "v:int k:text",
        expect![[r#"
        1 a
        - -
        4 
        bad 1
        {"operator":"Source t","reason":"3 fields where the file has 2","row":"FOLDER/a.csv:3: 3,,"}
    "#]],
    );
}

#[test]
fn json_lines_that_do_not_fit_are_dead_letters() {
    let files = Files::new("json");
    let lines: [&[u8]; 12] = [
        b"{\"v\": 1, \"k\": \"a\", \"other\": [1]}",
        b"{\"v\": \"x\", \"k\": \"b\"}",
        b"",
        b"{\"k\": \"c\"}",
        b"{\"v\": 4",
        b", \"k\": \"d\"}",
        b"not json",
        b"{\"v\": 5} {\"v\": 6}",
        b"{\"v\": 7, \"k\": \"\xff\"}",
        b"{\"v\": 8.5}",
        b"[1, 2]",
        b"{\"v\": 9}",
    ];
    files.put("a.json", lines.join(&b'\n'));
    check(
        &files,
        "v:int! k:text",
        expect![[r#"
        1 a
        8 -
        9 -
        bad 8
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: whilst decoding field 'v': failed to parse \"x\" as Int64","row":"FOLDER/a.json:2: {\"v\": \"x\", \"k\": \"b\"}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: Encountered unmasked nulls in non-nullable StructArray child: Field { \"v\": Int64 }","row":"FOLDER/a.json:4: {\"k\": \"c\"}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: Truncated record whilst reading object","row":"FOLDER/a.json:5: {\"v\": 4"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: Encountered unexpected ',' whilst parsing value","row":"FOLDER/a.json:6: , \"k\": \"d\"}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: Encountered unexpected 'o' whilst parsing literal","row":"FOLDER/a.json:7: not json"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: more than one object in a line","row":"FOLDER/a.json:8: {\"v\": 5} {\"v\": 6}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: Encountered non-UTF-8 data","row":"FOLDER/a.json:9: {\"v\": 7, \"k\": \"�\"}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: expected { got [1, 2]","row":"FOLDER/a.json:11: [1, 2]"}
    "#]],
    );
}

#[test]
fn parquet_values_that_do_not_fit_are_dead_letters() {
    let files = Files::new("parquet");
    files.write(&schema("v:int k:text"), &["1 a\n- b\n5000000000 c\n4 d"]);
    let narrow = Schema::new(vec![Field::new("v", DataType::Int32, false), Field::new("k", DataType::Utf8, true)]);
    expect![[r#"
        1 a
        4 d
        bad 2
        {"operator":"Source t","reason":"column 'v' is 'NULL', not NOT NULL","row":"FOLDER/part-0.parquet, row group 0, row 1"}
        {"operator":"Source t","reason":"column 'v' is '5000000000', not Int32","row":"FOLDER/part-0.parquet, row group 0, row 2"}
    "#]].assert_eq(&files.read(&Arc::new(narrow)));
}

fn write_parquet(files: &Files, name: &str, columns: Vec<(&str, ArrayRef)>, group_rows: usize) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let file = fs::File::create(files.folder.path().join(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn columns_of_nulls_dictionaries_and_other_units_become_what_is_declared() {
    let files = Files::new("parquet");
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.extend([Some("x"), None, Some("x")]);
    let millis =
        cast(&Int64Array::from(vec![1000, 2500, 0]), &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(NullArray::new(3))),
        ("k", Arc::new(words.finish())),
        ("t", millis),
        ("f", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ];
    write_parquet(&files, "a.parquet", columns, 100);
    check(
        &files,
        "n:int k:text t:time f:float",
        expect![[r#"
        - x @1 1.0
        - - @2.5 2.0
        - x @0 3.0
    "#]],
    );
    check(
        &files,
        "n:int! k:text",
        expect![[r#"
        bad 3
        {"operator":"Source t","reason":"column 'n' is 'NULL', not NOT NULL","row":"FOLDER/a.parquet, row group 0, row 0"}
        {"operator":"Source t","reason":"column 'n' is 'NULL', not NOT NULL","row":"FOLDER/a.parquet, row group 0, row 1"}
        {"operator":"Source t","reason":"column 'n' is 'NULL', not NOT NULL","row":"FOLDER/a.parquet, row group 0, row 2"}
    "#]],
    );
}

#[test]
fn a_path_may_be_a_file_a_glob_or_a_folder_with_odd_names() {
    let files = Files::new("csv");
    files.put("a[1].csv", "v\n1\n");
    files.put("b.csv", "v\n2\n");
    files.put("c.txt", "v\n3\n");
    check(
        &files,
        "v:int",
        expect![[r#"
        1
        2
    "#]],
    );
    let folder = files.folder.path().display().to_string();
    let files = files.with("path", &format!("{folder}/a[1].csv"));
    check(
        &files,
        "v:int",
        expect![[r#"
        1
    "#]],
    );
    let files = files.with("path", &format!("{folder}/*.txt"));
    check(
        &files,
        "v:int",
        expect![[r#"
        3
    "#]],
    );
}

#[test]
fn a_paced_source_gives_every_row_in_order() {
    let files = Files::new("csv").with("rows_per_second", "1000");
    let values: String = (0..20).map(|v| format!("{v}\n")).collect();
    files.put("a.csv", format!("v\n{values}"));
    assert_eq!(files.read(&schema("v:int")), values);
}

#[test]
fn text_keeps_what_csv_could_confuse() {
    let files = Files::new("csv");
    let rows = schema("k:text v:int");
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a,b", "say \"hi\"", "two\nlines", " blank "]));
    let values: ArrayRef = Arc::new((0..4).map(Some).collect::<Int64Array>());
    let mut sink = files.sink(0, &rows);
    sink.write(&RecordBatch::try_new(Arc::clone(&rows), vec![words, values]).unwrap()).unwrap();
    sink.finish().unwrap();
    check(
        &files,
        "k:text v:int",
        expect![[r#"
        a,b 0
        say "hi" 1
        two
        lines 2
         blank  3
    "#]],
    );
}

#[test]
fn a_run_of_bad_rows_is_read_a_batch_of_lines_at_a_time() {
    let rows = schema("v:int!");
    let csv = Files::new("csv");
    csv.put("a.csv", format!("v\n{}7\n", "1,2\n".repeat(10)));
    let json = Files::new("json");
    json.put("a.json", format!("{}{{\"v\": 7}}\n", "no row\n".repeat(10)));
    for files in [csv, json] {
        let mut opened = files.open(&rows, 0, 1).unwrap();
        let (mut bad, mut good) = (0, String::new());
        loop {
            match opened.source.next_event().unwrap() {
                SourceEvent::Batch(batch) => good.push_str(&show_rows(&batch).unwrap()),
                SourceEvent::Idle | SourceEvent::CaughtUp => {}
                SourceEvent::End => break,
            }
            assert!(opened.bad_rows() - bad <= 3, "{} bad rows without a look at the commands", opened.bad_rows());
            bad = opened.bad_rows();
        }
        assert_eq!((bad, good.as_str()), (10, "7\n"));
    }
}

#[test]
fn empty_json_lines_count_as_lines_read() {
    let files = Files::new("json");
    files.put("a.json", format!("{}{{\"v\": 7}}\n\n", "\n".repeat(10)));
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    assert_eq!(opened.source.next_event().unwrap(), SourceEvent::Idle);
    check(
        &files,
        "v:int",
        expect![[r#"
        7
    "#]],
    );
}

#[test]
fn good_json_lines_around_bad_ones_keep_their_order() {
    for batch_rows in [1, 3, 64, 1000] {
        let mut files = Files::new("json");
        files.batch_rows = batch_rows;
        let line =
            |v: u32| if v.is_multiple_of(37) { String::from("{\"v\": \"x\"}\n") } else { format!("{{\"v\": {v}}}\n") };
        files.put("a.json", (0..200).map(line).collect::<String>());
        let good: String = (0..200).filter(|v: &u32| !v.is_multiple_of(37)).map(|v| format!("{v}\n")).collect();
        let text = files.read(&schema("v:int"));
        let (rows, letters) = text.split_once("bad 6\n").unwrap();
        assert_eq!(rows, good);
        let places: Vec<&str> = letters.lines().filter_map(|l| l.split("a.json:").nth(2)?.split(':').next()).collect();
        assert_eq!(places, ["1", "38", "75", "112", "149", "186"]);
    }
}

#[test]
fn a_json_object_over_two_lines_is_none_whatever_the_batch() {
    for batch_rows in [1, 2, 3] {
        let mut files = Files::new("json");
        files.batch_rows = batch_rows;
        // As many objects as lines, but only the last line is one.
        files.put("a.json", "{\"v\": 1\n}\n{\"v\": 2} {\"v\": 3}\n{\"v\": 4}\n");
        let text = files.read(&schema("v:int"));
        assert!(text.starts_with("4\nbad 3\n"), "{text}");
    }
}

#[test]
fn a_tab_is_a_delimiter_and_more_than_a_character_is_none() {
    for tab in ["\t", "\\t"] {
        let files = Files::new("csv").with("delimiter", tab);
        files.put("a.csv", "k\tv\na,b\t1\n");
        check(
            &files,
            "k:text v:int",
            expect![[r#"
            a,b 1
        "#]],
        );
    }
    let files = Files::new("csv").with("delimiter", "||");
    files.put("a.csv", "v\n1\n");
    let error = files.read(&schema("v:int"));
    assert!(error.starts_with("option 'delimiter' is '||', but takes one ASCII character"), "{error}");
}

#[test]
fn a_link_to_nothing_is_an_error() {
    let files = Files::new("csv");
    files.put("a.csv", "v\n1\n");
    std::os::unix::fs::symlink("nowhere", files.folder.path().join("b.csv")).unwrap();
    let error = "cannot open FOLDER/b.csv: No such file or directory (os error 2)";
    assert_eq!(files.read(&schema("v:int")), error);
    let path = files.folder.path().join("b.csv").display().to_string();
    assert_eq!(files.with("path", &path).read(&schema("v:int")), error);
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new("csv");
    let folder = files.folder.path().display().to_string();
    files.put("a.csv", "v\n1\n");
    let closed = files.folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        return; // The superuser may read everything.
    }
    let files = files.with("path", &format!("{folder}/**/*.csv"));
    assert_eq!(files.read(&schema("v:int")), "cannot read FOLDER/closed: Permission denied (os error 13)");
    let files = files.with("path", &format!("{folder}/closed/b.csv"));
    assert_eq!(files.read(&schema("v:int")), "cannot open FOLDER/closed/b.csv: Permission denied (os error 13)");
    // Or nobody could clear up.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_glob_leaves_out_what_a_sink_has_not_finished() {
    let files = Files::new("csv");
    let glob = format!("{}/*", files.folder.path().display());
    files.put("part-0.csv", "v\n1\n");
    files.put("part-1.csv.inprogress", "v\n2");
    assert_eq!(files.with("path", &glob).read(&schema("v:int")), "1\n");
}
