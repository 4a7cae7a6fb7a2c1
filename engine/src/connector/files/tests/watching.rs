//! Watched folders: what comes is read once, in order, whoever else reads beside.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

impl Files {
    /// A folder that is looked at again and again.
    fn watched(format: &str) -> Self {
        Self::new(format).with("watch", "1ms")
    }

    /// Writes a file that was modified at a second.
    fn put_at(&self, name: &str, content: &str, second: u64) {
        self.put(name, content);
        let file = fs::File::options().write(true).open(self.folder.path().join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(second)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.folder.path().join(from), self.folder.path().join(to)).unwrap();
    }
}

impl Opened {
    /// Reads until two looks found nothing: the second one has begun after this was called.
    fn read_all(&mut self) -> Result<String> {
        let (mut text, mut quiet) = (String::new(), 0);
        while quiet < 10 {
            match self.source.next_event()? {
                SourceEvent::Batch(batch) => {
                    text.push_str(&show_rows(&batch)?);
                    quiet = 0;
                }
                SourceEvent::Idle => quiet += 1,
                SourceEvent::CaughtUp => {
                    text.push_str("caught up\n");
                    quiet = 0;
                }
                SourceEvent::End => panic!("a watched folder has no end"),
            }
        }
        Ok(text)
    }
}

fn line(value: u32) -> String {
    format!("{{\"v\": {value}}}\n")
}

#[test]
fn files_are_read_once_by_modification_time_and_name() {
    let files = Files::watched("json");
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    assert_eq!(opened.read_all().unwrap(), "");
    files.put_at("b.json", &line(1), 10);
    files.put_at("c.json", &line(2), 10);
    files.put_at("a.json", &(line(4) + &line(5)), 20);
    files.put_at("z.json", &line(3), 15);
    files.put_at("other.csv", "v\n9\n", 1);
    assert_eq!(opened.read_all().unwrap(), "1\n2\n3\n4\n5\n");
    // What is added to a file that was read stays unread.
    files.put_at("a.json", &(line(4) + &line(5) + &line(6)), 30);
    files.put_at("old.json", &line(7), 1);
    assert_eq!(opened.read_all().unwrap(), "7\n");
}

#[test]
fn files_that_are_not_complete_wait_for_their_name() {
    let files = Files::watched("csv");
    files.put("part-0.csv.inprogress", "v\n1\n");
    files.put(".part-1.csv", "v\n2\n");
    let glob = format!("{}/*", files.folder.path().display());
    let files = files.with("path", &glob);
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    assert_eq!(opened.read_all().unwrap(), "");
    files.rename("part-0.csv.inprogress", "part-0.csv");
    assert_eq!(opened.read_all().unwrap(), "1\n");
    files.rename(".part-1.csv", "part-1.csv");
    assert_eq!(opened.read_all().unwrap(), "2\n");
}

#[test]
fn a_deleted_file_is_forgotten_and_one_of_its_name_is_another() {
    let files = Files::watched("json");
    files.put("a.json", line(1));
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    assert_eq!(opened.read_all().unwrap(), "1\n");
    fs::remove_file(files.folder.path().join("a.json")).unwrap();
    assert_eq!(opened.read_all().unwrap(), "");
    files.put("a.json", line(2));
    assert_eq!(opened.read_all().unwrap(), "2\n");
}

#[test]
fn a_file_that_is_deleted_before_its_turn_is_no_error() {
    for format in FORMATS {
        let rows = schema("v:int");
        let files = Files::watched(format);
        files.write(&rows, &["1", "2"]);
        let mut opened = files.open(&rows, 0, 1).unwrap();
        // The first look finds both, in either order; one is opened then, and read later.
        assert_eq!(opened.source.next_event().unwrap(), SourceEvent::Idle);
        assert_eq!(opened.source.next_event().unwrap(), SourceEvent::Idle);
        for name in files.names() {
            fs::remove_file(files.folder.path().join(name)).unwrap();
        }
        assert_eq!(opened.read_all().unwrap(), "", "{format}");
        files.write(&rows, &["3"]);
        assert_eq!(opened.read_all().unwrap(), "3\n", "{format}");
    }
}

#[test]
fn subtasks_share_files_by_their_paths_whenever_they_come() {
    let rows = schema("v:int");
    let files = Files::watched("json");
    files.put("0.json", line(0));
    let mut subtasks: Vec<Opened> = (0..3).map(|subtask| files.open(&rows, subtask, 3).unwrap()).collect();
    (1..30).for_each(|v| files.put(&format!("{v}.json"), line(v)));
    let shares: Vec<String> = subtasks.iter_mut().map(|subtask| subtask.read_all().unwrap()).collect();
    assert!(shares.iter().all(|share| share.lines().count() > 3), "{shares:?}");
    let mut all: Vec<u32> = shares.concat().lines().map(|v| v.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<u32>>());
}

