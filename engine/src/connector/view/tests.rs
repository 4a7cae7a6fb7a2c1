//! What is read of a view at each epoch, while its sink goes on.

use arrow::array::{ArrayRef, RecordBatch};
use expect_test::{Expect, expect};
use tidemill_plans::change::{ChangeOp, change_array, with_change_column};
use tidemill_plans::connector::{VIEW_CONNECTOR, VIEW_FOLLOW};
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::{SinkNode, SourceNode};

use super::*;
use crate::connector::{Sink, Source, SourceEvent, open_source as open};
use crate::error::Result;
use crate::metrics::OperatorStats;
use crate::state::{Belongs, Snapshot, StateReader};
use crate::task::TaskEnv;
use crate::testing::graph::schema;
use crate::testing::{parse_rows, show_rows, test_env};

const SINK: OperatorId = OperatorId(7);

/// One part of a view of `k:text v:int`.
struct View {
    env: TaskEnv,
    sink: ViewSink,
    changes: bool,
}

impl View {
    /// An append-only view, or an updating one with these keys.
    fn new(keys: Option<&[usize]>) -> Self {
        let env = test_env().unwrap();
        let plain = schema("k:text v:int");
        let node = SinkNode {
            table: String::from("v"),
            connector: VIEW_CONNECTOR.to_owned(),
            options: vec![],
            time: None,
            upsert_keys: keys.unwrap_or_default().to_vec(),
            order_by: vec![],
            limit: None,
            live: false,
        };
        let changes = keys.is_some();
        let schema = if changes { with_change_column(&plain) } else { plain };
        let mut sink = ViewSink::new(&node, SINK, 0, &env, schema);
        sink.hold_where(&keys.map_or(Belongs::Anywhere, |keys| Belongs::ToKeys(keys.to_vec())));
        Self { env, sink, changes }
    }

    /// Writes rows, with a change in front of each where the view is updating.
    fn write(&mut self, rows: &str) {
        let (mut ops, mut text) = (Vec::new(), String::new());
        for line in rows.lines().map(str::trim) {
            let (op, row) = if self.changes { line.split_once(' ').unwrap() } else { ("+I", line) };
            let all = [ChangeOp::Insert, ChangeOp::UpdateBefore, ChangeOp::UpdateAfter, ChangeOp::Delete];
            ops.extend(all.into_iter().find(|known| known.to_string() == op));
            text.push_str(&format!("{row}\n"));
        }
        let plain = schema("k:text v:int");
        let mut columns: Vec<ArrayRef> = parse_rows(&plain, &text).unwrap().columns().to_vec();
        columns.extend(self.changes.then(|| change_array(&ops)));
        let schema = if self.changes { with_change_column(&plain) } else { plain };
        self.sink.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    }

    fn seal(&mut self, epoch: u64) {
        self.sink.seal(Epoch(epoch)).unwrap();
    }

    /// What the view has at an epoch, sorted.
    fn read(&self, epoch: Epoch) -> Result<String> {
        let mut source = self.open(epoch, "k:text v:int", 2)?;
        let mut rows = Vec::new();
        while let SourceEvent::Batch(batch) = source.next_event()? {
            assert!(batch.num_rows() <= 2, "batches are as large as they are set to be");
            rows.extend(show_rows(&batch)?.lines().map(str::to_owned));
        }
        rows.sort();
        Ok(rows.join(", "))
    }

    fn open(&self, epoch: Epoch, columns: &str, batch_rows: u32) -> Result<Box<dyn Source>> {
        self.open_with(epoch, columns, batch_rows, &[])
    }

    fn follower(&self, epoch: Epoch) -> Result<Box<dyn Source>> {
        self.open_with(epoch, "k:text v:int", 2, &[(VIEW_FOLLOW.to_owned(), String::from("true"))])
    }

    fn open_with(
        &self,
        epoch: Epoch,
        columns: &str,
        batch_rows: u32,
        more: &[(String, String)],
    ) -> Result<Box<dyn Source>> {
        let columns = schema(columns);
        let option = |name: &str, value: u64| (name.to_owned(), value.to_string());
        let options = [option("job", self.env.job.0), option("operator", SINK.0.into()), option("epoch", epoch.0)];
        let node = SourceNode {
            table: String::from("v"),
            connector: VIEW_CONNECTOR.to_owned(),
            options: [&options[..], more].concat(),
            declared: vec![String::from("k"), String::from("v")],
            columns: StreamSchema(columns),
            projection: vec![],
            event_time: None,
            upsert_key: Vec::new(),
        };
        let mut env = self.env.clone();
        env.job = JobId(99);
        env.settings.source_batch_rows = batch_rows;
        open(&node, &env, Arc::new(OperatorStats::new(env.job, OperatorId(0), 0)), 0, 1)
    }

    #[track_caller]
    fn check(&self, epoch: u64, expected: Expect) {
        expected.assert_eq(&self.read(Epoch(epoch)).unwrap_or_else(|error| error.to_string()));
    }
}

