//! Sums over rows and their twins, each against sums of 64 bits that were made another way; and rows by their numbers.

use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::matrices::{dot_oracle, numbers, whole_numbers};
use super::{exp_oracle, sigmoid_oracle};
use crate::error::Result;
use crate::kernel::columns::{ColumnSums, column_sums_by};
use crate::kernel::gather::gather;
use crate::kernel::gram::gram_by;
use crate::kernel::groups::{GroupSums, group_sums_by};
use crate::kernel::histogram::{BINS, BinSum, Binned, Gradient, histogram};
use crate::kernel::lanes::Instructions;
use crate::kernel::logistic_loss::{Hessian, LogisticSums, logistic_sums_by};
use crate::kernel::matvec::times_vector_by;
use crate::kernel::softmax::{log_sum_exp_rows, softmax_rows};
use crate::matrix::Matrix;

type Vector = dyn Fn(Matrix<'_>, &[f64]) -> Result<Vec<f64>>;
type OfMatrix<T> = dyn Fn(Matrix<'_>) -> Result<T>;
type Logistic = dyn Fn(Matrix<'_>, &[bool], &[f64], Hessian) -> Result<LogisticSums>;
type Histogram = dyn Fn(Binned<'_>, &[Gradient], &[u32]) -> Result<Vec<BinSum>>;
type Groups = dyn Fn(Matrix<'_>, &[u32], usize) -> Result<GroupSums>;
type Gather = dyn Fn(Matrix<'_>, &[u32]) -> Result<Vec<f64>>;

/// One way to compute all of them.
struct Twin {
    name: &'static str,
    /// Of the largest number that rounding happened to.
    tolerance: f64,
    times_vector: Box<Vector>,
    columns: Box<OfMatrix<ColumnSums>>,
    gram: Box<OfMatrix<Vec<f64>>>,
    logarithms: Box<OfMatrix<Vec<f64>>>,
    logistic: Box<Logistic>,
    histogram: Box<Histogram>,
    groups: Box<Groups>,
    gather: Box<Gather>,
}

fn cpu(name: &'static str, by: Instructions, threads: usize) -> Twin {
    let threads = NonZeroUsize::new(threads).unwrap();
    Twin {
        name,
        tolerance: 1e-14,
        times_vector: Box::new(move |matrix, vector| times_vector_by(by, matrix, vector, threads)),
        columns: Box::new(move |matrix| Ok(column_sums_by(by, matrix, threads))),
        gram: Box::new(move |matrix| gram_by(by, matrix, None, threads)),
        logarithms: Box::new(move |scores| Ok(log_sum_exp_rows(scores, threads))),
        logistic: Box::new(move |rows, positive, weights, hessian| {
            logistic_sums_by(by, rows, positive, weights, hessian, threads)
        }),
        histogram: Box::new(move |binned, gradients, rows| histogram(binned, gradients, rows, threads)),
        groups: Box::new(move |rows, group_of, groups| group_sums_by(by, rows, group_of, groups, threads)),
        gather: Box::new(|matrix, rows| Ok(gather(matrix, rows))),
    }
}

/// The device where there is one; its answers, and not what the CPU would say in its place.
#[cfg(feature = "wgpu")]
fn device() -> Option<Twin> {
    use std::sync::Arc;

    let gpu = Arc::new(crate::gpu::tests::device()?);
    let [a, b, c, d, e, f, g, h] = [(); 8].map(|()| Arc::clone(&gpu));
    Some(Twin {
        name: "device",
        tolerance: 4e-6,
        times_vector: Box::new(move |matrix, vector| {
            a.times_vector(&a.upload(matrix)?, &a.upload(Matrix::new(vector, 1, vector.len())?)?)
        }),
        columns: Box::new(move |matrix| b.column_sums(&b.upload(matrix)?)),
        gram: Box::new(move |matrix| c.gram(&c.upload(matrix)?)),
        logarithms: Box::new(move |scores| d.log_sum_exp_rows(&d.upload(scores)?)),
        logistic: Box::new(move |rows, positive, weights, hessian| {
            let weights = e.upload(Matrix::new(weights, 1, weights.len())?)?;
            e.logistic_sums(&e.upload(rows)?, positive, &weights, hessian)
        }),
        histogram: Box::new(move |binned, gradients, rows| f.histogram(&f.upload_bins(binned)?, gradients, rows)),
        groups: Box::new(move |rows, group_of, groups| g.group_sums(&g.upload(rows)?, group_of, groups)),
        gather: Box::new(move |matrix, rows| h.read(&h.gather(&h.upload(matrix)?, rows)?)),
    })
}

#[cfg(not(feature = "wgpu"))]
fn device() -> Option<Twin> {
    None
}

fn twins() -> Vec<Twin> {
    let cpus = [cpu("any", Instructions::ANY, 1), cpu("fastest", Instructions::fastest(), 3)];
    cpus.into_iter().chain(device()).collect()
}

/// Rows and columns: less and more than a tile, a stretch or a block of anything.
const SHAPES: [(usize, usize); 12] = [
    (1, 1),
    (0, 3),
    (3, 0),
    (5, 4),
    (130, 7),
    (1025, 3),
    (4097, 1),
    (1500, 65),
    (9000, 30),
    (17, 300),
    (2, 1030),
    (300_000, 2),
];

impl Twin {
    #[track_caller]
    fn assert_near(&self, what: (usize, usize), actual: &[f64], expected: &[f64], largest: f64) {
        assert_eq!(actual.len(), expected.len(), "{} {what:?}", self.name);
        let enough = self.tolerance * largest;
        for (place, (actual, expected)) in actual.iter().zip(expected).enumerate() {
            let is_near = actual == expected || (actual - expected).abs() <= enough;
            assert!(is_near, "{} {what:?} {place}: {actual} of {expected} within {enough}", self.name);
        }
    }
}

/// A column from the last number to the first.
fn column(matrix: Matrix<'_>, column: usize) -> impl Iterator<Item = f64> + Clone {
    (0..matrix.rows()).rev().map(move |row| matrix.row(row)[column])
}

#[test]
fn products_with_a_vector_are_those_of_the_oracle() {
    for twin in twins() {
        for shape @ (rows, columns) in SHAPES {
            let (values, vector) = (numbers(20, rows * columns, -3.0..5.0), numbers(21, columns, -2.0..2.0));
            let matrix = Matrix::new(&values, rows, columns).unwrap();
            let expected: Vec<f64> =
                (0..rows).map(|row| dot_oracle(matrix.row(row).iter().copied(), vector.iter().copied())).collect();
            let products = (twin.times_vector)(matrix, &vector).unwrap();
            twin.assert_near(shape, &products, &expected, 10.0 * columns as f64);
        }
    }
}

#[test]
fn sums_of_columns_are_those_of_the_oracle() {
    for twin in twins() {
        for shape @ (rows, columns) in SHAPES {
            let values = numbers(22, rows * columns, -3.0..5.0);
            let matrix = Matrix::new(&values, rows, columns).unwrap();
            let found = (twin.columns)(matrix).unwrap();
            let of = |sum: &dyn Fn(usize) -> f64| (0..columns).map(sum).collect::<Vec<f64>>();
            let sums = of(&|place| dot_oracle(column(matrix, place), std::iter::repeat(1.0)));
            let squares = of(&|place| dot_oracle(column(matrix, place), column(matrix, place)));
            twin.assert_near(shape, &found.sums, &sums, 5.0 * rows as f64);
            twin.assert_near(shape, &found.squares, &squares, 25.0 * rows as f64);
            let smallest = of(&|place| column(matrix, place).fold(f64::INFINITY, f64::min));
            let largest = of(&|place| column(matrix, place).fold(f64::NEG_INFINITY, f64::max));
            twin.assert_near(shape, &found.smallest, &smallest, 1.0);
            twin.assert_near(shape, &found.largest, &largest, 1.0);
        }
    }
}

#[test]
fn products_of_columns_are_those_of_the_oracle() {
    for twin in twins() {
        for (rows, columns) in [(1, 1), (0, 3), (3, 0), (130, 7), (4100, 66), (17, 130), (70_000, 3)] {
            let values = numbers(23, rows * columns, -3.0..5.0);
            let matrix = Matrix::new(&values, rows, columns).unwrap();
            let product = |place: usize| dot_oracle(column(matrix, place / columns), column(matrix, place % columns));
            let expected: Vec<f64> = (0..columns * columns).map(product).collect();
            let found = (twin.gram)(matrix).unwrap();
            twin.assert_near((rows, columns), &found, &expected, 25.0 * rows as f64);
        }
    }
}

#[test]
fn logarithms_of_sums_are_those_of_the_oracle() {
    for twin in twins() {
        for shape @ (rows, columns) in SHAPES {
            let mut values = numbers(24, rows * columns, -20.0..20.0);
            let scores = Matrix::new(&values, rows, columns).unwrap();
            let sum = |row: usize| scores.row(row).iter().rev().map(|score| exp_oracle(*score)).sum::<f64>();
            let expected: Vec<f64> = (0..rows).map(|row| sum(row).ln()).collect();
            let found = (twin.logarithms)(scores).unwrap();
            twin.assert_near(shape, &found, &expected, 40.0);
            if twin.name != "device" {
                assert_eq!(found, softmax_rows(&mut values, rows, columns).unwrap(), "the bits of softmax's");
            }
        }
        let far = [1000.0, 1000.0, -1000.0];
        let found = (twin.logarithms)(Matrix::new(&far, 1, 3).unwrap()).unwrap();
        assert!((found[0] - 1000.0 - std::f64::consts::LN_2).abs() < 1e-4, "{}: {}", twin.name, found[0]);
    }
}

#[test]
fn derivatives_of_the_logistic_loss_are_those_of_the_oracle() {
    for twin in twins() {
        for shape @ (rows, columns) in [(1, 1), (0, 3), (3, 0), (130, 7), (1500, 65), (9000, 30), (70_000, 2)] {
            let values = numbers(25, rows * columns, -3.0..5.0);
            let weights = numbers(26, columns, -0.2..0.2);
            let positive: Vec<bool> = numbers(27, rows, 0.0..1.0).iter().map(|draw| *draw < 0.3).collect();
            let matrix = Matrix::new(&values, rows, columns).unwrap();
            let mut expected = LogisticSums { loss: 0.0, gradient: vec![0.0; columns], hessian: Vec::new() };
            let mut whole = vec![0.0; columns * columns];
            for row in (0..rows).rev() {
                let score = dot_oracle(matrix.row(row).iter().copied(), weights.iter().copied());
                let (p, y) = (sigmoid_oracle(score), f64::from(u8::from(positive[row])));
                // Not by `1 - p`, whose digits cancel.
                expected.loss -= sigmoid_oracle(if positive[row] { score } else { -score }).ln();
                for (place, value) in matrix.row(row).iter().enumerate() {
                    expected.gradient[place] += (p - y) * value;
                    let products = matrix.row(row).iter().map(|other| p * (1.0 - p) * value * other);
                    whole[place * columns..].iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
                }
            }
            let diagonal: Vec<f64> = (0..columns).map(|place| whole[place * columns + place]).collect();
            for (hessian, second) in
                [(Hessian::None, &Vec::new()), (Hessian::Diagonal, &diagonal), (Hessian::Whole, &whole)]
            {
                let found = (twin.logistic)(matrix, &positive, &weights, hessian).unwrap();
                // Scores of many columns are large, and what they are off by is the losses' as well.
                let largest = 5.0 * rows as f64 * columns.max(1) as f64;
                twin.assert_near(shape, &[found.loss], &[expected.loss], largest);
                twin.assert_near(shape, &found.gradient, &expected.gradient, largest);
                twin.assert_near(shape, &found.hessian, second, largest);
            }
        }
    }
}

#[test]
fn a_loss_neither_overflows_nor_cancels() {
    for twin in twins() {
        let rows = Matrix::new(&[500.0, -500.0, 20.0], 3, 1).unwrap();
        let two = rows.some_rows(0..2);
        let found = (twin.logistic)(two, &[false, false], &[1.0], Hessian::Whole).unwrap();
        twin.assert_near((2, 1), &[found.loss], &[500.0], 500.0);
        twin.assert_near((2, 1), &found.gradient, &[500.0], 500.0);
        // Another row: a loss of e^-20 keeps its digits in 32 bits, too.
        let found = (twin.logistic)(rows.some_rows(2..3), &[true], &[1.0], Hessian::Diagonal).unwrap();
        let small = (-20.0_f64).exp();
        assert!((found.gradient[0] / (-20.0 * small) - 1.0).abs() < 1e-4, "{}: {found:?}", twin.name);
        assert!((found.hessian[0] / (400.0 * small) - 1.0).abs() < 1e-4, "{}: {found:?}", twin.name);
    }
}

/// The sums as 128 bits, feature by feature.
fn histogram_oracle(bins: &[u8], features: usize, gradients: &[Gradient], rows: &[u32]) -> Vec<BinSum> {
    let of_bin = |place: usize| {
        let (feature, bin) = (place / BINS, place % BINS);
        let own = rows.iter().rev().map(|row| *row as usize).filter(|row| {
            bins.get(row * features + feature).is_some_and(|own| usize::from(*own) == bin && *row < gradients.len())
        });
        let sum = |which: usize| i64::try_from(own.clone().map(|row| i128::from(gradients[row][which])).sum::<i128>());
        [sum(0).unwrap(), sum(1).unwrap()]
    };
    (0..features * BINS).map(of_bin).collect()
}

#[test]
fn histograms_are_the_same_bits_on_everything() {
    for twin in twins() {
        for (rows, features) in [(1, 1), (0, 2), (3, 0), (300, 3), (9001, 5), (5000, 8)] {
            let bins: Vec<u8> = numbers(28, rows * features, 0.0..256.0).iter().map(|bin| *bin as u8).collect();
            let whole = f64::from(i32::MAX);
            let draws = numbers(29, rows, -whole..whole);
            let mut gradients: Vec<Gradient> =
                draws.iter().map(|draw| [*draw as i32, (draw / 3.0) as i32 - 1]).collect();
            gradients.iter_mut().take(2).for_each(|gradient| *gradient = [i32::MIN, i32::MAX]);
            let binned = Binned::new(&bins, rows, features).unwrap();
            // Each row, some of them twice, and some that there are not.
            let asked: Vec<u32> = (0..rows as u32 + 3).chain((0..rows as u32).step_by(3)).chain([u32::MAX]).collect();
            let found = (twin.histogram)(binned, &gradients, &asked).unwrap();
            assert!(
                found == histogram_oracle(&bins, features, &gradients, &asked),
                "{} {rows} x {features}",
                twin.name
            );
        }
    }
}

#[test]
fn sums_of_bins_carry_beyond_32_bits() {
    for twin in twins() {
        let rows = 100_000_u32;
        let bins = vec![7; rows as usize];
        let binned = Binned::new(&bins, rows as usize, 1).unwrap();
        let asked: Vec<u32> = (0..rows).collect();
        let gradients = vec![[i32::MAX, i32::MIN]; rows as usize];
        let found = (twin.histogram)(binned, &gradients, &asked).unwrap();
        let sums = [i32::MAX, i32::MIN].map(|value| i64::from(value) * i64::from(rows));
        assert_eq!((found[7], found[6]), (sums, [0, 0]), "{}", twin.name);
        // What adds up to nothing, by way of a carry at each step.
        let gradients: Vec<Gradient> = (0..rows as i32).map(|row| [row % 2 * 2 - 1, 1 - row % 2 * 2]).collect();
        assert_eq!((twin.histogram)(binned, &gradients, &asked).unwrap()[7], [0, 0], "{}", twin.name);
    }
}

#[test]
fn sums_of_groups_are_those_of_the_oracle() {
    for twin in twins() {
        for (rows, columns, groups) in
            [(1, 1, 1), (0, 3, 2), (3, 0, 2), (3, 2, 0), (1500, 65, 7), (9000, 30, 3), (40_000, 2, 500)]
        {
            for whole in [false, true] {
                let values = match whole {
                    true => whole_numbers(30, rows * columns),
                    false => numbers(30, rows * columns, -3.0..5.0),
                };
                let matrix = Matrix::new(&values, rows, columns).unwrap();
                // Those of the last two are of no group, and the first group has most rows.
                let draws = numbers(31, rows, 0.0..1.0);
                let group_of: Vec<u32> = draws.iter().map(|draw| (draw * draw * (groups + 2) as f64) as u32).collect();
                let found = (twin.groups)(matrix, &group_of, groups).unwrap();
                let count = |group: usize| group_of.iter().filter(|own| **own as usize == group).count() as u64;
                assert_eq!(found.counts, (0..groups).map(count).collect::<Vec<_>>(), "{}", twin.name);
                let mut expected = vec![0.0; groups * columns];
                for row in (0..rows).rev().filter(|row| (group_of[*row] as usize) < groups) {
                    let sum = &mut expected[group_of[row] as usize * columns..];
                    sum.iter_mut().zip(matrix.row(row)).for_each(|(sum, value)| *sum += value);
                }
                let largest = if whole { 0.0 } else { 5.0 * rows as f64 };
                twin.assert_near((rows, columns), &found.sums, &expected, largest);
            }
        }
    }
}

#[test]
fn gathered_rows_are_those_that_were_asked_for() {
    for twin in twins() {
        for (rows, columns) in [(1, 1), (0, 3), (3, 0), (50, 7), (500, 64), (9, 130)] {
            let values = whole_numbers(32, rows * columns);
            let matrix = Matrix::new(&values, rows, columns).unwrap();
            let draws = numbers(33, 300, 0.0..rows as f64 + 2.0);
            let asked: Vec<u32> = draws.iter().map(|draw| *draw as u32).chain([u32::MAX]).collect();
            let row = |asked: &u32| match *asked < rows as u32 {
                true => matrix.row(*asked as usize).to_vec(),
                false => vec![0.0; columns],
            };
            let expected: Vec<f64> = asked.iter().flat_map(row).collect();
            assert_eq!((twin.gather)(matrix, &asked).unwrap(), expected, "{} {rows} x {columns}", twin.name);
            assert_eq!((twin.gather)(matrix, &[]).unwrap(), [] as [f64; 0]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The bits are the same by any instructions and any number of threads.
    #[test]
    fn no_thread_and_no_instruction_changes_a_bit(
        rows in 1..9000_usize,
        columns in 1..90_usize,
        threads in 1..9_usize,
    ) {
        let values = numbers(34, rows * columns, -3.0..5.0);
        let matrix = Matrix::new(&values, rows, columns).unwrap();
        let weights = numbers(35, columns, -0.2..0.2);
        let positive: Vec<bool> = (0..rows).map(|row| row % 3 == 0).collect();
        let group_of: Vec<u32> = (0..rows).map(|row| (row * row % 7) as u32).collect();
        let (one, other) = (cpu("any", Instructions::ANY, 1), cpu("fastest", Instructions::fastest(), threads));
        let both = [&one, &other];
        let [a, b] = both.map(|twin| (twin.times_vector)(matrix, &weights).unwrap());
        prop_assert_eq!(a, b);
        let [a, b] = both.map(|twin| (twin.columns)(matrix).unwrap());
        prop_assert_eq!(a, b);
        let [a, b] = both.map(|twin| (twin.gram)(matrix).unwrap());
        prop_assert_eq!(a, b);
        let [a, b] = both.map(|twin| (twin.logarithms)(matrix).unwrap());
        prop_assert_eq!(a, b);
        for hessian in [Hessian::None, Hessian::Diagonal, Hessian::Whole] {
            let [a, b] = both.map(|twin| (twin.logistic)(matrix, &positive, &weights, hessian).unwrap());
            prop_assert_eq!(a, b);
        }
        let [a, b] = both.map(|twin| (twin.groups)(matrix, &group_of, 6).unwrap());
        prop_assert_eq!(a, b);
    }
}
