//! Sums of gradients by bins on the device: `histogram.wgsl` from outside.

use super::Gpu;
use super::columns::stretches;
use super::pool::Lease;
use super::transfer::integers;
use crate::error::{ComputeError, Result};
use crate::kernel::histogram::{BINS, BinSum, Binned, Gradient};

/// Bins in a word, and features of a workgroup: as in the kernel.
const BINS_A_WORD: usize = 4;
const FEATURES: u32 = 2;
/// Workgroups that keep any device busy, and rows of the shortest stretch: its sums are added to those of all.
const GROUPS: u32 = 2048;
const STRETCH_ROWS_MIN: u32 = 4096;

/// The bins of rows on a device, each row's padded with zeros to whole words.
#[derive(Debug)]
pub(crate) struct DeviceBins {
    lease: Lease,
    rows: u32,
    features: u32,
}

impl DeviceBins {
    fn words(&self) -> u32 {
        self.features.div_ceil(BINS_A_WORD as u32)
    }
}

impl Gpu {
    /// Sends bins to the device, where they stay until they are dropped.
    ///
    /// # Errors
    /// `NoRoom`, `Lost`.
    pub(crate) fn upload_bins(&self, binned: Binned<'_>) -> Result<DeviceBins> {
        let narrow = |count: usize| {
            let limit = u64::from(u32::MAX);
            let too_many = ComputeError::NoRoom { needed: count as u64, limit, what: "rows or features of bins" };
            u32::try_from(count).map_err(|_| too_many)
        };
        let (rows, features) = (narrow(binned.rows())?, narrow(binned.features())?);
        let words = binned.features().div_ceil(BINS_A_WORD);
        self.attempt(|| {
            let word = |bins: &[u8]| {
                let mut word = [0; BINS_A_WORD];
                word[..bins.len()].copy_from_slice(bins);
                // The kernel takes the first bin from the lowest bits.
                u32::from_le_bytes(word).to_ne_bytes()
            };
            let all = (0..binned.rows()).flat_map(|row| binned.row(row).chunks(BINS_A_WORD).map(word));
            let lease = self.send(binned.rows().saturating_mul(words), all)?;
            Ok(DeviceBins { lease, rows, features })
        })
    }

    /// [`histogram`](crate::kernel::histogram::histogram), the same bits.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn histogram(&self, bins: &DeviceBins, gradients: &[Gradient], rows: &[u32]) -> Result<Vec<BinSum>> {
        let length = bins.features as usize * BINS;
        let asked = u32::try_from(rows.len()).ok().filter(|asked| *asked < 1 << 31);
        let asked = asked.ok_or(ComputeError::NoRoom {
            needed: rows.len() as u64,
            limit: 1 << 31,
            what: "rows of a histogram",
        })?;
        if asked == 0 || length == 0 {
            return Ok(vec![[0; 2]; length]);
        }
        let pairs = bins.features.div_ceil(FEATURES);
        let (stretches, stretch_rows) = stretches(asked, GROUPS.div_ceil(pairs), STRETCH_ROWS_MIN);
        self.attempt(|| {
            let derivatives = gradients.iter().flatten().map(|number| number.to_ne_bytes());
            let gradients = self.send(gradients.len() * 2, derivatives)?;
            let rows = self.send(rows.len(), rows.iter().map(|row| row.to_ne_bytes()))?;
            // The halves of two sums for each bin.
            let sums = self.room_for_rows((pairs * FEATURES) as usize * BINS, 4)?;
            let shape = [bins.rows, asked, bins.features, bins.words(), pairs, stretches, stretch_rows, 0];
            let mut commands = self.commands();
            commands.clear(&sums);
            let buffers = [&bins.lease, &gradients, &rows, &sums];
            let groups = u64::from(stretches) * u64::from(pairs);
            self.dispatch(&mut commands, &self.kernels.histogram, shape, &buffers, groups)?;
            self.finish(commands, &[&sums], |parts| {
                let halves: Vec<u32> = integers(parts[0]).collect();
                let whole = |[low, high]: [u32; 2]| ((u64::from(high) << 32) | u64::from(low)) as i64;
                let sums = halves.as_chunks::<4>().0.iter().map(|[a, b, c, d]| [whole([*a, *b]), whole([*c, *d])]);
                sums.take(length).collect()
            })
        })
    }
}
