//! Rows by their numbers on the device: `gather.wgsl` from outside.

use super::{DeviceMatrix, Gpu};
use crate::error::Result;

/// Threads of a workgroup: as in the kernel.
const LANES: u32 = 64;

impl Gpu {
    /// [`gather`](crate::kernel::gather::gather), of numbers of 32 bits, which stays on the device.
    ///
    /// # Errors
    /// `NoRoom`, `Lost`.
    pub(crate) fn gather(&self, matrix: &DeviceMatrix, rows: &[u32]) -> Result<DeviceMatrix> {
        self.attempt(|| {
            let result = self.room_for(rows.len(), matrix.columns as usize)?;
            // Places in a buffer are numbers of 32 bits, or there would have been no room.
            let asked = result.rows * result.vectors();
            if asked > 0 {
                let rows = self.send(rows.len(), rows.iter().map(|row| row.to_ne_bytes()))?;
                let shape = [matrix.rows, matrix.vectors(), asked, 0, 0, 0, 0, 0];
                let mut commands = self.commands();
                let buffers = [&matrix.lease, &rows, &result.lease];
                self.dispatch(&mut commands, &self.kernels.gather, shape, &buffers, u64::from(asked.div_ceil(LANES)))?;
                self.submit(commands);
            }
            Ok(result)
        })
    }
}
