//! What is known of the windows of a stream beside the trees' counts: where numbers lie, and which scores are anomalies'.

use bincode::{Decode, Encode};

use super::config::Threshold;
use crate::isolation_forest::batch::exceeded_by;
use crate::model::NUMERIC_MAGNITUDE_MAX;

/// Between what numbers a feature's lie.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct Range {
    low: f64,
    high: f64,
    /// Whether it follows the rows.
    is_running: bool,
}

impl Range {
    /// Of no number yet.
    pub(super) const RUNNING: Self = Self { low: f64::INFINITY, high: f64::NEG_INFINITY, is_running: true };

    pub(super) fn fixed(low: f64, high: f64) -> Self {
        Self { low, high, is_running: false }
    }

    /// Widens it by a number; NaN is none.
    pub(super) fn learn(&mut self, number: f64) {
        if self.is_running {
            self.low = self.low.min(number);
            self.high = self.high.max(number);
        }
    }

    /// 0 for the low end, 1 for the high one, beyond these for numbers outside; 0 of a range of one number.
    pub(super) fn place(&self, number: f64) -> f64 {
        let length = self.high - self.low;
        if number.is_nan() || length > 0.0 { (number - self.low) / length } else { 0.0 }
    }

    pub(super) fn is_plausible(&self) -> bool {
        let is_number = |end: f64| end.abs() <= NUMERIC_MAGNITUDE_MAX;
        (is_number(self.low) && is_number(self.high) && self.low <= self.high) || *self == Self::RUNNING
    }
}

/// How far the newest window is, and what followed from the one before.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Window {
    /// Windows that are full.
    full: u64,
    /// Rows of the newest one.
    rows: u32,
    /// Their scores, where the threshold follows from them.
    scores: Vec<f64>,
    /// Rows with a larger score are anomalies.
    threshold: Option<f64>,
}

impl Window {
    /// The first window, without rows.
    pub(super) fn new(threshold: Threshold) -> Self {
        let threshold = match threshold {
            Threshold::Score(score) => Some(score),
            Threshold::Share(_) => None,
        };
        Self { full: 0, rows: 0, scores: Vec::new(), threshold }
    }

    /// Whether the scores of the newest window's rows are needed.
    pub(super) fn keeps_scores(&self, threshold: Threshold) -> bool {
        self.is_one_full() && matches!(threshold, Threshold::Share(_))
    }

    /// Keeps the score of the next row, as it is before the row is counted.
    pub(super) fn keep(&mut self, score: f64) {
        self.scores.push(score);
    }

    /// Counts a row; whether the window is full then.
    pub(super) fn count(&mut self, window_rows: u32) -> bool {
        self.rows += 1;
        self.rows >= window_rows
    }

    /// Begins the next window.
    pub(super) fn turn(&mut self, threshold: Threshold) {
        self.full = self.full.saturating_add(1);
        self.rows = 0;
        let scores = std::mem::take(&mut self.scores);
        if let Threshold::Share(share) = threshold
            && !scores.is_empty()
        {
            self.threshold = Some(exceeded_by(scores, share));
        }
    }

    /// Whether there is a window before the newest.
    pub(super) fn is_one_full(&self) -> bool {
        self.full > 0
    }

    /// Whether a score is an anomaly's, if that is known.
    pub(super) fn is_anomaly(&self, score: f64) -> Option<bool> {
        self.threshold.map(|threshold| score > threshold)
    }

    /// Whether windows of so many rows could have led here.
    pub(super) fn is_plausible(&self, window_rows: u32) -> bool {
        let is_score = |score: &f64| (0.0..=1.0).contains(score);
        self.rows < window_rows
            && self.scores.len() <= self.rows as usize
            && self.scores.iter().chain(&self.threshold).all(is_score)
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, Threshold, Window};

    #[test]
    fn a_range_grows_with_its_numbers_unless_it_is_fixed() {
        let mut range = Range::RUNNING;
        assert_eq!(range.place(7.0), 0.0);
        [4.0, f64::NAN, 4.0].into_iter().for_each(|number| range.learn(number));
        assert_eq!(range.place(7.0), 0.0, "of one number");
        range.learn(8.0);
        assert_eq!((range.place(4.0), range.place(6.0), range.place(10.0)), (0.0, 0.5, 1.5));
        assert!(range.place(f64::NAN).is_nan());
        let mut range = Range::fixed(0.0, 10.0);
        range.learn(100.0);
        assert_eq!((range.place(5.0), range.place(-10.0)), (0.5, -1.0));
    }

    #[test]
    fn the_threshold_is_what_a_share_of_the_window_before_exceeded() {
        let share = Threshold::Share(0.25);
        let mut window = Window::new(share);
        assert!(!window.keeps_scores(share) && !window.count(2) && window.count(2));
        window.turn(share);
        assert!(window.is_one_full() && window.keeps_scores(share));
        assert_eq!(window.is_anomaly(1.0), None, "no scores yet");
        [0.5, 0.1, 0.9, 0.7, 0.3].into_iter().for_each(|score| window.keep(score));
        window.turn(share);
        // A quarter of the way between five scores is the second largest: one is larger.
        assert_eq!([0.7, 0.71].map(|score| window.is_anomaly(score)), [Some(false), Some(true)]);
        let fixed = Threshold::Score(0.8);
        assert_eq!(Window::new(fixed).is_anomaly(0.9), Some(true));
        assert!(!window.keeps_scores(fixed));
    }
}
