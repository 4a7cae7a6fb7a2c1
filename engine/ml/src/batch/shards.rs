//! Sums over all rows on several threads whose bits do not depend on how many they are.
//!
//! The rows are cut into at most 16 stretches by their number alone. A thread sums up whole stretches, and
//! the sums come back in the order of the rows.

use std::thread::{Builder, ScopedJoinHandle, scope};

use super::{Chunk, FitControl};
use crate::error::Result;

/// Stretches of rows, each with a sum of its own; so many threads can work at most.
const SHARDS_MAX: usize = 16;

/// Numbers and categories below which a thread costs more than it saves.
const ENTRIES_FOR_THREADS: usize = 1 << 16;

/// What `work` makes of each stretch of chunks, in their order.
///
/// # Errors
/// `Stopped`; `work` should look at [`FitControl::is_stopped`] for each chunk and return early.
pub(crate) fn map_shards<T: Send>(
    chunks: &[Chunk],
    control: &FitControl,
    work: impl Fn(&[Chunk]) -> T + Sync,
) -> Result<Vec<T>> {
    control.check()?;
    let shards = cut(chunks);
    let entries: usize = chunks.iter().map(Chunk::entries).sum();
    let threads = if entries < ENTRIES_FOR_THREADS { 1 } else { control.threads.get() };
    let shards_each = shards.len().div_ceil(threads).max(1);
    let run = |shards: &[&[Chunk]]| shards.iter().map(|shard| work(shard)).collect::<Vec<_>>();
    let sums = scope(|scope| {
        let mut parts = shards.chunks(shards_each);
        let own = parts.next().unwrap_or_default();
        let started: Vec<_> = parts
            .map(|part| (part, Builder::new().name("fit".to_owned()).spawn_scoped(scope, move || run(part)).ok()))
            .collect();
        let mut sums = run(own);
        for (part, handle) in started {
            // A thread that the system refuses is no reason to fail: its work is done here.
            sums.extend(handle.map_or_else(|| run(part), join));
        }
        sums
    });
    control.check()?;
    Ok(sums)
}

fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The chunks in stretches of about the same length.
fn cut(chunks: &[Chunk]) -> Vec<&[Chunk]> {
    let shards = chunks.len().min(SHARDS_MAX);
    (0..shards).map(|shard| &chunks[shard * chunks.len() / shards..(shard + 1) * chunks.len() / shards]).collect()
}
