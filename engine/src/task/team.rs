//! Instances of one operator that work together: what each gives to a round, all of them get.
//!
//! Rounds have numbers. Nobody gives to the next before they have had what came of the last, so a room keeps two at most.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_plans::ids::OperatorId;

/// How often somebody who waits looks whether anybody still wants what they wait for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What the members have given to a round, in their order.
pub type Parts = Arc<Vec<Vec<u8>>>;

/// Why a round comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TeamError {
    /// Nobody wants it any more.
    #[error("the job has ended")]
    Over,
    /// A member cannot be reached, or does something else.
    #[error("{0}")]
    Lost(String),
}

/// Where the instances of operators find each other.
pub trait Teams: Debug + Send + Sync {
    /// The way of one of `size` instances of an operator to the others.
    fn join(&self, operator: OperatorId, rank: u32, size: u32) -> Arc<dyn TeamLink>;
}

/// One instance's way to the others.
pub trait TeamLink: Debug + Send + Sync {
    /// Gives a part to a round, and waits for those of all others; looks at `is_over` meanwhile.
    ///
    /// # Errors
    /// `Over` once `is_over` says so; `Lost`.
    fn exchange(&self, round: u64, part: Vec<u8>, is_over: &dyn Fn() -> bool) -> Result<Parts, TeamError>;
}

/// Where the members of one team meet.
#[derive(Debug)]
pub struct TeamRoom {
    rounds: Mutex<Rounds>,
    changed: Condvar,
}

#[derive(Debug)]
struct Rounds {
    /// The number of the round that is going on.
    open: u64,
    /// What has been given to it.
    parts: Vec<Option<Vec<u8>>>,
    /// What came of the one before.
    last: Option<Parts>,
    is_closed: bool,
}

impl TeamRoom {
    /// A room for so many.
    #[must_use]
    pub fn new(size: u32) -> Self {
        let parts = vec![None; size as usize];
        Self { rounds: Mutex::new(Rounds { open: 0, parts, last: None, is_closed: false }), changed: Condvar::new() }
    }

    /// Gives the part of a member to a round, and waits for those of all others.
    ///
    /// # Errors
    /// `Over` once `is_over` says so, or the room is closed; `Lost` for a round that is not going on.
    pub fn exchange(
        &self,
        rank: u32,
        round: u64,
        part: Vec<u8>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Parts, TeamError> {
        let mut rounds = self.rounds();
        rounds.give(rank, round, part)?;
        self.changed.notify_all();
        loop {
            if rounds.is_closed || is_over() {
                return Err(TeamError::Over);
            }
            if let Some(last) = rounds.last.as_ref().filter(|_| rounds.open == round + 1) {
                return Ok(Arc::clone(last));
            }
            let waited = self.changed.wait_timeout(rounds, LOOK_INTERVAL);
            rounds = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends everybody away who waits, and whoever comes.
    pub fn close(&self) {
        self.rounds().is_closed = true;
        self.changed.notify_all();
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rounds {
    fn give(&mut self, rank: u32, round: u64, part: Vec<u8>) -> Result<(), TeamError> {
        if self.is_closed {
            return Err(TeamError::Over);
        }
        let open = self.open;
        let place = self.parts.get_mut(rank as usize).filter(|place| place.is_none() && round == open);
        let Some(place) = place else {
            return Err(TeamError::Lost(format!("member {rank} is at round {round}, and the others at {open}")));
        };
        *place = Some(part);
        if self.parts.iter().all(Option::is_some) {
            self.last = Some(Arc::new(self.parts.iter_mut().filter_map(Option::take).collect()));
            self.open += 1;
        }
        Ok(())
    }
}

/// The teams of one process that has all members.
#[derive(Debug, Default)]
pub struct LocalTeams {
    rooms: Mutex<HashMap<OperatorId, Arc<TeamRoom>>>,
}

impl Teams for LocalTeams {
    fn join(&self, operator: OperatorId, rank: u32, size: u32) -> Arc<dyn TeamLink> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(operator).or_insert_with(|| Arc::new(TeamRoom::new(size)));
        Arc::new(LocalLink { room: Arc::clone(room), rank })
    }
}

/// The way into a room of this process.
#[derive(Debug)]
pub struct LocalLink {
    /// The room.
    pub room: Arc<TeamRoom>,
    /// Which member comes.
    pub rank: u32,
}

impl TeamLink for LocalLink {
    fn exchange(&self, round: u64, part: Vec<u8>, is_over: &dyn Fn() -> bool) -> Result<Parts, TeamError> {
        self.room.exchange(self.rank, round, part, is_over)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn all_get_what_each_gives_round_after_round() {
        let room = TeamRoom::new(3);
        let member = |rank: u32| {
            let round = |round: u64| {
                // They do not come at the same time.
                thread::sleep(Duration::from_millis(u64::from(rank) * (round % 3)));
                let part = vec![rank as u8, round as u8];
                let expected: Vec<Vec<u8>> = (0..3).map(|rank| vec![rank, round as u8]).collect();
                assert_eq!(*room.exchange(rank, round, part, &|| false).unwrap(), expected);
            };
            (0..20).for_each(round);
        };
        thread::scope(|scope| (0..3).for_each(|rank| drop(scope.spawn(move || member(rank)))));
    }

    #[test]
    fn nobody_waits_for_what_nobody_wants() {
        let (room, over) = (TeamRoom::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| room.exchange(0, 0, vec![], &|| over.load(Ordering::Relaxed)));
            over.store(true, Ordering::Relaxed);
            assert_eq!(waiting.join().unwrap(), Err(TeamError::Over));
        });
        let room = TeamRoom::new(2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| room.exchange(1, 0, vec![], &|| false));
            room.close();
            assert_eq!(waiting.join().unwrap(), Err(TeamError::Over));
        });
        assert_eq!(room.exchange(0, 0, vec![], &|| false), Err(TeamError::Over));
    }

    #[test]
    fn who_is_elsewhere_is_told() {
        let room = TeamRoom::new(1);
        assert_eq!(room.exchange(0, 0, vec![7], &|| false).unwrap()[0], [7]);
        let error = room.exchange(0, 0, vec![7], &|| false).unwrap_err();
        assert_eq!(error, TeamError::Lost(String::from("member 0 is at round 0, and the others at 1")));
        assert!(matches!(room.exchange(5, 1, vec![7], &|| false), Err(TeamError::Lost(_))));
    }
}
