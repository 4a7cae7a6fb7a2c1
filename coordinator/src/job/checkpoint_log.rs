//! What became of a job's newest checkpoints, for people who watch it.

use std::collections::VecDeque;
use std::time::Duration;

use tidemill_plans::ids::Epoch;

/// Checkpoints that are remembered.
const REMEMBERED: usize = 100;

/// One checkpoint. Times are those of the coordinator's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its epoch.
    pub epoch: Epoch,
    /// When its barrier was sent.
    pub begun: Duration,
    /// How it stands.
    pub outcome: CheckpointOutcome,
    /// For how long inputs waited for each other's barriers, where that took longest.
    pub alignment: Duration,
    /// Bytes of state that were written for it; zero before all of them are.
    pub bytes: u64,
    /// Bytes that are read to restore it, those which earlier checkpoints had written among them.
    pub total_bytes: u64,
}

/// How a checkpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointOutcome {
    /// Its barrier is on its way, or its state is being written.
    InProgress,
    /// It is sealed.
    Sealed {
        /// How long it took from its barrier on.
        took: Duration,
    },
    /// It was given up.
    Failed {
        /// Why.
        cause: String,
    },
}

/// The newest checkpoints, oldest first, and how many there have been.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointLog {
    newest: VecDeque<CheckpointInfo>,
    /// How many have been sealed.
    pub sealed: u64,
    /// How many have been given up.
    pub failed: u64,
}

impl CheckpointLog {
    /// A checkpoint begins.
    pub fn begin(&mut self, epoch: Epoch, now: Duration) {
        if self.newest.len() == REMEMBERED {
            self.newest.pop_front();
        }
        let outcome = CheckpointOutcome::InProgress;
        let alignment = Duration::ZERO;
        self.newest.push_back(CheckpointInfo { epoch, begun: now, outcome, alignment, bytes: 0, total_bytes: 0 });
    }

    /// A task has passed the barrier; its inputs had waited for so long.
    pub fn note_alignment(&mut self, epoch: Epoch, alignment: Duration) {
        if let Some(info) = self.of(epoch) {
            info.alignment = info.alignment.max(alignment);
        }
    }

    /// All state of a checkpoint is written: so many bytes, of so many that are its state.
    pub fn note_bytes(&mut self, epoch: Epoch, bytes: u64, total_bytes: u64) {
        if let Some(info) = self.of(epoch) {
            (info.bytes, info.total_bytes) = (bytes, total_bytes);
        }
    }

    /// A checkpoint is sealed.
    pub fn seal(&mut self, epoch: Epoch, now: Duration) {
        if let Some(info) = self.of(epoch) {
            info.outcome = CheckpointOutcome::Sealed { took: now.saturating_sub(info.begun) };
            self.sealed += 1;
        }
    }

    /// A checkpoint is given up.
    pub fn fail(&mut self, epoch: Epoch, cause: String) {
        if let Some(info) = self.of(epoch) {
            info.outcome = CheckpointOutcome::Failed { cause };
            self.failed += 1;
        }
    }

    /// The attempt is over: what was on its way comes to nothing.
    pub fn fail_unfinished(&mut self, cause: &str) {
        for info in self.newest.iter_mut().filter(|info| info.outcome == CheckpointOutcome::InProgress) {
            info.outcome = CheckpointOutcome::Failed { cause: cause.to_owned() };
            self.failed += 1;
        }
    }

    /// All that are remembered, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &CheckpointInfo> {
        self.newest.iter()
    }

    /// The newest that is sealed.
    #[must_use]
    pub fn newest_sealed(&self) -> Option<&CheckpointInfo> {
        self.newest.iter().rev().find(|info| matches!(info.outcome, CheckpointOutcome::Sealed { .. }))
    }

    fn of(&mut self, epoch: Epoch) -> Option<&mut CheckpointInfo> {
        self.newest.iter_mut().rev().find(|info| info.epoch == epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_checkpoint_is_told_with_what_became_of_it() {
        let mut log = CheckpointLog::default();
        let at = Duration::from_secs;
        log.begin(Epoch(1), at(1));
        log.note_alignment(Epoch(1), Duration::from_millis(5));
        log.note_alignment(Epoch(1), Duration::from_millis(2));
        log.note_bytes(Epoch(1), 100, 700);
        log.seal(Epoch(1), at(3));
        log.begin(Epoch(2), at(4));
        log.fail(Epoch(2), String::from("disk full"));
        log.begin(Epoch(3), at(5));
        log.fail_unfinished("a worker was lost");
        let outcomes: Vec<CheckpointOutcome> = log.iter().map(|info| info.outcome.clone()).collect();
        assert_eq!(
            outcomes,
            [
                CheckpointOutcome::Sealed { took: at(2) },
                CheckpointOutcome::Failed { cause: String::from("disk full") },
                CheckpointOutcome::Failed { cause: String::from("a worker was lost") },
            ]
        );
        assert_eq!((log.sealed, log.failed, log.newest_sealed().map(|info| info.epoch)), (1, 2, Some(Epoch(1))));
        let first = log.iter().next().unwrap();
        assert_eq!((first.alignment, first.bytes, first.total_bytes), (Duration::from_millis(5), 100, 700));
        (4..200).for_each(|epoch| log.begin(Epoch(epoch), at(epoch)));
        assert_eq!(log.iter().count(), REMEMBERED);
    }
}
