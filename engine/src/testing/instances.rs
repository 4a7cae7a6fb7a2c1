//! Instances of an operator, whose number changes: what they emit in sum is what one would.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::key_group::{key_groups, owner};
use tidemill_plans::time::{EventTime, Watermark};

use super::harness::env_with_memory;
use super::layers::Layers;
use super::{OperatorHarness, parse_rows, show_rows};
use crate::error::Result;
use crate::metrics::OperatorStats;
use crate::operator::{Operator, build_operator};
use crate::state::StateReader;
use crate::task::{EndReason, Message, OperatorContext, PortWatermarks};

/// How many instances there are, step by step.
const PARALLELISMS: [u32; 6] = [1, 3, 2, 4, 1, 2];

/// A step of a script.
pub(crate) enum Step {
    Rows(usize, RecordBatch),
    Watermark(usize, i64),
    End,
}

/// A step a line: `L row`, `R row`, `L watermark seconds`, `R watermark seconds`, `end`.
pub(crate) fn steps(harness: &OperatorHarness, script: &str) -> Vec<Step> {
    let (graph, id) = harness.graph();
    let schemas = graph.input_schemas(id).unwrap();
    let step = |line: &str| {
        let Some((side, rest)) = line.split_once(' ') else { return Step::End };
        let port = usize::from(side == "R");
        match rest.strip_prefix("watermark ") {
            Some(seconds) => Step::Watermark(port, seconds.parse().unwrap()),
            None => Step::Rows(port, parse_rows(&schemas[port], rest).unwrap()),
        }
    };
    script.lines().map(str::trim).filter(|line| !line.is_empty()).map(step).collect()
}

/// Checks that the operator of a harness emits the same rows whether one instance of it takes these steps, or
/// the parallelism changes before each, with memory for its state and without. `routes` says how each port's rows are
/// parted.
#[track_caller]
pub(crate) fn check_rescaling(harness: &OperatorHarness, routes: &[Partitioning], steps: &[Step]) {
    let one = play(harness, routes, steps, None, |_| 1).unwrap();
    assert!(!one.is_empty(), "nothing comes out");
    for bytes_max in [None, Some(1)] {
        let many = play(harness, routes, steps, bytes_max, |step| PARALLELISMS[step % PARALLELISMS.len()]).unwrap();
        assert_eq!(many, one, "of changing parallelism with memory of {bytes_max:?}, and of one instance");
    }
}

/// The rows that come out, sorted.
fn play(
    harness: &OperatorHarness,
    routes: &[Partitioning],
    steps: &[Step],
    bytes_max: Option<usize>,
    parallelism: impl Fn(usize) -> u32,
) -> Result<Vec<String>> {
    let mut instances = Instances::new(harness, routes, bytes_max);
    for (number, step) in steps.iter().enumerate() {
        instances.rescale(parallelism(number))?;
        match step {
            Step::Rows(port, rows) => instances.push(*port, rows)?,
            Step::Watermark(port, seconds) => instances.watermark(*port, Watermark(EventTime(seconds * 1_000_000)))?,
            Step::End => instances.end()?,
        }
    }
    instances.rescale(1)?;
    instances.emitted.sort();
    Ok(instances.emitted)
}

struct Instances<'a> {
    harness: &'a OperatorHarness,
    routes: &'a [Partitioning],
    /// The memory of each.
    bytes_max: Option<usize>,
    all: Vec<(Box<dyn Operator>, OperatorContext)>,
    /// What each has written.
    layers: Vec<Layers>,
    watermarks: Vec<Watermark>,
    emitted: Vec<String>,
}

impl<'a> Instances<'a> {
    fn new(harness: &'a OperatorHarness, routes: &'a [Partitioning], bytes_max: Option<usize>) -> Self {
        let watermarks = vec![Watermark::MIN; routes.len()];
        Self { harness, routes, bytes_max, all: Vec::new(), layers: Vec::new(), watermarks, emitted: Vec::new() }
    }

    /// Instances that take up what those before held, and go on with what they have written if they are as many.
    fn rescale(&mut self, parallelism: u32) -> Result<()> {
        let mut before = Vec::new();
        for ((mut operator, mut context), layers) in std::mem::take(&mut self.all).into_iter().zip(&mut self.layers) {
            self.emitted.extend(take_rows(&mut context)?);
            let memory = &context.env().state_memory;
            layers.take(operator.as_mut(), memory)?;
            before.push(layers.merged(memory)?);
        }
        if before.len() != parallelism as usize {
            self.layers = vec![Layers::default(); parallelism as usize];
        }
        let (graph, id) = self.harness.graph();
        let node = graph.node(id)?;
        for subtask in 0..parallelism {
            let env = env_with_memory(self.bytes_max)?;
            let mut operator = build_operator(graph, node, subtask, &env)?;
            if !before.is_empty() {
                operator.restore(&StateReader::new(&before, subtask, parallelism))?;
            }
            let stats = Arc::new(OperatorStats::new(env.job, id, subtask));
            self.all.push((operator, OperatorContext::new(node.kind.name().to_owned(), env, stats)));
        }
        Ok(())
    }

    fn push(&mut self, port: usize, rows: &RecordBatch) -> Result<()> {
        let parallelism = self.all.len() as u32;
        for (own, (operator, context)) in (0..).zip(&mut self.all) {
            operator.on_batch(port, part(rows, &self.routes[port], own, parallelism)?, context)?;
            pause(operator.as_mut(), context)?;
        }
        Ok(())
    }

    fn watermark(&mut self, port: usize, watermark: Watermark) -> Result<()> {
        self.watermarks[port] = watermark;
        for (operator, context) in &mut self.all {
            operator.on_watermark(&PortWatermarks::of(self.watermarks.clone()), context)?;
            pause(operator.as_mut(), context)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        for port in 0..self.watermarks.len() {
            self.watermark(port, Watermark::MAX)?;
        }
        self.all.iter_mut().try_for_each(|(operator, context)| {
            operator.on_end(EndReason::Finished, context)?;
            end_call(operator.as_mut(), context)
        })
    }
}

fn pause(operator: &mut dyn Operator, context: &mut OperatorContext) -> Result<()> {
    end_call(operator, context)?;
    if operator.has_gathered() {
        operator.on_pause(context)?;
    }
    end_call(operator, context)
}

fn end_call(operator: &mut dyn Operator, context: &mut OperatorContext) -> Result<()> {
    while operator.has_more() {
        operator.on_more(context)?;
    }
    Ok(())
}

/// The rows that an exchange would send to instance `own`.
pub(super) fn part(rows: &RecordBatch, route: &Partitioning, own: u32, parallelism: u32) -> Result<RecordBatch> {
    let is_own: BooleanArray = match route {
        Partitioning::Broadcast => return Ok(rows.clone()),
        Partitioning::First => std::iter::repeat_n(Some(own == 0), rows.num_rows()).collect(),
        Partitioning::Hash(keys) => {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| ArrayRef::clone(rows.column(*key))).collect();
            let mut groups = Vec::new();
            key_groups(&keys, &mut groups)?;
            groups.iter().map(|group| Some(owner(*group as u32, parallelism) == own)).collect()
        }
        _ => (0..rows.num_rows() as u32).map(|row| Some(row % parallelism == own)).collect(),
    };
    Ok(filter_record_batch(rows, &is_own)?)
}

fn take_rows(context: &mut OperatorContext) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for message in context.take_output() {
        if let Message::Batch(batch) = message {
            rows.extend(show_rows(&batch)?.lines().map(String::from));
        }
    }
    Ok(rows)
}
