//! The dot product of one sparse row with a dense weight vector.
//!
//! The sum runs from left to right, in one accumulator. A different order would round differently,
//! and a model that is replayed after a failure must reach the same bits.

/// Sums `values[k] * weights[indices[k]]` over `k`, from left to right.
///
/// `indices` and `values` are the row, entry by entry; the longer of the two is cut to the
/// shorter. An index past the end of `weights` contributes nothing, so `u32::MAX` can stand for a
/// coordinate that the model has never seen.
#[must_use]
pub fn sparse_dot(indices: &[u32], values: &[f64], weights: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (&index, &value) in indices.iter().zip(values) {
        sum += value * weights.get(index as usize).copied().unwrap_or(0.0);
    }
    sum
}
