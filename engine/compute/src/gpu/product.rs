//! Products on the device: `product.wgsl` from outside.

use super::{DeviceMatrix, Gpu};
use crate::error::Result;

/// Rows and columns of the result that a workgroup has: as in the kernel.
const TILE: u32 = 64;

impl Gpu {
    /// [`product`](crate::kernel::product::product) in 32 bits, which stays on the device.
    ///
    /// # Errors
    /// `NoRoom`, `Lost`.
    pub(crate) fn product(&self, left: &DeviceMatrix, right: &DeviceMatrix) -> Result<DeviceMatrix> {
        self.attempt(|| {
            let result = self.room_for(left.rows as usize, right.columns as usize)?;
            let (down, across) = (left.rows.div_ceil(TILE), right.columns.div_ceil(TILE));
            let groups = u64::from(down) * u64::from(across);
            if groups > 0 {
                let shape = [left.rows, right.rows, left.vectors(), right.vectors(), across, 0, 0, 0];
                let mut commands = self.commands();
                let buffers = [&left.lease, &right.lease, &result.lease];
                self.dispatch(&mut commands, &self.kernels.product, shape, &buffers, groups)?;
                self.submit(commands);
            }
            Ok(result)
        })
    }
}
