//! What a device does when it cannot, and what it keeps count of. What it computes: `conformance/matrices.rs`.

use std::env;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Gpu, pool::Use};
use crate::device::worth::{Speeds, Work};
use crate::device::{Compute, DEVICE_MEMORY_MAX, Preference, Transfers, calibration};
use crate::error::ComputeError;
use crate::kernel::{columns, nearest, product};
use crate::matrix::Matrix;

/// Fails where there is no adapter if this is `1`, as in CI, which installs one.
const REQUIRE: &str = "TIDEMILL_REQUIRE_ADAPTER";

/// A device, of whatever adapter there is.
///
/// `None` is a test that has not been run, and standard error says so.
pub(crate) fn device() -> Option<Gpu> {
    device_with(DEVICE_MEMORY_MAX)
}

#[expect(clippy::print_stderr, reason = "a test that does not test must not be quiet about it")]
fn device_with(memory_max: u64) -> Option<Gpu> {
    match Gpu::request(true, memory_max) {
        Ok((gpu, _)) => Some(gpu),
        Err(error) if env::var(REQUIRE).is_ok_and(|value| value == "1") => panic!("{REQUIRE} = 1: {error}"),
        Err(error) => {
            eprintln!("NOT TESTED ON A DEVICE: {error}");
            None
        }
    }
}

fn compute_with(memory_max: u64) -> Option<Compute> {
    device_with(memory_max)?;
    Some(Compute::choose(Preference::Wgpu, memory_max, NonZeroUsize::MIN).unwrap())
}

/// One that has all that the device takes computed there.
pub(crate) fn compute() -> Option<Compute> {
    compute_with(DEVICE_MEMORY_MAX)
}

/// Whole numbers, of which 32 bits compute as 64 do.
fn whole(count: usize) -> Vec<f64> {
    (0..count).map(|place| (place * 7 % 13) as f64 - 6.0).collect()
}

#[test]
fn a_device_says_what_it_is_and_why() {
    let Some(compute) = compute_with(DEVICE_MEMORY_MAX) else { return };
    let report = compute.report();
    assert!(report.reason.starts_with(&report.name), "{report:?}");
    assert_eq!((report.lost, report.transfers), (None, Transfers::default()));
}

#[test]
fn bytes_and_kernels_are_counted() {
    let Some(compute) = compute_with(DEVICE_MEMORY_MAX) else { return };
    let values = whole(30);
    let matrix = compute.place(Matrix::new(&values, 6, 5).unwrap());
    let right = compute.place(Matrix::new(&values, 5, 6).unwrap());
    compute.product(&matrix, &right).unwrap();
    // Six rows of two vectors, five of two; and six of two that come back.
    let once = Transfers { bytes_up: (6 + 5) * 32, bytes_down: 6 * 32, dispatches: 1, ..Transfers::default() };
    assert_eq!(compute.report().transfers, once);
    compute.nearest(&matrix, &matrix, 2).unwrap();
    // Distances and rows: 48 bytes each, in whole vectors.
    let twice = Transfers { bytes_down: once.bytes_down + 96, dispatches: 2, ..once };
    assert_eq!(compute.report().transfers, twice);
}

#[test]
fn what_the_device_does_not_take_the_cpu_answers() {
    let Some(compute) = compute_with(DEVICE_MEMORY_MAX) else { return };
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e15, -1e300] {
        let values = [1.0, odd, 3.0, 4.0];
        let matrix = Matrix::new(&values, 2, 2).unwrap();
        let error = compute.gpu().unwrap().upload(matrix).unwrap_err();
        assert_eq!(error, ComputeError::OutOfRange { value: odd.to_string() });
        let placed = compute.place(matrix);
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let answer = compute.product(&placed, &placed).unwrap();
        assert_eq!(bits(&answer), bits(&product::product(matrix, matrix).unwrap()));
        assert_eq!(compute.nearest(&placed, &placed, 2).unwrap(), nearest::nearest(matrix, matrix, 2).unwrap());
    }
    let report = compute.report();
    assert_eq!((report.lost, report.transfers.fallbacks, report.transfers.dispatches), (None, 10, 0));
}