#[test]
fn rows_are_read_up_to_an_epoch_and_not_beyond() {
    let mut view = View::new(None);
    view.write("a 1\nb 2");
    view.check(0, expect![""]);
    view.seal(1);
    view.write("c 3");
    view.check(1, expect!["a 1, b 2"]);
    view.seal(2);
    view.check(1, expect!["a 1, b 2"]);
    view.check(2, expect!["a 1, b 2, c 3"]);
    view.check(
        u64::MAX,
        expect!["view 'v' cannot be read at epoch-18446744073709551615: its query has not ended; ask again"],
    );
    view.sink.finish().unwrap();
    view.check(u64::MAX, expect!["a 1, b 2, c 3"]);
}

#[test]
fn a_row_replaces_the_one_of_its_key() {
    let mut view = View::new(Some(&[0]));
    view.write("+I a 1\n+I b 2");
    view.seal(1);
    view.write("-U a 1\n+U a 5\n-D b 2\n+I c 3\n-D c 3");
    view.seal(2);
    view.write("+I b 7");
    view.seal(3);
    view.check(1, expect!["a 1, b 2"]);
    view.check(2, expect!["a 5"]);
    view.check(3, expect!["a 5, b 7"]);
}

#[test]
fn without_a_key_equal_rows_are_counted() {
    let mut view = View::new(Some(&[]));
    view.write("+I a 1\n+I a 1");
    view.seal(1);
    view.write("-D a 1\n+I b 2");
    view.seal(2);
    view.check(1, expect!["a 1, a 1"]);
    view.check(2, expect!["a 1, b 2"]);
}

#[test]
fn the_past_is_kept_for_some_epochs_and_old_changes_take_no_room() {
    let mut view = View::new(Some(&[0]));
    let mut bytes = Vec::new();
    for epoch in 1..=200 {
        let changes: Vec<String> = (0..200).map(|v| format!("+U a {}\n-U a {v}", v + 1)).collect();
        view.write(&format!("{}\n+U a {epoch}", changes.join("\n")));
        view.seal(epoch);
        bytes.push(view.sink.state_bytes());
    }
    view.check(200, expect!["a 200"]);
    view.check(192, expect!["a 192"]);
    view.check(
        191,
        expect!["view 'v' cannot be read at epoch-191: newer changes are mixed with what it had; ask again"],
    );
    assert!(bytes.iter().all(|held| *held < 80 * bytes[0]), "{bytes:?}");
}

#[test]
fn small_batches_of_many_epochs_become_few() {
    let mut view = View::new(None);
    for epoch in 1..=300 {
        view.write(&format!("a {epoch}"));
        view.seal(epoch);
    }
    let batches = lock(&view.sink_held()).until(Epoch(300)).unwrap();
    assert!(batches.len() < 80, "{}", batches.len());
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 300);
}

#[test]
fn columns_are_read_by_name_and_the_rows_of_none_are_counted() {
    let mut view = View::new(Some(&[0]));
    view.write("+I a 1\n+I b 2");
    view.seal(1);
    let mut source = view.open(Epoch(1), "v:int", 10).unwrap();
    let SourceEvent::Batch(batch) = source.next_event().unwrap() else { panic!("no rows") };
    assert_eq!(show_rows(&batch).unwrap(), "1\n2\n");
}

#[test]
fn a_view_that_is_forgotten_is_gone() {
    let mut view = View::new(None);
    view.write("a 1");
    view.seal(1);
    view.env.views.forget(JobId(5));
    view.check(1, expect!["a 1"]);
    view.env.views.forget(view.env.job);
    assert!(view.env.views.is_empty());
    view.check(1, expect!["view 'v' cannot be read at epoch-1: this worker does not hold it; ask again"]);
}

impl View {
    fn sink_held(&self) -> Arc<Mutex<Held>> {
        self.env.views.find(Part { job: self.env.job, operator: SINK, subtask: 0 }).unwrap()
    }
}

/// Parts of a view with a key, as they go on from what others held.
fn restored(from: &[Snapshot], parallelism: u32) -> Vec<View> {
    let part = |subtask| {
        let mut view = View::new(Some(&[0]));
        view.sink.restore(&StateReader::new(from, subtask, parallelism)).unwrap();
        view
    };
    (0..parallelism).map(part).collect()
}

fn snapshot(view: &mut View, epoch: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    view.sink.snapshot(&mut snapshot.writer(Epoch(epoch))).unwrap();
    Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap()
}

