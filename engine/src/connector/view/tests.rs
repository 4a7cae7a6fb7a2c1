//! What is read of a view at each epoch, while its sink goes on.

use arrow::array::{ArrayRef, RecordBatch};
use expect_test::{Expect, expect};
use tidemill_plans::change::{ChangeOp, change_array, with_change_column};
use tidemill_plans::connector::VIEW_CONNECTOR;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::{SinkNode, SourceNode};

use super::*;
use crate::connector::{Sink, Source, SourceEvent, open_source as open};
use crate::error::Result;
use crate::metrics::OperatorStats;
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
        let sink = ViewSink::new(&node, SINK, 0, &env, schema);
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
        let columns = schema(columns);
        let option = |name: &str, value: u64| (name.to_owned(), value.to_string());
        let node = SourceNode {
            table: String::from("v"),
            connector: VIEW_CONNECTOR.to_owned(),
            options: vec![option("job", self.env.job.0), option("operator", SINK.0.into()), option("epoch", epoch.0)],
            declared: vec![String::from("k"), String::from("v")],
            columns: StreamSchema(columns),
            projection: vec![],
            event_time: None,
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
