//! Where kernels that have a twin on a GPU compute: chosen once, and answered for by the CPU.
//!
//! A device is there to be faster, and never to decide whether there is an answer. What it does not take (numbers that
//! 32 bits do not hold, infinities, NaN, more than it has room for) the CPU twin computes; and once a device has
//! failed, it is asked for nothing more. Which of the two answered can be seen in the last digits: a device adds in 32
//! bits, fused or not as its compiler likes. What must replay bit for bit asks for 'cpu', or has a device propose what the
//! CPU then settles ([`exact`]). With 'auto' a call goes where [`worth`] says that it is sooner done, by what
//! [`calibration`] has measured; who names 'wgpu' has all that the device takes there.

#[cfg(feature = "wgpu")]
pub(crate) mod calibration;
mod calls;
pub mod exact;
mod process;
#[cfg(test)]
mod tests;
pub mod worth;

use std::num::NonZeroUsize;
use std::str::FromStr;
#[cfg(feature = "wgpu")]
use std::sync::OnceLock;
#[cfg(feature = "wgpu")]
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::process::{chosen, reports, set_chosen};
#[cfg(feature = "wgpu")]
use self::worth::is_worth;
use self::worth::{Speeds, Work};
use crate::error::{ComputeError, Result};
#[cfg(feature = "wgpu")]
use crate::gpu::{DeviceBins, DeviceMatrix, Gpu};
use crate::kernel::histogram::Binned;
use crate::matrix::Matrix;

/// Bytes that buffers of a device may have together, those that wait for another use included.
pub const DEVICE_MEMORY_MAX: u64 = 1 << 30;

/// What a user asks for: `--compute-device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// A real GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, or an adapter in software such as Mesa's lavapipe, or an error.
    Wgpu,
}

impl Preference {
    /// The name that [`FromStr`] reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
        }
    }
}

impl FromStr for Preference {
    type Err = ComputeError;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu),
            _ => Err(ComputeError::UnknownDevice(name.to_owned())),
        }
    }
}

/// What has been moved and run on a device since it was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfers {
    /// Bytes that were sent to the device.
    pub bytes_up: u64,
    /// Bytes that were read back.
    pub bytes_down: u64,
    /// Kernels that were started.
    pub dispatches: u64,
    /// Calls that the CPU answered in the place of the device, which failed or did not take them.
    pub fallbacks: u64,
    /// Calls that the CPU answered because they were not worth the way to the device.
    pub not_worth: u64,
}

/// A row of a list of devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The adapter's name, or `cpu`.
    pub name: String,
    /// Why it was chosen, in words.
    pub reason: String,
    /// Why it is asked for nothing more, if so.
    pub lost: Option<String>,
    /// How much it has done.
    pub transfers: Transfers,
    /// What was measured when it was chosen, if that decides which calls it gets.
    pub speeds: Option<Speeds>,
}

/// The kernels, on the device that was chosen when this was made.
///
/// Calls block until the result is there. They may come from several threads.
#[derive(Debug)]
pub struct Compute {
    reason: String,
    /// Threads of a call that the CPU answers.
    threads: NonZeroUsize,
    #[cfg(feature = "wgpu")]
    device: Option<Device>,
}

/// A device, and which calls it gets.
#[cfg(feature = "wgpu")]
#[derive(Debug)]
struct Device {
    gpu: Gpu,
    /// What decides which calls are worth it; nothing where all are.
    speeds: Option<Speeds>,
    fallbacks: AtomicU64,
    not_worth: AtomicU64,
    /// Kinds of failure that somebody has been warned of.
    warned: [OnceLock<()>; 3],
}

