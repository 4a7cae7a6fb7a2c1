//! Kernels of matrices and their twins, each against sums of 64 bits that were made another way.

use std::num::NonZeroUsize;
use std::ops::Range;

use proptest::prelude::*;

use super::exp_oracle;
use crate::error::Result;
use crate::kernel::lanes::Instructions;
use crate::kernel::nearest::{Neighbor, assign, nearest, nearest_by};
use crate::kernel::product::{product, product_by};
use crate::kernel::softmax::softmax_rows;
use crate::matrix::Matrix;

type Nearest = dyn Fn(Matrix<'_>, Matrix<'_>, usize) -> Result<Vec<Vec<Neighbor>>>;
type Assign = dyn Fn(Matrix<'_>, Matrix<'_>) -> Result<Vec<Option<Neighbor>>>;
type Product = dyn Fn(Matrix<'_>, Matrix<'_>) -> Result<Vec<f64>>;
type Softmax = dyn Fn(Matrix<'_>) -> Result<(Vec<f64>, Vec<f64>)>;

/// One way to compute all of them.
struct Twin {
    name: &'static str,
    /// Of the largest number that rounding happened to.
    tolerance: f64,
    nearest: Box<Nearest>,
    assign: Box<Assign>,
    product: Box<Product>,
    softmax: Box<Softmax>,
}

fn cpu(name: &'static str, by: Instructions) -> Twin {
    Twin {
        name,
        tolerance: 1e-14,
        nearest: Box::new(move |stored, asked, count| nearest_by(by, stored, asked, count, NonZeroUsize::MIN)),
        assign: Box::new(assign),
        product: Box::new(move |left, right| product_by(by, left, right)),
        softmax: Box::new(|scores| {
            let mut values = scores.values().to_vec();
            let logarithms = softmax_rows(&mut values, scores.rows(), scores.columns())?;
            Ok((values, logarithms))
        }),
    }
}

/// The device where there is one; its answers, and not what the CPU would say in its place.
#[cfg(feature = "wgpu")]
fn device() -> Option<Twin> {
    use std::sync::Arc;

    use crate::gpu::tests::device;

    let gpu = Arc::new(device()?);
    let [a, b, c, d] = [(); 4].map(|()| Arc::clone(&gpu));
    Some(Twin {
        name: "device",
        tolerance: 4e-6,
        nearest: Box::new(move |stored, asked, count| a.nearest(&a.upload(stored)?, &a.upload(asked)?, count)),
        assign: Box::new(move |points, centroids| b.assign(&b.upload(points)?, &b.upload(centroids)?)),
        product: Box::new(move |left, right| c.read(&c.product(&c.upload(left)?, &c.upload(right)?)?)),
        softmax: Box::new(move |scores| d.softmax_rows(d.upload(scores)?)),
    })
}

#[cfg(not(feature = "wgpu"))]
fn device() -> Option<Twin> {
    None
}

fn twins() -> Vec<Twin> {
    let cpus = [cpu("any", Instructions::ANY), cpu("fastest", Instructions::fastest())];
    cpus.into_iter().chain(device()).collect()
}

/// Numbers that 32 bits do not hold, of a matrix that a name tells from others.
pub(super) fn numbers(name: u64, count: usize, range: Range<f64>) -> Vec<f64> {
    let mut state = name.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count).map(|_| range.start + (range.end - range.start) * next()).collect()
}

/// The same as whole numbers so small that sums of their products are exact in 32 bits, too.
pub(super) fn whole_numbers(name: u64, count: usize) -> Vec<f64> {
    numbers(name, count, -8.0..8.0).into_iter().map(f64::floor).collect()
}

/// The distance as a sum from the last number to the first.
fn distance_oracle(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).rev().map(|(a, b)| (a - b).powi(2)).sum()
}

/// Stored rows, asked rows, columns and how many are looked for: less and more than a tile of anything.
const SEARCHES: [(usize, usize, usize, usize); 14] = [
    (1, 1, 1, 1),
    (0, 3, 2, 2),
    (3, 0, 2, 1),
    (5, 7, 0, 3),
    (5, 7, 3, 0),
    (16, 64, 32, 5),
    (17, 65, 33, 17),
    (15, 63, 31, 2),
    (100, 1, 3, 200),
    (1, 130, 5, 1),
    (2500, 3, 4, 7),
    (4100, 70, 6, 40),
    (40, 41, 300, 3),
    (9, 10, 2051, 4),
];

