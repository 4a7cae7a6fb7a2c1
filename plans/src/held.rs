//! What the streams of a process hold in memory, for others that have to leave them room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all streams of a process. Clones are of the same ones.
#[derive(Debug, Clone, Default)]
pub struct StreamsHeld(Arc<AtomicUsize>);

/// What one part of a stream holds, as long as it is there.
#[derive(Debug)]
pub struct HeldShare {
    all: StreamsHeld,
    bytes: AtomicUsize,
}

impl StreamsHeld {
    /// How much that is now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A part that holds nothing yet.
    #[must_use]
    pub fn share(&self) -> HeldShare {
        HeldShare { all: self.clone(), bytes: AtomicUsize::new(0) }
    }
}

impl HeldShare {
    /// The part holds so many bytes now. For one thread at a time.
    pub fn set(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        match bytes.checked_sub(before) {
            Some(more) => self.all.0.fetch_add(more, Ordering::Relaxed),
            None => self.all.0.fetch_sub(before - bytes, Ordering::Relaxed),
        };
    }
}

impl Drop for HeldShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added_up_as_long_as_they_are_there() {
        let all = StreamsHeld::default();
        let (one, other) = (all.share(), all.clone().share());
        one.set(5);
        other.set(7);
        one.set(3);
        assert_eq!(all.bytes(), 10);
        drop(other);
        assert_eq!(all.bytes(), 3);
    }
}
