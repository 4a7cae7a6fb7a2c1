//! Gradients summed up by bins, which splits of trees are chosen by.
//!
//! Gradients are whole numbers and so are their sums, of 64 bits: they have no rounding, so any order of rows, any number
//! of threads and any device gives the same bits (decision 131 in ARCHITECTURE.md).

use std::num::NonZeroUsize;

use super::stretches::map_stretches;
use crate::error::{ComputeError, Result};

/// Bins of a feature.
pub const BINS: usize = 256;

/// The first and second derivative of the loss of a row, in units that the caller chooses.
pub type Gradient = [i32; 2];

/// The sums of both.
pub type BinSum = [i64; 2];

/// The bins of each row, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Binned<'a> {
    bins: &'a [u8],
    rows: usize,
    features: usize,
}

impl<'a> Binned<'a> {
    /// `bins` as those of `rows` rows of `features` features.
    ///
    /// # Errors
    /// `Values` if there are more or fewer.
    pub fn new(bins: &'a [u8], rows: usize, features: usize) -> Result<Self> {
        if rows.checked_mul(features) != Some(bins.len()) {
            return Err(ComputeError::Values { values: bins.len(), rows, columns: features });
        }
        Ok(Self { bins, rows, features })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many bins a row has.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// The bins of a row.
    ///
    /// # Panics
    /// Past the last.
    #[inline]
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        &self.bins[row * self.features..(row + 1) * self.features]
    }
}

/// The sums of some rows' gradients, [`BINS`] for each feature; a row that there is not adds nothing.
///
/// Of up to 2^32 rows no sum overflows.
///
/// # Errors
/// `Shapes` if there is not a gradient for each row.
pub fn histogram(
    binned: Binned<'_>,
    gradients: &[Gradient],
    rows: &[u32],
    threads: NonZeroUsize,
) -> Result<Vec<BinSum>> {
    check_shapes(binned, gradients)?;
    let length = binned.features * BINS;
    let parts = map_stretches(rows.len(), rows.len() * binned.features, threads, |stretch| {
        let mut sums = vec![[0; 2]; length];
        for row in rows[stretch].iter().map(|row| *row as usize).filter(|row| *row < binned.rows) {
            let gradient = gradients[row].map(i64::from);
            for (sums, bin) in sums.as_chunks_mut::<BINS>().0.iter_mut().zip(binned.row(row)) {
                add(&mut sums[usize::from(*bin)], gradient);
            }
        }
        sums
    });
    let mut total = vec![[0; 2]; length];
    parts.iter().for_each(|part| total.iter_mut().zip(part).for_each(|(own, other)| add(own, *other)));
    Ok(total)
}

pub(crate) fn check_shapes(binned: Binned<'_>, gradients: &[Gradient]) -> Result<()> {
    if binned.rows == gradients.len() {
        return Ok(());
    }
    let (left, right) = ((binned.rows, binned.features), (gradients.len(), 2));
    Err(ComputeError::Shapes { operation: "sums of gradients by bins", left, right })
}

#[inline]
fn add(sum: &mut BinSum, gradient: BinSum) {
    *sum = [sum[0].wrapping_add(gradient[0]), sum[1].wrapping_add(gradient[1])];
}
