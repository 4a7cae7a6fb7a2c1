//! The table of workers: registered, heard of, expired. Pure: the time is passed in.
//!
//! A worker expires when it has been silent for longer than its limit: a worker process whatever it does, for what
//! was there before a break of the network registers again and must not be counted twice; a worker of the
//! coordinator's own process only while it has work, counted from when it was given that.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_plans::ids::WorkerId;

/// How long a worker may be silent, if nobody says.
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
    /// Whether it is to end, and takes no more tasks.
    pub is_leaving: bool,
}

/// Where a worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the coordinator's process; several may share an address.
    Embedded,
    /// In a process of its own, which is all there is at its address.
    Remote,
}

/// The registered workers.
#[derive(Debug)]
pub struct Membership {
    members: BTreeMap<WorkerId, Member>,
    /// How long a worker may be silent.
    limit: Duration,
}

#[derive(Debug)]
struct Member {
    info: WorkerInfo,
    origin: Origin,
    /// When it was last heard of or given work.
    last_sign: Duration,
}

impl Membership {
    /// No workers, of which each may be silent for so long.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { members: BTreeMap::new(), limit }
    }

    /// How long a worker may be silent.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Takes a worker in. Its id is nobody else's, so that a late message cannot mean another worker.
    pub fn register(&mut self, id: WorkerId, data_address: String, slots: u32, origin: Origin, now: Duration) {
        let info = WorkerInfo { id, data_address, slots, jobs: 0, is_leaving: false };
        let before = self.members.insert(id, Member { info, origin, last_sign: now });
        debug_assert!(before.is_none(), "{id} was given twice");
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
        let limit = self.limit;
        let is_silent = |member: &Member| now.saturating_sub(member.last_sign) > limit;
        let counts = |member: &Member| member.origin == Origin::Remote || member.info.jobs > 0;
        let expired = self.members.extract_if(.., |_, member| counts(member) && is_silent(member));
        expired.map(|(_, member)| member.info).collect()
    }

    /// Notes that a worker takes no more tasks; false if it is not registered.
    pub fn begin_leaving(&mut self, worker: WorkerId) -> bool {
        let member = self.members.get_mut(&worker);
        member.map(|member| member.info.is_leaving = true).is_some()
    }

    /// Whether a worker that is leaving has nothing left to do.
    #[must_use]
    pub fn may_leave(&self, worker: WorkerId) -> bool {
        self.get(worker).is_some_and(|worker| worker.is_leaving && worker.jobs == 0)
    }

    /// The workers that take tasks, in the order in which they came.
    pub fn available(&self) -> impl Iterator<Item = &WorkerInfo> {
        self.workers().filter(|worker| !worker.is_leaving)
    }

    /// How many slots there are for tasks.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.available().map(|worker| worker.slots).sum()
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

    const LIMIT: Duration = at(5000);

    fn table(workers: &[(u32, &str, Origin)]) -> Membership {
        let mut table = Membership::new(LIMIT);
        for (id, address, origin) in workers {
            table.register(WorkerId(*id), String::from(*address), 2, *origin, at(0));
        }
        table
    }

    fn expired(table: &mut Membership, ms: u64) -> Vec<u32> {
        table.expire(at(ms)).iter().map(|worker| worker.id.0).collect()
    }

    #[test]
    fn a_silent_worker_expires_once() {
        let mut table = table(&[(1, "a", Origin::Remote), (2, "b", Origin::Remote)]);
        table.begin_job(WorkerId(1), at(0));
        table.begin_job(WorkerId(2), at(0));
        assert!(table.heartbeat(WorkerId(1), at(4000)));
        assert!(expired(&mut table, 5000).is_empty());
        assert_eq!(expired(&mut table, 5001), [2]);
        assert!(expired(&mut table, 5002).is_empty());
        assert!(!table.heartbeat(WorkerId(2), at(5003)));
        assert_eq!((table.len(), table.slots()), (1, 2));
        // Without work, too: it may have registered again under another id.
        table.end_job(WorkerId(1));
        assert_eq!(expired(&mut table, 9001), [1]);
        assert_eq!(table.slots(), 0);
    }

    #[test]
    fn an_idle_worker_of_this_process_stays_and_its_time_counts_from_its_next_job() {
        let mut table = table(&[(1, "", Origin::Embedded)]);
        assert!(expired(&mut table, 60_000).is_empty());
        table.begin_job(WorkerId(1), at(60_000));
        assert!(expired(&mut table, 64_000).is_empty());
        table.end_job(WorkerId(1));
        assert!(expired(&mut table, 90_000).is_empty());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_worker_that_leaves_takes_nothing_more_and_may_go_when_it_has_nothing_left() {
        let mut table = table(&[(1, "a", Origin::Remote), (2, "b", Origin::Remote)]);
        table.begin_job(WorkerId(1), at(0));
        assert!(table.begin_leaving(WorkerId(1)));
        assert!(!table.begin_leaving(WorkerId(3)));
        assert_eq!((table.slots(), table.available().map(|worker| worker.id.0).collect::<Vec<_>>()), (2, vec![2]));
        assert!(!table.may_leave(WorkerId(1)) && !table.may_leave(WorkerId(2)));
        table.end_job(WorkerId(1));
        assert!(table.may_leave(WorkerId(1)));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_worker_is_found_by_its_address_and_time_does_not_go_back() {
        let mut table = table(&[(1, "a", Origin::Remote)]);
        assert_eq!((table.find("a"), table.find("b")), (Some(WorkerId(1)), None));
        table.heartbeat(WorkerId(1), at(10));
        table.heartbeat(WorkerId(1), at(5));
        assert!(expired(&mut table, 5010).is_empty());
        assert_eq!(expired(&mut table, 5011), [1]);
    }
}
