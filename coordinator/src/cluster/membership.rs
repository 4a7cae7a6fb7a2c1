//! The table of workers: registered, heard of, expired. Pure: the time is passed in.
//!
//! Workers send heartbeats while they run jobs, so silence means something only then: a worker
//! expires [`HEARTBEAT_LIMIT`] after it was last heard of *or* given work, whichever is later. A
//! worker that dies while idle is noticed by the next request to it.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_plans::ids::WorkerId;

/// How long a worker with work may be silent.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(5);

/// A registered worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// The worker.
    pub id: WorkerId,
    /// Where other workers reach its exchange.
    pub data_address: String,
    /// How many tasks may compute at the same time.
    pub slots: u32,
    /// Jobs that run on it.
    pub jobs: u32,
}

/// The registered workers.
#[derive(Debug, Default)]
pub struct Membership {
    members: BTreeMap<WorkerId, Member>,
    /// The newest id; ids are not used twice, so a late message cannot mean another worker.
    last_id: u32,
}

#[derive(Debug)]
struct Member {
    info: WorkerInfo,
    /// When it was last heard of or given work.
    last_sign: Duration,
}

impl Membership {
    /// Takes a worker in and numbers it.
    pub fn register(&mut self, data_address: String, slots: u32, now: Duration) -> WorkerId {
        self.last_id += 1;
        let id = WorkerId(self.last_id);
        let info = WorkerInfo { id, data_address, slots, jobs: 0 };
        self.members.insert(id, Member { info, last_sign: now });
        id
    }

    /// Notes a sign of life; false if the worker is not registered (any more).
    pub fn heartbeat(&mut self, worker: WorkerId, now: Duration) -> bool {
        let Some(member) = self.members.get_mut(&worker) else { return false };
        member.last_sign = member.last_sign.max(now);
        true
    }

    /// Notes that a job begins on a worker: from now on its silence counts.
    pub fn begin_job(&mut self, worker: WorkerId, now: Duration) {
        if let Some(member) = self.members.get_mut(&worker) {
            if member.info.jobs == 0 {
                member.last_sign = member.last_sign.max(now);
            }
            member.info.jobs += 1;
        }
    }

    /// Notes that a job has left a worker.
    pub fn end_job(&mut self, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(&worker) {
            debug_assert!(member.info.jobs > 0, "a job that ends has begun");
            member.info.jobs = member.info.jobs.saturating_sub(1);
        }
    }

    /// Removes the workers that have been silent for too long, and names them.
    pub fn expire(&mut self, now: Duration) -> Vec<WorkerInfo> {
        self.members
            .extract_if(.., |_, member| member.info.jobs > 0 && now.saturating_sub(member.last_sign) > HEARTBEAT_LIMIT)
            .map(|(_, member)| member.info)
            .collect()
    }

    /// Removes a worker.
    pub fn remove(&mut self, worker: WorkerId) -> Option<WorkerInfo> {
        self.members.remove(&worker).map(|member| member.info)
    }

    /// The worker that registered with this address last.
    #[must_use]
    pub fn find(&self, data_address: &str) -> Option<WorkerId> {
        self.members.values().rev().find(|member| member.info.data_address == data_address).map(|m| m.info.id)
    }

    /// One worker.
    #[must_use]
    pub fn get(&self, worker: WorkerId) -> Option<&WorkerInfo> {
        self.members.get(&worker).map(|member| &member.info)
    }

    /// All workers in the order in which they came.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerInfo> {
        self.members.values().map(|member| &member.info)
    }

    /// How many workers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_silent_worker_with_work_expires_once() {
        let mut table = Membership::default();
        let (a, b) = (table.register("a".into(), 1, at(0)), table.register("b".into(), 1, at(0)));
        table.begin_job(a, at(0));
        table.begin_job(b, at(0));
        assert!(table.heartbeat(a, at(4000)));
        assert!(table.expire(at(5000)).is_empty());
        assert_eq!(table.expire(at(5001)).iter().map(|w| w.id).collect::<Vec<_>>(), [b]);
        assert!(table.expire(at(5002)).is_empty());
        assert!(!table.heartbeat(b, at(5003)));
        assert_eq!(table.workers().map(|w| w.id).collect::<Vec<_>>(), [a]);
    }

    #[test]
    fn an_idle_worker_stays_and_its_time_counts_from_its_next_job() {
        let mut table = Membership::default();
        let a = table.register("a".into(), 1, at(0));
        assert!(table.expire(at(60_000)).is_empty());
        table.begin_job(a, at(60_000));
        assert!(table.expire(at(64_000)).is_empty());
        table.end_job(a);
        assert!(table.expire(at(90_000)).is_empty());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn ids_are_not_used_twice_and_time_does_not_go_back() {
        let mut table = Membership::default();
        let a = table.register("a".into(), 1, at(10));
        assert_eq!(table.find("a"), Some(a));
        table.begin_job(a, at(10));
        table.heartbeat(a, at(5));
        assert!(table.expire(at(5009)).is_empty());
        table.remove(a);
        assert_ne!(table.register("a".into(), 1, at(20)), a);
        assert_eq!(table.find("b"), None);
    }
}
