//! How well scores order rows, where the first places count most.

use tidemill_compute::kernel::softmax::ln;

use super::is_defined;

/// The mean precision at the places of the positive rows, from the highest score down: the area under the curve of
/// precision over recall, by steps (as scikit-learn's `average_precision_score`). Rows of one score share their place. In
/// `[0, 1]`; of scores that say nothing, it is the share of positive rows. `None` without a positive row.
#[must_use]
pub fn average_precision(scores: &[f64], labels: &[bool]) -> Option<f64> {
    if !is_defined(scores, labels) {
        return None;
    }
    let mut rows: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut above, mut right, mut sum) = (0_usize, 0_usize, 0.0);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let positive = tied.iter().filter(|row| row.1).count();
        above += tied.len();
        right += positive;
        sum += positive as f64 * (right as f64 / above as f64);
    }
    (right > 0).then(|| sum / right as f64)
}

/// The normalized discounted cumulative gain of the first `k` places, or of all: the relevance of each row divided by
/// log2(1 + place), as a share of what the best order has (Järvelin and Kekäläinen 2002). Rows of one score share the mean of their
/// places (McSherry and Najork 2008), as in scikit-learn's `ndcg_score`. In `[0, 1]`; 0 if nothing is relevant.
///
/// `None` without rows, with a relevance below zero, and with what is not finite.
#[must_use]
pub fn ndcg(relevances: &[f64], scores: &[f64], k: Option<usize>) -> Option<f64> {
    let is_defined = !scores.is_empty()
        && scores.len() == relevances.len()
        && scores.iter().all(|score| score.is_finite())
        && relevances.iter().all(|relevance| relevance.is_finite() && *relevance >= 0.0);
    if !is_defined {
        return None;
    }
    let k = k.unwrap_or(usize::MAX);
    let best = gain(relevances, relevances, k);
    Some(if best > 0.0 { gain(relevances, scores, k) / best } else { 0.0 })
}

/// The gain of rows in the order of their scores.
fn gain(relevances: &[f64], scores: &[f64], k: usize) -> f64 {
    let mut rows: Vec<(f64, f64)> = scores.iter().copied().zip(relevances.iter().copied()).collect();
    // By relevance too, so that sums do not depend on the order in which rows have come.
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let (mut place, mut sum) = (0_usize, 0.0);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let discounts: f64 = (place..place + tied.len()).take_while(|place| *place < k).map(discount).sum();
        let mean = tied.iter().map(|row| row.1).sum::<f64>() / tied.len() as f64;
        sum += mean * discounts;
        place += tied.len();
    }
    sum
}

/// What relevance counts at a place, from 0.
fn discount(place: usize) -> f64 {
    std::f64::consts::LN_2 / ln(place as f64 + 2.0)
}
