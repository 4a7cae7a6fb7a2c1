//! The CPU's answers, bit by bit, with a device's help: it proposes which rows are near, and the CPU settles it.
//!
//! A device measures distances in 32 bits, and how far these can be from the truth is known. So rows that it finds farther
//! away than the answer, by more than that, are no part of it; the few others the CPU measures again. Where that does not
//! tell them apart, the caller looks at all rows as if there were no device.
//!
//! With `u = 2^-23` (WGSL rounds up or down), `m` columns and no number above `M`, a difference is off by `e = 5 u M`: two
//! numbers were rounded, and their difference. The sum of squares `s` of differences that were computed is off from what was
//! computed by `(m + 4) u s`, from the true one by `2 e √(m s) + m e²` (Cauchy and Schwarz). What vanishes below the smallest
//! number of 32 bits comes on top.

#[cfg(test)]
mod tests;

use super::Compute;
#[cfg(feature = "wgpu")]
use super::DeviceMatrix;
use super::worth::Work;
use crate::kernel::nearest::Neighbor;
use crate::matrix::Matrix;

/// Rows that a device proposes beyond those looked for: mostly the farthest of these is then clearly farther away.
const SPARE: usize = 8;

/// Rows that stay on a device for many calls.
#[derive(Debug)]
pub struct Kept {
    #[cfg(feature = "wgpu")]
    matrix: DeviceMatrix,
    rows: usize,
    columns: usize,
    /// The largest magnitude of a number.
    #[cfg(feature = "wgpu")]
    magnitude: f64,
}

/// What is known of distances in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rounding {
    columns: f64,
    /// What a difference is off by, at most.
    difference: f64,
    /// What the CPU's own sums may be off by, in 64 bits and by any usual formula.
    of_cpu: f64,
}

impl Rounding {
    #[cfg(any(test, feature = "wgpu"))]
    fn new(columns: usize, magnitude: f64) -> Self {
        const UNIT_32: f64 = 1.0 / (1_u64 << 23) as f64;
        let columns = columns as f64;
        // Products of the rows with each other and themselves, which are up to 4 M² a column before they cancel.
        let of_cpu = (columns + 4.0) * f64::EPSILON * 4.0 * columns * magnitude * magnitude;
        Self { columns, difference: 5.0 * UNIT_32 * magnitude + 1e-37, of_cpu }
    }

    /// How far a distance that was computed is from the true one, and from what the CPU computes; twice the bound, which
    /// leaves out products of roundings.
    fn error(&self, distance: f64) -> f64 {
        const UNIT_32: f64 = 1.0 / (1_u64 << 23) as f64;
        let Self { columns, difference, of_cpu } = *self;
        let of_sum = (columns + 4.0) * UNIT_32;
        if of_sum > 0.05 {
            return f64::INFINITY;
        }
        let of_differences = 2.0 * difference * (columns * distance).sqrt() + columns * difference * difference;
        2.0 * (of_sum * distance + of_differences + columns * 1e-37 + of_cpu)
    }
}

/// Rows that may be the nearest, of each row that was asked for.
#[derive(Debug, Clone)]
pub struct Candidates {
    lists: Vec<Vec<Neighbor>>,
    /// Whether these are all stored rows.
    are_all: bool,
    rounding: Rounding,
}

impl Candidates {
    /// The `count` nearest rows of an asked row, the nearest first, by `distance` of a stored row: the CPU's squared
    /// Euclidean distance. Nothing if another row might be among them.
    ///
    /// The answer is the one of [`nearest`](crate::kernel::nearest::nearest), bit by bit, if `distance` is.
    #[must_use]
    pub fn settle(&self, asked: usize, count: usize, distance: impl Fn(u32) -> f64) -> Option<Vec<Neighbor>> {
        let proposed = self.lists.get(asked)?;
        let exact = |neighbor: &Neighbor| Neighbor { distance: distance(neighbor.row), row: neighbor.row };
        let mut nearest: Vec<Neighbor> = proposed.iter().map(exact).collect();
        nearest.sort_unstable();
        nearest.truncate(count);
        let enough = nearest.len() == count;
        let is_settled = match (proposed.last(), nearest.last()) {
            _ if count == 0 || self.are_all => true,
            // Any other row is at least as far as the last that was proposed, and once that less its error is above
            // zero, it grows with the distance.
            (Some(last), Some(farthest)) => {
                enough && farthest.distance < last.distance - self.rounding.error(last.distance)
            }
            _ => false,
        };
        is_settled.then_some(nearest)
    }

