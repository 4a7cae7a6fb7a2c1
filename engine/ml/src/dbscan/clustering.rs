//! Which rows are cores, and which cores are of one cluster (Ester, Kriegel, Sander and Xu 1996).
//!
//! No list of neighbours is kept, of which there may be as many as pairs of rows. Boxes of the tree spare most
//! comparisons where rows are dense: one whose rows are all within `eps` of each other is one cluster from the start,
//! one all of whose cores have turned out to be of a row's cluster need not be looked into, and a core has enough
//! neighbours after the first `min_samples`. Clusters are what cores connect, whatever the order in which they are
//! found, so threads may go through the leaves as they come.

use std::sync::atomic::{AtomicBool, Ordering};

use super::components::Components;
use super::tree::{LEAF_ROWS, Point, Tree};
use crate::batch::FitControl;
use crate::batch::parallel::in_parallel;
use crate::error::Result;

/// Rows below which a thread costs more than it saves.
const ROWS_FOR_THREADS: usize = 2048;

/// What is no place.
const NOWHERE: u32 = u32::MAX;

/// What rows are neighbours, and how many of them make a core.
#[derive(Debug, Clone, Copy)]
pub(super) struct Density<'a> {
    pub(super) tree: &'a Tree,
    pub(super) control: &'a FitControl,
    /// The largest squared distance of neighbours.
    pub(super) eps_square: f64,
    /// Neighbours of a core, itself included.
    pub(super) min_samples: usize,
}

/// The clusters of a training set.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// For each row that is a core its cluster, from 1 by the first core of each; 0 for any other row.
    pub(super) core_clusters: Vec<u32>,
    pub(super) count: u32,
    /// Rows that are neither a core nor a neighbour of one.
    pub(super) noise_rows: u64,
}

/// The cores, and what is known of boxes of them.
struct Cores<'a> {
    density: Density<'a>,
    /// For each place, whether its row is a core.
    is_core: Vec<bool>,
    /// For each node the first place that is a core's; `NOWHERE` for none.
    first: Vec<u32>,
    /// For each node, whether all its cores are known to be of one cluster.
    is_one: Vec<AtomicBool>,
    clusters: Components,
}

impl<'a> Density<'a> {
    /// Finds the clusters.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn find(self) -> Result<Found> {
        let is_tight: Vec<bool> =
            (0..self.tree.nodes().len()).map(|node| self.tree.diagonal_square(node) <= self.eps_square).collect();
        let cores = Cores::new(self, self.cores(&is_tight)?, is_tight);
        self.for_each_leaf(|leaf, _: &mut ()| {
            self.for_each_row(leaf, |place, point| {
                if cores.is_core[place as usize] {
                    cores.unite_near(0, place, point);
                }
            });
        })?;
        let noise = self.for_each_leaf(|leaf, noise: &mut u64| {
            self.for_each_row(leaf, |place, point| {
                let is_noise = !cores.is_core[place as usize] && !cores.has_core_near(0, point);
                *noise += u64::from(is_noise);
            });
        })?;
        Ok(cores.numbered(noise.iter().sum()))
    }

    /// For each place, whether its row is a core.
    fn cores(self, is_tight: &[bool]) -> Result<Vec<bool>> {
        let nodes = self.tree.nodes();
        // All rows of a box are neighbours of each other, and enough: or they are within such a box.
        let mut is_dense: Vec<bool> =
            nodes.iter().zip(is_tight).map(|(node, is_tight)| *is_tight && node.rows() >= self.min_samples).collect();
        for node in 0..nodes.len() {
            for half in self.tree.halves(node).into_iter().flatten() {
                is_dense[half] |= is_dense[node];
            }
        }
        let found = self.for_each_leaf(|leaf, cores: &mut Vec<u32>| {
            self.for_each_row(leaf, |place, point| {
                if is_dense[leaf] || self.neighbors(0, point, self.min_samples) >= self.min_samples {
                    cores.push(place);
                }
            });
        })?;
        let mut is_core = vec![false; self.tree.len()];
        found.iter().flatten().for_each(|place| is_core[*place as usize] = true);
        Ok(is_core)
    }

    /// The rows of a box within `eps` of a point, or some of them if they are enough.
    fn neighbors(self, node: usize, point: &Point<'_>, enough: usize) -> usize {
        if self.tree.largest_square(node, point) <= self.eps_square {
            return self.tree.nodes()[node].rows();
        }
        let Some(halves) = self.tree.nearer_first(node, point) else {
            let mut room = [0.0; LEAF_ROWS];
            return self.tree.squares(node, point, &mut room).iter().filter(|one| **one <= self.eps_square).count();
        };
        let mut found = 0;
        for (half, least) in halves {
            if found < enough && least <= self.eps_square {
                found += self.neighbors(half, point, enough - found);
            }
        }
        found
    }

    /// What comes of the leaves, for each thread: it takes as many from everywhere as others, since where rows are
    /// dense there is more to do.
    fn for_each_leaf<T: Default + Send>(self, work: impl Fn(usize, &mut T) + Sync) -> Result<Vec<T>> {
        let leaves: Vec<usize> =
            (0..self.tree.nodes().len()).filter(|node| self.tree.halves(*node).is_none()).collect();
        let threads = if self.tree.len() < ROWS_FOR_THREADS { 1 } else { self.control.threads.get() };
        let threads: Vec<usize> = (0..threads.min(leaves.len())).collect();
        let states = in_parallel(&threads, |first| {
            let mut state = T::default();
            for leaf in leaves.iter().skip(*first).step_by(threads.len()).take_while(|_| !self.control.is_stopped()) {
                work(*leaf, &mut state);
            }
            state
        });
        self.control.check()?;
        Ok(states)
    }

    /// Calls `work` with the place and the point of each row of a leaf.
    fn for_each_row(self, leaf: usize, mut work: impl FnMut(u32, &Point<'_>)) {
        let (mut numbers, mut categories) = self.tree.room_for_row();
        for (row, place) in self.tree.nodes()[leaf].places().enumerate() {
            self.tree.copy_row(leaf, row, &mut numbers, &mut categories);
            work(place, &Point { numbers: &numbers, categories: &categories });
        }
    }
}

