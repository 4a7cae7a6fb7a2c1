//! Sinks in jobs with checkpoints: what is seen when, and what crashes leave.

use tidemill_plans::ids::Epoch;

use super::*;
use crate::state::{Snapshot, StateReader};

impl Files {
    fn committed(format: &str) -> Self {
        Self { has_checkpoints: true, ..Self::new(format) }
    }

    /// A sink that is restored, as one of so many.
    fn restored(&self, from: &[Snapshot], subtask: u32, parallelism: u32) -> Box<dyn Sink> {
        let mut sink = self.sink(subtask, &rows());
        sink.restore(&StateReader::new(from, subtask, parallelism)).unwrap();
        sink
    }

    /// Names of files, and whose rows can be seen.
    #[track_caller]
    fn check(&self, names: &[&str], values: &str) {
        assert_eq!(self.names(), names);
        let seen =
            if names.iter().all(|name| name.ends_with(IN_PROGRESS)) { String::new() } else { self.read(&rows()) };
        assert_eq!(seen.lines().collect::<Vec<_>>().join(" "), values);
    }
}

fn rows() -> SchemaRef {
    schema("v:int")
}

fn write(sink: &mut Box<dyn Sink>, values: &str) {
    sink.write(&parse_rows(&rows(), values).unwrap()).unwrap();
}

/// The state of a sink, through bytes.
fn snapshot(sink: &mut Box<dyn Sink>, epoch: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    sink.snapshot(&mut snapshot.writer(Epoch(epoch))).unwrap();
    Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap()
}

const FIRST: &str = "part-0.csv";
const FIRST_OPEN: &str = "part-0.csv.inprogress";
const SECOND: &str = "part-0-0000000001.csv";
const SECOND_OPEN: &str = "part-0-0000000001.csv.inprogress";

#[test]
fn rows_are_seen_once_their_checkpoint_is_sealed() {
    for format in FORMATS {
        let files = Files::committed(format);
        let mut sink = files.sink(0, &rows());
        assert!(sink.commits());
        assert_eq!(files.names(), Vec::<String>::new(), "nothing is written without rows");
        write(&mut sink, "1\n2");
        snapshot(&mut sink, 1);
        write(&mut sink, "3");
        let name = |part: &str| format!("{part}.{format}");
        let in_progress = |part: &str| format!("{part}.{format}.inprogress");
        let second = "part-0-0000000001";
        assert_eq!(files.names(), [in_progress(second), in_progress("part-0")]);
        sink.commit(Epoch(0)).unwrap();
        assert_eq!(files.names().len(), 2, "an epoch before it");
        sink.commit(Epoch(1)).unwrap();
        sink.commit(Epoch(1)).unwrap();
        assert_eq!(files.names(), [in_progress(second), name("part-0")]);
        assert_eq!(files.read(&rows()), "1\n2\n");
        sink.finish().unwrap();
        assert_eq!(files.read(&rows()), "1\n2\n");
        sink.commit(Epoch::END).unwrap();
        assert_eq!(files.names(), [name(second), name("part-0")]);
        let mut seen: Vec<String> = files.read(&rows()).lines().map(String::from).collect();
        seen.sort();
        assert_eq!(seen, ["1", "2", "3"]);
    }
}

#[test]
fn a_commit_covers_all_epochs_before_it() {
    let files = Files::committed("csv");
    let mut sink = files.sink(0, &rows());
    write(&mut sink, "1");
    snapshot(&mut sink, 1);
    write(&mut sink, "2");
    snapshot(&mut sink, 2);
    snapshot(&mut sink, 3);
    write(&mut sink, "3");
    snapshot(&mut sink, 4);
    sink.commit(Epoch(3)).unwrap();
    files.check(&[SECOND, "part-0-0000000003.csv.inprogress", FIRST], "2 1");
}

#[test]
fn what_a_sealed_checkpoint_covers_is_seen_after_a_crash_and_the_rest_is_gone() {
    for is_committed in [false, true] {
        let files = Files::committed("csv");
        let mut sink = files.sink(0, &rows());
        write(&mut sink, "1\n2");
        let state = snapshot(&mut sink, 1);
        if is_committed {
            sink.commit(Epoch(1)).unwrap();
        }
        write(&mut sink, "3");
        // The next checkpoint is never sealed.
        snapshot(&mut sink, 2);
        write(&mut sink, "4");
        drop(sink);
        files.check(
            &[SECOND_OPEN, if is_committed { FIRST } else { FIRST_OPEN }],
            if is_committed { "1 2" } else { "" },
        );
        // The second crash comes at once.
        drop(files.restored(std::slice::from_ref(&state), 0, 1));
        files.check(&[FIRST], "1 2");
        let mut sink = files.restored(&[state], 0, 1);
        write(&mut sink, "3");
        files.check(&[SECOND_OPEN, FIRST], "1 2");
        sink.finish().unwrap();
        sink.commit(Epoch::END).unwrap();
        files.check(&[SECOND, FIRST], "3 1 2");
    }
}

