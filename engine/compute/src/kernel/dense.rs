//! Dot products and scaled sums of dense rows, in an order that is fixed and yet fast.
//!
//! A sum from left to right waits for each addition. Eight sums side by side, added up in a fixed
//! tree at the end, let the compiler use vector registers and give the same bits on every machine.

/// Sums kept side by side.
const LANES: usize = 8;

/// The dot product of two rows; the longer of the two is cut to the shorter.
///
/// Entry `k` goes to the sum `k mod 8`, and the eight sums are added pairwise.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    dot_inlined(a, b)
}

/// The same within functions that have instructions of their own: the bits do not depend on them.
#[must_use]
#[inline(always)]
pub fn dot_inlined(a: &[f64], b: &[f64]) -> f64 {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

/// Adds `factor * row[k]` to `target[k]` for each `k`; the longer of the two is cut to the shorter.
pub fn add_scaled(target: &mut [f64], factor: f64, row: &[f64]) {
    add_scaled_inlined(target, factor, row);
}

/// As [`dot_inlined`].
#[inline(always)]
pub fn add_scaled_inlined(target: &mut [f64], factor: f64, row: &[f64]) {
    for (target, value) in target.iter_mut().zip(row) {
        *target += factor * value;
    }
}

/// Adds four scaled rows to `target` at once, which reads and writes it a quarter as often.
///
/// Each entry gets the sum `(f0 r0 + f1 r1) + (f2 r2 + f3 r3)`; the longest are cut to the shortest.
pub fn add_four_scaled(target: &mut [f64], factors: [f64; 4], rows: [&[f64]; 4]) {
    add_four_scaled_inlined(target, factors, rows);
}

/// As [`dot_inlined`].
#[inline(always)]
pub fn add_four_scaled_inlined(target: &mut [f64], factors: [f64; 4], rows: [&[f64]; 4]) {
    let length = rows.iter().map(|row| row.len()).fold(target.len(), usize::min);
    let [a, b, c, d] = rows.map(|row| &row[..length]);
    for (k, target) in target[..length].iter_mut().enumerate() {
        *target += (factors[0] * a[k] + factors[1] * b[k]) + (factors[2] * c[k] + factors[3] * d[k]);
    }
}
