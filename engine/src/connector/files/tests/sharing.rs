//! Which subtask reads what, and what of it is open at a time.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_shares_of_two_subtasks_are_all_rows_once() {
    let parquet = Files::new("parquet");
    let values: ArrayRef = Arc::new((0..10).map(Some).collect::<Int64Array>());
    write_parquet(&parquet, "a.parquet", vec![("v", Arc::clone(&values))], 4);
    write_parquet(&parquet, "b.parquet", vec![("v", values)], 100);
    let csv = Files::new("csv");
    let json = Files::new("json");
    for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
        csv.put(&format!("{name}.csv"), format!("v\n{value}\n"));
        json.put(&format!("{name}.json"), format!("{{\"v\": {value}}}\n"));
    }
    let rows = schema("v:int");
    for (files, all) in [(parquet, 20), (csv, 3), (json, 3)] {
        let (first, second) = (files.read_share(&rows, 0, 2).unwrap(), files.read_share(&rows, 1, 2).unwrap());
        assert!(!first.is_empty() && !second.is_empty());
        let sorted = |text: String| {
            let mut rows: Vec<String> = text.lines().map(String::from).collect();
            rows.sort();
            rows
        };
        assert_eq!(sorted(first + &second), sorted(files.read(&rows)));
        assert_eq!(files.read(&rows).lines().count(), all);
        assert_eq!(files.read_share(&rows, 7, 8).unwrap().lines().count(), 0);
    }
}

/// How many of the folder's files this process has open.
fn open_files(files: &Files) -> usize {
    // Other tests close files meanwhile: their links may be gone.
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    open.filter(|path| path.starts_with(files.folder.path())).collect::<BTreeSet<_>>().len()
}

#[test]
fn one_file_at_a_time_is_open() {
    let rows = schema("v:int");
    for format in FORMATS {
        let files = Files::new(format);
        files.write(&rows, &["1", "2", "3", "4"]);
        let mut opened = files.open(&rows, 0, 1).unwrap();
        assert_eq!(open_files(&files), 0, "{format}");
        while opened.source.next_event().unwrap() != SourceEvent::End {
            assert!(open_files(&files) <= 1, "{format}");
        }
        assert_eq!(open_files(&files), 0, "{format}");
    }
}

#[test]
fn a_header_is_checked_by_the_subtask_that_reads_the_file() {
    let files = Files::new("csv");
    files.put("a.csv", "v\n1\n");
    files.put("b.csv", "w\n2\n");
    let rows = schema("v:int");
    assert_eq!(files.read_share(&rows, 0, 2).unwrap(), "1\n");
    let Err(error) = files.open(&rows, 1, 2) else { panic!("opened") };
    assert_eq!(files.anonymous(&error.chain()), "FOLDER/b.csv: no column 'v'; the file has w");
}

#[test]
fn a_file_that_comes_while_subtasks_are_opened_is_an_error() {
    for format in FORMATS {
        let files = Files::new(format);
        let rows = schema("v:int");
        files.write(&rows, &["1", "2"]);
        let mut first = files.open(&rows, 0, 2).unwrap();
        let name = format!("part-0.{format}");
        fs::copy(files.folder.path().join(&name), files.folder.path().join(format!("a.{format}"))).unwrap();
        // The second subtask counts from the new file on, and reads what the first one has.
        let _second = files.open(&rows, 1, 2).unwrap();
        let error = first.source.next_event().unwrap_err();
        assert_eq!(
            files.anonymous(&error.chain()),
            "files of 'FOLDER' came or went while the job was deployed, and its tasks do not agree on who reads what; \
             run it again once they have settled"
        );
    }
}

#[test]
fn a_file_that_comes_to_a_single_subtask_is_left_out() {
    let files = Files::new("csv");
    files.put("a.csv", "v\n1\n");
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    files.put("b.csv", "v\n2\n");
    let SourceEvent::Batch(batch) = opened.source.next_event().unwrap() else { panic!("no rows") };
    assert_eq!(show_rows(&batch).unwrap(), "1\n");
    assert_eq!(opened.source.next_event().unwrap(), SourceEvent::End);
}

#[test]
fn a_parquet_file_that_is_written_anew_meanwhile_is_an_error() {
    let files = Files::new("parquet");
    let values: ArrayRef = Arc::new((0..10).map(Some).collect::<Int64Array>());
    write_parquet(&files, "a.parquet", vec![("v", Arc::clone(&values))], 4);
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    write_parquet(&files, "a.parquet", vec![("v", values)], 100);
    let error = opened.source.next_event().unwrap_err();
    assert_eq!(
        files.anonymous(&error.chain()),
        "FOLDER/a.parquet: it had 3 row groups when the job was deployed and has 1 now"
    );
}

#[test]
fn bad_rows_of_a_shared_file_have_their_lines() {
    let files = Files::new("csv");
    let line = |number: u32| match number % 40_000 {
        0 => String::from("x,\"two\nlines\"\n"),
        20_000 => String::from("1\n"),
        _ => format!("{number},a text that makes the file long; so that there are several blocks\n"),
    };
    let text: String = (1..=200_000).map(line).collect();
    files.put("a.csv", format!("v,k\n{text}"));
    let shares: String = (0..2).map(|subtask| files.read_share(&schema("v:int k:text"), subtask, 2).unwrap()).collect();
    let mut bad: Vec<&str> = shares.lines().filter_map(|line| line.split("a.csv:").nth(1)).collect();
    bad.sort_unstable();
    expect![[r#"
        100003: 1"}
        120003"}
        140004: 1"}
        160004"}
        180005: 1"}
        200005"}
        20001: 1"}
        40001"}
        60002: 1"}
        80002"}"#]]
    .assert_eq(&bad.join("\n"));
}
