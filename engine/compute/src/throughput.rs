//! What each kernel of matrices does a second, on the CPU and on the device there and back, to be run by hand in
//! release: `cargo test --release -p tidemill-compute --features wgpu throughput -- --ignored --nocapture`.
#![expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

use crate::device::{Compute, DEVICE_MEMORY_MAX, Placed, Preference};
use crate::kernel::histogram::Binned;
use crate::kernel::logistic_loss::Hessian;
use crate::matrix::Matrix;

/// Runs of each, of which the fastest counts: another process only ever takes time.
const RUNS: usize = 5;

fn numbers(count: usize) -> Vec<f64> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// A kernel, with two matrices that are sent each time.
struct Case<'a> {
    name: String,
    left: Matrix<'a>,
    right: Matrix<'a>,
    operations: f64,
    run: fn(&Compute, &Placed<'_>, &Placed<'_>),
}

fn measure(computes: &[Compute], case: &Case<'_>) {
    for compute in computes {
        let before = compute.report();
        let fastest = (0..RUNS).map(|_| {
            let start = Instant::now();
            (case.run)(compute, &compute.place(case.left), &compute.place(case.right));
            start.elapsed().as_secs_f64()
        });
        let seconds = fastest.fold(f64::INFINITY, f64::min);
        let after = compute.report();
        let moved = after.transfers.bytes_up + after.transfers.bytes_down
            - before.transfers.bytes_up
            - before.transfers.bytes_down;
        // On the CPU what is read and written at least, in 64 bits.
        let bytes = if after.name == "cpu" {
            ((case.left.values().len() + case.right.values().len()) * size_of::<f64>()) as f64
        } else {
            moved as f64 / RUNS as f64
        };
        eprintln!(
            "{:<44} {:<40} {:9.2} ms {:8.2} GFLOP/s {:7.2} GB/s{}",
            case.name,
            after.name,
            seconds * 1e3,
            case.operations / seconds / 1e9,
            bytes / seconds / 1e9,
            if after.transfers.fallbacks > 0 { "  (some of it on the CPU)" } else { "" },
        );
    }
}

/// The CPU, and a device where there is one.
fn computes() -> Vec<Compute> {
    let mut computes = vec![Compute::cpu("a measurement, on one thread")];
    match Compute::choose(Preference::Wgpu, DEVICE_MEMORY_MAX, NonZeroUsize::MIN) {
        Ok(compute) => computes.push(compute),
        Err(error) => eprintln!("no device: {error}"),
    }
    computes.iter().for_each(|compute| eprintln!("{}: {}", compute.report().name, compute.report().reason));
    computes
}

#[test]
#[ignore = "a measurement, not a check"]
fn throughput() {
    let computes = computes();
    let values = numbers(1 << 22);
    let matrix = |rows: usize, columns: usize| Matrix::new(&values[..rows * columns], rows, columns).unwrap();
    let distances = |stored: usize, asked: usize, columns: usize| (stored * asked * columns * 3) as f64;
    for (asked, stored, columns) in [(2_000, 20_000, 30), (2_000, 4_000, 500)] {
        let case = Case {
            name: format!("nearest 10 of {stored} for {asked}, {columns} columns"),
            left: matrix(stored, columns),
            right: matrix(asked, columns),
            operations: distances(stored, asked, columns),
            run: |compute, stored, asked| drop(black_box(compute.nearest(stored, asked, 10).unwrap())),
        };
        measure(&computes, &case);
    }
    let case = Case {
        name: "assign 100000 to 50, 30 columns".into(),
        left: matrix(100_000, 30),
        right: matrix(50, 30),
        operations: distances(50, 100_000, 30),
        run: |compute, points, centroids| drop(black_box(compute.assign(points, centroids).unwrap())),
    };
    measure(&computes, &case);
    for (rows, places, columns) in [(512, 512, 512), (1500, 1500, 1500), (100_000, 30, 20)] {
        let (left, right) = (matrix(rows, places), matrix(places, columns));
        let operations = (rows * places * columns * 2) as f64;
        let name = format!("product {rows} x {places} x {columns}");
        let run = |compute: &Compute, left: &Placed<'_>, right: &Placed<'_>| {
            drop(black_box(compute.product(left, right).unwrap()));
        };
        measure(&computes, &Case { name, left, right, operations, run });
    }
    // An exponential is about 25 operations more.
    let case = Case {
        name: "softmax of product 100000 x 30 x 20".into(),
        left: matrix(100_000, 30),
        right: matrix(30, 20),
        operations: (100_000 * 20 * (2 * 30 + 25)) as f64,
        run: |compute, left, right| drop(black_box(compute.softmax_of_product(left, right).unwrap())),
    };
    measure(&computes, &case);
}

/// Kernels that read each number once or a few times: what they wait for is memory, or the way to the device.
#[test]
#[ignore = "a measurement, not a check"]
fn throughput_of_sums() {
    let (computes, values) = (computes(), numbers(3_000_000));
    let tall = Matrix::new(&values[..100_000 * 30], 100_000, 30).unwrap();
    let one = Matrix::new(&values[..30], 1, 30).unwrap();
    let case = |name: &str, operations: f64, run: fn(&Compute, &Placed<'_>, &Placed<'_>)| {
        let name = format!("{name}, 100000 x 30");
        measure(&computes, &Case { name, left: tall, right: one, operations: operations * 3e6, run });
    };
    case("product with a vector", 2.0, |compute, rows, vector| {
        drop(black_box(compute.times_vector(rows, vector.matrix().values()).unwrap()));
    });
    case("sums of columns", 5.0, |compute, rows, _| drop(black_box(compute.column_sums(rows))));
    case("products of columns", 30.0, |compute, rows, _| drop(black_box(compute.gram(rows, None).unwrap())));
    case("logarithms of sums of exponentials", 25.0, |compute, rows, _| {
        drop(black_box(compute.log_sum_exp_rows(rows)));
    });
    case("logistic gradient", 6.0, |compute, rows, weights| logistic(compute, rows, weights, Hessian::None));
    case("logistic Hessian", 36.0, |compute, rows, weights| logistic(compute, rows, weights, Hessian::Whole));
    case("sums of 50 groups", 1.0, |compute, rows, _| {
        let group_of: Vec<u32> = (0..100_000).map(|row| row * 7 % 50).collect();
        drop(black_box(compute.group_sums(rows, &group_of, 50).unwrap()));
    });
    case("rows by their numbers", 0.0, |compute, rows, _| {
        let asked: Vec<u32> = (0..100_000).map(|row| row * 7 % 100_000).collect();
        drop(black_box(compute.gather(rows, &asked)));
    });
    case("histogram of 30 features", 2.0, |compute, rows, _| {
        let bins: Vec<u8> = rows.matrix().values().iter().map(|value| (value * 255.0) as i8 as u8).collect();
        let (gradients, all) = (vec![[7, -9]; 100_000], (0..100_000).collect::<Vec<u32>>());
        let bins = compute.place_bins(Binned::new(&bins, 100_000, 30).unwrap());
        drop(black_box(compute.histogram(&bins, &gradients, &all).unwrap()));
    });
}

fn logistic(compute: &Compute, rows: &Placed<'_>, weights: &Placed<'_>, hessian: Hessian) {
    let positive = [false, true].repeat(50_000);
    drop(black_box(compute.logistic_sums(rows, &positive, weights.matrix().values(), hessian).unwrap()));
}
