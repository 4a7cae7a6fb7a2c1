//! Sources that go on from where others were: no row is lost, none comes twice.

use super::columnar::{arrow_file, arrow_stream, batch};
use super::*;
use crate::connector::positions::check_positions;

impl Files {
    /// Stops and goes on everywhere, whatever the parallelism; how many events one subtask alone gives.
    fn check_positions(&self, rows: &SchemaRef) -> usize {
        let check = |subtask, parallelism| {
            check_positions(|| {
                let Opened { source, stats, .. } = self.open(rows, subtask, parallelism).unwrap();
                (source, stats)
            })
        };
        for (subtask, parallelism) in [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
            check(subtask, parallelism);
        }
        check(0, 1)
    }

    /// The position of a source that has given out so many batches, and what was in them.
    fn position(&self, rows: &SchemaRef, batches: usize) -> (Vec<u8>, String) {
        let mut opened = self.open(rows, 0, 1).unwrap();
        let mut text = String::new();
        for _ in 0..batches {
            let SourceEvent::Batch(batch) = opened.source.next_event().unwrap() else { panic!("no rows") };
            text.push_str(&show_rows(&batch).unwrap());
        }
        (opened.source.position().unwrap(), text)
    }

    /// What follows a position, or why nothing does; with the dead letters behind it.
    fn read_from(&self, rows: &SchemaRef, position: &[u8]) -> String {
        let mut opened = self.open(rows, 0, 1).unwrap();
        let mut read = || -> Result<String> {
            opened.source.seek(position)?;
            let mut text = String::new();
            loop {
                match opened.source.next_event()? {
                    SourceEvent::Batch(batch) => text.push_str(&show_rows(&batch)?),
                    SourceEvent::Idle | SourceEvent::CaughtUp => {}
                    SourceEvent::End => return Ok(text),
                }
            }
        };
        let text = read().unwrap_or_else(|error| error.chain());
        self.anonymous(&(text + &fs::read_to_string(opened.letters.path()).unwrap()))
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|v| format!("{v}\n")).collect()
}

#[test]
fn every_format_goes_on_from_everywhere() {
    for format in FORMATS {
        let files = Files::new(format);
        files.write(&schema("v:int"), &["1\n2\n3\n4\n5\n6\n7\n---\n8\n---\n9\n10\n11\n12", "", "13\n14"]);
        assert!(files.check_positions(&schema("v:int")) >= 5, "{format}");
    }
}

#[test]
fn bad_rows_are_counted_once() {
    let rows = schema("v:int! k:text");
    let (csv, json, parquet) = (Files::new("csv"), Files::new("json"), Files::new("parquet"));
    csv.put("a.csv", "\u{feff}v,k\n1,a\nx,b\n2,c\n3\n\n4,\"d\ne\"\n5,f,g\nx,h\nx,i\nx,j\nx,k\n6,l");
    csv.put("b.csv", "k,v\nx,y\nz,7\n");
    let line = |v: &str| format!("{{\"v\": {v}}}\n");
    let values = ["1", "2", "\"x\"", "3", "", "4", "5", "6", "\"x\"", "\"x\"", "\"x\"", "\"x\"", "7", "]", "8"];
    json.put("a.json", values.map(line).concat());
    parquet.write(&schema("v:int k:text"), &["1 a\n- b\n- c\n4 d\n- e\n- f\n- g\n- h\n9 i", "- j"]);
    for files in [csv, json, parquet] {
        assert!(files.check_positions(&rows) >= 4);
    }
}

#[test]
fn row_groups_and_record_batches_are_left_in_their_middle() {
    let parquet = Files::new("parquet");
    let values: ArrayRef = Arc::new((0..20).map(Some).collect::<Int64Array>());
    write_parquet(&parquet, "a.parquet", vec![("v", Arc::clone(&values))], 7);
    write_parquet(&parquet, "b.parquet", vec![("v", values)], 100);
    assert_eq!(parquet.check_positions(&schema("v:int")), 3 + 3 + 2 + 7);
    let batches = [batch(0..4), batch(0..4).slice(0, 0), batch(4..6), batch(6..13)];
    for bytes in [arrow_file(&batches, None), arrow_stream(&batches)] {
        let files = Files::new("arrow");
        files.put("a.arrow", &bytes);
        files.put("b.arrow", &bytes);
        assert_eq!(files.check_positions(&schema("v:int k:text")), 2 * (2 + 1 + 3));
    }
}

#[test]
fn changes_go_on_behind_the_envelope() {
    let files = Files::new("debezium-json");
    let envelope = |v: u32| match v % 4 {
        0 => format!("{{\"before\":{{\"v\":{v}}},\"after\":{{\"v\":{}}},\"op\":\"u\"}}\n", v + 1),
        1 => String::from("{\"op\":\"d\"}\n"),
        _ => format!("{{\"before\":null,\"after\":{{\"v\":{v}}},\"op\":\"c\"}}\n"),
    };
    files.put("a.json", (0..20).map(envelope).collect::<String>());
    let rows = tidemill_plans::change::with_change_column(&schema("v:int"));
    assert!(files.check_positions(&rows) >= 15);
}

