//! Nearest rows on the device: `nearest.wgsl` from outside.

use super::kernels::SHAPE;
use super::pool::Use;
use super::transfer::{floats, integers};
use super::{DeviceMatrix, Gpu};
use crate::error::Result;
use crate::kernel::nearest::Neighbor;

/// Asked rows of a workgroup, and stored rows that it compares them with at a time: as in the kernel.
const ASKED: u32 = 64;
const STORED: u32 = 16;
/// Workgroups that keep any device busy; stored rows are cut into parts until there are as many, but no shorter ones
/// than are worth a list.
const GROUPS: u32 = 1024;
const PART_ROWS_MIN: u32 = 1024;
/// Stands for a neighbour that there is not.
const NONE: u32 = u32::MAX;

impl Gpu {
    /// [`nearest`](crate::kernel::nearest::nearest), by distances in 32 bits.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn nearest(
        &self,
        stored: &DeviceMatrix,
        asked: &DeviceMatrix,
        count: usize,
    ) -> Result<Vec<Vec<Neighbor>>> {
        let rows = asked.rows as usize;
        let count = count.min(stored.rows as usize);
        if rows == 0 || count == 0 {
            return Ok(vec![Vec::new(); rows]);
        }
        let groups = asked.rows.div_ceil(ASKED);
        let part_rows = part_rows(stored.rows, groups);
        let parts = stored.rows.div_ceil(part_rows);
        // `count` is at most the stored rows, which 32 bits hold.
        let shape = shape([stored.rows, asked.rows, stored.vectors(), count as u32, parts, part_rows]);
        let list = parts as usize * count;
        let (distances, found) =
            self.run(&self.kernels.nearest, shape, [stored, asked], rows as u64 * list as u64, groups * parts)?;
        let lists = distances.chunks(list).zip(found.chunks(list));
        Ok(lists.map(|(distances, rows)| merged(distances, rows, count)).collect())
    }

    /// [`assign`](crate::kernel::nearest::assign), by distances in 32 bits.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn assign(&self, points: &DeviceMatrix, centroids: &DeviceMatrix) -> Result<Vec<Option<Neighbor>>> {
        let rows = points.rows as usize;
        if rows == 0 || centroids.rows == 0 {
            return Ok(vec![None; rows]);
        }
        let shape = shape([centroids.rows, points.rows, points.vectors(), 1, 1, centroids.rows]);
        let groups = points.rows.div_ceil(ASKED);
        let (distances, found) = self.run(&self.kernels.assign, shape, [centroids, points], rows as u64, groups)?;
        Ok(distances.into_iter().zip(found).map(|(distance, row)| neighbor(distance, row)).collect())
    }

    /// The distances and rows, `entries` of each, that a kernel makes.
    fn run(
        &self,
        kernel: &wgpu::ComputePipeline,
        shape: [u32; SHAPE],
        [stored, asked]: [&DeviceMatrix; 2],
        entries: u64,
        groups: u32,
    ) -> Result<(Vec<f64>, Vec<u32>)> {
        self.attempt(|| {
            let bytes = entries.saturating_mul(4);
            let distances = self.pool.lend(&self.device, Use::Storage, bytes)?;
            let rows = self.pool.lend(&self.device, Use::Storage, bytes)?;
            let mut commands = self.commands();
            let buffers = [&stored.lease, &asked.lease, &distances, &rows];
            self.dispatch(&mut commands, kernel, shape, &buffers, u64::from(groups))?;
            self.finish(commands, &[&distances, &rows], |parts| {
                let entries = entries as usize;
                (floats(parts[0]).take(entries).collect(), integers(parts[1]).take(entries).collect())
            })
        })
    }
}

/// Stored rows of a part, given the workgroups that one part has.
fn part_rows(stored: u32, groups: u32) -> u32 {
    let parts = (GROUPS / groups.max(1)).clamp(1, stored.div_ceil(PART_ROWS_MIN).max(1));
    stored.div_ceil(parts).next_multiple_of(STORED)
}

/// The nearest of the lists of all parts.
fn merged(distances: &[f64], rows: &[u32], count: usize) -> Vec<Neighbor> {
    let mut all: Vec<_> = distances.iter().zip(rows).filter_map(|(distance, row)| neighbor(*distance, *row)).collect();
    all.sort_unstable();
    all.truncate(count);
    all
}

fn neighbor(distance: f64, row: u32) -> Option<Neighbor> {
    (row != NONE).then_some(Neighbor { distance, row })
}

fn shape(numbers: [u32; 6]) -> [u32; SHAPE] {
    let mut shape = [0; SHAPE];
    shape[..6].copy_from_slice(&numbers);
    shape
}

#[cfg(test)]
mod tests {
    use super::part_rows;

    #[test]
    fn parts_are_cut_until_the_device_is_busy() {
        assert_eq!(part_rows(1_000_000, 2000), 1_000_000);
        assert_eq!(part_rows(1_000_000, 512), 500_000);
        assert_eq!(part_rows(5_000, 1), 1_008);
        assert_eq!(part_rows(3, 1), 16);
    }
}
