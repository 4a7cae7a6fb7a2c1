//! Softmax of rows on the device: `softmax.wgsl` from outside.

use super::kernels::Commands;
use super::pool::{Lease, Use};
use super::transfer::floats;
use super::{DeviceMatrix, Gpu, VECTOR};
use crate::error::Result;

/// Rows of a workgroup if they are narrow.
const LANES: u32 = 64;
/// The widest row that one thread is enough for.
const NARROW: u32 = 32;

impl Gpu {
    /// [`softmax_rows`](crate::kernel::softmax::softmax_rows) of scores that are on the device, in 32 bits: the
    /// probabilities and the logarithms.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn softmax_rows(&self, scores: DeviceMatrix) -> Result<(Vec<f64>, Vec<f64>)> {
        let rows = scores.rows as usize;
        if rows == 0 || scores.columns == 0 {
            return Ok((Vec::new(), vec![f64::NEG_INFINITY; rows]));
        }
        self.attempt(|| {
            let kernels = [&self.kernels.softmax_wide, &self.kernels.softmax_narrow];
            let (commands, logarithms) = self.scan(kernels, &scores)?;
            self.finish(commands, &[&scores.lease, &logarithms], |parts| {
                (scores.numbers(parts[0]), floats(parts[1]).take(rows).collect())
            })
        })
    }

    /// [`log_sum_exp_rows`](crate::kernel::softmax::log_sum_exp_rows) in 32 bits.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn log_sum_exp_rows(&self, scores: &DeviceMatrix) -> Result<Vec<f64>> {
        let rows = scores.rows as usize;
        if rows == 0 || scores.columns == 0 {
            return Ok(vec![f64::NEG_INFINITY; rows]);
        }
        self.attempt(|| {
            let kernels = [&self.kernels.logarithms_wide, &self.kernels.logarithms_narrow];
            let (commands, logarithms) = self.scan(kernels, scores)?;
            self.finish(commands, &[&logarithms], |parts| floats(parts[0]).take(rows).collect())
        })
    }

    /// Has a kernel for wide rows or one for narrow rows go through scores, and write a number for each row.
    fn scan(&self, [wide, narrow]: [&wgpu::ComputePipeline; 2], scores: &DeviceMatrix) -> Result<(Commands, Lease)> {
        let logarithms =
            self.pool.lend(&self.device, Use::Storage, u64::from(scores.rows) * size_of::<f32>() as u64)?;
        let (kernel, groups) =
            if scores.columns > NARROW { (wide, scores.rows) } else { (narrow, scores.rows.div_ceil(LANES)) };
        let shape = [scores.rows, scores.columns, scores.vectors() * VECTOR as u32, 0, 0, 0, 0, 0];
        let mut commands = self.commands();
        self.dispatch(&mut commands, kernel, shape, &[&scores.lease, &logarithms], u64::from(groups))?;
        Ok((commands, logarithms))
    }
}
