//! Drives one operator: push batches, move watermarks, look at what comes out.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::settings::Settings;
use tidemill_plans::time::{EventTime, Watermark};

use super::table::{parse_rows, show_rows};
use crate::error::Result;
use crate::metrics::OperatorStats;
use crate::operator::{Operator, build_operator};
use crate::task::{DeadLetters, EndReason, Message, OperatorContext, PortWatermarks, ResultPort, TaskEnv};

/// One operator under test, built from a graph as a worker would build it.
pub struct OperatorHarness {
    operator: Box<dyn Operator>,
    context: OperatorContext,
    schemas: Vec<arrow::datatypes::SchemaRef>,
    watermarks: Vec<Watermark>,
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
        dead_letters: Arc::new(DeadLetters::open(&settings)?),
        settings,
        models: Arc::new(Mutex::new(Vec::new())),
        alignment: Arc::default(),
        results: Arc::new(NoResults),
        views: Arc::default(),
    })
}

impl OperatorHarness {
    /// Builds operator `id` of `graph`.
    pub fn new(graph: &DataflowGraph, id: OperatorId) -> Result<Self> {
        Self::with_env(graph, id, test_env()?)
    }

    /// Builds operator `id` of `graph` in surroundings of the test's own.
    pub fn with_env(graph: &DataflowGraph, id: OperatorId, env: TaskEnv) -> Result<Self> {
        let node = graph.node(id)?;
        let schemas = graph.input_schemas(id)?;
        let stats = Arc::new(OperatorStats::new(env.job, id, 0));
        Ok(Self {
            operator: build_operator(graph, node, 0, &env)?,
            context: OperatorContext::new(node.kind.name().to_owned(), env, stats),
            watermarks: vec![Watermark::MIN; schemas.len()],
            schemas,
        })
    }

    /// Rows come on a port.
    pub fn push(&mut self, port: usize, rows: &str) -> Result<()> {
        let batch = parse_rows(&self.schemas[port], rows)?;
        self.push_batch(port, batch)
    }

    /// A batch comes on a port.
    pub fn push_batch(&mut self, port: usize, batch: RecordBatch) -> Result<()> {
        self.operator.on_batch(port, batch, &mut self.context)?;
        self.pause()
    }

    /// Has the operator emit what it puts off, as a task does now and then. Pushing rows and moving
    /// watermarks do so too.
    pub fn pause(&mut self) -> Result<()> {
        if self.operator.has_gathered() { self.operator.on_pause(&mut self.context) } else { Ok(()) }
    }

    /// Rows come on a port, and what follows from them is put off.
    pub fn push_unpaused(&mut self, port: usize, rows: &str) -> Result<()> {
        let batch = parse_rows(&self.schemas[port], rows)?;
        self.operator.on_batch(port, batch, &mut self.context)
    }

    /// The watermark of a port moves to so many seconds.
    pub fn watermark(&mut self, port: usize, seconds: i64) -> Result<()> {
        self.move_watermark(port, Watermark(EventTime(seconds * 1_000_000)))
    }

    /// Every input ends.
    pub fn finish(&mut self) -> Result<()> {
        for port in 0..self.watermarks.len() {
            self.move_watermark(port, Watermark::MAX)?;
        }
        self.operator.on_end(EndReason::Finished, &mut self.context)
    }

    /// The job is stopped: inputs end where they are.
    pub fn stop(&mut self) -> Result<()> {
        self.operator.on_end(EndReason::Stopped, &mut self.context)
    }

    fn move_watermark(&mut self, port: usize, watermark: Watermark) -> Result<()> {
        self.watermarks[port] = watermark;
        self.operator.on_watermark(&PortWatermarks::of(self.watermarks.clone()), &mut self.context)?;
        self.pause()
    }

    /// What came out since the last look: rows, and watermarks as `watermark @seconds`.
    pub fn output(&mut self) -> Result<String> {
        let mut text = String::new();
        for message in self.context.take_output() {
            match message {
                Message::Batch(batch) => text.push_str(&show_rows(&batch)?),
                Message::Watermark(Watermark::MAX) => text.push_str("watermark end\n"),
                Message::Watermark(watermark) => {
                    text.push_str(&format!("watermark @{}\n", watermark.0.0 as f64 / 1e6));
                }
                Message::Idle | Message::Active | Message::Barrier(_) | Message::End(_) => {}
            }
        }
        Ok(text)
    }

    /// The batches that came out since the last look.
    pub fn batches(&mut self) -> Vec<RecordBatch> {
        let output = self.context.take_output().into_iter();
        output
            .filter_map(|message| match message {
                Message::Batch(batch) => Some(batch),
                _ => None,
            })
            .collect()
    }

    /// What tasks of the operator's job share.
    pub fn env(&self) -> &TaskEnv {
        self.context.env()
    }

    /// The operator's counters.
    pub fn stats(&self) -> &OperatorStats {
        self.context.stats()
    }

    /// Bytes of state that the operator says it holds.
    pub fn state_bytes(&self) -> usize {
        self.operator.state_bytes()
    }
}
