//! Many seeds, or the one that `TIDEMILL_SIMULATION_SEED` says.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::World;
use crate::job::JobStatus;

const SEEDS: u64 = 1500;

/// How a seed has ended: the most that any coordinator says of the job.
fn simulate(seed: u64, is_told: bool) -> (String, u32, [u64; 3]) {
    let mut world = World::new(seed);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    if is_told || ran.is_err() {
        let last = if is_told { world.commons.log.len() } else { 60 };
        let log = &world.commons.log[world.commons.log.len().saturating_sub(last)..];
        let note = format!("seed {seed}:\n{}\n", log.join("\n"));
        // The harness shows it with the failure.
        std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes()).unwrap();
    }
    if let Err(panic) = ran {
        resume_unwind(panic);
    }
    let statuses = world.coordinators.iter().filter_map(|coordinator| coordinator.status.as_ref());
    let is_end = |status: &&JobStatus| status.is_terminal() && **status != JobStatus::Suspended;
    let end = statuses.filter(is_end).map(|status| match status {
        JobStatus::Finished => "finished",
        JobStatus::Stopped => "stopped",
        _ => "failed",
    });
    let attempts = world.commons.store.newest().map_or(0, |newest| newest.run.attempt);
    let commons = &world.commons;
    let taken = [commons.savepoints, u64::from(commons.savepoint.is_some()), commons.suspensions];
    (end.max().unwrap_or("nobody knows").to_owned(), attempts, taken)
}

#[test]
fn each_row_is_shown_once_whatever_happens() {
    if let Ok(seed) = std::env::var("TIDEMILL_SIMULATION_SEED") {
        simulate(seed.parse().unwrap(), true);
        return;
    }
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let (mut attempts, mut taken) = (0, [0; 3]);
    for seed in 0..SEEDS {
        let (end, of, more) = simulate(seed, false);
        taken.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        *ends.entry(end).or_default() += 1;
        attempts += u64::from(of);
    }
    // The adversary is of use only if it reaches every end, over many attempts.
    let reached = ["failed", "finished", "stopped"].map(|end| ends.get(end).copied().unwrap_or(0));
    assert!(reached.iter().all(|count| *count > SEEDS / 50), "{ends:?}");
    assert!(
        taken[0] > SEEDS / 20 && taken[1] > SEEDS / 100 && taken[2] > SEEDS / 10,
        "{taken:?} savepoints, those that jobs have ended with, and jobs that have left off"
    );
    assert!(attempts > SEEDS, "{attempts} restarts in all");
}
