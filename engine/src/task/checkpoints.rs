//! What a task writes at the barriers of checkpoints, and takes up again.
//!
//! Beside what its operators hold this is the event time that each of its ports had come to and, for a
//! source, how far it had read. A task that has ended writes that alone, and what its sinks have: when it comes
//! back, it has ended.
//!
//! Mostly it writes what has changed since the barrier before. Whoever takes its snapshots asks for all of it when
//! one was not written, so that nothing can go on from it, and now and then to have less to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_plans::ids::{Barrier, Epoch};
use tidemill_plans::pushed::LogNeed;
use tidemill_plans::time::Watermark;
use tracing::debug;

use crate::error::{EngineError, Result};
use crate::state::{Snapshot, StateReader, TaskState};
use crate::task::chain::Which;
use crate::task::driver::{Position, Positions};
use crate::task::in_flight::InFlight;
use crate::task::{Chain, Inbox, PortWatermarks, TaskEnv};

/// A barrier that a task has passed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passed {
    /// Its epoch.
    pub epoch: Epoch,
    /// The task's state at it, if it was a checkpoint's.
    pub state: Option<Snapshot>,
    /// For how many microseconds inputs had waited for each other's barriers.
    pub alignment_us: u64,
    /// From where on the state needs a log, if the task's source reads one.
    pub needs: Option<LogNeed>,
}

/// Whether a task's next snapshot is of everything, as the first one is. Told by whoever writes them, and shared with
/// the task: it cannot come too late for a barrier, for what goes on from a snapshot that was lost is lost too.
#[derive(Debug, Clone)]
pub struct NextSnapshot {
    is_whole: Arc<AtomicBool>,
}

impl NextSnapshot {
    /// For a task that goes on from files which its next snapshot may go on from.
    #[must_use]
    pub fn of_changes() -> Self {
        Self { is_whole: Arc::new(AtomicBool::new(false)) }
    }

    /// Asks for everything.
    pub fn ask_for_whole(&self) {
        self.is_whole.store(true, Ordering::Release);
    }

    /// Whether the snapshot that is taken now is of everything.
    #[must_use]
    pub fn take_is_whole(&self) -> bool {
        self.is_whole.swap(false, Ordering::AcqRel)
    }
}

impl Default for NextSnapshot {
    fn default() -> Self {
        Self { is_whole: Arc::new(AtomicBool::new(true)) }
    }
}

/// The checkpoints of one task.
pub(super) struct Checkpoints {
    has_checkpoints: bool,
    /// Where its source has come to, if it has one.
    positions: Option<Positions>,
    /// What its operators know of event time, port by port.
    watermarks: Vec<Watermark>,
    passed: Vec<Passed>,
    /// A checkpoint whose barrier has overtaken rows that are still to come.
    open: Option<Passed>,
    next: NextSnapshot,
    /// The epoch of the snapshot that was taken, or restored, last.
    newest: Option<Epoch>,
    last: Option<Snapshot>,
}

impl Checkpoints {
    pub(super) fn new(env: &TaskEnv, positions: Option<Positions>, next: NextSnapshot) -> Self {
        let (has_checkpoints, watermarks, passed) = (env.checkpoints.is_some(), Vec::new(), Vec::new());
        Self { has_checkpoints, positions, watermarks, passed, open: None, next, newest: None, last: None }
    }

    /// Notes the watermarks that the operators have been told.
    pub(super) fn note(&mut self, watermarks: &PortWatermarks) {
        self.watermarks.clear();
        self.watermarks.extend(watermarks.iter());
    }

    /// A barrier has passed through the chain. If it has not come everywhere, that is told when it has.
    pub(super) fn pass(&mut self, barrier: Barrier, inbox: &Inbox, chain: &mut Chain) -> Result<()> {
        if self.open.take().is_some() {
            // Its snapshot is not going to be written, so nothing can go on from it.
            self.next.ask_for_whole();
        }
        let mut passed = Passed { epoch: barrier.epoch, alignment_us: inbox.alignment_us(), ..Passed::default() };
        if barrier.is_checkpoint {
            let position = self.position(barrier.epoch)?;
            passed.state = Some(self.snapshot(barrier.epoch, position.as_ref(), chain)?);
            passed.needs = position.and_then(|position| position.needs);
        }
        if inbox.is_aligned() {
            self.passed.push(passed)
        } else {
            self.open = Some(passed)
        }
        Ok(())
    }

    /// A barrier has come everywhere that had overtaken these messages.
    pub(super) fn complete(&mut self, barrier: Barrier, in_flight: &InFlight) -> Result<()> {
        let Some(mut passed) = self.open.take_if(|open| open.epoch == barrier.epoch) else { return Ok(()) };
        debug!(epoch = %barrier, messages = in_flight.len(), "barrier has overtaken");
        if let Some(snapshot) = &mut passed.state {
            in_flight.snapshot(&mut snapshot.more().part("in_flight"))?;
        }
        self.passed.push(passed);
        Ok(())
    }

    /// What the source has said of itself at the barrier of an epoch, if there is one.
    fn position(&self, epoch: Epoch) -> Result<Option<Position>> {
        let Some(positions) = &self.positions else { return Ok(None) };
        let missing = || EngineError::State(format!("no position of the source at {epoch}"));
        positions.at(epoch).ok_or_else(missing).map(Some)
    }

    fn snapshot(&mut self, epoch: Epoch, position: Option<&Position>, chain: &mut Chain) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let is_whole = self.next.take_is_whole();
        let mut state = match self.newest.replace(epoch).filter(|_| !is_whole) {
            Some(before) => snapshot.writer_of_changes(epoch, before),
            None => snapshot.writer(epoch),
        };
        state.value("watermarks", &self.watermarks)?;
        if let Some(position) = position {
            state.value("position", &position.place)?;
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
        self.newest = state.task().epoch();
        if let Some(state) = state.inputs() {
            self.watermarks = watermarks(&state)?;
            inbox.restore(&self.watermarks, InFlight::restore(&state.part("in_flight"))?);
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

/// Of several tasks, what all of them had come to, port by port.
pub(super) fn watermarks(state: &StateReader<'_>) -> Result<Vec<Watermark>> {
    let tasks: Vec<Vec<Watermark>> = state.values("watermarks")?;
    let ports = tasks.iter().map(Vec::len).min().unwrap_or(0);
    let of = |port: usize| tasks.iter().map(|task| task[port]).min().unwrap_or(Watermark::MIN);
    Ok((0..ports).map(of).collect())
}