#[test]
fn text_that_was_read_is_not_looked_at_again() {
    let rows = schema("v:int");
    for (format, header) in [("csv", "v\n"), ("json", "")] {
        let files = Files::new(format);
        let name = format!("a.{format}");
        let line = |v: &str| if format == "csv" { format!("{v}\n") } else { format!("{{\"v\": {v}}}\n") };
        let text = |values: [&str; 6]| header.to_owned() + &values.map(line).concat();
        files.put(&name, text(["1", "2", "3", "4", "x", "6"]));
        let (position, read) = files.position(&rows, 1);
        assert_eq!(read, "1\n2\n3\n");
        files.put(&name, text(["\"", "\"", "\"", "4", "x", "6"]));
        let rest = files.read_from(&rows, &position);
        assert!(rest.starts_with("4\n6\n"), "{rest}");
        let line = if format == "csv" { 6 } else { 5 };
        assert!(rest.contains(&format!("a.{format}:{line}")), "bad rows have their lines: {rest}");
    }
}

#[test]
fn lines_that_were_counted_are_not_counted_again() {
    let files = Files::new("csv");
    files.put("a.csv", "v\n1\nx\n3\n4\nx\n6\n");
    let (position, _) = files.position(&schema("v:int"), 1);
    // Were they, there would be more now.
    files.put("a.csv", "v\n\n\nx\n3\n4\nx\n6\n");
    let rest = files.read_from(&schema("v:int"), &position);
    assert!(rest.contains("a.csv:6"), "{rest}");
}

#[test]
fn files_that_came_since_are_not_read_and_those_that_grew_are_read_to_their_ends() {
    let files = Files::new("csv");
    files.put("b.csv", "v\n1\n2\n3\n4\n");
    files.put("c.csv", "v\n5\n");
    let (position, _) = files.position(&schema("v:int"), 1);
    files.put("a.csv", "v\n0\n");
    files.put("d.csv", "v\n9\n");
    files.put("c.csv", "v\n5\n6\n");
    assert_eq!(files.read_from(&schema("v:int"), &position), "4\n5\n6\n");
}

#[test]
fn files_that_are_gone_or_shorter_are_errors_that_name_them() {
    for format in FORMATS {
        let rows = schema("v:int");
        let files = Files::new(format);
        files.write(&rows, &["1\n2\n3\n4", "5", "6"]);
        let (position, _) = files.position(&rows, 1);
        let second = format!("part-1.{format}");
        let length = fs::metadata(files.folder.path().join(&second)).unwrap().len();
        files.remove(&second);
        let error = files.read_from(&rows, &position);
        assert_eq!(error, format!("cannot open FOLDER/{second}: No such file or directory (os error 2)"));
        let empty = Files::new(format);
        empty.write(&rows, &[""]);
        fs::copy(empty.folder.path().join(format!("part-0.{format}")), files.folder.path().join(&second)).unwrap();
        let error = files.read_from(&rows, &position);
        let now = fs::metadata(files.folder.path().join(&second)).unwrap().len();
        assert_eq!(error, format!("FOLDER/{second}: it had {length} bytes when it was read and has {now} now"));
    }
}

#[test]
fn a_file_of_other_parts_is_an_error() {
    let files = Files::new("parquet");
    let values = |count| Arc::new((0..count).map(Some).collect::<Int64Array>()) as ArrayRef;
    write_parquet(&files, "a.parquet", vec![("v", values(5))], 4);
    let (position, _) = files.position(&schema("v:int"), 1);
    write_parquet(&files, "a.parquet", vec![("v", values(5000))], 10_000);
    assert_eq!(
        files.read_from(&schema("v:int"), &position),
        "FOLDER/a.parquet: it had 2 parts when they were dealt out to be read and has 1 now"
    );
}

#[test]
fn a_position_is_not_taken_among_files_that_subtasks_do_not_agree_on() {
    let files = Files::new("csv");
    files.put("b.csv", "v\n1\n");
    let first = files.open(&schema("v:int"), 0, 2).unwrap();
    first.source.position().unwrap();
    files.put("a.csv", "v\n0\n");
    let error = first.source.position().unwrap_err();
    assert!(matches!(error, EngineError::FilesChanged { .. }), "{}", error.chain());
}

#[test]
fn a_position_of_something_else_is_an_error() {
    let files = Files::new("csv");
    files.put("a.csv", numbers(0..9).replacen('0', "v", 1));
    for bytes in [&b""[..], b"x", &[1, 7, 0]] {
        assert!(files.open(&schema("v:int"), 0, 1).unwrap().source.seek(bytes).is_err());
    }
}
