//! Work on several threads, whose results come in the order of their parts.

use std::thread::{Builder, ScopedJoinHandle, scope};

/// What `work` makes of each part: of the first on this thread, of each other on one of its own.
pub(crate) fn in_parallel<P: Sync, T: Send>(parts: &[P], work: impl Fn(&P) -> T + Sync) -> Vec<T> {
    let work = &work;
    scope(|scope| {
        let Some((own, others)) = parts.split_first() else { return Vec::new() };
        let started: Vec<_> = others
            .iter()
            .map(|part| (part, Builder::new().name("fit".to_owned()).spawn_scoped(scope, move || work(part)).ok()))
            .collect();
        let mut done = vec![work(own)];
        // A thread that the system refuses is no reason to fail: its work is done here.
        done.extend(started.into_iter().map(|(part, handle)| handle.map_or_else(|| work(part), join)));
        done
    })
}

fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Work in stretches of about the same length, one for each of so many threads at most.
pub(crate) fn stretches<T>(work: &[T], threads: usize) -> Vec<&[T]> {
    work.chunks(work.len().div_ceil(threads).max(1)).collect()
}