#[test]
fn a_device_without_room_lets_the_cpu_answer_and_goes_on() {
    let Some(compute) = compute_with(64 << 10) else { return };
    let values = whole(200 * 50);
    let large = Matrix::new(&values, 200, 50).unwrap();
    let error = compute.gpu().unwrap().upload(Matrix::new(&whole(200 * 100), 200, 100).unwrap()).unwrap_err();
    assert!(matches!(error, ComputeError::NoRoom { limit: 65_536, what: "bytes in all buffers", .. }), "{error}");
    // Each of them fits, both together do not.
    let right = Matrix::new(&values, 50, 200).unwrap();
    let (placed, placed_right) = (compute.place(large), compute.place(right.some_rows(0..50)));
    assert_eq!(compute.product(&placed, &placed_right).unwrap(), product::product(large, right).unwrap());
    drop((placed, placed_right));
    let small = compute.place(large.some_rows(0..3));
    assert_eq!(compute.nearest(&small, &small, 1).unwrap()[2][0].row, 2);
    let report = compute.report();
    assert!(report.lost.is_none() && report.transfers.fallbacks > 0 && report.transfers.dispatches > 0, "{report:?}");
}

/// What somebody is warned of, as text.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tidemill_compute") && *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text += &format!("{field}={value:?} ");
        });
        self.0.lock().unwrap().push(text);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn each_kind_of_failure_is_warned_of_once_and_each_call_is_counted() {
    let Some(compute) = compute_with(8 << 10) else { return };
    let (values, warnings) = (whole(100 * 100), Warnings::default());
    let large = Matrix::new(&values, 100, 100).unwrap();
    let small = compute.place(large.some_rows(0..2));
    tracing::subscriber::with_default(warnings.clone(), || {
        for _ in 0..3 {
            let placed = compute.place(large);
            assert_eq!(compute.column_sums(&placed), columns::column_sums(large, NonZeroUsize::MIN));
        }
        let nan = [f64::NAN; 4];
        drop(compute.column_sums(&compute.place(Matrix::new(&nan, 2, 2).unwrap())));
        assert!(compute.report().transfers.dispatches == 0 && compute.report().lost.is_none());
        drop(compute.column_sums(&small));
        assert_eq!(compute.report().transfers.dispatches, 1, "a device without room for one has room for others");
        compute.gpu().unwrap().device.destroy();
        for _ in 0..3 {
            // In the middle of a job: the matrix is on the device.
            let expected = columns::column_sums(large.some_rows(0..2), NonZeroUsize::MIN);
            assert_eq!(compute.column_sums(&small), expected);
        }
    });
    assert_eq!(compute.report().transfers.fallbacks, 7);
    let told = warnings.0.lock().unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, error) in told.iter().zip(["has no room", "numbers up to 2^48", "is lost"]) {
        assert!(told.contains(error) && told.contains("the CPU computes in the place of the device"), "{told}");
    }
}

#[test]
fn a_device_that_is_not_worth_the_way_is_not_asked() {
    let Some(gpu) = device() else { return };
    let (measured, threads) = (calibration::measure(&gpu, NonZeroUsize::MIN).unwrap(), NonZeroUsize::MIN);
    let all = [measured.cpu_operations_per_s, measured.cpu_bytes_per_s, measured.device_operations_per_s];
    assert!(
        all.iter().chain([&measured.link_bytes_per_s, &measured.round_trip_s]).all(|it| it.is_finite() && *it > 0.0)
    );
    let values = whole(64 * 64);
    let matrix = Matrix::new(&values, 64, 64).unwrap();
    let slow = Speeds { round_trip_s: 1e6, ..measured };
    let fast = Speeds { round_trip_s: 0.0, cpu_operations_per_s: 1.0, ..measured };
    let compute = Compute::on_device_with(gpu, "a test".into(), Some(slow), threads);
    let expected = product::product(matrix, matrix).unwrap();
    let placed = compute.place(matrix);
    assert_eq!(compute.product(&placed, &placed).unwrap(), expected);
    assert!(compute.keep(&[matrix], &Work::nearest((64, 64), (64, 64), 1)).is_none());
    let not_worth = Transfers { not_worth: 2, ..compute.report().transfers };
    assert_eq!((compute.report().transfers, compute.report().speeds), (not_worth, Some(slow)));
    let dispatches = compute.report().transfers.dispatches;
    assert!(!compute.may_round());

    let compute = Compute::on_device_with(device().unwrap(), "a test".into(), Some(fast), threads);
    let placed = compute.place(matrix);
    assert_eq!(compute.product(&placed, &placed).unwrap(), expected);
    let transfers = compute.report().transfers;
    assert_eq!((transfers.dispatches, transfers.not_worth, transfers.fallbacks), (1, 0, 0));
    assert!(dispatches > 0, "those of the measure");
}

