//! Drives one operator: push batches, move watermarks, look at what comes out.
//!
//! Before each step the operator's state is written and a twin is restored from it, which takes the same
//! step: what it emits, counts and holds must be the same. So every test of an operator is one of its
//! snapshots, too. Most of those are of what has changed since the step before. An operator whose state can do with
//! less memory takes each step a third time, without any.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use tidemill_plans::graph::DataflowGraph;
#[cfg(test)]
use tidemill_plans::ids::Epoch;
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::settings::Settings;
use tidemill_plans::time::{EventTime, Watermark};

use super::cramped::Cramped;
use super::layers::Layers;
use super::table::{parse_rows, show_rows};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::operator::{Operator, build_operator};
#[cfg(test)]
use crate::state::Snapshot;
use crate::state::{ScratchFolder, StateMemory, StateReader};
use crate::task::{DeadLetters, EndReason, LocalTeams, Message, OperatorContext, PortWatermarks, ResultPort, TaskEnv};

/// One operator under test, built from a graph as a worker would build it.
pub struct OperatorHarness {
    graph: DataflowGraph,
    id: OperatorId,
    instance: Instance,
    schemas: Vec<arrow::datatypes::SchemaRef>,
    watermarks: Vec<Watermark>,
    /// What it has written.
    layers: Layers,
    cramped: Option<Cramped>,
    /// A twin takes each so many-th step; none if zero.
    twin_each: usize,
    steps: usize,
}

/// An operator in its surroundings.
pub(super) struct Instance {
    pub(super) operator: Box<dyn Operator>,
    pub(super) context: OperatorContext,
    /// How many rows it has emitted at most when it was asked for more.
    slice_rows_max: u64,
}

impl Instance {
    pub(super) fn build(graph: &DataflowGraph, id: OperatorId, env: TaskEnv) -> Result<Self> {
        let node = graph.node(id)?;
        let stats = Arc::new(OperatorStats::new(env.job, id, 0));
        let operator = build_operator(graph, node, 0, &env)?;
        let context = OperatorContext::new(node.kind.name().to_owned(), env, stats);
        Ok(Self { operator, context, slice_rows_max: 0 })
    }

    /// Has it emit all that follows from the last call, and then what it has put off.
    pub(super) fn pause(&mut self) -> Result<()> {
        self.end_call()?;
        if self.operator.has_gathered() {
            self.operator.on_pause(&mut self.context)?;
        }
        self.end_call()
    }

    /// Has it emit all that follows from the last call.
    pub(super) fn end_call(&mut self) -> Result<()> {
        while self.operator.has_more() {
            let before = self.rows_out();
            self.operator.on_more(&mut self.context)?;
            self.slice_rows_max = self.slice_rows_max.max(self.rows_out() - before);
        }
        Ok(())
    }

    fn rows_out(&self) -> u64 {
        self.context.stats().rows_out.load(Ordering::Relaxed)
    }

    /// Rows counted as late, as bad and as skipped.
    fn counted(&self) -> [u64; 3] {
        let stats = self.context.stats();
        [&stats.late_rows, &stats.dead_letter_rows, &stats.skipped_rows].map(|count| count.load(Ordering::Relaxed))
    }
}

/// A result port that drops what it gets.
struct NoResults;

impl ResultPort for NoResults {
    fn send(&self, _operator: OperatorId, _batch: &RecordBatch) -> Result<()> {
        Ok(())
    }
}

/// What a task shares, for tests.
pub fn test_env() -> Result<TaskEnv> {
    let settings = Settings::default();
    Ok(TaskEnv {
        job: JobId(1),
        attempt: 0,
        checkpoints: None,
        dead_letters: Arc::new(DeadLetters::open(&settings)?),
        settings,
        models: Arc::default(),
        served: Arc::default(),
        alignment: Arc::default(),
        results: Arc::new(NoResults),
        state_memory: StateMemory { bytes_max: None, scratch: ScratchFolder::new(std::env::temp_dir()) },
        query_memory: Arc::default(),
        views: Arc::default(),
        interrupt: Arc::default(),
        teams: Arc::new(LocalTeams::default()),
    })
}

/// The same, with so many bytes for the state of an operator.
#[cfg(test)]
pub(super) fn env_with_memory(bytes_max: Option<usize>) -> Result<TaskEnv> {
    let env = test_env()?;
    Ok(TaskEnv { state_memory: StateMemory { bytes_max, ..env.state_memory.clone() }, ..env })
}

impl OperatorHarness {
    /// Builds operator `id` of `graph`.
    pub fn new(graph: &DataflowGraph, id: OperatorId) -> Result<Self> {
        Self::with_env(graph, id, test_env()?)
    }