    /// The nearest row of an asked row, if it is the nearest by any formula that rounds in 64 bits.
    fn sure(&self, asked: usize) -> Option<u32> {
        let least = |neighbor: &Neighbor| neighbor.distance - self.rounding.error(neighbor.distance);
        match self.lists.get(asked)?.as_slice() {
            [one] if self.are_all => Some(one.row),
            [one, other, ..] => (one.distance + self.rounding.error(one.distance) < least(other)).then_some(one.row),
            _ => None,
        }
    }
}

impl Compute {
    /// Sends rows to the device, if there is one that takes them, and if a call there, `work`, is worth it with its part of
    /// the way. Parts are put together, and have as many columns each.
    #[must_use]
    pub fn keep(&self, parts: &[Matrix<'_>], work: &Work) -> Option<Kept> {
        let (rows, columns) = (parts.iter().map(Matrix::rows).sum(), parts.first()?.columns());
        if parts.iter().any(|part| part.columns() != columns) {
            return None;
        }
        #[cfg(feature = "wgpu")]
        {
            let device = self.device_for(work)?;
            let matrix = device.tried(device.gpu.upload_parts(parts))?;
            let largest = |values: &[f64]| values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
            let magnitude = parts.iter().map(|part| largest(part.values())).fold(0.0, f64::max);
            Some(Kept { matrix, rows, columns, magnitude })
        }
        #[cfg(not(feature = "wgpu"))]
        {
            let _: (usize, &Work) = (rows, work);
            None
        }
    }

    /// The stored rows that may be the `count` nearest of each asked row; nothing if the CPU is to look at all.
    #[must_use]
    pub fn candidates(&self, stored: &Kept, asked: Matrix<'_>, count: usize) -> Option<Candidates> {
        if stored.columns != asked.columns() {
            return None;
        }
        let work = Work::nearest(stored.shape(), asked.shape(), count + SPARE).sending(asked.values().len(), 1);
        let asked = self.keep(&[asked], &work)?;
        self.nearest_of_kept(stored, &asked, count.saturating_add(SPARE))
    }

    /// Which centroid each point is nearest to, by any formula that rounds in 64 bits; nothing of a point that two
    /// centroids are about as far from, and nothing at all if the CPU is to look.
    #[must_use]
    pub fn sure_assignment(&self, points: &Kept, centroids: Matrix<'_>) -> Option<Vec<Option<u32>>> {
        if points.columns != centroids.columns() {
            return None;
        }
        let work = Work::nearest(centroids.shape(), points.shape(), 2).sending(centroids.values().len(), 1);
        let centroids = self.keep(&[centroids], &work)?;
        let candidates = self.nearest_of_kept(&centroids, points, 2)?;
        Some((0..points.rows).map(|point| candidates.sure(point)).collect())
    }

    /// [`gram`](crate::kernel::gram::gram) without weights of rows that are on the device, in 32 bits, which
    /// [`Compute::may_round`] says whether the user takes.
    #[must_use]
    pub fn gram_of_kept(&self, rows: &Kept) -> Option<Vec<f64>> {
        #[cfg(feature = "wgpu")]
        {
            let device = self.device.as_ref().filter(|device| device.gpu.has(&rows.matrix))?;
            device.tried(device.gpu.gram(&rows.matrix))
        }
        #[cfg(not(feature = "wgpu"))]
        {
            let _: &Kept = rows;
            None
        }
    }

    #[cfg(feature = "wgpu")]
    fn nearest_of_kept(&self, stored: &Kept, asked: &Kept, count: usize) -> Option<Candidates> {
        let device = self.device.as_ref()?;
        let matrices = [&stored.matrix, &asked.matrix];
        if !matrices.iter().all(|matrix| device.gpu.has(matrix)) {
            return None;
        }
        let lists = device.tried(device.gpu.nearest(&stored.matrix, &asked.matrix, count))?;
        let rounding = Rounding::new(stored.columns, stored.magnitude.max(asked.magnitude));
        Some(Candidates { lists, are_all: stored.rows <= count, rounding })
    }

    #[cfg(not(feature = "wgpu"))]
    fn nearest_of_kept(&self, _: &Kept, _: &Kept, _: usize) -> Option<Candidates> {
        None
    }
}

impl Kept {
    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    #[cfg(all(test, feature = "wgpu"))]
    fn magnitude(&self) -> f64 {
        self.magnitude
    }
}
