//! The logistic loss and its derivatives on the device: `derivatives` of `matvec.wgsl` for each row, then sums over rows
//! by `logistic.wgsl`, `columns.wgsl` and `gram.wgsl`. What is known of each row does not leave the device.

use super::columns::Cut;
use super::gram::gram_of;
use super::matvec::ROWS;
use super::transfer::floats;
use super::{DeviceMatrix, Gpu, VECTOR};
use crate::error::Result;
use crate::kernel::logistic_loss::{Hessian, LogisticSums};

/// Where a row's vector has its loss.
const LOSS: usize = 2;

impl Gpu {
    /// [`logistic_sums`](crate::kernel::logistic_loss::logistic_sums), in 32 bits within stretches of rows; `weights` are
    /// one row.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn logistic_sums(
        &self,
        matrix: &DeviceMatrix,
        positive: &[bool],
        weights: &DeviceMatrix,
        hessian: Hessian,
    ) -> Result<LogisticSums> {
        let (columns, row) = (matrix.columns as usize, matrix.vectors() as usize * VECTOR);
        self.attempt(|| {
            let losses = self.room_for(matrix.rows as usize, VECTOR)?;
            let labels = positive.iter().map(|positive| u32::from(*positive).to_ne_bytes());
            let labels = self.send(positive.len(), labels)?;
            let mut commands = self.commands();
            let shape = [matrix.rows, matrix.vectors(), 0, 0, 0, 0, 0, 0];
            let buffers = [&matrix.lease, &weights.lease, &losses.lease, &labels];
            let groups = u64::from(matrix.rows.div_ceil(ROWS));
            self.dispatch(&mut commands, &self.kernels.derivatives, shape, &buffers, groups)?;

            let cut = Cut::of(matrix);
            let gradients = self.room_for_rows(cut.stretches as usize * 2, row)?;
            let buffers = [&matrix.lease, &losses.lease, &gradients];
            self.dispatch(&mut commands, &self.kernels.gradient, cut.shape(matrix), &buffers, cut.groups())?;
            let loss_cut = Cut::of(&losses);
            let loss_sums = self.room_for_rows(loss_cut.stretches as usize * 4, VECTOR)?;
            let buffers = [&losses.lease, &loss_sums];
            self.dispatch(&mut commands, &self.kernels.columns, loss_cut.shape(&losses), &buffers, loss_cut.groups())?;
            let products = match hessian {
                Hessian::Whole => self.add_gram(&mut commands, matrix, Some(&losses.lease))?,
                Hessian::None | Hessian::Diagonal => None,
            };

            let results: Vec<_> = [&gradients, &loss_sums].into_iter().chain(&products).collect();
            self.finish(commands, &results, |parts| {
                let of_stretches: Vec<f64> = floats(parts[0]).take(cut.stretches as usize * 2 * row).collect();
                let sum =
                    |which: usize| sum_of_rows(of_stretches.chunks_exact(row.max(1)).skip(which).step_by(2), columns);
                let losses = floats(parts[1]).take(loss_cut.stretches as usize * 4 * VECTOR);
                LogisticSums {
                    loss: losses.skip(LOSS).step_by(4 * VECTOR).sum(),
                    gradient: sum(0),
                    hessian: match hessian {
                        Hessian::None => Vec::new(),
                        Hessian::Diagonal => sum(1),
                        Hessian::Whole => {
                            parts.get(2).map_or_else(|| vec![0.0; columns * columns], |bytes| gram_of(bytes, columns))
                        }
                    },
                }
            })
        })
    }
}

fn sum_of_rows<'a>(rows: impl Iterator<Item = &'a [f64]>, columns: usize) -> Vec<f64> {
    let mut sum = vec![0.0; columns];
    rows.for_each(|row| sum.iter_mut().zip(row).for_each(|(own, other)| *own += other));
    sum
}
