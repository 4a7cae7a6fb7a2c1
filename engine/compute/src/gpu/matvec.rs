//! Products with a vector on the device: `matvec.wgsl` from outside.

use super::transfer::floats;
use super::{DeviceMatrix, Gpu};
use crate::error::Result;

/// Rows of a workgroup: as in the kernel.
pub(super) const ROWS: u32 = 4;

impl Gpu {
    /// [`times_vector`](crate::kernel::matvec::times_vector) in 32 bits; `vector` is one row.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn times_vector(&self, matrix: &DeviceMatrix, vector: &DeviceMatrix) -> Result<Vec<f64>> {
        let rows = matrix.rows as usize;
        if rows == 0 || matrix.columns == 0 {
            return Ok(vec![0.0; rows]);
        }
        self.attempt(|| {
            let products = self.room_for_rows(rows, 1)?;
            let shape = [matrix.rows, matrix.vectors(), 0, 0, 0, 0, 0, 0];
            let mut commands = self.commands();
            let buffers = [&matrix.lease, &vector.lease, &products];
            let groups = u64::from(matrix.rows.div_ceil(ROWS));
            self.dispatch(&mut commands, &self.kernels.times_vector, shape, &buffers, groups)?;
            self.finish(commands, &[&products], |parts| floats(parts[0]).take(rows).collect())
        })
    }
}
