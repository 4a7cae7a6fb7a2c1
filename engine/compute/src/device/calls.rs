//! What can be asked of [`Compute`]: each call checks its shapes, has the device answer if that takes it and is worth it,
//! and else computes on the CPU.

#[cfg(feature = "wgpu")]
use super::worth::Work;
use super::{Compute, Placed, PlacedBins};
#[cfg(feature = "wgpu")]
use super::{Device, DeviceMatrix, Gpu};
use crate::error::Result;
use crate::kernel::columns::{self, ColumnSums};
use crate::kernel::groups::{self, GroupSums};
use crate::kernel::histogram::{self, BinSum, Gradient};
use crate::kernel::logistic_loss::{self, Hessian, LogisticSums};
use crate::kernel::nearest::{self, Neighbor};
use crate::kernel::{gather, gram, matvec, product, softmax};
#[cfg(feature = "wgpu")]
use crate::matrix::Matrix;

impl Compute {
    /// [`nearest::nearest`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn nearest(&self, stored: &Placed<'_>, asked: &Placed<'_>, count: usize) -> Result<Vec<Vec<Neighbor>>> {
        let (stored_shape, asked_shape) = (stored.matrix.shape(), asked.matrix.shape());
        nearest::check_shapes(stored_shape, asked_shape)?;
        #[cfg(feature = "wgpu")]
        if let Some(nearest) =
            self.on_device(Work::nearest(stored_shape, asked_shape, count), [stored, asked], |gpu, [stored, asked]| {
                gpu.nearest(stored, asked, count)
            })
        {
            return Ok(nearest);
        }
        let by = crate::kernel::lanes::Instructions::fastest();
        nearest::nearest_by(by, stored.matrix, asked.matrix, count, self.threads)
    }

    /// [`nearest::assign`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn assign(&self, points: &Placed<'_>, centroids: &Placed<'_>) -> Result<Vec<Option<Neighbor>>> {
        let (centroids_shape, points_shape) = (centroids.matrix.shape(), points.matrix.shape());
        nearest::check_shapes(centroids_shape, points_shape)?;
        #[cfg(feature = "wgpu")]
        if let Some(assigned) = self.on_device(
            Work::nearest(centroids_shape, points_shape, 1),
            [points, centroids],
            |gpu, [points, centroids]| gpu.assign(points, centroids),
        ) {
            return Ok(assigned);
        }
        nearest::assign_on(points.matrix, centroids.matrix, self.threads)
    }

    /// [`product::product`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn product(&self, left: &Placed<'_>, right: &Placed<'_>) -> Result<Vec<f64>> {
        let (left_shape, right_shape) = (left.matrix.shape(), right.matrix.shape());
        product::check_shapes(left_shape, right_shape)?;
        #[cfg(feature = "wgpu")]
        if let Some(values) = self.on_device(
            Work::product(left_shape, right_shape, left_shape.0 * right_shape.1),
            [left, right],
            |gpu, [left, right]| gpu.product(left, right).and_then(|product| gpu.read(&product)),
        ) {
            return Ok(values);
        }
        product::product_on(left.matrix, right.matrix, self.threads)
    }

    /// [`softmax::softmax_rows`] of scores that are `left` times `right`: probabilities, row by row, and the logarithm
    /// of each row. The scores do not leave the device.
    ///
    /// # Errors
    /// `Shapes`.
    pub fn softmax_of_product(&self, left: &Placed<'_>, right: &Placed<'_>) -> Result<(Vec<f64>, Vec<f64>)> {
        let (left_shape, right_shape) = (left.matrix.shape(), right.matrix.shape());
        product::check_shapes(left_shape, right_shape)?;
        #[cfg(feature = "wgpu")]
        if let Some(answer) = self.on_device(
            Work::product(left_shape, right_shape, left_shape.0 * right_shape.1),
            [left, right],
            |gpu, [left, right]| gpu.product(left, right).and_then(|scores| gpu.softmax_rows(scores)),
        ) {
            return Ok(answer);
        }
        let mut scores = product::product_on(left.matrix, right.matrix, self.threads)?;
        let logarithms = softmax::softmax_rows(&mut scores, left.matrix.rows(), right.matrix.columns())?;
        Ok((scores, logarithms))
    }

    /// [`softmax::log_sum_exp_rows`].
    #[must_use]
    pub fn log_sum_exp_rows(&self, scores: &Placed<'_>) -> Vec<f64> {
        #[cfg(feature = "wgpu")]
        if let Some(logarithms) = self.on_device(
            Work::scan(scores.matrix.shape(), EXPONENTIAL, scores.matrix.rows()),
            [scores],
            |gpu, [scores]| gpu.log_sum_exp_rows(scores),
        ) {
            return logarithms;
        }
        softmax::log_sum_exp_rows(scores.matrix, self.threads)
    }

    /// [`matvec::times_vector`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn times_vector(&self, matrix: &Placed<'_>, vector: &[f64]) -> Result<Vec<f64>> {
        matvec::check_shapes(matrix.matrix.shape(), vector.len())?;
        #[cfg(feature = "wgpu")]
        if let Some(products) = self.on_device(
            Work::scan(matrix.matrix.shape(), 2.0, matrix.matrix.rows()).sending(vector.len(), 1),
            [matrix],
            |gpu, [matrix]| gpu.times_vector(matrix, &gpu.upload(Matrix::new(vector, 1, vector.len())?)?),
        ) {
            return Ok(products);
        }
        matvec::times_vector(matrix.matrix, vector, self.threads)
    }

    /// [`columns::column_sums`].
    #[must_use]
    pub fn column_sums(&self, matrix: &Placed<'_>) -> ColumnSums {
        #[cfg(feature = "wgpu")]
        if let Some(sums) = self.on_device(
            Work::scan(matrix.matrix.shape(), 5.0, matrix.matrix.columns()),
            [matrix],
            |gpu, [matrix]| gpu.column_sums(matrix),
        ) {
            return sums;
        }
        columns::column_sums(matrix.matrix, self.threads)
    }

    /// [`gram::gram`]; with weights always the CPU's.
    ///
    /// # Errors
    /// `Shapes`.
    pub fn gram(&self, rows: &Placed<'_>, weights: Option<&[f64]>) -> Result<Vec<f64>> {
        let shape = rows.matrix.shape();
        gram::check_shapes(shape, weights)?;
        #[cfg(feature = "wgpu")]
        if weights.is_none()
            && let Some(products) = self.on_device(gram_work(shape), [rows], |gpu, [rows]| gpu.gram(rows))
        {
            return Ok(products);
        }
        gram::gram(rows.matrix, weights, self.threads)
    }

    /// [`logistic_loss::logistic_sums`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn logistic_sums(
        &self,
        rows: &Placed<'_>,
        positive: &[bool],
        weights: &[f64],
        hessian: Hessian,
    ) -> Result<LogisticSums> {
        let shape = rows.matrix.shape();
        logistic_loss::check_shapes(shape, positive.len(), weights.len())?;
        #[cfg(feature = "wgpu")]
        if let Some(sums) = self.on_device(logistic_work(shape, hessian), [rows], |gpu, [rows]| {
            let weights = gpu.upload(Matrix::new(weights, 1, weights.len())?)?;
            gpu.logistic_sums(rows, positive, &weights, hessian)
        }) {
            return Ok(sums);
        }
        logistic_loss::logistic_sums(rows.matrix, positive, weights, hessian, self.threads)
    }

    /// [`groups::group_sums`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn group_sums(&self, rows: &Placed<'_>, group_of: &[u32], groups: usize) -> Result<GroupSums> {
        groups::check_shapes(rows.matrix.shape(), group_of, groups)?;
        #[cfg(feature = "wgpu")]
        if let Some(sums) = self.on_device(
            Work::scan(rows.matrix.shape(), 1.0, groups * rows.matrix.columns()).sending(group_of.len(), 1),
            [rows],
            |gpu, [rows]| gpu.group_sums(rows, group_of, groups),
        ) {
            return Ok(sums);
        }
        groups::group_sums(rows.matrix, group_of, groups, self.threads)
    }

    /// [`gather::gather`]; of a device, in 32 bits.
    #[must_use]
    pub fn gather(&self, matrix: &Placed<'_>, rows: &[u32]) -> Vec<f64> {
        #[cfg(feature = "wgpu")]
        if let Some(gathered) = self.on_device(
            Work::scan((rows.len(), matrix.matrix.columns()), 0.0, rows.len().saturating_mul(matrix.matrix.columns()))
                .sending(rows.len(), 1),
            [matrix],
            |gpu, [matrix]| gpu.gather(matrix, rows).and_then(|gathered| gpu.read(&gathered)),
        ) {
            return gathered;
        }
        gather::gather(matrix.matrix, rows)
    }

    /// [`histogram::histogram`]: the same bits, whoever answers.
    ///
    /// # Errors
    /// `Shapes`.
    pub fn histogram(&self, bins: &PlacedBins<'_>, gradients: &[Gradient], rows: &[u32]) -> Result<Vec<BinSum>> {
        histogram::check_shapes(bins.binned, gradients)?;
        #[cfg(feature = "wgpu")]
        if let Some(sums) = self.histogram_on_device(bins, gradients, rows) {
            return Ok(sums);
        }
        histogram::histogram(bins.binned, gradients, rows, self.threads)
    }

    #[cfg(feature = "wgpu")]
    fn histogram_on_device(&self, bins: &PlacedBins<'_>, gradients: &[Gradient], rows: &[u32]) -> Option<Vec<BinSum>> {
        let features = bins.binned.features();
        // Bins are bytes, a quarter of a number; sums are four words each.
        let results = features * histogram::BINS * 4;
        let sent = if bins.sent.there.get().is_some() { 0 } else { bins.binned.rows().saturating_mul(features) / 4 };
        let work = Work::scan((rows.len(), features), 2.0, results).sending(2 * gradients.len() + rows.len() + sent, 1);
        let device = self.device_for(&work).filter(|device| bins.sent.is_for(device))?;
        let gpu = &device.gpu;
        let there = bins.sent.get(|| gpu.upload_bins(bins.binned));
        device.tried(there.and_then(|bins| gpu.histogram(bins, gradients, rows)))
    }

    /// What the device says of matrices that it has or gets; nothing if the CPU is to answer. `work` is without the way of
    /// the matrices.
    #[cfg(feature = "wgpu")]
    fn on_device<T, const COUNT: usize>(
        &self,
        work: Work,
        placed: [&Placed<'_>; COUNT],
        run: impl FnOnce(&Gpu, [&DeviceMatrix; COUNT]) -> Result<T>,
    ) -> Option<T> {
        let is_new = |placed: &&&Placed<'_>| placed.sent.there.get().is_none();
        let work = placed
            .iter()
            .filter(is_new)
            .fold(work, |work, placed| work.sending(placed.matrix.values().len(), placed.uses.get()));
        let is_for = |device: &&Device| placed.iter().all(|placed| placed.sent.is_for(device));
        let device = self.device_for(&work).filter(is_for)?;
        let gpu = &device.gpu;
        let there = placed.map(|placed| placed.sent.get(|| gpu.upload(placed.matrix)));
        if let Some(error) = there.iter().find_map(|there| there.as_ref().err()) {
            device.fell_back(error);
            return None;
        }
        let matrices: Vec<&DeviceMatrix> = there.into_iter().flatten().collect();
        device.tried(run(gpu, <[&DeviceMatrix; COUNT]>::try_from(matrices).ok()?))
    }
}

/// Operations that an exponential is.
#[cfg(feature = "wgpu")]
const EXPONENTIAL: f64 = 25.0;

/// The CPU leaves out what is above the diagonal.
#[cfg(feature = "wgpu")]
fn gram_work((rows, columns): (usize, usize)) -> Work {
    Work::scan((rows, columns), columns as f64, columns.saturating_mul(columns))
}

#[cfg(feature = "wgpu")]
fn logistic_work(rows: (usize, usize), hessian: Hessian) -> Work {
    let results = rows.1 + hessian.numbers(rows.1);
    let a_number = if hessian == Hessian::Whole { 6.0 + rows.1 as f64 } else { 6.0 };
    let work = Work::scan(rows, a_number, results).sending(rows.0 + rows.1, 1);
    Work { operations: work.operations + rows.0 as f64 * 2.0 * EXPONENTIAL, ..work }
}
