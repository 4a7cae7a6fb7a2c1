//! What is settled with a device's help is what the CPU finds by itself. Here a CPU in 32 bits stands for the device, and
//! where there is one, the device itself.

use super::{Candidates, Neighbor, Rounding, SPARE};
use crate::kernel::nearest::nearest;
use crate::matrix::Matrix;

/// Numbers between -1 and 1 of which few are the same, or many.
fn numbers(count: usize, seed: u64, steps: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % steps
    };
    (0..count).map(|_| next() as f64 / steps as f64 * 2.0 - 1.0).collect()
}

fn magnitude(matrix: Matrix<'_>) -> f64 {
    matrix.values().iter().fold(0.0, |largest: f64, value| largest.max(value.abs()))
}

/// What a device in 32 bits would propose: each operation is rounded to 32 bits.
fn proposed(stored: Matrix<'_>, asked: Matrix<'_>, count: usize) -> Candidates {
    let distance = |a: &[f64], b: &[f64]| {
        a.iter().zip(b).fold(0.0_f32, |sum, (a, b)| {
            let difference = *a as f32 - *b as f32;
            sum + difference * difference
        })
    };
    let lists = (0..asked.rows()).map(|row| {
        let neighbor = |other: usize| Neighbor {
            distance: f64::from(distance(stored.row(other), asked.row(row))),
            row: other as u32,
        };
        let mut all: Vec<Neighbor> = (0..stored.rows()).map(neighbor).collect();
        all.sort();
        all.truncate(count);
        all
    });
    let rounding = Rounding::new(stored.columns(), magnitude(stored).max(magnitude(asked)));
    Candidates { lists: lists.collect(), are_all: stored.rows() <= count, rounding }
}

fn exact(stored: Matrix<'_>, asked: &[f64], row: u32) -> f64 {
    stored.row(row as usize).iter().zip(asked).fold(0.0, |sum, (a, b)| sum + (b - a) * (b - a))
}

/// How many of the asked rows are settled, all of them rightly.
fn check(stored: Matrix<'_>, asked: Matrix<'_>, count: usize, candidates: &Candidates) -> usize {
    let expected = nearest(stored, asked, count).unwrap();
    let settled = (0..asked.rows()).filter_map(|row| {
        let settled = candidates.settle(row, count, |other| exact(stored, asked.row(row), other))?;
        assert_eq!(settled, expected[row]);
        Some(row)
    });
    settled.count()
}

#[test]
fn what_is_settled_has_the_cpus_bits() {
    for (rows, columns, count, steps) in
        [(500, 7, 5, 1 << 30), (300, 40, 1, 1 << 30), (40, 3, 40, 1 << 20), (6, 4, 5, 1 << 30), (900, 2, 3, 9)]
    {
        let (a, b) = (numbers(rows * columns, 1, steps), numbers(50 * columns, 2, steps));
        let (stored, asked) = (Matrix::new(&a, rows, columns).unwrap(), Matrix::new(&b, 50, columns).unwrap());
        let settled = check(stored, asked, count, &proposed(stored, asked, count + SPARE));
        // With few different numbers most rows are as far as others, and nothing is settled that is not sure.
        assert!(steps < 10 || settled == 50, "{settled} of {rows} x {columns}");
    }
}

#[test]
fn rows_that_32_bits_do_not_tell_apart_are_not_settled() {
    // All within 1e-8 of each other, and far from zero: 32 bits see one point.
    let values: Vec<f64> = numbers(60, 3, 1 << 30).iter().map(|value| 1000.0 + value * 1e-8).collect();
    let stored = Matrix::new(&values, 30, 2).unwrap();
    let candidates = proposed(stored, stored.some_rows(0..4), 3 + SPARE);
    assert_eq!(check(stored, stored.some_rows(0..4), 3, &candidates), 0);
    assert_eq!(candidates.sure(0), None);
}

#[test]
fn a_nearest_row_is_sure_if_the_next_is_farther_by_more_than_roundings() {
    let stored = Matrix::new(&[0.0, 0.0, 1.0, 0.0], 2, 2).unwrap();
    let asked = Matrix::new(&[0.4, 0.0, 0.5, 0.0, 0.500_000_1, 3.0], 3, 2).unwrap();
    let candidates = proposed(stored, asked, 2);
    assert_eq!([0, 1, 2].map(|row| candidates.sure(row)), [Some(0), None, None]);
    assert_eq!(proposed(stored.some_rows(0..1), asked, 2).sure(1), Some(0), "there is no other");
}

#[test]
fn distances_in_32_bits_are_as_far_off_as_is_said() {
    for (columns, scale, shift) in [(1, 1.0, 0.0), (3, 1e-3, 5.0), (100, 1e4, -7e4), (3000, 1.0, 1.0)] {
        let of = |seed| numbers(20 * columns, seed, 1 << 30).iter().map(|v| v * scale + shift).collect::<Vec<f64>>();
        let (a, b) = (of(4), of(5));
        let (stored, asked) = (Matrix::new(&a, 20, columns).unwrap(), Matrix::new(&b, 20, columns).unwrap());
        let candidates = proposed(stored, asked, 20);
        for (row, list) in candidates.lists.iter().enumerate() {
            for neighbor in list {
                let off = (neighbor.distance - exact(stored, asked.row(row), neighbor.row)).abs();
                assert!(
                    off <= candidates.rounding.error(neighbor.distance),
                    "{neighbor:?} of {columns} columns: {off}"
                );
            }
        }
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn a_device_proposes_what_the_cpu_settles() {
    use super::super::worth::Work;

    let Some(compute) = crate::gpu::tests::compute() else { return };
    for (rows, columns, count) in [(3000, 9, 5), (20, 3, 20), (700, 65, 1)] {
        let (a, b) = (numbers(rows * columns, 6, 1 << 30), numbers(70 * columns, 7, 1 << 30));
        let (stored, asked) = (Matrix::new(&a, rows, columns).unwrap(), Matrix::new(&b, 70, columns).unwrap());
        let parts = [stored.some_rows(0..rows / 3), stored.some_rows(rows / 3..rows)];
        let kept = compute.keep(&parts, &Work::default()).unwrap();
        assert_eq!((kept.shape(), kept.magnitude()), ((rows, columns), magnitude(stored)));
        let candidates = compute.candidates(&kept, asked, count).unwrap();
        assert_eq!(check(stored, asked, count, &candidates), 70);
        let first = nearest(asked, stored, 1).unwrap();
        let sure = compute.sure_assignment(&kept, asked).unwrap();
        assert!(sure.iter().flatten().count() * 10 > rows * 9, "most points are near one of the asked rows");
        assert!(sure.iter().zip(&first).all(|(sure, first)| sure.is_none_or(|row| row == first[0].row)));
    }
    let other = Matrix::new(&[0.0; 4], 2, 2).unwrap();
    let kept = compute.keep(&[other], &Work::default()).unwrap();
    assert!(compute.candidates(&kept, Matrix::new(&[0.0; 3], 1, 3).unwrap(), 1).is_none());
    assert!(compute.keep(&[Matrix::new(&[f64::NAN], 1, 1).unwrap()], &Work::default()).is_none());
    assert_eq!(compute.report().transfers.fallbacks, 1);
}
