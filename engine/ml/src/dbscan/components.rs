//! Which places belong together, put together by several threads at once.
//!
//! The parents of Galler and Fischer's trees (1964) are atomic, and a root is only ever put below a smaller one
//! (Anderson and Woll 1991): in the end each root is the smallest place of its component, whoever put what together
//! and when.

use std::sync::atomic::{AtomicU32, Ordering};

/// Places, each in one component.
#[derive(Debug)]
pub(super) struct Components {
    /// A place of the same component that is no larger; of a root, itself.
    ///
    /// A parent is replaced by smaller ones of the same component only, so an old one is as right as a new one, and no
    /// order among threads is needed.
    parents: Vec<AtomicU32>,
}

impl Components {
    /// So many places, each in a component of its own.
    pub(super) fn new(count: u32) -> Self {
        Self { parents: (0..count).map(AtomicU32::new).collect() }
    }

    /// The smallest place that is known to be of the same component. On the way, places are put nearer to it.
    pub(super) fn root(&self, mut place: u32) -> u32 {
        loop {
            let parent = self.parent(place);
            if parent == place {
                return place;
            }
            let above = self.parent(parent);
            if above != parent {
                // Whoever was faster put the place at least as near.
                let _ =
                    self.parents[place as usize].compare_exchange(parent, above, Ordering::Relaxed, Ordering::Relaxed);
            }
            place = above;
        }
    }

    /// Whether two places are known to be of one component.
    pub(super) fn are_united(&self, one: u32, other: u32) -> bool {
        self.root(one) == self.root(other)
    }

    /// Puts the components of two places together.
    pub(super) fn unite(&self, one: u32, other: u32) {
        let (mut one, mut other) = (self.root(one), self.root(other));
        while one != other {
            let (small, large) = (one.min(other), one.max(other));
            let large_parent = &self.parents[large as usize];
            if large_parent.compare_exchange(large, small, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return;
            }
            // Another thread put it below something else meanwhile.
            (one, other) = (self.root(small), self.root(large));
        }
    }

    fn parent(&self, place: u32) -> u32 {
        self.parents[place as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Components;

    #[test]
    fn a_root_is_the_smallest_place_whatever_the_order() {
        for pairs in [[(5, 3), (3, 9), (2, 7), (7, 9)], [(9, 7), (2, 7), (9, 3), (3, 5)]] {
            let components = Components::new(10);
            pairs.into_iter().for_each(|(one, other)| components.unite(one, other));
            assert_eq!([2, 3, 5, 7, 9].map(|place| components.root(place)), [2; 5]);
            assert_eq!([0, 1, 4, 6, 8].map(|place| components.root(place)), [0, 1, 4, 6, 8]);
            assert!(components.are_united(5, 7) && !components.are_united(5, 6));
        }
    }

    #[test]
    fn threads_put_together_what_one_would() {
        let components = Components::new(20_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let components = &components;
                // Residues of 7, each thread by steps of its own.
                scope.spawn(move || (0..19_900).for_each(|place| components.unite(place + 7 * (thread + 1), place)));
            }
        });
        // The last that the steps of 7 reach.
        assert!((0..19_907).all(|place| components.root(place) == place % 7));
    }
}
