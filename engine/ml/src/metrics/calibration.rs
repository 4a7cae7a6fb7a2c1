//! Whether probabilities are those of the labels.

use super::is_defined;

const BINS: usize = 10;

/// The expected calibration error: of the rows in each tenth of `[0, 1]`, the mean probability's distance from the share of
/// positive rows, weighted by how many rows these are (Naeini, Cooper and Hauskrecht 2015). In `[0, 1]`; 0 is perfect.
///
/// `None` without rows, and for scores that are no probabilities.
#[must_use]
pub fn expected_calibration_error(scores: &[f64], labels: &[bool]) -> Option<f64> {
    if !is_defined(scores, labels) || scores.iter().any(|score| !(0.0..=1.0).contains(score)) {
        return None;
    }
    let mut bins = [(0.0, 0.0); BINS];
    for (score, label) in scores.iter().zip(labels) {
        let (sum, positive) = &mut bins[bin(*score)];
        *sum += score;
        *positive += f64::from(u8::from(*label));
    }
    // The number of rows of a bin stands in both of its means and its weight, and goes out.
    Some(bins.iter().map(|(sum, positive)| (sum - positive).abs()).sum::<f64>() / scores.len() as f64)
}

/// The bin of a probability. Bins begin at multiples of the floating-point number 0.1, as NumPy's histograms do.
fn bin(score: f64) -> usize {
    (1..BINS).take_while(|bin| score >= *bin as f64 * 0.1).count()
}