/// The source goes on where this one is.
fn go_on(files: &Files, opened: &Opened) -> Opened {
    let mut other = files.open(&schema("v:int"), 0, 1).unwrap();
    other.source.seek(&opened.source.position().unwrap()).unwrap();
    other
}

#[test]
fn what_was_read_is_not_read_again_and_what_came_meanwhile_is() {
    let files = Files::watched("json");
    files.put_at("a.json", &(1..=7).map(line).collect::<String>(), 10);
    files.put_at("b.json", &line(8), 20);
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    let mut text = String::new();
    let mut quiet = 0;
    while quiet < 10 {
        let SourceEvent::Batch(batch) = opened.source.next_event().unwrap() else {
            quiet += 1;
            continue;
        };
        if text.is_empty() {
            files.put_at("c.json", &line(9), 5);
        }
        text.push_str(&show_rows(&batch).unwrap());
        (opened, quiet) = (go_on(&files, &opened), 0);
    }
    assert_eq!(text, "1\n2\n3\n4\n5\n6\n7\n9\n8\n");
    assert_eq!(opened.read_all().unwrap(), "");
}

#[test]
fn a_file_that_is_gone_half_read_is_an_error_but_not_one_that_was_not_begun() {
    let files = Files::watched("json");
    files.put_at("a.json", &(1..=4).map(line).collect::<String>(), 10);
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    // Looks and opens.
    (0..2).for_each(|_| assert_eq!(opened.source.next_event().unwrap(), SourceEvent::Idle));
    let before = opened.source.position().unwrap();
    assert!(matches!(opened.source.next_event().unwrap(), SourceEvent::Batch(_)));
    let within = opened.source.position().unwrap();
    fs::remove_file(files.folder.path().join("a.json")).unwrap();
    let mut other = files.open(&schema("v:int"), 0, 1).unwrap();
    other.source.seek(&before).unwrap();
    assert_eq!(other.read_all().unwrap(), "");
    let error = files.open(&schema("v:int"), 0, 1).unwrap().source.seek(&within).unwrap_err();
    assert_eq!(files.anonymous(&error.chain()), "cannot open FOLDER/a.json: No such file or directory (os error 2)");
}

#[test]
fn every_format_can_be_watched() {
    for format in FORMATS {
        let rows = schema(ALL_TYPES);
        let files = Files::watched(format);
        let mut opened = files.open(&rows, 0, 1).unwrap();
        files.write(&rows, &["a 1 0.5 true @1.5"]);
        assert_eq!(opened.read_all().unwrap(), "a 1 0.5 true @1.5\n", "{format}");
    }
}

#[test]
fn a_watched_folder_must_be_there_but_files_need_not() {
    let rows = schema("v:int");
    let missing = Files::watched("csv").with("path", "no/such/folder");
    let Err(error) = missing.open(&rows, 0, 1) else { panic!("a folder that is not there is watched") };
    assert!(error.chain().starts_with("no file matches 'no/such/folder'"), "{}", error.chain());
    let glob = Files::watched("csv").with("path", "no/such/*.csv");
    assert_eq!(glob.open(&rows, 0, 1).unwrap().read_all().unwrap(), "");
}

#[test]
fn a_file_that_is_none_of_its_format_ends_the_job() {
    let files = Files::watched("parquet");
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    files.put("a.parquet", "no parquet");
    let error = opened.read_all().unwrap_err().chain();
    assert!(files.anonymous(&error).starts_with("FOLDER/a.parquet: not readable as Parquet"), "{error}");
}

#[test]
fn a_watched_folder_keeps_a_pace() {
    let files = Files::watched("json").with("rows_per_second", "100000");
    files.put("a.json", (0..20).map(line).collect::<String>());
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    let mut values = String::new();
    while values.lines().count() < 20 {
        if let SourceEvent::Batch(batch) = opened.source.next_event().unwrap() {
            values.push_str(&show_rows(&batch).unwrap());
        }
    }
    assert_eq!(values, (0..20).map(|v| format!("{v}\n")).collect::<String>());
}

/// A folder whose past is told from the rest.
fn backfilled() -> Files {
    Files::watched("json").with("scan_startup_mode", "backfill")
}

#[test]
fn what_is_there_is_read_before_what_comes() {
    let files = backfilled();
    files.put_at("a.json", &(line(1) + &line(2)), 30);
    files.put_at("b.json", &line(3), 20);
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    // As old as can be, and yet it has come since.
    files.put_at("c.json", &line(4), 1);
    assert!(opened.source.is_backfilling());
    assert_eq!(opened.read_all().unwrap(), "3\n1\n2\ncaught up\n4\n");
    assert!(!opened.source.is_backfilling());
    files.put_at("d.json", &line(5), 1);
    assert_eq!(opened.read_all().unwrap(), "5\n");
}

