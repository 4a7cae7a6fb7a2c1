//! A GPU through wgpu: a device, its buffers and its kernels, whose every failure is a value.
//!
//! wgpu tells of failures in five ways: what a call returns, error scopes, handlers for what no scope caught, a
//! callback for a device that is gone, and panics where it has no other. [`Gpu::attempt`] is the one place where all of
//! them come together, and every use of the device goes through it. After any of them the device is lost: what its
//! buffers hold is unknown.

mod adapter;
mod columns;
mod faults;
mod gather;
mod gram;
mod histogram;
mod kernels;
mod logistic;
mod matvec;
mod nearest;
mod pool;
mod product;
mod softmax;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::faults::Faults;
pub(crate) use self::histogram::DeviceBins;
use self::kernels::Kernels;
use self::pool::{Lease, Pool};
use crate::device::Transfers;
use crate::error::{ComputeError, Result};

/// How long a driver may take to give a device with its kernels compiled. Real ones take under two seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one call's kernels may run. Drivers of GPUs with a screen end them after some seconds.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

/// Numbers a vector has; rows are padded to whole ones.
const VECTOR: usize = 4;
/// The largest magnitude that is sent: squares of differences then sum up below the largest `f32` whatever the columns.
const MAGNITUDE_MAX: f64 = (1_u64 << 48) as f64;

/// A device with what runs on it.
#[derive(Debug)]
pub(crate) struct Gpu {
    /// Tells matrices on this device from those on another.
    id: u64,
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    kernels: Kernels,
    pool: Pool,
    faults: Arc<Faults>,
    counters: Counters,
}

/// A matrix on a device, in 32 bits, its rows padded with zeros to whole vectors.
#[derive(Debug)]
pub(crate) struct DeviceMatrix {
    gpu: u64,
    lease: Lease,
    rows: u32,
    columns: u32,
}

impl DeviceMatrix {
    /// Vectors of a row.
    fn vectors(&self) -> u32 {
        self.columns.div_ceil(VECTOR as u32)
    }
}

#[derive(Debug, Default)]
struct Counters {
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    dispatches: AtomicU64,
}

impl Gpu {
    /// Opens the best adapter, one in software only if `software` is set, and says which and why.
    ///
    /// # Errors
    /// `NoAdapter`, `SoftwareOnly`, `Refused`, `TimedOut`.
    pub(crate) fn request(software: bool, memory_max: u64) -> Result<(Self, String)> {
        adapter::within(REQUEST_TIMEOUT, "asking the driver for a device", move || {
            let (adapter, reason) = adapter::choose(software)?;
            Ok((Self::open(&adapter, memory_max)?, reason))
        })?
    }

    fn open(adapter: &wgpu::Adapter, memory_max: u64) -> Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let name = adapter.get_info().name;
        let refused = |message: String| ComputeError::Refused { adapter: name.clone(), message };
        let (device, queue) = adapter::device_of(adapter).map_err(refused)?;
        let faults = Faults::watch(&device);
        let kernels = faults.attempt(&device, || Ok(Kernels::compile(&device)));
        let limits = device.limits();
        // Places in a buffer are numbers of 32 bits in kernels.
        let buffer_max = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size).min(u64::from(u32::MAX));
        let buffer_max = buffer_max / 256 * 256;
        Ok(Self {
            id: OPENED.fetch_add(1, Ordering::Relaxed),
            kernels: kernels.map_err(|error| refused(error.to_string()))?,
            pool: Pool::new(memory_max, buffer_max),
            name,
            device,
            queue,
            faults,
            counters: Counters::default(),
        })
    }

    /// The adapter's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Why the device is asked for nothing more, if so.
    pub(crate) fn lost(&self) -> Option<String> {
        self.faults.first()
    }

    /// Tells this device from others of the process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether a matrix is on this device.
    pub(crate) fn has(&self, matrix: &DeviceMatrix) -> bool {
        matrix.gpu == self.id
    }

    /// What has been moved and run.
    pub(crate) fn transfers(&self) -> Transfers {
        Transfers {
            bytes_up: self.counters.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.counters.bytes_down.load(Ordering::Relaxed),
            dispatches: self.counters.dispatches.load(Ordering::Relaxed),
            ..Transfers::default()
        }
    }

    /// Runs what uses the device, and has every kind of failure as an error.
    ///
    /// # Errors
    /// `Lost` for whatever wgpu complains of, and what `work` returns.
    fn attempt<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.faults.attempt(&self.device, work)
    }
}
