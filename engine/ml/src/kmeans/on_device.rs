//! A training set's rows on a device, which says what centroid most of them are nearest to.
//!
//! It says so where its 32 bits tell two centroids apart; the others the CPU looks at, as it does at all rows where there is
//! no device. So what comes out of a fit does not depend on it, to the last bit. The rest of a fit is the CPU's.

use tidemill_compute::device::Compute;
use tidemill_compute::device::exact::Kept;
use tidemill_compute::device::worth::Work;
use tidemill_compute::matrix::Matrix;

use super::config::DistanceType;
use super::space::Space;

/// Passes of a search, about, over which the way of the rows to the device counts.
const PASSES: u64 = 10;

/// Rows that stay on a device while centroids move.
pub(super) struct RowsOnDevice<'a> {
    compute: &'a Compute,
    rows: Kept,
}

impl<'a> RowsOnDevice<'a> {
    /// Sends the rows, if that is worth it for so many centroids and passes. Nothing of rows with categories, which are no
    /// numbers, and of directions.
    pub(super) fn of(space: &Space<'a>, clusters: usize, passes: u64) -> Option<Self> {
        let (width, compute) = (space.width(), space.compute);
        if space.distance != DistanceType::Euclidean || width != space.set.numeric() || clusters < 2 {
            return None;
        }
        let parts: Vec<Matrix<'_>> = space.chunks.iter().map(|chunk| chunk.numbers()).collect::<Option<_>>()?;
        let rows = parts.iter().map(Matrix::rows).sum::<usize>();
        let uses = passes.min(PASSES) as usize;
        let work = Work::nearest((clusters, width), (rows, width), 2).sending(rows.saturating_mul(width), uses);
        Some(Self { compute, rows: compute.keep(&parts, &work)? })
    }

    /// The nearest centroid of each row, as far as it is sure; nothing if the device does not say.
    pub(super) fn nearest(&self, centroids: &[f64]) -> Option<Vec<Option<u32>>> {
        let (_, width) = self.rows.shape();
        let centroids = Matrix::new(centroids, centroids.len() / width.max(1), width).ok()?;
        self.compute.sure_assignment(&self.rows, centroids)
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::FeatureSchema;
    use crate::batch::{FitControl, TrainingSet, on_device};
    use crate::feature::encoder::Numbers;
    use crate::goldens::reference_rows;
    use crate::kmeans::lloyd;

    #[test]
    fn a_search_ends_where_it_does_without_a_device() {
        let Some(device) = on_device::compute() else { return };
        // Numbers alone: a device is asked of nothing else.
        let features = reference_rows(0..5000).0.project(&[0, 1]).unwrap();
        let mut set = TrainingSet::new(FeatureSchema::from_arrow(&features.schema()).unwrap(), 1);
        set.add_unlabelled(&features).unwrap();
        let control = FitControl::default();
        set.prepare(Numbers::Standardized { clip: 1e9 }, &control).unwrap();
        let alone = Space::new(&set, &control, DistanceType::Euclidean);
        let helped = Space { compute: &device, ..alone };
        let start: Vec<f64> = (0..7).flat_map(|place| alone.values(place * 700)).collect();
        let before = device.report().transfers.dispatches;
        let found = lloyd::search(&helped, start.clone(), 1e-9, 20).unwrap();
        assert_eq!(found, lloyd::search(&alone, start, 1e-9, 20).unwrap());
        assert!(device.report().transfers.dispatches >= before + found.iterations);
        assert_eq!(device.report().transfers.fallbacks, 0);
    }
}
