//! Sinks in jobs with checkpoints: what is seen when, and what crashes leave.

use tidemill_plans::ids::Epoch;

use super::*;
use crate::state::{Snapshot, StateReader};

impl Files {
    fn committed(format: &str) -> Self {
        Self { checkpoints: Some(String::from("checkpoints")), ..Self::new(format) }
    }

    /// A sink that is restored, as one of so many.
    fn restored(&self, from: &[Snapshot], subtask: u32, parallelism: u32) -> Box<dyn Sink> {
        let mut sink = self.sink(subtask, &rows());
        sink.restore(&StateReader::new(from, subtask, parallelism)).unwrap();
        sink
    }

    /// Whose sinks are opened from now on belong to the next attempt.
    fn next_attempt(&mut self) {
        self.attempt += 1;
    }

    /// The names of files but for those that are locked instead of parts.
    fn parts(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| name.split('.').nth(2) != Some("inprogress")).collect()
    }

    /// Names of files, and whose rows can be seen.
    #[track_caller]
    fn check(&self, names: &[&str], values: &str) {
        assert_eq!(self.parts(), names);
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

const FIRST: &str = "part-0-0000000000.csv";
const FIRST_OPEN: &str = "part-0-0000000000.csv.0.inprogress";
const SECOND: &str = "part-0-0000000001.csv";
const SECOND_OPEN: &str = "part-0-0000000001.csv.0.inprogress";
const THIRD: &str = "part-0-0000000002.csv";

#[test]
fn rows_are_seen_once_their_checkpoint_is_sealed() {
    for format in FORMATS {
        let files = Files::committed(format);
        let mut sink = files.sink(0, &rows());
        assert!(sink.commits());
        assert_eq!(files.parts(), Vec::<String>::new(), "nothing is written without rows");
        write(&mut sink, "1\n2");
        snapshot(&mut sink, 1);
        write(&mut sink, "3");
        let name = |part: &str| format!("{part}.{format}");
        let in_progress = |part: &str| format!("{part}.{format}.0.inprogress");
        let (first, second) = ("part-0-0000000000", "part-0-0000000001");
        assert_eq!(files.parts(), [in_progress(first), in_progress(second)]);
        sink.commit(Epoch(0)).unwrap();
        assert_eq!(files.parts(), [in_progress(first), in_progress(second)], "an epoch before it");
        sink.commit(Epoch(1)).unwrap();
        sink.commit(Epoch(1)).unwrap();
        assert_eq!(files.parts(), [name(first), in_progress(second)]);
        assert_eq!(files.read(&rows()), "1\n2\n");
        sink.finish().unwrap();
        assert_eq!(files.read(&rows()), "1\n2\n");
        sink.commit(Epoch::END).unwrap();
        assert_eq!(files.parts(), [name(first), name(second)]);
        assert_eq!(files.read(&rows()), "1\n2\n3\n", "in the order of time");
        drop(sink);
        assert_eq!(files.names(), [name(first), name(second)]);
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
    files.check(&[FIRST, SECOND, "part-0-0000000003.csv.0.inprogress"], "1 2");
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
            &[if is_committed { FIRST } else { FIRST_OPEN }, SECOND_OPEN],
            if is_committed { "1 2" } else { "" },
        );
        // The second crash comes at once.
        drop(files.restored(std::slice::from_ref(&state), 0, 1));
        files.check(&[FIRST], "1 2");
        let mut sink = files.restored(&[state], 0, 1);
        write(&mut sink, "3");
        files.check(&[FIRST, SECOND_OPEN], "1 2");
        sink.finish().unwrap();
        sink.commit(Epoch::END).unwrap();
        files.check(&[FIRST, SECOND], "1 2 3");
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
    let others = ["part-0-x.csv.0.inprogress", "part-1-0000000000.csv.0.inprogress"];
    others.iter().for_each(|name| files.put(name, "another's"));
    let mut sink = files.sink(0, &rows());
    files.check(&[FIRST_OPEN, SECOND_OPEN, others[0], others[1]], "");
    write(&mut sink, "1");
    files.check(&[FIRST_OPEN, others[0], others[1]], "");
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
    assert_eq!(files.parts().len(), 6);
    let mut restored: Vec<_> = (0..2).map(|subtask| files.restored(&states, subtask, 2)).collect();
    let others = ["part-1-0000000000.csv", "part-1-0000000001.csv", "part-2-0000000000.csv"];
    files.check(&[FIRST, others[0], others[2]], "1 2 3");
    restored.iter_mut().for_each(|sink| write(sink, "4"));
    restored.iter_mut().for_each(|sink| drop(snapshot(sink, 2)));
    restored.iter_mut().for_each(|sink| sink.commit(Epoch(2)).unwrap());
    files.check(&[FIRST, SECOND, others[0], others[1], others[2]], "1 4 2 4 3");
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
        "cannot complete FOLDER/part-0-0000000000.csv: No such file or directory (os error 2)"
    );
}