impl<'a> Cores<'a> {
    fn new(density: Density<'a>, is_core: Vec<bool>, is_tight: Vec<bool>) -> Self {
        let clusters = Components::new(is_core.len() as u32);
        let nodes = density.tree.nodes();
        let core_from = |mut places: std::ops::Range<u32>| places.find(|place| is_core[*place as usize]);
        // From the last node on, since halves come after the whole.
        let mut first = vec![NOWHERE; nodes.len()];
        for node in (0..nodes.len()).rev() {
            first[node] = match density.tree.halves(node) {
                Some([one, other]) => first[one].min(first[other]),
                None => core_from(nodes[node].places()).unwrap_or(NOWHERE),
            };
        }
        // A whole comes before its halves, which have nothing to add.
        let mut done = 0;
        for node in (0..nodes.len()).filter(|node| is_tight[*node]) {
            let places = (nodes[node].start.max(done)..nodes[node].end).filter(|place| is_core[*place as usize]);
            places.for_each(|place| clusters.unite(first[node], place));
            done = done.max(nodes[node].end);
        }
        let is_one = is_tight.into_iter().map(AtomicBool::new).collect();
        Self { density, is_core, first, is_one, clusters }
    }

    /// Puts a core at a place together with all its neighbours among the cores of a box that come after it: those
    /// before have found it themselves.
    fn unite_near(&self, node: usize, place: u32, point: &Point<'_>) {
        let tree = self.density.tree;
        let first = self.first[node];
        if first == NOWHERE || tree.nodes()[node].end <= place {
            return;
        }
        if self.is_one[node].load(Ordering::Relaxed) {
            if !self.clusters.are_united(first, place) && self.has_core_near(node, point) {
                self.clusters.unite(first, place);
            }
            return;
        }
        if tree.least_square(node, point) > self.density.eps_square {
            return;
        }
        let is_one = match tree.halves(node) {
            Some(halves) => {
                halves.iter().for_each(|half| self.unite_near(*half, place, point));
                halves.iter().all(|half| self.is_of(*half, first))
            }
            None => {
                self.unite_near_in_leaf(node, place, point);
                let mut cores = tree.nodes()[node].places().filter(|place| self.is_core[*place as usize]);
                cores.all(|core| self.clusters.are_united(core, first))
            }
        };
        if is_one {
            self.is_one[node].store(true, Ordering::Relaxed);
        }
    }

    fn unite_near_in_leaf(&self, leaf: usize, place: u32, point: &Point<'_>) {
        let mut room = [0.0; LEAF_ROWS];
        let squares = self.density.tree.squares(leaf, point, &mut room);
        for (other, square) in self.density.tree.nodes()[leaf].places().zip(squares) {
            if *square <= self.density.eps_square && self.is_core[other as usize] {
                self.clusters.unite(place, other);
            }
        }
    }

    /// Whether all cores of a box are known to be of the cluster of that at a place.
    fn is_of(&self, node: usize, place: u32) -> bool {
        let first = self.first[node];
        first == NOWHERE || (self.is_one[node].load(Ordering::Relaxed) && self.clusters.are_united(first, place))
    }

    /// Whether a core of a box is within `eps` of a point.
    fn has_core_near(&self, node: usize, point: &Point<'_>) -> bool {
        let (tree, eps_square) = (self.density.tree, self.density.eps_square);
        if self.first[node] == NOWHERE || tree.least_square(node, point) > eps_square {
            return false;
        }
        if tree.largest_square(node, point) <= eps_square {
            return true;
        }
        if let Some(halves) = tree.nearer_first(node, point) {
            return halves.iter().any(|(half, _)| self.has_core_near(*half, point));
        }
        let mut room = [0.0; LEAF_ROWS];
        let squares = tree.squares(node, point, &mut room);
        let mut places = tree.nodes()[node].places().zip(squares);
        places.any(|(place, square)| *square <= eps_square && self.is_core[place as usize])
    }

