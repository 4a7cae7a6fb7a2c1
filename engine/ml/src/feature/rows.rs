//! What becomes of each row of a batch that an online model learns or scores.

use arrow::array::Array;
use arrow::buffer::{BooleanBuffer, NullBuffer};

use crate::model::{RejectReason, RejectedRow};

/// Rows that are accepted with a score, or rejected with a reason.
#[derive(Debug)]
pub(crate) struct Rows {
    accepted: Vec<bool>,
    /// Meaningful where `accepted`.
    scores: Vec<f64>,
    rejected: Vec<RejectedRow>,
}

impl Rows {
    /// All accepted, with a score of 0.
    pub(crate) fn new(rows: usize) -> Self {
        Self { accepted: vec![true; rows], scores: vec![0.0; rows], rejected: Vec::new() }
    }

    /// All accepted that have a label.
    pub(crate) fn labelled(labels: &dyn Array) -> Self {
        let mut rows = Self::new(labels.len());
        for row in (0..labels.len()).filter(|row| labels.is_null(*row)) {
            rows.reject(row, RejectReason::NullLabel);
        }
        rows
    }

    /// Only a row's first reason counts.
    pub(crate) fn reject(&mut self, row: usize, reason: RejectReason) {
        if std::mem::replace(&mut self.accepted[row], false) {
            self.rejected.push(RejectedRow { row, reason });
        }
    }

    pub(crate) fn accepted(&self) -> &[bool] {
        &self.accepted
    }

    pub(crate) fn is_accepted(&self, row: usize) -> bool {
        self.accepted[row]
    }

    pub(crate) fn set_score(&mut self, row: usize, score: f64) {
        self.scores[row] = score;
    }

    /// These, with a score for each.
    pub(crate) fn scored(self, scores: Vec<f64>) -> Self {
        Self { scores, ..self }
    }

    pub(crate) fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Which rows are accepted; `None` for all.
    pub(crate) fn usable(&self) -> Option<NullBuffer> {
        (!self.rejected.is_empty()).then(|| NullBuffer::new(BooleanBuffer::from(self.accepted.as_slice())))
    }

    /// How many rows are accepted, and the others by ascending row number.
    pub(crate) fn into_rejected(mut self) -> (u64, Vec<RejectedRow>) {
        self.rejected.sort_unstable_by_key(|rejected| rejected.row);
        ((self.accepted.len() - self.rejected.len()) as u64, self.rejected)
    }
}
