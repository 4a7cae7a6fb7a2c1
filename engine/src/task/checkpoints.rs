//! What a task writes at the barriers of checkpoints, and takes up again.
//!
//! Beside what its operators hold this is the event time that each of its ports had come to and, for a
//! source, how far it had read. A task that has ended writes that alone, and what its sinks have: when it comes
//! back, it has ended.

use tidemill_plans::ids::{Barrier, Epoch};
use tidemill_plans::time::Watermark;

use crate::error::{EngineError, Result};
use crate::state::{Snapshot, StateReader, TaskState};
use crate::task::chain::Which;
use crate::task::driver::Positions;
use crate::task::{Chain, Inbox, PortWatermarks, TaskEnv};

/// A barrier that a task has passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// Its epoch.
    pub epoch: Epoch,
    /// The task's state at it, if it was a checkpoint's.
    pub state: Option<Snapshot>,
    /// For how many microseconds inputs had waited for each other's barriers.
    pub alignment_us: u64,
}

/// The checkpoints of one task.
pub(super) struct Checkpoints {
    has_checkpoints: bool,
    /// Where its source has come to, if it has one.
    positions: Option<Positions>,
    /// What its operators know of event time, port by port.
    watermarks: Vec<Watermark>,
    passed: Vec<Passed>,
    last: Option<Snapshot>,
}

impl Checkpoints {
    pub(super) fn new(env: &TaskEnv, positions: Option<Positions>) -> Self {
        let has_checkpoints = env.checkpoints.is_some();
        Self { has_checkpoints, positions, watermarks: Vec::new(), passed: Vec::new(), last: None }
    }

    /// Notes the watermarks that the operators have been told.
    pub(super) fn note(&mut self, watermarks: &PortWatermarks) {
        self.watermarks.clear();
        self.watermarks.extend(watermarks.iter());
    }

    /// A barrier has passed through the chain.
    pub(super) fn pass(&mut self, barrier: Barrier, alignment_us: u64, chain: &mut Chain) -> Result<()> {
        let state = barrier.is_checkpoint.then(|| self.snapshot(barrier.epoch, chain)).transpose()?;
        self.passed.push(Passed { epoch: barrier.epoch, state, alignment_us });
        Ok(())
    }

    fn snapshot(&self, epoch: Epoch, chain: &mut Chain) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let mut state = snapshot.writer(epoch);
        state.value("watermarks", &self.watermarks)?;
        if let Some(positions) = &self.positions {
            let position = positions.at(epoch);
            let position =
                position.ok_or_else(|| EngineError::State(format!("no position of the source at {epoch}")))?;
            state.value("position", &position)?;
        }
        chain.snapshot(Which::All, &mut state)?;
        Ok(snapshot)
    }

    /// The task has ended.
    pub(super) fn end(&mut self, chain: &mut Chain) -> Result<()> {
        if self.has_checkpoints {
            let mut snapshot = Snapshot::default();
            let mut state = snapshot.writer(Epoch::END);
            state.value("ended", &true)?;
            chain.snapshot(Which::Sinks, &mut state)?;
            self.last = Some(snapshot);
        }
        Ok(())
    }

    /// Takes up what the task, or the tasks of its stage, had written.
    pub(super) fn restore(&mut self, state: &TaskState<'_>, inbox: &mut Inbox, chain: &mut Chain) -> Result<()> {
        if has_ended(&state.task())? {
            chain.set_done();
            return chain.restore(Which::Sinks, state);
        }
        if let Some(state) = state.inputs() {
            self.watermarks = watermarks(&state)?;
            inbox.restore(&self.watermarks);
        }
        chain.restore(Which::All, state)
    }

    pub(super) fn take_passed(&mut self) -> Vec<Passed> {
        std::mem::take(&mut self.passed)
    }

    pub(super) fn take_final(&mut self) -> Option<Snapshot> {
        self.last.take()
    }
}

/// Whether a task had read and written everything.
pub(super) fn has_ended(state: &StateReader<'_>) -> Result<bool> {
    let ended: Vec<bool> = state.values("ended")?;
    Ok(!ended.is_empty() && ended.into_iter().all(|ended| ended))
}

/// How far a task's source had read.
pub(super) fn position(state: &StateReader<'_>) -> Result<Option<Vec<u8>>> {
    let mut positions = state.values("position")?;
    match positions.len() {
        0 | 1 => Ok(positions.pop()),
        tasks => Err(EngineError::State(format!("{tasks} tasks have read this source, and it cannot be shared anew"))),
    }
}

/// Of several tasks, what all of them had come to.
fn watermarks(state: &StateReader<'_>) -> Result<Vec<Watermark>> {
    let tasks: Vec<Vec<Watermark>> = state.values("watermarks")?;
    let ports = tasks.iter().map(Vec::len).min().unwrap_or(0);
    let of = |port: usize| tasks.iter().map(|task| task[port]).min().unwrap_or(Watermark::MIN);
    Ok((0..ports).map(of).collect())
}