#[test]
fn nearest_rows_are_those_of_the_oracle() {
    for twin in twins() {
        for (stored_rows, asked_rows, columns, count) in SEARCHES {
            let (a, b) = (numbers(1, stored_rows * columns, -3.0..5.0), numbers(2, asked_rows * columns, -3.0..5.0));
            let stored = Matrix::new(&a, stored_rows, columns).unwrap();
            let asked = Matrix::new(&b, asked_rows, columns).unwrap();
            let found = (twin.nearest)(stored, asked, count).unwrap();
            assert_eq!(found.len(), asked_rows, "{}", twin.name);
            let enough = twin.tolerance * (columns as f64 * 64.0).max(1.0);
            for (row, found) in found.iter().enumerate() {
                check_neighbors(&twin, stored, asked.row(row), count, found, enough);
            }
        }
    }
}

fn check_neighbors(twin: &Twin, stored: Matrix<'_>, asked: &[f64], count: usize, found: &[Neighbor], enough: f64) {
    let distances: Vec<f64> = (0..stored.rows()).map(|row| distance_oracle(stored.row(row), asked)).collect();
    let mut sorted = distances.clone();
    sorted.sort_by(f64::total_cmp);
    assert_eq!(found.len(), count.min(stored.rows()), "{}", twin.name);
    for (neighbor, expected) in found.iter().zip(&sorted) {
        let own = distances[neighbor.row as usize];
        let near = |distance: f64| (neighbor.distance - distance).abs() <= enough;
        assert!(
            near(own) && near(*expected),
            "{}: {neighbor:?}, {own} of {expected} of {:?}",
            twin.name,
            stored.shape()
        );
    }
    let mut rows: Vec<u32> = found.iter().map(|neighbor| neighbor.row).collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), found.len(), "{} finds a row twice", twin.name);
}

#[test]
fn rows_at_the_same_distance_come_in_their_order() {
    for twin in twins() {
        for (stored_rows, asked_rows, columns, count) in SEARCHES {
            let (a, b) = (whole_numbers(3, stored_rows * columns), whole_numbers(4, asked_rows * columns));
            let stored = Matrix::new(&a, stored_rows, columns).unwrap();
            let asked = Matrix::new(&b, asked_rows, columns).unwrap();
            let expected: Vec<Vec<Neighbor>> = (0..asked_rows)
                .map(|row| {
                    let neighbor = |other: usize| Neighbor {
                        distance: distance_oracle(stored.row(other), asked.row(row)),
                        row: other as u32,
                    };
                    let mut all: Vec<Neighbor> = (0..stored_rows).map(neighbor).collect();
                    all.sort();
                    all.truncate(count);
                    all
                })
                .collect();
            assert_eq!((twin.nearest)(stored, asked, count).unwrap(), expected, "{}", twin.name);
            let first: Vec<_> = (twin.nearest)(stored, asked, 1).unwrap();
            let assigned = (twin.assign)(asked, stored).unwrap();
            assert!(assigned.iter().zip(&first).all(|(one, of)| *one == of.first().copied()), "{}", twin.name);
            assert_eq!(assigned.len(), asked_rows);
        }
    }
}

/// Rows, places and columns.
const PRODUCTS: [(usize, usize, usize); 13] = [
    (1, 1, 1),
    (0, 3, 2),
    (3, 0, 2),
    (3, 2, 0),
    (64, 64, 64),
    (63, 15, 61),
    (65, 17, 67),
    (4, 256, 8),
    (5, 257, 9),
    (130, 70, 1),
    (1, 300, 130),
    (2, 1030, 3),
    (200, 5, 190),
];

/// The sum of products with what each addition rounded off added at the end (Ogita, Rump and Oishi 2005).
pub(super) fn dot_oracle(a: impl Iterator<Item = f64>, b: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0, 0.0);
    for (a, b) in a.zip(b) {
        let product = a * b;
        lost += a.mul_add(b, -product);
        let next: f64 = sum + product;
        let part = next - sum;
        lost += (sum - (next - part)) + (product - part);
        sum = next;
    }
    sum + lost
}

#[test]
fn products_are_those_of_the_oracle() {
    for twin in twins() {
        for (rows, places, columns) in PRODUCTS {
            for whole in [false, true] {
                let of = |name, count| match whole {
                    true => whole_numbers(name, count),
                    false => numbers(name, count, -3.0..5.0),
                };
                let (a, b) = (of(5, rows * places), of(6, places * columns));
                let left = Matrix::new(&a, rows, places).unwrap();
                let right = Matrix::new(&b, places, columns).unwrap();
                let result = (twin.product)(left, right).unwrap();
                assert_eq!(result.len(), rows * columns, "{}", twin.name);
                let enough = if whole { 0.0 } else { twin.tolerance * 25.0 * places as f64 };
                for (index, value) in result.iter().enumerate() {
                    let (row, column) = (index / columns, index % columns);
                    let down = (0..places).map(|place| right.row(place)[column]);
                    let expected = dot_oracle(left.row(row).iter().copied(), down);
                    let place = (rows, places, columns, row, column);
                    assert!((value - expected).abs() <= enough, "{} {place:?}: {value} of {expected}", twin.name);
                }
            }
        }
    }
}

