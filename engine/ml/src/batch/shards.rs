//! Sums over all rows on several threads, and by several processes, whose bits do not depend on how many they are.
//!
//! The rows are cut into at most 16 stretches by their number alone. A thread sums up whole stretches, and
//! the sums come back in the order of the rows.

use bincode::{Decode, Encode};

use super::parallel::{in_parallel, stretches};
use super::team::{all_parts, own_part};
use super::{Chunk, FitControl};
use crate::error::Result;

/// Stretches of rows, each with a sum of its own; so many threads can work at most.
const SHARDS_MAX: usize = 16;

/// Numbers and categories below which a thread costs more than it saves.
const ENTRIES_FOR_THREADS: usize = 1 << 16;

/// What `work` makes of each stretch of chunks, in their order.
///
/// # Errors
/// `Stopped`; `work` should look at [`FitControl::is_stopped`] for each chunk and return early. `Team`.
pub(crate) fn map_shards<T: Send + Encode + Decode<()>>(
    chunks: &[Chunk],
    control: &FitControl,
    work: impl Fn(&[Chunk]) -> T + Sync,
) -> Result<Vec<T>> {
    map_numbered_shards(chunks, control, |_, chunks| work(chunks))
}

/// The same, where `work` gets the number of the stretch's first row, too.
///
/// # Errors
/// As [`map_shards`].
pub(crate) fn map_numbered_shards<T: Send + Encode + Decode<()>>(
    chunks: &[Chunk],
    control: &FitControl,
    work: impl Fn(usize, &[Chunk]) -> T + Sync,
) -> Result<Vec<T>> {
    control.check()?;
    let shards = cut(chunks);
    let entries: usize = chunks.iter().map(Chunk::entries).sum();
    let team = control.team_for(entries);
    let own = &shards[own_part(team, shards.len())];
    let threads = if entries < ENTRIES_FOR_THREADS { 1 } else { control.threads.get() };
    let run =
        |shards: &&[(usize, &[Chunk])]| shards.iter().map(|(first, shard)| work(*first, shard)).collect::<Vec<_>>();
    let sums = in_parallel(&stretches(own, threads), run).into_iter().flatten().collect::<Vec<_>>();
    // Before the others are told: what was stopped is not whole.
    control.check()?;
    all_parts(team, sums)
}

/// The chunks in stretches of about the same length, each with the number of its first row.
fn cut(chunks: &[Chunk]) -> Vec<(usize, &[Chunk])> {
    let count = chunks.len().min(SHARDS_MAX);
    let mut first = 0;
    let mut shards = Vec::with_capacity(count);
    for shard in 0..count {
        let chunks = &chunks[shard * chunks.len() / count..(shard + 1) * chunks.len() / count];
        shards.push((first, chunks));
        first += chunks.iter().map(Chunk::rows).sum::<usize>();
    }
    shards
}