#[test]
fn buffers_are_used_again_and_nothing_of_before_shows() {
    let Some(gpu) = device() else { return };
    let values = whole(64 * 64);
    let large = Matrix::new(&values, 64, 64).unwrap();
    let run = |matrix: Matrix<'_>| {
        let placed = gpu.upload(matrix).unwrap();
        gpu.nearest(&placed, &placed, 3).unwrap()
    };
    assert_eq!(run(large), nearest::nearest(large, large, 3).unwrap());
    let (idle, lent) = gpu.pool.bytes();
    assert_eq!((idle > 0, lent), (true, 0));
    // Not quite as large, so of the same class: what is behind its end was another matrix's.
    let smaller = large.some_rows(0..62);
    assert_eq!(run(smaller), nearest::nearest(smaller, smaller, 3).unwrap());
    assert_eq!(run(large), nearest::nearest(large, large, 3).unwrap());
    assert_eq!(gpu.pool.bytes(), (idle, 0));
}

#[test]
fn idle_buffers_make_room_for_others() {
    let Some(gpu) = device_with(8 << 10) else { return };
    let lend = |of, bytes| gpu.pool.lend(&gpu.device, of, bytes);
    drop((lend(Use::Storage, 4096).unwrap(), lend(Use::Storage, 2048).unwrap(), lend(Use::Reading, 1024).unwrap()));
    assert_eq!(gpu.pool.bytes(), (7168, 0));
    let held = lend(Use::Storage, 6144).unwrap();
    assert_eq!(gpu.pool.bytes().1, 6144);
    assert!(gpu.pool.bytes().0 <= 2048);
    let error = lend(Use::Storage, 4096).unwrap_err();
    assert_eq!(error, ComputeError::NoRoom { needed: 10_240, limit: 8192, what: "bytes in all buffers" });
    drop(held);
    assert!(lend(Use::Storage, 4096).is_ok());
}

#[test]
fn a_device_that_is_gone_is_answered_for_by_the_cpu() {
    let Some(compute) = compute_with(DEVICE_MEMORY_MAX) else { return };
    let values: Vec<f64> = whole(48).iter().map(|value| value / 7.0).collect();
    let matrix = Matrix::new(&values, 6, 8).unwrap();
    let placed = compute.place(matrix);
    compute.gpu().unwrap().device.destroy();
    // Not what 32 bits say: these are the CPU's.
    let expected = nearest::nearest(matrix, matrix, 2).unwrap();
    assert_eq!(compute.nearest(&placed, &placed, 2).unwrap(), expected);
    assert!(compute.report().lost.is_some(), "{:?}", compute.report());
    assert_eq!(compute.nearest(&compute.place(matrix), &placed, 2).unwrap(), expected);
    let error = compute.gpu().unwrap().upload(matrix).unwrap_err();
    assert!(matches!(error, ComputeError::Lost(_)), "{error}");
}

#[test]
fn complaints_and_panics_of_wgpu_are_errors() {
    let Some(gpu) = device() else { return };
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
    let invalid = wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false };
    let error = gpu.attempt(|| Ok(gpu.device.create_buffer(&invalid))).unwrap_err();
    assert!(matches!(error, ComputeError::Lost(_)), "{error}");
    assert_eq!(gpu.attempt(|| Ok(())).unwrap_err(), error, "a lost device stays so");

    let Some(gpu) = device() else { return };
    let error = gpu.attempt(|| -> Result<(), _> { panic!("as wgpu does if a device is lost while it waits") });
    assert_eq!(error, Err(ComputeError::Lost("as wgpu does if a device is lost while it waits".into())));

    let Some(gpu) = device() else { return };
    drop(gpu.device.create_buffer(&invalid));
    assert!(gpu.lost().is_some(), "what no scope caught");
}

#[test]
fn a_matrix_of_another_device_is_not_used() {
    let (Some(one), Some(other)) = (compute_with(DEVICE_MEMORY_MAX), compute_with(DEVICE_MEMORY_MAX)) else { return };
    let values = whole(12);
    let matrix = Matrix::new(&values, 3, 4).unwrap();
    let placed = one.place(matrix);
    assert_eq!(other.nearest(&placed, &placed, 1).unwrap(), nearest::nearest(matrix, matrix, 1).unwrap());
    assert_eq!((other.report().lost, other.report().transfers.dispatches), (None, 0));
}

#[test]
fn threads_may_use_a_device_at_the_same_time() {
    let Some(compute) = compute_with(DEVICE_MEMORY_MAX) else { return };
    let values = whole(90 * 20);
    let matrix = Matrix::new(&values, 90, 20).unwrap();
    let placed = compute.place(matrix);
    let expected = nearest::nearest(matrix, matrix, 4).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(compute.nearest(&placed, &placed, 4).unwrap(), expected);
                }
            });
        }
    });
    assert_eq!((compute.report().lost, compute.report().transfers.fallbacks), (None, 0));
}
