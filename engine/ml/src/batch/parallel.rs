//! Work on several threads, whose results come in the order of their parts.
//!
//! The threads are one crew of the process: a fit has work for them thousands of times, and to start one takes as long as
//! much of that work does. They are lent only while they are idle, and whoever asks works as well. So a fit never waits
//! for the work of another, nor for itself where it runs on one of them; it has fewer hands meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::available_parallelism;

use rayon_core::{ThreadPool, ThreadPoolBuilder};

/// Work that a thread should have at least: one that sleeps needs some tens of microseconds to begin.
const NANOSECONDS_A_THREAD: usize = 50_000;

/// How often the caller looks whether the others are done before it sleeps: parts take about the same time.
const LOOKS: u32 = 5_000;

static CREW: LazyLock<Option<Crew>> = LazyLock::new(Crew::new);

/// How many threads of so many are worth it, given how long the work takes one of them.
pub(crate) fn worthwhile(threads: usize, nanoseconds: usize) -> usize {
    (nanoseconds / NANOSECONDS_A_THREAD).min(threads).max(1)
}

/// What `work` makes of each part, on this thread and up to one more for each other part.
pub(crate) fn in_parallel<P: Sync, T: Send>(parts: &[P], work: impl Fn(&P) -> T + Sync) -> Vec<T> {
    owned_in_parallel(parts, work)
}

/// The same with parts that are given away, such as stretches of a slice that is written to.
pub(crate) fn owned_in_parallel<P: Send, T: Send>(
    parts: impl IntoIterator<Item = P>,
    work: impl Fn(P) -> T + Sync,
) -> Vec<T> {
    let parts: Vec<P> = parts.into_iter().collect();
    let Some(crew) = CREW.as_ref().filter(|_| parts.len() > 1) else { return parts.into_iter().map(work).collect() };
    let parts: Vec<_> = parts.into_iter().map(|part| Mutex::new(Part::Waiting(part))).collect();
    let next = AtomicUsize::new(0);
    crew.run(parts.len() - 1, &|| {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(part, &work);
        }
    });
    let done = |part: Mutex<Part<P, T>>| match part.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Part::Done(result) => Some(result),
        Part::Waiting(_) | Part::Taken => None,
    };
    parts.into_iter().filter_map(done).collect()
}

/// A part of the work.
enum Part<P, T> {
    Waiting(P),
    Taken,
    Done(T),
}

/// Nothing panics while it has the lock.
fn run<P, T>(part: &Mutex<Part<P, T>>, work: &impl Fn(P) -> T) {
    let replace = |by| std::mem::replace(&mut *part.lock().unwrap_or_else(PoisonError::into_inner), by);
    if let Part::Waiting(own) = replace(Part::Taken) {
        replace(Part::Done(work(own)));
    }
}

/// Threads that wait for work.
struct Crew {
    pool: ThreadPool,
    /// Those that are not lent.
    idle: AtomicUsize,
}

impl Crew {
    /// One for each core but the caller's; none where the system refuses, which is no reason to fail.
    fn new() -> Option<Self> {
        let helpers = available_parallelism().map_or(0, |cores| cores.get() - 1);
        let name = |number| format!("fit {number}");
        let builder = || ThreadPoolBuilder::new().num_threads(helpers).thread_name(name);
        let pool = (helpers > 0).then(builder)?.build().ok()?;
        Some(Self { pool, idle: AtomicUsize::new(helpers) })
    }

    /// Takes up to so many of the idle ones.
    fn lend(&self, wanted: usize) -> usize {
        let mut lent = 0;
        let take = |idle: usize| {
            lent = idle.min(wanted);
            idle.checked_sub(lent).filter(|_| lent > 0)
        };
        // Where none is idle there is nothing to update.
        let _ = self.idle.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take);
        lent
    }

    /// Does the work here, and at the same time on up to so many others; each stops where nothing is left to do.
    fn run(&self, wanted: usize, work: &(impl Fn() + Sync)) {
        let lent = self.lend(wanted);
        if lent == 0 {
            return work();
        }
        let busy = AtomicUsize::new(lent);
        self.pool.in_place_scope(|scope| {
            for _ in 0..lent {
                scope.spawn(|_| {
                    let _loan = Loan { idle: &self.idle, busy: &busy };
                    work();
                });
            }
            work();
            let is_busy = || busy.load(Ordering::Acquire) > 0;
            (0..LOOKS).take_while(|_| is_busy()).for_each(|_| std::hint::spin_loop());
        });
    }
}

/// A thread that is lent; it comes back even when its work panics.
struct Loan<'a> {
    idle: &'a AtomicUsize,
    busy: &'a AtomicUsize,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.idle.fetch_add(1, Ordering::AcqRel);
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Work in stretches of about the same length, one for each of so many threads at most.
pub(crate) fn stretches<T>(work: &[T], threads: usize) -> Vec<&[T]> {
    work.chunks(stretch(work.len(), threads)).collect()
}

/// The same of what is written to.
pub(crate) fn stretches_mut<T>(work: &mut [T], threads: usize) -> std::slice::ChunksMut<'_, T> {
    let length = stretch(work.len(), threads);
    work.chunks_mut(length)
}

/// The length of stretches.
pub(crate) fn stretch(length: usize, threads: usize) -> usize {
    length.div_ceil(threads).max(1)
}

#[cfg(test)]
mod tests;
