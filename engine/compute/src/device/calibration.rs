//! How fast the CPU and a device are, measured for some tens of milliseconds when the device is chosen.
//!
//! What is measured decides where a call is answered, and what it answers only as far as 32 bits differ from 64. Whoever
//! must replay exactly does not leave that to a measure ([`exact`](super::exact)).

use std::num::NonZeroUsize;
use std::time::Instant;

use super::worth::Speeds;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernel::columns::column_sums;
use crate::kernel::product::product;
use crate::matrix::Matrix;

/// Rows and columns of the product that a device computes, of which the CPU gets some rows.
const SIDE: usize = 512;
const CPU_ROWS: usize = 64;
/// Rows and columns of one that is a round trip and nothing else.
const SMALL: usize = 8;
/// Products one behind the other, so that waiting for the last counts little.
const PRODUCTS: usize = 2;
/// Numbers that the CPU sums up: 16 MB, more than most caches.
const SUMMED: usize = 1 << 21;
/// Runs of each, of which the fastest counts, and the seconds after which there is no other.
const RUNS: usize = 4;
const BUDGET_S: f64 = 0.02;
/// What no clock tells from nothing.
const SECONDS_MIN: f64 = 1e-7;

/// Measures a device, and the CPU with so many threads.
///
/// # Errors
/// What the device fails at.
pub(crate) fn measure(gpu: &Gpu, threads: NonZeroUsize) -> Result<Speeds> {
    let values: Vec<f64> = (0..SUMMED).map(|place| (place * 7 % 251) as f64 / 251.0).collect();
    let matrix = |rows: usize, columns: usize| Matrix::new(&values[..rows * columns], rows, columns);
    let (square, small) = (matrix(SIDE, SIDE)?, matrix(SMALL, SMALL)?);

    let placed_small = gpu.upload(small)?;
    let round_trip_s = fastest(|| gpu.product(&placed_small, &placed_small).and_then(|it| gpu.read(&it)))?;
    let beyond_s = |seconds: f64| (seconds - round_trip_s).max(SECONDS_MIN);
    let link_s = beyond_s(fastest(|| gpu.upload(square).and_then(|it| gpu.read(&it)))?);
    let placed = gpu.upload(square)?;
    let device_s = beyond_s(fastest(|| {
        (0..PRODUCTS).try_for_each(|_| gpu.product(&placed, &placed).map(drop))?;
        // What was asked for before is done when this is there.
        gpu.read(&placed_small)
    })?);

    let cpu_s = fastest(|| product(square.some_rows(0..CPU_ROWS), square))?;
    let summed = matrix(SUMMED / 64, 64)?;
    let summing_s = fastest(|| Ok(column_sums(summed, threads)))?;
    let operations = |rows: usize| (rows * SIDE * SIDE * 2) as f64;
    Ok(Speeds {
        // As if threads were that many times as fast: who has them spares the way to the device sooner.
        cpu_operations_per_s: operations(CPU_ROWS) / cpu_s.max(SECONDS_MIN) * threads.get() as f64,
        cpu_bytes_per_s: (SUMMED * size_of::<f64>()) as f64 / summing_s.max(SECONDS_MIN),
        device_operations_per_s: operations(SIDE * PRODUCTS) / device_s,
        link_bytes_per_s: (2 * SIDE * SIDE * size_of::<f32>()) as f64 / link_s,
        round_trip_s,
    })
}

/// The seconds of the fastest run. One more before them is not counted: drivers and caches take their time at first.
#[expect(clippy::disallowed_methods, reason = "how fast a machine is is nothing that a replay could give again")]
fn fastest<T>(mut run: impl FnMut() -> Result<T>) -> Result<f64> {
    run()?;
    let (mut least, mut spent) = (f64::INFINITY, 0.0);
    for _ in 0..RUNS {
        let start = Instant::now();
        std::hint::black_box(run()?);
        let seconds = start.elapsed().as_secs_f64();
        least = seconds.min(least);
        spent += seconds;
        if spent > BUDGET_S {
            break;
        }
    }
    Ok(least)
}
