//! An AUC that follows a stream: constant work a row and constant memory.
//!
//! Probabilities fall into equal bins with one count per class; two scores in one bin are a tie. A
//! pair that shares a bin is thus wrong by at most one half, and on scores spread over a thousand
//! bins the estimate is good to about three digits.
//!
//! A sliding window is two histograms that take turns, rather than a decay: counts stay integers,
//! and "the last 10,000 to 20,000 rows" is easier to explain than a half-life.

use bincode::{Decode, Encode};

use super::PairCounts;
use crate::error::{MlError, Result};

/// Bins of [`StreamingAuc::new`] and [`StreamingAuc::with_window`] over `[0, 1]`.
const BINS: usize = 1024;

/// The AUC of the rows pushed so far, or of the most recent ones.
///
/// Prequential when each score was made before its label was learnt (Gama et al. 2013); that is
/// the caller's to ensure, for instance with [`LearnReport::said`](crate::LearnReport).
#[derive(Debug, Clone)]
pub struct StreamingAuc {
    /// Rows after which `current` becomes `previous`; 0 means never.
    window_rows: u64,
    current: Histogram,
    /// The window before `current`; empty without windows.
    previous: Histogram,
}

impl StreamingAuc {
    /// An estimate over every row since the start, in 1024 bins.
    #[must_use]
    pub fn new() -> Self {
        Self::with_window(0)
    }

    /// An estimate over the last `window_rows` to `2 * window_rows` rows; 0 keeps every row.
    #[must_use]
    pub fn with_window(window_rows: u64) -> Self {
        Self { window_rows, current: Histogram::new(), previous: Histogram::new() }
    }

    /// Counts one row. A score outside `[0, 1]` counts as the nearer end, and a NaN is ignored.
    pub fn push(&mut self, score: f64, label: bool) {
        if score.is_nan() {
            return;
        }
        if self.window_rows > 0 && self.current.rows >= self.window_rows {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.current.clear();
        }
        self.current.push(score, label);
    }

    /// Rows that the estimate covers.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.current.rows + self.previous.rows
    }

    /// The estimate, or `None` until a row of each class has been seen. Walks the bins once.
    #[must_use]
    pub fn auc(&self) -> Option<f64> {
        let mut counts = PairCounts::default();
        for (current, previous) in self.current.bins.iter().zip(&self.previous.bins) {
            counts.add_tied(current[0] + previous[0], current[1] + previous[1]);
        }
        counts.auc()
    }

    /// What has been counted, to go on from later.
    #[must_use]
    pub fn state(&self) -> StreamingAucState {
        StreamingAucState { current: self.current.bins.clone(), previous: self.previous.bins.clone() }
    }

    /// The estimate over this window that goes on from a state.
    ///
    /// # Errors
    /// `CorruptState` where the state has other bins, or counts that do not add up.
    pub fn from_state(window_rows: u64, state: StreamingAucState) -> Result<Self> {
        let [current, previous] = [state.current, state.previous].map(Histogram::of_bins);
        Ok(Self { window_rows, current: current?, previous: previous? })
    }

    /// Forgets every row.
    pub fn reset(&mut self) {
        self.current.clear();
        self.previous.clear();
    }
}

impl Default for StreamingAuc {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`StreamingAuc`] has counted: rows by bin of ascending score, then by class.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StreamingAucState {
    current: Vec<[u64; 2]>,
    previous: Vec<[u64; 2]>,
}

#[derive(Debug, Clone)]
struct Histogram {
    /// Rows by bin of ascending score, then by class: `[negative, positive]`.
    bins: Vec<[u64; 2]>,
    rows: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { bins: vec![[0; 2]; BINS], rows: 0 }
    }

    fn of_bins(bins: Vec<[u64; 2]>) -> Result<Self> {
        if bins.len() != BINS {
            return Err(MlError::corrupt("it has another number of bins"));
        }
        let rows = bins.iter().flatten().try_fold(0u64, |rows, count| rows.checked_add(*count));
        let rows = rows.ok_or_else(|| MlError::corrupt("its counts do not add up"))?;
        Ok(Self { bins, rows })
    }

    fn push(&mut self, score: f64, label: bool) {
        // The cast saturates, so a score below 0 lands in the first bin.
        let bin = ((score * BINS as f64) as usize).min(BINS - 1);
        self.bins[bin][usize::from(label)] += 1;
        self.rows += 1;
    }

    fn clear(&mut self) {
        self.bins.fill([0; 2]);
        self.rows = 0;
    }
}