impl Compute {
    /// The CPU alone, for the reason given, on one thread.
    #[must_use]
    pub fn cpu(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            threads: NonZeroUsize::MIN,
            #[cfg(feature = "wgpu")]
            device: None,
        }
    }

    /// Chooses the device, which takes up to some seconds where a driver is slow. `memory_max` bounds the bytes of its
    /// buffers, `threads` those of a call that the CPU answers: bits depend on neither.
    ///
    /// # Errors
    /// `NotBuilt`, `NoAdapter`, `Refused` or `TimedOut`, for [`Preference::Wgpu`] alone: with 'auto' each of them is the
    /// reason for the CPU.
    pub fn choose(preference: Preference, memory_max: u64, threads: NonZeroUsize) -> Result<Self> {
        let chosen = match preference {
            Preference::Cpu => Self::cpu("--compute-device cpu"),
            Preference::Wgpu => Self::on_gpu(true, memory_max, threads)?,
            Preference::Auto => {
                Self::on_gpu(false, memory_max, threads).unwrap_or_else(|error| Self::cpu(&error.to_string()))
            }
        };
        Ok(Self { threads, ..chosen })
    }

    /// A device that was asked for by name, be it in software, or one that is measured.
    #[cfg(feature = "wgpu")]
    fn on_gpu(by_name: bool, memory_max: u64, threads: NonZeroUsize) -> Result<Self> {
        let (gpu, reason) = Gpu::request(by_name, memory_max)?;
        let speeds = if by_name { None } else { Some(calibration::measure(&gpu, threads)?) };
        Ok(Self::on_device_with(gpu, reason, speeds, threads))
    }

    #[cfg(feature = "wgpu")]
    pub(crate) fn on_device_with(gpu: Gpu, reason: String, speeds: Option<Speeds>, threads: NonZeroUsize) -> Self {
        let device = Device {
            gpu,
            speeds,
            fallbacks: AtomicU64::new(0),
            not_worth: AtomicU64::new(0),
            warned: Default::default(),
        };
        Self { reason, threads, device: Some(device) }
    }

    #[cfg(not(feature = "wgpu"))]
    fn on_gpu(_: bool, _: u64, _: NonZeroUsize) -> Result<Self> {
        Err(ComputeError::NotBuilt)
    }

    /// What was chosen and why, and what it has done.
    #[must_use]
    pub fn report(&self) -> Report {
        #[cfg(feature = "wgpu")]
        if let Some(device) = &self.device {
            let transfers = Transfers {
                fallbacks: device.fallbacks.load(Ordering::Relaxed),
                not_worth: device.not_worth.load(Ordering::Relaxed),
                ..device.gpu.transfers()
            };
            let (name, reason) = (device.gpu.name().to_owned(), self.reason.clone());
            return Report { name, reason, lost: device.gpu.lost(), transfers, speeds: device.speeds };
        }
        let reason = self.reason.clone();
        Report { name: "cpu".into(), reason, lost: None, transfers: Transfers::default(), speeds: None }
    }

    /// Whether there is a device that the user has named, and so takes answers of 32 bits from, even where the CPU's
    /// cannot be had by its help: what is learnt then is not the same bits on every machine.
    #[must_use]
    pub fn may_round(&self) -> bool {
        #[cfg(feature = "wgpu")]
        {
            self.device.as_ref().is_some_and(|device| device.speeds.is_none())
        }
        #[cfg(not(feature = "wgpu"))]
        {
            false
        }
    }

    /// Whether a device gets such a call.
    #[must_use]
    pub fn is_worth(&self, work: &Work) -> bool {
        #[cfg(feature = "wgpu")]
        {
            self.device.as_ref().is_some_and(|device| device.speeds.is_none_or(|speeds| is_worth(&speeds, work)))
        }
        #[cfg(not(feature = "wgpu"))]
        {
            let _: &Work = work;
            false
        }
    }

    /// A matrix that the device gets with the first call that is worth it, and keeps for others until this is dropped.
    #[must_use]
    pub fn place<'a>(&self, matrix: Matrix<'a>) -> Placed<'a> {
        Placed {
            matrix,
            #[cfg(feature = "wgpu")]
            uses: NonZeroUsize::MIN,
            #[cfg(feature = "wgpu")]
            sent: Sent::to(self),
        }
    }

    /// Bins of rows likewise.
    #[must_use]
    pub fn place_bins<'a>(&self, binned: Binned<'a>) -> PlacedBins<'a> {
        PlacedBins {
            binned,
            #[cfg(feature = "wgpu")]
            sent: Sent::to(self),
        }
    }

    #[cfg(all(test, feature = "wgpu"))]
    pub(crate) fn gpu(&self) -> Option<&Gpu> {
        self.device.as_ref().map(|device| &device.gpu)
    }

    /// The device, if it is to answer a call.
    #[cfg(feature = "wgpu")]
    fn device_for(&self, work: &Work) -> Option<&Device> {
        let device = self.device.as_ref()?;
        if device.speeds.is_none_or(|speeds| is_worth(&speeds, work)) {
            return Some(device);
        }
        device.not_worth.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(feature = "wgpu")]
impl Device {
    /// What the device answers; `None`, and counted, if the CPU is to.
    fn tried<T>(&self, answer: Result<T>) -> Option<T> {
        answer.inspect_err(|error| self.fell_back(error)).ok()
    }

    /// Takes note of a failure; the first of each kind is worth a warning.
    fn fell_back(&self, error: &ComputeError) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        let kind = match error {
            ComputeError::NoRoom { .. } => 0,
            ComputeError::OutOfRange { .. } => 1,
            _ => 2,
        };
        if self.warned[kind].set(()).is_ok() {
            tracing::warn!(device = self.gpu.name(), %error, "the CPU computes in the place of the device");
        }
    }
}

/// A matrix where kernels find it: with the caller, and on the device once that has taken it.
#[derive(Debug)]
pub struct Placed<'a> {
    matrix: Matrix<'a>,
    /// Calls that the way to the device is for.
    #[cfg(feature = "wgpu")]
    uses: NonZeroUsize,
    #[cfg(feature = "wgpu")]
    sent: Sent<DeviceMatrix>,
}

impl<'a> Placed<'a> {
    /// The matrix of the caller.
    #[must_use]
    pub fn matrix(&self) -> Matrix<'a> {
        self.matrix
    }

    /// The same for so many calls, of which each has its part of the way to the device when it is looked whether it is
    /// worth it.
    #[must_use]
    pub fn for_uses(self, uses: NonZeroUsize) -> Self {
        #[cfg(feature = "wgpu")]
        {
            Self { uses, ..self }
        }
        #[cfg(not(feature = "wgpu"))]
        {
            let _: NonZeroUsize = uses;
            self
        }
    }
}

/// Bins of rows where kernels find them.
#[derive(Debug)]
pub struct PlacedBins<'a> {
    binned: Binned<'a>,
    #[cfg(feature = "wgpu")]
    sent: Sent<DeviceBins>,
}

/// What is sent to a device when it is first needed there.
#[cfg(feature = "wgpu")]
#[derive(Debug)]
struct Sent<T> {
    /// The device that it is for, if there is one.
    gpu: Option<u64>,
    there: OnceLock<Result<T>>,
}

#[cfg(feature = "wgpu")]
impl<T> Sent<T> {
    fn to(compute: &Compute) -> Self {
        Self { gpu: compute.device.as_ref().map(|device| device.gpu.id()), there: OnceLock::new() }
    }

    /// Whether it is for this device.
    fn is_for(&self, device: &Device) -> bool {
        self.gpu == Some(device.gpu.id())
    }

    /// What is on the device, or why it is not.
    fn get(&self, send: impl FnOnce() -> Result<T>) -> Result<&T> {
        self.there.get_or_init(send).as_ref().map_err(Clone::clone)
    }
}