    /// Clusters numbered by the first row that is a core of each.
    fn numbered(&self, noise_rows: u64) -> Found {
        let rows = self.density.tree.rows();
        let cores = || (0..).zip(rows).filter(|(place, _)| self.is_core[*place as usize]);
        // For each root the first row of its cluster.
        let mut first_rows = vec![NOWHERE; rows.len()];
        for (place, row) in cores() {
            let first = &mut first_rows[self.clusters.root(place) as usize];
            *first = (*first).min(*row);
        }
        let mut firsts: Vec<u32> = first_rows.iter().copied().filter(|row| *row != NOWHERE).collect();
        firsts.sort_unstable();
        let mut core_clusters = vec![0; rows.len()];
        for (place, row) in cores() {
            let first = first_rows[self.clusters.root(place) as usize];
            core_clusters[*row as usize] = 1 + firsts.partition_point(|other| *other < first) as u32;
        }
        Found { core_clusters, count: firsts.len() as u32, noise_rows }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::{Density, FitControl, Found, Tree};
    use crate::batch::Row;

    /// Squared differences, and 2 for each category that differs.
    fn square(one: &Row<'_>, other: &Row<'_>) -> f64 {
        let numbers = one.numbers.iter().zip(other.numbers).fold(0.0, |sum, (a, b)| sum + (a - b) * (a - b));
        numbers + 2.0 * one.categories.iter().zip(other.categories).filter(|(a, b)| a != b).count() as f64
    }

    /// By the definition: all pairs of rows.
    fn by_all_pairs(rows: &[Row<'_>], eps_square: f64, min_samples: usize) -> Found {
        let near = |one: usize| (0..rows.len()).filter(move |other| square(&rows[one], &rows[*other]) <= eps_square);
        let is_core: Vec<bool> = (0..rows.len()).map(|row| near(row).count() >= min_samples).collect();
        let (mut core_clusters, mut count) = (vec![0; rows.len()], 0);
        for start in (0..rows.len()).filter(|row| is_core[*row]) {
            if core_clusters[start] > 0 {
                continue;
            }
            count += 1;
            let mut open = vec![start];
            while let Some(row) = open.pop() {
                if is_core[row] && core_clusters[row] == 0 {
                    core_clusters[row] = count;
                    open.extend(near(row));
                }
            }
        }
        let is_noise = |row: &usize| !is_core[*row] && !near(*row).any(|other| is_core[other]);
        let noise_rows = (0..rows.len()).filter(is_noise).count() as u64;
        Found { core_clusters, count, noise_rows }
    }

    fn found(rows: &[Row<'_>], eps_square: f64, min_samples: usize, threads: usize) -> Found {
        let control = FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() };
        let (numeric, categorical) = rows.first().map_or((0, 0), |row| (row.numbers.len(), row.categories.len()));
        let tree = Tree::new(rows, numeric, categorical, &control).unwrap();
        Density { tree: &tree, control: &control, eps_square, min_samples }.find().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Few different values, so that rows are the same, and distances are exactly `eps`.
        #[test]
        fn clusters_are_those_of_all_pairs(
            values in prop::collection::vec((0..40_u32, 0..40_u32, 0..3_u32), 0..200),
            scale in prop::sample::select(vec![1.0, 0.1, 1.0 / 3.0]),
            (numeric, categorical) in prop::sample::select(vec![(2, 1), (2, 0), (1, 0), (0, 1), (1, 1)]),
            steps in 1..8_u32,
            min_samples in 1..12_usize,
        ) {
            let numbers: Vec<[f64; 2]> = values.iter().map(|(x, y, _)| [x, y].map(|n| f64::from(*n) * scale)).collect();
            let slots: Vec<[u32; 1]> = values.iter().map(|(_, _, slot)| [numeric as u32 + 1 + slot]).collect();
            let row = |(numbers, slots)| {
                let (numbers, slots): (&[f64; 2], &[u32; 1]) = (numbers, slots);
                Row { numbers: &numbers[..numeric], categories: &slots[..categorical], label: 0.0 }
            };
            let rows: Vec<_> = numbers.iter().zip(&slots).map(row).collect();
            let eps = f64::from(steps) * scale;
            prop_assert_eq!(found(&rows, eps * eps, min_samples, 1), by_all_pairs(&rows, eps * eps, min_samples));
        }
    }

    #[test]
    fn threads_find_the_same_clusters() {
        let value = |row: usize, factor: usize| ((row * factor) % 997) as f64 / 997.0;
        let numbers: Vec<[f64; 3]> =
            (0..2500).map(|row| [37, 531, 7919].map(|factor| value(row * row, factor))).collect();
        let rows: Vec<_> = numbers.iter().map(|numbers| Row { numbers, categories: &[], label: 0.0 }).collect();
        for eps_square in [0.0001, 0.001, 0.01, 1.0] {
            let alone = found(&rows, eps_square, 6, 1);
            assert_eq!(found(&rows, eps_square, 6, 4), alone);
            assert_eq!(alone, by_all_pairs(&rows, eps_square, 6));
        }
    }
}