#[test]
fn what_was_finished_is_seen_with_the_last_checkpoint() {
    let files = Files::committed("csv");
    let mut sink = files.sink(0, &rows());
    write(&mut sink, "1");
    sink.finish().unwrap();
    let state = snapshot(&mut sink, Epoch::END.0);
    drop(sink);
    files.check(&[FIRST_OPEN], "");
    let mut sink = files.restored(&[state], 0, 1);
    files.check(&[FIRST], "1");
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    files.check(&[FIRST], "1");
}

#[test]
fn a_sink_without_rows_leaves_an_empty_part_at_its_end() {
    let files = Files::committed("csv");
    let mut sink = files.sink(0, &rows());
    let state = snapshot(&mut sink, 1);
    sink.commit(Epoch(1)).unwrap();
    drop(sink);
    files.check(&[], "");
    let mut sink = files.restored(&[state], 0, 1);
    sink.finish().unwrap();
    files.check(&[SECOND_OPEN], "");
    sink.commit(Epoch::END).unwrap();
    files.check(&[SECOND], "");
}

#[test]
fn a_job_that_begins_anew_removes_what_a_crash_left() {
    let files = Files::committed("csv");
    let mut sink = files.sink(0, &rows());
    write(&mut sink, "1");
    snapshot(&mut sink, 1);
    write(&mut sink, "2");
    snapshot(&mut sink, 2);
    drop(sink);
    files.put("part-1.csv.inprogress", "another's");
    files.put("part-0-x.csv.inprogress", "another's");
    let mut sink = files.sink(0, &rows());
    files.check(&[SECOND_OPEN, "part-0-x.csv.inprogress", FIRST_OPEN, "part-1.csv.inprogress"], "");
    write(&mut sink, "1");
    files.check(&["part-0-x.csv.inprogress", FIRST_OPEN, "part-1.csv.inprogress"], "");
}

#[test]
fn what_is_being_written_is_not_removed_by_others() {
    let files = Files::committed("csv");
    let mut writing = files.sink(0, &rows());
    write(&mut writing, "1");
    let mut before = files.sink(1, &rows());
    let state = [snapshot(&mut before, 1)];
    drop(files.restored(&state, 0, 1));
    files.check(&[FIRST_OPEN], "");
}

#[test]
fn another_parallelism_commits_all_and_removes_all_that_is_left() {
    let files = Files::committed("csv");
    let mut sinks: Vec<_> = (0..3).map(|subtask| files.sink(subtask, &rows())).collect();
    let states: Vec<Snapshot> = sinks
        .iter_mut()
        .zip(1..)
        .map(|(sink, value)| {
            write(sink, &format!("{value}"));
            snapshot(sink, 1)
        })
        .collect();
    sinks.iter_mut().for_each(|sink| write(sink, "9"));
    sinks.iter_mut().for_each(|sink| drop(snapshot(sink, 2)));
    drop(sinks);
    assert_eq!(files.names().len(), 6);
    let mut restored: Vec<_> = (0..2).map(|subtask| files.restored(&states, subtask, 2)).collect();
    files.check(&[FIRST, "part-1.csv", "part-2.csv"], "1 2 3");
    restored.iter_mut().for_each(|sink| write(sink, "4"));
    restored.iter_mut().for_each(|sink| drop(snapshot(sink, 2)));
    restored.iter_mut().for_each(|sink| sink.commit(Epoch(2)).unwrap());
    files.check(&[SECOND, FIRST, "part-1-0000000001.csv", "part-1.csv", "part-2.csv"], "4 1 4 2 3");
}

#[test]
fn a_part_that_is_gone_is_an_error() {
    let files = Files::committed("csv");
    let mut sink = files.sink(0, &rows());
    write(&mut sink, "1");
    let state = snapshot(&mut sink, 1);
    drop(sink);
    fs::remove_file(files.folder.path().join(FIRST_OPEN)).unwrap();
    let error = files.sink(0, &rows()).restore(&StateReader::new(&[state], 0, 1)).unwrap_err();
    assert_eq!(
        files.anonymous(&error.chain()),
        "cannot complete FOLDER/part-0.csv: No such file or directory (os error 2)"
    );
}

#[test]
fn columns_that_a_format_does_not_have_are_an_error_before_the_first_row() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let nested: SchemaRef = Arc::new(Schema::new(vec![Field::new("v", DataType::List(item), true)]));
    let files = Files::committed("csv");
    assert!(files.try_sink(0, &nested).is_err());
    assert_eq!(files.names(), Vec::<String>::new());
}

#[test]
fn a_second_writer_of_a_part_that_waits_for_its_commit_is_refused() {
    let files = Files::committed("csv");
    let mut first = files.sink(0, &rows());
    write(&mut first, "1");
    snapshot(&mut first, 1);
    let mut second = files.sink(0, &rows());
    let error = second.write(&parse_rows(&rows(), "2").unwrap()).unwrap_err();
    assert!(matches!(error, EngineError::FileInUse { .. }), "{}", error.chain());
    first.commit(Epoch(1)).unwrap();
    files.check(&[FIRST], "1");
}