    /// Builds the last operator of `graph`, with so many bytes for its state.
    #[cfg(test)]
    pub(crate) fn with_memory(graph: &DataflowGraph, bytes_max: Option<usize>) -> Result<Self> {
        let last = graph.nodes.last().ok_or_else(|| EngineError::State(String::from("a graph without operators")))?;
        Self::with_env(graph, last.id, env_with_memory(bytes_max)?)
    }

    /// Builds operator `id` of `graph` in surroundings of the test's own.
    pub fn with_env(graph: &DataflowGraph, id: OperatorId, env: TaskEnv) -> Result<Self> {
        let schemas = graph.input_schemas(id)?;
        let cramped = Cramped::beside(graph, id, &env)?;
        Ok(Self {
            cramped,
            instance: Instance::build(graph, id, env)?,
            graph: graph.clone(),
            id,
            watermarks: vec![Watermark::MIN; schemas.len()],
            schemas,
            layers: Layers::default(),
            twin_each: 1,
            steps: 0,
        })
    }

    /// Leaves the twin out: for tests of how much work is done, and of operators whose twin would do something
    /// to the outside.
    #[must_use]
    pub fn without_twin(self) -> Self {
        Self { twin_each: 0, cramped: None, ..self }
    }

    /// Has a twin take each so many-th step only: for tests of many steps with much state.
    #[must_use]
    pub fn with_twin_each(self, steps: usize) -> Self {
        Self { twin_each: steps, ..self }
    }

    /// Rows come on a port.
    pub fn push(&mut self, port: usize, rows: &str) -> Result<()> {
        let batch = parse_rows(&self.schemas[port], rows)?;
        self.push_batch(port, batch)
    }

    /// A batch comes on a port.
    pub fn push_batch(&mut self, port: usize, batch: RecordBatch) -> Result<()> {
        self.step(|instance| {
            instance.operator.on_batch(port, batch.clone(), &mut instance.context)?;
            instance.pause()
        })
    }

    /// Has the operator emit what it puts off, as a task does now and then. Pushing rows and moving
    /// watermarks do so too.
    pub fn pause(&mut self) -> Result<()> {
        self.step(Instance::pause)
    }

    /// Rows come on a port, and what follows from them is put off.
    pub fn push_unpaused(&mut self, port: usize, rows: &str) -> Result<()> {
        // It makes room as rows come, and then it emits what the other puts off.
        self.cramped = None;
        let batch = parse_rows(&self.schemas[port], rows)?;
        self.step(|instance| {
            instance.operator.on_batch(port, batch.clone(), &mut instance.context)?;
            instance.end_call()
        })
    }

    /// The watermark of a port moves to so many seconds.
    pub fn watermark(&mut self, port: usize, seconds: i64) -> Result<()> {
        self.move_watermark(port, Watermark(EventTime(seconds * 1_000_000)))
    }

    /// A port ends.
    pub fn watermark_end(&mut self, port: usize) -> Result<()> {
        self.move_watermark(port, Watermark::MAX)
    }

    /// Every input ends.
    pub fn finish(&mut self) -> Result<()> {
        for port in 0..self.watermarks.len() {
            self.move_watermark(port, Watermark::MAX)?;
        }
        self.step(|instance| {
            instance.operator.on_end(EndReason::Finished, &mut instance.context)?;
            instance.end_call()
        })
    }

    /// The job is stopped: inputs end where they are.
    pub fn stop(&mut self) -> Result<()> {
        self.step(|instance| instance.operator.on_end(EndReason::Stopped, &mut instance.context))
    }

    fn move_watermark(&mut self, port: usize, watermark: Watermark) -> Result<()> {
        self.watermarks[port] = watermark;
        let watermarks = PortWatermarks::of(self.watermarks.clone());
        self.step(|instance| {
            instance.operator.on_watermark(&watermarks, &mut instance.context)?;
            instance.pause()
        })
    }

    /// Takes a step, and has the twin take it.
    fn step(&mut self, step: impl Fn(&mut Instance) -> Result<()>) -> Result<()> {
        self.steps += 1;
        let is_due = self.twin_each > 0 && self.steps.is_multiple_of(self.twin_each);
        let twin = if is_due { self.twin()? } else { None };
        let (emitted, counted) = (self.instance.context.output().len(), self.instance.counted());
        let outcome = step(&mut self.instance);
        if let Some(cramped) = &mut self.cramped {
            let output = self.instance.context.output().iter().skip(emitted);
            cramped.step(&step, &outcome, &canonical(output)?)?;
        }
        let Some(mut twin) = twin else { return outcome };
        let other = step(&mut twin);
        let text = |outcome: &Result<()>| outcome.as_ref().map_err(EngineError::chain).err();
        assert_eq!(text(&other), text(&outcome), "of the restored twin and of the operator");
        let output = self.instance.context.output().iter().skip(emitted);
        assert_eq!(
            canonical(twin.context.output().iter())?,
            canonical(output)?,
            "of the restored twin and of the operator"
        );
        let counted_since =
            self.instance.counted().iter().zip(counted).map(|(now, before)| now - before).collect::<Vec<_>>();
        assert_eq!(
            twin.counted()[..],
            counted_since,
            "late, bad and skipped rows of the restored twin and of the operator"
        );
        // What is on disk is dropped some time after it has become of no use; who is restored lacks it at once.
        if self.spilled_bytes() == 0 {
            let holds = |instance: &Instance| instance.operator.state_bytes() > 0;
            assert_eq!(holds(&twin), holds(&self.instance), "whether the restored twin and the operator hold anything");
        }
        outcome
    }

