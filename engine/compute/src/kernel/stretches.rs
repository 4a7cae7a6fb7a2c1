//! Many rows on several threads, with bits that do not depend on how many they are.
//!
//! Rows are cut into stretches by their number alone. A thread takes one stretch after the other, and what comes of
//! them is put together in the order of the rows.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Stretches of rows, each with a sum of its own; so many threads can work at most.
const STRETCHES_MAX: usize = 16;

/// Rows of the shortest stretch: a sum of their own costs little beside those of so many rows.
const ROWS_MIN: usize = 1024;

/// Numbers below which another thread takes longer to begin than it saves: each is a nanosecond or less.
const NUMBERS_FOR_THREADS: usize = 1 << 18;

/// What `work` makes of each stretch of the rows, in their order. `numbers` are those that it goes through in all.
pub fn map_stretches<T: Send>(
    rows: usize,
    numbers: usize,
    threads: NonZeroUsize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let length = stretch_rows(rows);
    let count = rows.div_ceil(length);
    let stretch = |place: usize| place * length..(place * length + length).min(rows);
    let threads = if numbers < NUMBERS_FOR_THREADS { 1 } else { threads.get().min(count) };
    if threads < 2 {
        return (0..count).map(|place| work(stretch(place))).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let places = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|place| *place < count));
        places.map(|place| (place, work(stretch(place)))).collect::<Vec<_>>()
    };
    let mut done = thread::scope(|scope| {
        // Where the system has no thread left, those that there are do all.
        let start = |number| thread::Builder::new().name(format!("compute {number}")).spawn_scoped(scope, take).ok();
        let helpers: Vec<_> = (1..threads).filter_map(start).collect();
        let mut done = take();
        helpers.into_iter().for_each(|helper| match helper.join() {
            Ok(parts) => done.extend(parts),
            Err(panic) => resume_unwind(panic),
        });
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, part)| part).collect()
}

/// Rows of a stretch.
pub(crate) fn stretch_rows(rows: usize) -> usize {
    rows.div_ceil(STRETCHES_MAX).max(ROWS_MIN)
}

#[cfg(test)]
mod tests {
    use super::{NonZeroUsize, map_stretches};

    #[test]
    fn stretches_depend_on_rows_alone_and_come_in_their_order() {
        for rows in [0, 1, 1024, 1025, 16_384, 16_385, 100_000] {
            let stretches =
                |threads, numbers| map_stretches(rows, numbers, NonZeroUsize::new(threads).unwrap(), |stretch| stretch);
            let alone = stretches(1, 0);
            assert_eq!(alone.iter().map(ExactSizeIterator::len).sum::<usize>(), rows);
            assert!(alone.windows(2).all(|pair| pair[0].end == pair[1].start) && alone.len() <= 16);
            for threads in [2, 3, 40] {
                assert_eq!(stretches(threads, usize::MAX), alone);
            }
        }
    }
}
