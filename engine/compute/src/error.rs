//! What can go wrong around a kernel: shapes that do not fit, and devices that are not there or do not do.

use std::time::Duration;

/// Why a kernel or a device gave no answer.
///
/// What a device fails at is answered by the CPU twin ([`Compute`](crate::device::Compute) does so by itself); the
/// shapes are the caller's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// A matrix of another number of values than it has places.
    #[error("{values} values are no matrix of {rows} rows and {columns} columns")]
    Values {
        /// How many there are.
        values: usize,
        /// How many rows there were to be.
        rows: usize,
        /// How many columns.
        columns: usize,
    },
    /// Two matrices that do not go together.
    #[error("{operation} of {left:?} and {right:?} (rows, columns)")]
    Shapes {
        /// What was to be made of them.
        operation: &'static str,
        /// Rows and columns of the first.
        left: (usize, usize),
        /// Rows and columns of the second.
        right: (usize, usize),
    },
    /// A name that is no device's.
    #[error("'{0}' is no device to compute with: it is one of auto, cpu, wgpu")]
    UnknownDevice(String),
    /// wgpu is asked for and not compiled in.
    #[error("this build has no wgpu: build it with --features wgpu, or take --compute-device cpu")]
    NotBuilt,
    /// No adapter that may be used.
    #[error(
        "wgpu finds no adapter: install the GPU's driver with Vulkan, or, to compute in software, \
         mesa-vulkan-drivers and libvulkan1; or take --compute-device cpu"
    )]
    NoAdapter,
    /// An adapter that computes on the CPU, which our own kernels do faster.
    #[error("the only adapter of wgpu, {adapter}, computes in software, which is used if --compute-device is wgpu")]
    SoftwareOnly {
        /// The adapter's name.
        adapter: String,
    },
    /// An adapter that gives no device, or one on which a kernel does not compile.
    #[error("{adapter} cannot be used: {message}; take --compute-device cpu, or try another driver")]
    Refused {
        /// The adapter's name.
        adapter: String,
        /// What wgpu or the driver says.
        message: String,
    },
    /// A driver that does not answer.
    #[error("{what} has taken {timeout:?}; take --compute-device cpu if the driver hangs")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        timeout: Duration,
    },
    /// More than the device has room for, or than one of its buffers may be.
    #[error("the device has no room: {needed} {what}, of {limit} at most")]
    NoRoom {
        /// How much it would be.
        needed: u64,
        /// How much it may be.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// A number that 32 bits do not hold, or that no device must be given.
    #[error("the device takes numbers up to 2^48, and {value} is none")]
    OutOfRange {
        /// The first of them, as text: NaN equals nothing.
        value: String,
    },
    /// A device that failed, now or before; it is not asked again.
    #[error("the device is lost: {0}")]
    Lost(String),
}

/// What the crate's functions return.
pub type Result<T> = std::result::Result<T, ComputeError>;
