//! When rows reach a writer, and what becomes of those that wait.

use std::fs;
use std::path::Path;

use tidemill_plans::connector::RESULT_CONNECTOR;
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::node::NodeKind;
use tidemill_plans::time::Watermark;

use super::*;
use crate::connector::open_sink;
use crate::metrics::OperatorStats;
use crate::state::Snapshot;
use crate::task::TaskEnv;
use crate::testing::graph::{harness, schema};
use crate::testing::{parse_rows, test_env};

fn node(connector: &str, options: &[(&str, &str)], time: Option<usize>) -> SinkNode {
    SinkNode {
        table: String::from("out"),
        connector: connector.to_owned(),
        options: options.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect(),
        time,
        upsert_keys: vec![],
        order_by: vec![],
        limit: None,
        live: false,
    }
}

#[test]
fn rows_that_the_writer_holds_count_as_state() {
    let rows = schema("k:text t:time");
    let node = |time| node(RESULT_CONNECTOR, &[], time);
    for time in [None, Some(1)] {
        let mut sink = harness(NodeKind::Sink(node(time)), &[&rows], Arc::clone(&rows));
        assert_eq!(sink.state_bytes(), 0);
        sink.push(0, "a @1\nb @2").unwrap();
        assert!(sink.state_bytes() > 0, "{time:?}");
        sink.finish().unwrap();
        assert_eq!(sink.state_bytes(), 0, "{time:?}");
    }
}

/// A sink of a job with checkpoints that writes CSV files, with event time in its second column.
struct Files {
    sink: SinkOperator,
    context: OperatorContext,
}

impl Files {
    fn open(folder: &Path, subtask: u32) -> Self {
        let node = node("files", &[("path", folder.to_str().unwrap()), ("format", "csv")], Some(1));
        let env = TaskEnv { checkpoints: Some(String::from("c")), ..test_env().unwrap() };
        let rows = schema("k:text t:time");
        let writer = open_sink(&node, OperatorId(1), subtask, 1, &env, Arc::clone(&rows)).unwrap();
        let stats = Arc::new(OperatorStats::new(JobId(1), OperatorId(1), subtask));
        Self {
            sink: SinkOperator::new(&node, rows, writer, None, &env.state_memory),
            context: OperatorContext::new(String::from("Sink"), env, stats),
        }
    }

    fn push(&mut self, rows: &str, watermark: i64) {
        let rows = parse_rows(&schema("k:text t:time"), rows).unwrap();
        self.sink.on_batch(0, rows, &mut self.context).unwrap();
        let watermarks = PortWatermarks::of(vec![Watermark(EventTime(watermark * 1_000_000))]);
        self.sink.on_watermark(&watermarks, &mut self.context).unwrap();
    }

    fn snapshot(&mut self, epoch: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.sink.snapshot(&mut snapshot.writer(Epoch(epoch))).unwrap();
        snapshot
    }

    fn end(&mut self) {
        self.sink.on_end(EndReason::Finished, &mut self.context).unwrap();
        self.sink.commit(Epoch::END).unwrap();
    }
}

/// The first column of a file.
fn written(folder: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect()
}

#[test]
fn a_checkpoint_shows_the_rows_before_the_watermark_and_keeps_those_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Files::open(folder.path(), 0);
    assert!(first.sink.commits());
    first.push("b @2\na @1\nc @3", 3);
    let state = first.snapshot(1);
    first.sink.commit(Epoch(1)).unwrap();
    assert_eq!(written(folder.path(), "part-0-0000000000.csv"), ["a", "b"]);
    first.push("d @4", 4);
    drop(first);
    let mut second = Files::open(folder.path(), 0);
    second.sink.restore(&StateReader::new(&[state], 0, 1)).unwrap();
    second.push("d @4", 4);
    second.end();
    assert_eq!(written(folder.path(), "part-0-0000000000.csv"), ["a", "b"]);
    assert_eq!(written(folder.path(), "part-0-0000000001.csv"), ["c", "d"]);
}

#[test]
fn rows_that_wait_are_written_once_whatever_the_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let mut instances: Vec<Files> = (0..2).map(|subtask| Files::open(folder.path(), subtask)).collect();
    instances[0].push("a @1\nb @8", 5);
    instances[1].push("c @9", 5);
    for (epoch, parallelism) in [(1, 3), (2, 1)] {
        let states: Vec<Snapshot> = instances.iter_mut().map(|files| files.snapshot(epoch)).collect();
        drop(instances);
        let restored = (0..parallelism).map(|subtask| {
            let mut files = Files::open(folder.path(), subtask);
            files.sink.restore(&StateReader::new(&states, subtask, parallelism)).unwrap();
            files
        });
        instances = restored.collect();
    }
    assert_eq!(written(folder.path(), "part-0-0000000000.csv"), ["a"]);
    instances[0].end();
    assert_eq!(written(folder.path(), "part-0-0000000002.csv"), ["b", "c"]);
    drop(instances);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
