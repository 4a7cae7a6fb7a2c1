//! Products of columns on the device: `gram.wgsl` from outside.

use super::columns::stretches;
use super::kernels::Commands;
use super::pool::Lease;
use super::transfer::floats;
use super::{DeviceMatrix, Gpu, VECTOR};
use crate::error::Result;
use crate::kernel::gram::mirrored;

/// Columns of a workgroup: as in the kernel.
const TILE: u32 = 64;
/// Workgroups that keep any device busy, and rows of the shortest stretch.
const GROUPS: u32 = 1024;
const STRETCH_ROWS_MIN: u32 = 4096;

impl Gpu {
    /// [`gram`](crate::kernel::gram::gram) without weights, in 32 bits within stretches of rows.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn gram(&self, matrix: &DeviceMatrix) -> Result<Vec<f64>> {
        self.attempt(|| {
            let mut commands = self.commands();
            let Some(products) = self.add_gram(&mut commands, matrix, None)? else {
                return Ok(vec![0.0; matrix.columns as usize * matrix.columns as usize]);
            };
            self.finish(commands, &[&products], |parts| gram_of(parts[0], matrix.columns as usize))
        })
    }

    /// Has the products of columns computed: the rows' weights are the second of each vector. Nothing if there are no rows
    /// or no columns.
    pub(super) fn add_gram(
        &self,
        commands: &mut Commands,
        matrix: &DeviceMatrix,
        weights: Option<&Lease>,
    ) -> Result<Option<Lease>> {
        let tiles = matrix.columns.div_ceil(TILE);
        if tiles == 0 || matrix.rows == 0 {
            return Ok(None);
        }
        let most = (GROUPS / tiles.saturating_mul(tiles)).max(1);
        let (stretches, stretch_rows) = stretches(matrix.rows, most, STRETCH_ROWS_MIN);
        let (columns, row) = (matrix.columns as usize, matrix.vectors() as usize * VECTOR);
        let products = self.room_for_rows(stretches as usize * columns, row)?;
        let weighted = u32::from(weights.is_some());
        let shape = [matrix.rows, matrix.columns, matrix.vectors(), stretches, stretch_rows, tiles, weighted, 0];
        // A buffer that is not read has to be there as well.
        let buffers = [&matrix.lease, weights.unwrap_or(&matrix.lease), &products];
        let groups = u64::from(stretches) * u64::from(tiles) * u64::from(tiles);
        self.dispatch(commands, &self.kernels.gram, shape, &buffers, groups)?;
        Ok(Some(products))
    }
}

/// The products of all stretches together. What the kernel has left out above the diagonal is not looked at.
pub(super) fn gram_of(bytes: &[u8], columns: usize) -> Vec<f64> {
    let row = columns.next_multiple_of(VECTOR);
    let numbers: Vec<f64> = floats(bytes).collect();
    let mut total = vec![0.0; columns * columns];
    for stretch in numbers.chunks_exact(columns * row) {
        for (column, (own, other)) in total.chunks_exact_mut(columns).zip(stretch.chunks_exact(row)).enumerate() {
            own[..=column].iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
    }
    mirrored(total, columns)
}