#[test]
fn columns_that_a_format_does_not_have_are_an_error_before_the_first_row() {
    let spaced: SchemaRef = Arc::new(Schema::new(vec![Field::new("v w", DataType::Int64, true)]));
    let files = Files::committed("avro");
    assert!(files.try_sink(0, &spaced).is_err());
    assert_eq!(files.names(), Vec::<String>::new());
}

/// What opening a sink is refused with.
#[track_caller]
fn refused(files: &Files) -> String {
    let Err(error) = files.try_sink(0, &rows()) else { panic!("two sinks write one folder") };
    files.anonymous(&error.chain())
}

#[test]
fn another_job_is_refused_while_one_writes_and_after_it_is_not() {
    const IN_USE: &str =
        "another job or sink is writing FOLDER/part-0.csv.inprogress; give each sink a folder of its own";
    let mut files = Files::committed("csv");
    let mut first = files.sink(0, &rows());
    write(&mut first, "1");
    snapshot(&mut first, 1);
    assert_eq!(refused(&files), IN_USE, "the same attempt");
    files.next_attempt();
    files.checkpoints = Some(String::from("elsewhere"));
    assert_eq!(refused(&files), IN_USE, "a job of another cluster");
    files.checkpoints = None;
    assert_eq!(refused(&files), IN_USE, "a job without checkpoints");
    let _other_subtask = files.sink(1, &rows());
    first.commit(Epoch(1)).unwrap();
    files.check(&[FIRST], "1");
    drop(first);
    files.write(&rows(), &["2"]);
    files.check(&["part-0.csv"], "2");
}

#[test]
fn a_job_without_checkpoints_holds_off_one_with_them() {
    let mut files = Files::new("csv");
    let _first = files.sink(0, &rows());
    files.checkpoints = Some(String::from("checkpoints"));
    refused(&files);
}

#[test]
fn the_next_attempt_does_not_wait_for_the_one_before() {
    let mut files = Files::committed("csv");
    let mut first = files.sink(0, &rows());
    write(&mut first, "1");
    let state = snapshot(&mut first, 1);
    write(&mut first, "2");
    files.next_attempt();
    let mut second = files.restored(&[state], 0, 1);
    write(&mut second, "3");
    snapshot(&mut second, 2);
    files.check(&[FIRST, "part-0-0000000001.csv.1.inprogress"], "1");
    // The first does not know yet. What it has no longer counts.
    snapshot(&mut first, 2);
    assert!(matches!(first.commit(Epoch(2)), Err(EngineError::FileInUse { .. })));
    files.attempt = 0;
    refused(&files);
    drop(first);
    files.checkpoints = Some(String::from("elsewhere"));
    refused(&files);
    second.commit(Epoch(2)).unwrap();
    files.check(&[FIRST, SECOND], "1 3");
    second.commit(Epoch::END).unwrap();
    drop(second);
    assert_eq!(files.names(), [FIRST, SECOND]);
}

#[test]
fn an_attempt_is_refused_when_a_later_one_has_been() {
    let mut files = Files::committed("csv");
    let mut wide = [0, 1].map(|subtask| files.sink(subtask, &rows()));
    let states = wide.each_mut().map(|sink| {
        write(sink, "1");
        snapshot(sink, 1)
    });
    drop(wide);
    files.next_attempt();
    let mut one = files.restored(&states, 0, 1);
    write(&mut one, "2");
    let state = snapshot(&mut one, 2);
    drop(one);
    let left = files.parts();
    // A coordinator that has slept since the first attempt deploys it: it would remove what it does not know of.
    files.attempt = 0;
    for subtask in [0, 1] {
        assert!(matches!(files.try_sink(subtask, &rows()), Err(EngineError::FileInUse { .. })), "{subtask}");
    }
    assert_eq!(files.parts(), left);
    files.attempt = 2;
    drop(files.restored(&[state], 0, 1));
    files.check(&[FIRST, "part-0-0000000001.csv", "part-1-0000000000.csv"], "1 2 1");
}

#[test]
fn the_first_commit_removes_what_an_earlier_run_left_of_the_subtask() {
    let files = Files::committed("csv");
    let others = ["part-1.csv", "part-1-0000000000.csv", "part-0-x.csv", "part-0.json"];
    let left = ["part-0.csv", "part-0-0000000000.csv", "part-0-0000000009.csv"];
    others.iter().chain(&left).for_each(|name| files.put(name, "v\n9\n"));
    let mut sink = files.sink(0, &rows());
    snapshot(&mut sink, 1);
    write(&mut sink, "1");
    snapshot(&mut sink, 2);
    assert!(left.iter().all(|name| files.names().iter().any(|found| found == name)));
    sink.commit(Epoch(2)).unwrap();
    let mut kept = others.to_vec();
    kept.push(SECOND);
    kept.sort_unstable();
    assert_eq!(files.parts(), kept);
    write(&mut sink, "2");
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    kept.push(THIRD);
    kept.sort_unstable();
    assert_eq!(files.parts(), kept, "later commits remove nothing");
}