#[test]
fn a_view_goes_on_from_a_checkpoint() {
    let mut view = View::new(Some(&[0]));
    for epoch in 1..=20 {
        view.write(&format!("+U a {epoch}\n+I k{epoch} 1"));
        view.seal(epoch);
    }
    view.write("-D k1 1");
    // Whether it is sealed before or behind.
    let states = [snapshot(&mut view, 21), {
        view.seal(21);
        snapshot(&mut view, 21)
    }];
    let wanted = view.read(Epoch(21)).unwrap();
    for state in states {
        let mut view = restored(&[state], 1).remove(0);
        assert!(view.sink.state_bytes() > 0);
        assert_eq!(view.read(Epoch(21)).unwrap(), wanted);
        view.check(
            20,
            expect!["view 'v' cannot be read at epoch-20: newer changes are mixed with what it had; ask again"],
        );
        view.write("-U a 20\n+U a 77");
        view.seal(22);
        assert_eq!(view.read(Epoch(21)).unwrap(), wanted);
        assert_eq!(view.read(Epoch(22)).unwrap(), wanted.replace("a 20", "a 77"));
    }
}

#[test]
fn a_view_that_has_ended_has_ended_when_it_comes_back() {
    let mut view = View::new(Some(&[0]));
    view.write("+I a 1");
    view.seal(1);
    view.write("+I b 2");
    view.sink.finish().unwrap();
    let view = restored(&[snapshot(&mut view, Epoch::END.0)], 1).remove(0);
    assert_eq!(view.read(Epoch(1)).unwrap(), "a 1");
    assert_eq!(view.read(Epoch::END).unwrap(), "a 1, b 2");
}

#[test]
fn rows_and_their_changes_meet_whatever_the_parallelism() {
    let mut view = View::new(Some(&[0]));
    let inserts: Vec<String> = (0..50).map(|key| format!("+I k{key} 1")).collect();
    view.write(&inserts.join("\n"));
    view.seal(1);
    let mut parts = restored(&[snapshot(&mut view, 1)], 3);
    let read = |parts: &[View], epoch| -> Vec<String> {
        let rows = parts.iter().flat_map(|part| {
            let rows = part.read(Epoch(epoch)).unwrap();
            rows.split(", ").map(String::from).collect::<Vec<_>>()
        });
        let mut rows: Vec<String> = rows.collect();
        rows.sort();
        rows
    };
    let all: Vec<String> = view.read(Epoch(1)).unwrap().split(", ").map(String::from).collect();
    assert_eq!(read(&parts, 1), all);
    // Each part updates its own rows.
    for part in &mut parts {
        let rows = part.read(Epoch(1)).unwrap();
        let updates: Vec<String> = rows.split(", ").map(|row| format!("-U {row}\n+U {row}2")).collect();
        part.write(&updates.join("\n"));
        part.seal(2);
    }
    let states: Vec<Snapshot> = parts.iter_mut().map(|part| snapshot(part, 2)).collect();
    let updated: Vec<String> = all.iter().map(|row| format!("{row}2")).collect();
    assert_eq!(read(&restored(&states, 1), 2), updated);
    assert_eq!(read(&restored(&states, 2), 2), updated);
}

/// What a follower says until nothing has changed, with its changes.
fn follow(source: &mut dyn Source) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        match source.next_event() {
            Ok(SourceEvent::Batch(batch)) => {
                let shown = tidemill_plans::change::show_changes(&batch).unwrap();
                said.push(show_rows(&shown).unwrap().lines().collect::<Vec<_>>().join(", "));
            }
            Ok(SourceEvent::Idle | SourceEvent::CaughtUp) => return said,
            Ok(SourceEvent::End) => {
                said.push(String::from("end"));
                return said;
            }
            Err(error) => {
                said.push(error.to_string());
                return said;
            }
        }
    }
}

#[test]
fn a_follower_gets_what_there_is_and_then_what_changes() {
    let mut view = View::new(Some(&[0]));
    view.write("+I a 1\n+I b 2\n+I c 3");
    view.seal(1);
    view.write("-D b 2");
    view.seal(2);
    let mut early = view.follower(Epoch(2)).unwrap();
    assert_eq!(follow(early.as_mut()), ["+I a 1, +I c 3"]);
    view.write("-U a 1\n+U a 4\n+I d 5");
    assert_eq!(follow(early.as_mut()), [""; 0]);
    view.seal(3);
    assert_eq!(follow(early.as_mut()), ["+U a 4, +I d 5"]);
    view.write("-D d 5");
    view.seal(4);
    view.sink.finish().unwrap();
    assert_eq!(follow(early.as_mut()), ["-D d 5", "end"]);

    let mut view = View::new(None);
    let mut slow = view.follower(Epoch(0)).unwrap();
    assert_eq!(follow(slow.as_mut()), [""; 0]);
    for epoch in 1..20 {
        view.write("a 1");
        view.seal(epoch);
    }
    assert!(follow(slow.as_mut())[0].contains("read more slowly than they come"));
    let mut dropped = view.follower(Epoch(19)).unwrap();
    follow(dropped.as_mut());
    view.env.views.forget(view.env.job);
    assert_eq!(follow(dropped.as_mut()), ["end"]);
}
