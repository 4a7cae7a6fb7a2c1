//! Which runs of a store are put together: those of like size, once there are enough of them. So there are few, and an
//! entry is written again a logarithm of times.

/// Runs of like size are put together when there are so many of them.
pub(super) const RUNS_MAX: usize = if cfg!(test) { 3 } else { 8 };

/// Runs up to this size are of like size; the next size is [`RUNS_MAX`] times as much.
const SMALL_RUN_BYTES: u64 = if cfg!(test) { 128 } else { 1 << 20 };

/// No run gets larger by being put together with others: that would take too long for a caller that waits.
const MERGED_BYTES_MAX: u64 = if cfg!(test) { 4096 } else { 512 << 20 };

/// The numbers of runs that are to be put together, of those with these numbers and so many bytes.
pub(super) fn of_like_size(runs: impl Iterator<Item = (usize, u64)>) -> Option<Vec<usize>> {
    let mut sizes: Vec<Vec<(usize, u64)>> = Vec::new();
    for (number, bytes) in runs {
        let size = (bytes / SMALL_RUN_BYTES).max(1).ilog(RUNS_MAX as u64) as usize;
        sizes.resize_with(sizes.len().max(size + 1), Vec::new);
        sizes[size].push((number, bytes));
    }
    let bytes = |runs: &Vec<(usize, u64)>| runs.iter().map(|(_, bytes)| bytes).sum::<u64>();
    let many = sizes.into_iter().find(|runs| runs.len() >= RUNS_MAX && bytes(runs) <= MERGED_BYTES_MAX)?;
    Some(many.into_iter().map(|(number, _)| number).collect())
}