#[test]
fn what_an_earlier_run_left_goes_though_a_crash_comes_between_the_seal_and_the_commit() {
    for parallelism in [1, 2] {
        let files = Files::committed("csv");
        for name in [FIRST, THIRD, "part-0.csv", "part-1-0000000000.csv"] {
            files.put(name, "v\n9\n");
        }
        let mut sinks: Vec<_> = (0..2).map(|subtask| files.sink(subtask, &rows())).collect();
        sinks.iter_mut().for_each(|sink| drop(snapshot(sink, 1)));
        // One has committed before the next checkpoint, and the other has not.
        write(&mut sinks[1], "1");
        snapshot(&mut sinks[1], 2);
        sinks[1].commit(Epoch(2)).unwrap();
        sinks.iter_mut().for_each(|sink| write(sink, "2"));
        let states: Vec<_> = sinks.iter_mut().map(|sink| snapshot(sink, 3)).collect();
        drop(sinks);
        let restored: Vec<_> = (0..parallelism).map(|subtask| files.restored(&states, subtask, parallelism)).collect();
        drop(restored);
        files.check(&[SECOND, "part-1-0000000001.csv", "part-1-0000000002.csv"], "2 1 2");
    }
}

#[test]
fn parts_behind_an_older_checkpoint_go_when_it_is_restored() {
    for parallelism in [1, 2, 3] {
        let mut files = Files::committed("csv");
        let mut sinks: Vec<_> = (0..2).map(|subtask| files.sink(subtask, &rows())).collect();
        let mut states = Vec::new();
        for epoch in 1..=4 {
            sinks.iter_mut().for_each(|sink| write(sink, &epoch.to_string()));
            states.push(sinks.iter_mut().map(|sink| snapshot(sink, epoch)).collect::<Vec<_>>());
            if epoch < 4 {
                sinks.iter_mut().for_each(|sink| sink.commit(Epoch(epoch)).unwrap());
            }
        }
        let other = |epoch| format!("part-1-000000000{epoch}.csv");
        files.check(
            &[
                FIRST,
                SECOND,
                THIRD,
                "part-0-0000000003.csv.0.inprogress",
                &other(0),
                &other(1),
                &other(2),
                "part-1-0000000003.csv.0.inprogress",
            ],
            "1 2 3 1 2 3",
        );
        drop(sinks);
        files.next_attempt();
        let restored: Vec<_> =
            (0..parallelism).map(|subtask| files.restored(&states[1], subtask, parallelism)).collect();
        files.check(&[FIRST, SECOND, &other(0), &other(1)], "1 2 1 2");
        drop(restored);
    }
}

#[test]
fn an_instance_that_has_ended_does_not_number_the_parts_of_the_others() {
    let files = Files::committed("csv");
    let mut sinks: Vec<_> = (0..2).map(|subtask| files.sink(subtask, &rows())).collect();
    write(&mut sinks[1], "1");
    sinks[1].finish().unwrap();
    let states = [snapshot(&mut sinks[0], 1), snapshot(&mut sinks[1], Epoch::END.0)];
    drop(sinks);
    let mut sink = files.restored(&states, 0, 1);
    write(&mut sink, "2");
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    files.check(&[SECOND, "part-1-0000000000.csv"], "2 1");
}

#[test]
fn inserts_add_to_what_is_there() {
    let first = Files::committed("csv").with("insert", "1");
    let second =
        Files { options: first.options.clone(), folder: tempfile::tempdir().unwrap(), ..Files::committed("csv") };
    let second = second.with("insert", "2");
    let mut sinks = [&first, &second].map(|files| files.sink(0, &rows()));
    write(&mut sinks[0], "1");
    let state = snapshot(&mut sinks[0], 1);
    write(&mut sinks[1], "2");
    let [one, mut two] = sinks;
    drop(one);
    two.finish().unwrap();
    two.commit(Epoch::END).unwrap();
    drop(two);
    // A job of another number that goes on with what the first has left.
    let third =
        Files { options: first.options.clone(), folder: tempfile::tempdir().unwrap(), ..Files::committed("csv") };
    let third = Files { attempt: 1, ..third.with("insert", "3") };
    let mut sink = third.restored(&[state], 0, 1);
    write(&mut sink, "3");
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    drop(sink);
    let names = ["insert-1-0-0000000000.csv", "insert-1-0-0000000001.csv", "insert-2-0-0000000000.csv"];
    first.check(&names, "1 3 2");
    assert_eq!(first.names(), names);
}
