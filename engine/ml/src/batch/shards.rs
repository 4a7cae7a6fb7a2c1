//! Sums over all rows on several threads whose bits do not depend on how many they are.
//!
//! The rows are cut into at most 16 stretches by their number alone. A thread sums up whole stretches, and
//! the sums come back in the order of the rows.

use super::parallel::{in_parallel, stretches};
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
    let run = |shards: &&[&[Chunk]]| shards.iter().map(|shard| work(shard)).collect::<Vec<_>>();
    let sums = in_parallel(&stretches(&shards, threads), run).into_iter().flatten().collect();
    control.check()?;
    Ok(sums)
}

/// The chunks in stretches of about the same length.
fn cut(chunks: &[Chunk]) -> Vec<&[Chunk]> {
    let shards = chunks.len().min(SHARDS_MAX);
    (0..shards).map(|shard| &chunks[shard * chunks.len() / shards..(shard + 1) * chunks.len() / shards]).collect()
}