#[test]
fn who_has_no_share_of_what_is_there_has_caught_up_at_once() {
    let rows = schema("v:int");
    let files = backfilled();
    files.put("0.json", line(0));
    let mut subtasks: Vec<Opened> = (0..3).map(|subtask| files.open(&rows, subtask, 3).unwrap()).collect();
    (1..30).for_each(|v| files.put(&format!("{v}.json"), line(v)));
    let shares: Vec<String> = subtasks.iter_mut().map(|subtask| subtask.read_all().unwrap()).collect();
    let pasts: Vec<&str> = shares.iter().map(|share| share.split("caught up\n").next().unwrap()).collect();
    assert_eq!(pasts.concat(), "0\n", "{shares:?}");
    assert_eq!(shares.concat().matches("caught up").count(), 3);
    assert_eq!(shares.concat().lines().count(), 30 + 3);
    assert_eq!(backfilled().open(&rows, 0, 1).unwrap().read_all().unwrap(), "caught up\n");
}

#[test]
fn the_seam_is_where_it_was_whoever_goes_on_and_whatever_becomes_of_the_files() {
    let files = backfilled();
    files.put_at("a.json", &(1..=4).map(line).collect::<String>(), 10);
    files.put_at("b.json", &line(5), 20);
    files.put_at("c.json", &line(6), 30);
    files.put_at("gone.json", &line(7), 40);
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    // One that has been opened and not been read is still to come.
    assert_eq!(opened.source.next_event().unwrap(), SourceEvent::Idle);
    opened = go_on(&files, &opened);
    let (mut text, mut quiet) = (String::new(), 0);
    while quiet < 10 {
        match opened.source.next_event().unwrap() {
            SourceEvent::Batch(batch) => text.push_str(&show_rows(&batch).unwrap()),
            SourceEvent::CaughtUp => text.push_str("caught up\n"),
            // A file that has been opened and not read is opened again.
            _ => {
                quiet += 1;
                continue;
            }
        }
        if text == "1\n2\n3\n" {
            // One has come, one has grown before its turn, and one is gone.
            files.put_at("late.json", &line(8), 1);
            files.put_at("c.json", &(line(6) + &line(60)), 30);
            let _ = fs::remove_file(files.folder.path().join("gone.json"));
        }
        opened = go_on(&files, &opened);
    }
    assert_eq!(text, "1\n2\n3\n4\n5\n6\n60\ncaught up\n8\n");
}

#[test]
fn what_is_bad_is_no_end_of_what_was_there() {
    let files = backfilled();
    files.put_at("a.json", &line(1), 10);
    files.put_at("b.json", "no json\n", 20);
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    assert_eq!(opened.read_all().unwrap(), "1\ncaught up\n");
    assert_eq!(opened.stats.dead_letter_rows.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_there_is_left_out_if_only_what_comes_is_wanted() {
    let files = Files::watched("json").with("scan_startup_mode", "latest");
    files.put("a.json", line(1));
    let mut opened = files.open(&schema("v:int"), 0, 1).unwrap();
    files.put("b.json", line(2));
    // One that goes on has not begun now.
    let mut other = go_on(&files, &opened);
    for source in [&mut opened, &mut other] {
        assert_eq!(source.read_all().unwrap(), "2\n");
    }
    files.put("c.json", line(3));
    assert_eq!(go_on(&files, &opened).read_all().unwrap(), "3\n");
}

#[test]
fn who_goes_on_goes_on_as_it_was_whatever_the_option_says_by_then() {
    let rows = schema("v:int");
    let files = Files::watched("json");
    files.put_at("a.json", &line(1), 10);
    files.put_at("b.json", &line(2), 20);
    let mut live = files.open(&rows, 0, 1).unwrap();
    assert_eq!(live.read_all().unwrap(), "1\n2\n");
    files.put_at("c.json", &line(3), 30);
    let files = files.with("scan_startup_mode", "backfill");
    let mut opened = go_on(&files, &live);
    assert!(!opened.source.is_backfilling());
    assert_eq!(opened.read_all().unwrap(), "3\n");

    let past = files.open(&rows, 0, 1).unwrap();
    files.put_at("d.json", &line(4), 5);
    for mode in ["earliest", "latest"] {
        let files = Files { folder: tempfile::tempdir().unwrap(), options: files.options.clone(), ..backfilled() };
        let files = files.with("scan_startup_mode", mode);
        assert_eq!(go_on(&files, &past).read_all().unwrap(), "1\n2\n3\n4\n", "{mode}");
    }
}