    /// The operator as it is restored from its state, through bytes. None while changes are gathered: there
    /// is no barrier then.
    fn twin(&mut self) -> Result<Option<Instance>> {
        if self.instance.operator.has_gathered() {
            return Ok(None);
        }
        let memory = &self.instance.context.env().state_memory;
        self.layers.take(self.instance.operator.as_mut(), memory)?;
        let restored = [self.layers.merged(memory)?];
        let env = TaskEnv {
            dead_letters: Arc::new(DeadLetters::open(&Settings::default())?),
            models: Arc::default(),
            alignment: Arc::default(),
            ..self.instance.context.env().clone()
        };
        let mut twin = Instance::build(&self.graph, self.id, env)?;
        twin.operator.restore(&StateReader::new(&restored, 0, 1))?;
        twin.context.go_on_at(self.instance.context.watermark());
        Ok(Some(twin))
    }

    /// Goes on with an operator that is restored from the state, through bytes. What came out is dropped.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(restored) = self.twin()? {
            self.instance = restored;
        }
        Ok(())
    }

    /// How many rows the operator writes of what has changed since it wrote its state last; all, the first time. For
    /// harnesses without a twin, which would write it, too.
    #[cfg(test)]
    pub(crate) fn written_rows(&mut self) -> Result<usize> {
        self.snapshot()?.row_count()
    }

    /// What the operator writes of what has changed, or all; see [`Self::written_rows`].
    #[cfg(test)]
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot> {
        debug_assert!(self.twin_each == 0, "the twin has written what has changed");
        let mut snapshot = Snapshot::default();
        self.instance.operator.snapshot(&mut snapshot.writer_of_changes(Epoch(2), Epoch(1)))?;
        Ok(snapshot)
    }

    /// The graph that the operator is from, and its number there.
    #[cfg(test)]
    pub(crate) fn graph(&self) -> (&DataflowGraph, OperatorId) {
        (&self.graph, self.id)
    }

    /// What came out since the last look: rows, and watermarks as `watermark @seconds`.
    pub fn output(&mut self) -> Result<String> {
        let mut text = String::new();
        for message in self.instance.context.take_output() {
            match message {
                Message::Batch(batch) => text.push_str(&show_rows(&batch)?),
                Message::Watermark(Watermark::MAX) => text.push_str("watermark end\n"),
                Message::Watermark(watermark) => {
                    text.push_str(&format!("watermark @{}\n", watermark.0.0 as f64 / 1e6));
                }
                Message::Idle | Message::Active | Message::CaughtUp | Message::Barrier(_) | Message::End(_) => {}
            }
        }
        Ok(text)
    }

    /// The batches that came out since the last look.
    pub fn batches(&mut self) -> Vec<RecordBatch> {
        let output = self.instance.context.take_output().into_iter();
        output
            .filter_map(|message| match message {
                Message::Batch(batch) => Some(batch),
                _ => None,
            })
            .collect()
    }

    /// How many rows the operator has emitted at most when it was asked for more.
    #[cfg(test)]
    pub(crate) fn slice_rows_max(&self) -> u64 {
        self.instance.slice_rows_max
    }

    /// What tasks of the operator's job share.
    pub fn env(&self) -> &TaskEnv {
        self.instance.context.env()
    }

    /// The operator's counters.
    pub fn stats(&self) -> &OperatorStats {
        self.instance.context.stats()
    }

    /// Bytes of state that the operator says it has on disk.
    pub fn spilled_bytes(&self) -> u64 {
        self.instance.operator.spilled_bytes()
    }

    /// Bytes of state that the operator says it holds.
    pub fn state_bytes(&self) -> usize {
        self.instance.operator.state_bytes()
    }
}

/// What was emitted, as text, but for the order of rows between two watermarks: that of hash tables may be
/// another one.
pub(super) fn canonical<'a>(output: impl Iterator<Item = &'a Message>) -> Result<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    let mut sorted = 0;
    for message in output {
        match message {
            Message::Batch(batch) => lines.extend(show_rows(batch)?.lines().map(String::from)),
            other => {
                lines[sorted..].sort();
                lines.push(format!("{other:?}"));
                sorted = lines.len();
            }
        }
    }
    lines[sorted..].sort();
    Ok(lines)
}
