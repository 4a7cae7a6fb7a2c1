//! The stored rows on a device, which proposes those that are near; the CPU settles which are the nearest.
//!
//! An answer is the same as without a device, to the last bit: distances of what was proposed are computed again, and a row
//! for which that does not settle it is compared with all stored rows.

use std::sync::{Arc, OnceLock};

use tidemill_compute::device::exact::Kept;
use tidemill_compute::device::worth::Work;
use tidemill_compute::device::{Compute, chosen};
use tidemill_compute::matrix::Matrix;

use super::config::Distance;
use super::rows::Rows;
use super::search::{Neighbor, nearest};

/// Rows that are asked for together on a device.
pub(super) const ROWS_A_DEVICE_BLOCK: usize = 1 << 13;

/// Batches, about, over which the way of the stored rows to the device counts.
const BATCHES: usize = 16;

/// The rows of a model on a device, once a batch has been worth it.
#[derive(Debug, Clone, Default)]
pub(super) struct RowsOnDevice {
    /// The process's choice if nothing.
    compute: Option<&'static Compute>,
    /// Nothing in it if the device has not taken them: it is not asked again.
    kept: Arc<OnceLock<Option<Kept>>>,
}

impl RowsOnDevice {
    /// On a device that is not the process's.
    #[cfg(all(test, feature = "wgpu"))]
    pub(super) fn of(compute: &'static Compute) -> Self {
        Self { compute: Some(compute), ..Self::default() }
    }

    fn compute(&self) -> &'static Compute {
        self.compute.unwrap_or_else(chosen)
    }

    /// Whether so many rows at once are sooner answered with a device. Only squared differences of numbers are measured
    /// there.
    pub(super) fn is_worth(&self, stored: &Rows, asked: usize, count: usize) -> bool {
        self.work(stored, asked.min(ROWS_A_DEVICE_BLOCK), count).is_some_and(|work| self.compute().is_worth(&work))
    }

    fn work(&self, stored: &Rows, asked: usize, count: usize) -> Option<Work> {
        let (rows, columns) = stored.shape_of_numbers().filter(|_| stored.distance() == Distance::Euclidean)?;
        let work = Work::nearest((rows, columns), (asked, columns), count).sending(asked.saturating_mul(columns), 1);
        let is_there = self.kept.get().is_some();
        Some(if is_there { work } else { work.sending(rows.saturating_mul(columns), BATCHES) })
    }

    /// The nearest `count` stored rows of each asked row; nothing if there is no device, or if it is not worth it.
    pub(super) fn nearest(&self, stored: &Rows, asked: &Rows, count: usize) -> Option<Vec<Vec<Neighbor>>> {
        let compute = self.compute();
        let work = self.work(stored, asked.rows(), count).filter(|work| compute.is_worth(work))?;
        let kept = self.kept.get_or_init(|| {
            let (numbers, columns) = stored.as_numbers()?;
            compute.keep(&[Matrix::new(&numbers, stored.rows(), columns).ok()?], &work)
        });
        let (numbers, columns) = asked.as_numbers()?;
        let candidates =
            compute.candidates(kept.as_ref()?, Matrix::new(&numbers, asked.rows(), columns).ok()?, count)?;
        let mut found: Vec<Option<Vec<Neighbor>>> = (0..asked.rows())
            .map(|row| candidates.settle(row, count, |other| squared_distance(stored, other, asked, row)))
            .collect();
        found.iter_mut().flatten().flatten().for_each(|neighbor| neighbor.distance = neighbor.distance.sqrt());
        let open: Vec<usize> = (0..found.len()).filter(|row| found[*row].is_none()).collect();
        for (row, neighbors) in open.iter().zip(nearest(stored, &asked.some(&open), count)) {
            found[*row] = Some(neighbors);
        }
        Some(found.into_iter().flatten().collect())
    }
}

/// As the search adds it up: from the first number to the last.
fn squared_distance(stored: &Rows, row: u32, asked: &Rows, asked_row: usize) -> f64 {
    let pairs = asked.numbers_of(asked_row).zip(stored.numbers_of(row as usize));
    pairs.fold(0.0, |sum, (a, b)| sum + (a - b) * (a - b))
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::batch::on_device;

    /// Rows of numbers of which some are the same; `apart` is how far from each other the others are.
    fn rows(count: u32, apart: f64) -> Rows {
        let mut rows = Rows::new(Distance::Euclidean, 5, 0);
        for row in 0..count {
            let number = |column: u32| f64::from((row * 7919 + column * 104_729) % 10_007 / 3) * apart + 1.0;
            rows.push(&std::array::from_fn::<_, 5, _>(|column| number(column as u32)), &[]);
        }
        rows
    }

    #[test]
    fn neighbours_are_those_that_are_found_without_a_device() {
        let Some(device) = on_device::compute() else { return };
        let device: &'static Compute = Box::leak(Box::new(device));
        for (stored, asked, apart, count) in [(3000, 200, 1e-3, 5), (40, 33, 1.0, 40), (2000, 65, 1e-9, 3)] {
            let (stored, asked, on_device) = (rows(stored, apart), rows(asked, apart * 1.01), RowsOnDevice::of(device));
            assert!(on_device.is_worth(&stored, asked.rows(), count), "who names a device gets it");
            let found = on_device.nearest(&stored, &asked, count).unwrap();
            assert_eq!(found, nearest(&stored, &asked, count), "{apart}");
        }
        let report = device.report().transfers;
        assert_eq!((report.dispatches, report.fallbacks), (3, 0));
        let mut categories = Rows::new(Distance::Euclidean, 1, 1);
        categories.push(&[1.0], &[2]);
        assert!(RowsOnDevice::of(device).nearest(&categories, &categories, 1).is_none());
        let manhattan = Rows::new(Distance::Manhattan, 5, 0);
        assert!(RowsOnDevice::of(device).nearest(&manhattan, &manhattan, 1).is_none());
    }
}