#[test]
fn softmax_of_rows_is_that_of_the_oracle() {
    for twin in twins() {
        for (rows, columns) in [(1, 1), (3, 1), (5, 32), (65, 33), (130, 7), (3, 200), (0, 4), (4, 0), (70_000, 2)] {
            let values = numbers(7, rows * columns, -20.0..20.0);
            let scores = Matrix::new(&values, rows, columns).unwrap();
            let (probabilities, logarithms) = (twin.softmax)(scores).unwrap();
            assert_eq!((probabilities.len(), logarithms.len()), (rows * columns, rows), "{}", twin.name);
            for (row, logarithm) in logarithms.iter().enumerate() {
                let sum: f64 = scores.row(row).iter().rev().map(|score| exp_oracle(*score)).sum();
                let enough = twin.tolerance * 40.0;
                let near = |value: f64, expected: f64| value == expected || (value - expected).abs() <= enough;
                assert!(near(*logarithm, sum.ln()), "{}: {logarithm} of {}", twin.name, sum.ln());
                for (probability, score) in probabilities[row * columns..].iter().zip(scores.row(row)) {
                    let expected = exp_oracle(*score) / sum;
                    assert!(near(*probability, expected), "{}: {probability} of {expected}", twin.name);
                }
            }
        }
    }
}

#[test]
fn scores_that_are_far_apart_do_not_overflow() {
    for twin in twins() {
        for width in [3, 40] {
            let mut values = vec![-1000.0; width];
            (values[0], values[1]) = (1000.0, 1000.0);
            let (probabilities, logarithms) = (twin.softmax)(Matrix::new(&values, 1, width).unwrap()).unwrap();
            assert_eq!((&probabilities[..2], probabilities[width - 1]), (&[0.5, 0.5][..], 0.0), "{}", twin.name);
            assert!((logarithms[0] - 1000.0 - std::f64::consts::LN_2).abs() < 1e-4, "{}", twin.name);
        }
    }
}

#[test]
fn a_row_without_a_finite_distance_is_nobodys_neighbour() {
    let stored = [1.0, f64::NAN, 2.0, 0.0, f64::INFINITY, 0.0, 5.0, 0.0];
    let stored = Matrix::new(&stored, 4, 2).unwrap();
    let asked = Matrix::new(&[1.0, 0.0, f64::NAN, 0.0], 2, 2).unwrap();
    let found = nearest(stored, asked, 4).unwrap();
    let expected = [Neighbor { distance: 1.0, row: 1 }, Neighbor { distance: 16.0, row: 3 }];
    assert_eq!(found, [&expected[..], &[]]);
    assert_eq!(assign(asked, stored).unwrap(), [Some(expected[0]), None]);
}

#[test]
fn products_keep_nan_and_infinity_to_their_rows_and_columns() {
    let left = Matrix::new(&[f64::NAN, 1.0, 2.0, 3.0], 2, 2).unwrap();
    let right = Matrix::new(&[1.0, f64::INFINITY, 1.0, 1.0], 2, 2).unwrap();
    let result = product(left, right).unwrap();
    assert!(result[0].is_nan() && result[1].is_nan());
    assert_eq!(result[2..], [5.0, f64::INFINITY]);
}

proptest! {
    /// Whoever cuts rows over threads, and whatever the instructions, has the same bits.
    #[test]
    fn no_cut_and_no_instruction_changes_a_bit(
        (rows, places, columns) in (1..40_usize, 1..300_usize, 1..20_usize),
        cut in 0..40_usize,
    ) {
        let (a, b) = (numbers(8, rows * places, -3.0..5.0), numbers(9, places * columns, -3.0..5.0));
        let (left, right) = (Matrix::new(&a, rows, places).unwrap(), Matrix::new(&b, places, columns).unwrap());
        let whole = product(left, right).unwrap();
        let mut parts = product_by(Instructions::ANY, left.some_rows(0..cut), right).unwrap();
        parts.extend(product(left.some_rows(cut..rows), right).unwrap());
        prop_assert_eq!(&whole, &parts);
        let left_to_right = |row: usize, column: usize| {
            (0..places).fold(0.0, |sum, place| sum + left.row(row)[place] * right.row(place)[column])
        };
        prop_assert_eq!(whole[whole.len() - 1], left_to_right(rows - 1, columns - 1));

        let stored = Matrix::new(&b, columns, places).unwrap();
        let whole = nearest(stored, left, 3).unwrap();
        let one = NonZeroUsize::MIN;
        let mut parts = nearest_by(Instructions::ANY, stored, left.some_rows(0..cut), 3, one).unwrap();
        parts.extend(nearest(stored, left.some_rows(cut..rows), 3).unwrap());
        prop_assert_eq!(whole, parts);
    }
}
