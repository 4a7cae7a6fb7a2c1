//! Sources that wait for each other, so that none runs ahead of the slowest in event time.
//!
//! What a source has read ahead waits in the state of joins and windows until the others have come as
//! far. So a member of a group stops reading while its watermark is more than `max_drift` ahead of the
//! slowest other's (Flink's watermark alignment). Members that are idle or have ended hold nobody up,
//! and the slowest never waits: there is always one that reads.
//!
//! The subtasks of one source are a group without being told. They read files in parallel that often
//! follow each other in time, where strict alignment would make one of them read at a time; so each may
//! read [`AHEAD_BYTES_MAX`] ahead before it waits, which bounds the state and keeps them all at work.
//!
//! A group is one of a worker process: the members on other workers are not seen from here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_plans::PlanError;
use tidemill_plans::node::SourceNode;
use tidemill_plans::time::Watermark;

use crate::error::Result;
use crate::metrics::OperatorStats;
use crate::task::TaskEnv;

/// How far a subtask of a source may be ahead of the others at no cost, in microseconds: less than that
/// is what windows and joins hold anyway.
const SUBTASK_DRIFT: i64 = 3_600_000_000;

/// Bytes of rows that a subtask of a source may read beyond that before it waits.
const AHEAD_BYTES_MAX: usize = 64 << 20;

/// The groups of a job's sources on one worker.
#[derive(Default)]
pub struct Alignment {
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
}

#[derive(Default)]
struct Group {
    members: Mutex<Vec<Arc<Progress>>>,
}

/// Where a member is.
struct Progress {
    stats: Arc<OperatorStats>,
    idle: AtomicBool,
    ended: AtomicBool,
}

/// One subtask of a source among those that it keeps pace with. It has ended when it is dropped.
pub(crate) struct Member {
    group: Arc<Group>,
    own: Arc<Progress>,
    /// Microseconds of event time.
    max_drift: i64,
    /// Bytes that may be read beyond, and that have been.
    allowance: usize,
    ahead: usize,
}

impl Alignment {
    /// Adds a subtask of a source to its group; `stats` have its watermark. A source whose time is the
    /// clock or that has none waits for nobody.
    pub(crate) fn join(
        &self,
        source: &SourceNode,
        env: &TaskEnv,
        stats: &Arc<OperatorStats>,
    ) -> Result<Option<Member>> {
        if source.event_time.is_none() || source.follows_clock() {
            return Ok(None);
        }
        let timing = source.timing()?;
        let Some(group) = timing.watermark_group else {
            let name = format!("source {}", stats.operator());
            return Ok(Some(self.add(name, stats, SUBTASK_DRIFT, AHEAD_BYTES_MAX)));
        };
        let by_setting = Some(env.settings.watermark_max_drift_ms).filter(|ms| *ms > 0);
        let Some(drift) = timing.max_drift_ms.or(by_setting) else {
            let message = format!("source '{}' has a watermark_group, but no max_drift", source.table);
            return Err(PlanError::InvalidOption(message).into());
        };
        let drift = i64::try_from(drift).unwrap_or(i64::MAX).saturating_mul(1_000);
        Ok(Some(self.add(format!("group {group}"), stats, drift, 0)))
    }

    fn add(&self, name: String, stats: &Arc<OperatorStats>, max_drift: i64, allowance: usize) -> Member {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = Arc::clone(groups.entry(name).or_default());
        let stats = Arc::clone(stats);
        let own = Arc::new(Progress { stats, idle: AtomicBool::new(false), ended: AtomicBool::new(false) });
        group.members.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&own));
        Member { group, own, max_drift, allowance, ahead: 0 }
    }
}

impl Member {
    /// Whether it is too far ahead to read on.
    pub(crate) fn must_wait(&mut self) -> bool {
        let is_ahead = self.is_ahead();
        if !is_ahead {
            self.ahead = 0;
        }
        is_ahead && self.ahead >= self.allowance
    }

    /// Notes that so many bytes of rows have been read.
    pub(crate) fn note_read(&mut self, bytes: usize) {
        self.ahead = self.ahead.saturating_add(bytes);
    }

    /// Notes whether it has rows for the time being.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.own.idle.store(idle, Ordering::Relaxed);
    }

    fn is_ahead(&self) -> bool {
        let own = self.own.stats.watermark();
        if own == Watermark::MIN {
            return false;
        }
        let members = self.group.members.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = |member: &&Arc<Progress>| {
            let gone = member.idle.load(Ordering::Relaxed) || member.ended.load(Ordering::Relaxed);
            !gone && !Arc::ptr_eq(member, &self.own)
        };
        let slowest = members.iter().filter(counts).map(|member| member.stats.watermark()).min();
        slowest.is_some_and(|slowest| own.0.0.saturating_sub(slowest.0.0) > self.max_drift)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.own.ended.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ids::{JobId, OperatorId};
    use tidemill_plans::time::EventTime;

    use super::*;

    fn members<const N: usize>(drift: i64, allowance: usize) -> [(Arc<OperatorStats>, Member); N] {
        let alignment = Alignment::default();
        std::array::from_fn(|subtask| {
            let stats = Arc::new(OperatorStats::new(JobId(1), OperatorId(0), subtask as u32));
            let member = alignment.add(String::from("g"), &stats, drift, allowance);
            (stats, member)
        })
    }

    fn read((stats, member): &mut (Arc<OperatorStats>, Member), time: i64) -> bool {
        stats.set_watermark(Watermark(EventTime(time)));
        member.note_read(1);
        member.must_wait()
    }

    #[test]
    fn who_is_too_far_ahead_waits_until_the_others_catch_up() {
        let [mut fast, mut slow] = members(10, 0);
        // Nobody knows yet where the other is.
        assert!(read(&mut fast, 5));
        assert!(!read(&mut slow, 3));
        assert!(!fast.1.must_wait());
        assert!(read(&mut fast, 14));
        assert!(!read(&mut slow, 4));
        assert!(!fast.1.must_wait());
    }

    #[test]
    fn the_idle_and_the_ended_hold_nobody_up() {
        let [mut fast, slow, mut other] = members(10, 0);
        other.0.set_watermark(Watermark(EventTime(100)));
        assert!(read(&mut fast, 100));
        slow.1.set_idle(true);
        assert!(!fast.1.must_wait());
        slow.1.set_idle(false);
        assert!(fast.1.must_wait());
        drop(slow);
        assert!(!fast.1.must_wait());
        assert!(read(&mut other, 111));
        drop(fast);
        assert!(!other.1.must_wait());
    }

    #[test]
    fn an_allowance_may_be_read_ahead_and_is_there_again_once_the_others_have_caught_up() {
        let [mut fast, mut slow] = members(10, 2);
        assert_eq!([20, 21, 22].map(|time| read(&mut fast, time)), [false, true, true]);
        assert!(!read(&mut slow, 15));
        assert!(!fast.1.must_wait());
        assert_eq!([30, 31, 32].map(|time| read(&mut fast, time)), [false, true, true]);
    }
}
