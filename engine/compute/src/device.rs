//! Where kernels that have a twin on a GPU compute: chosen once, and answered for by the CPU.
//!
//! A device is there to be faster, and never to decide whether there is an answer. What it does not take (numbers that
//! 32 bits do not hold, infinities, NaN, more than it has room for) the CPU twin computes; and once a device has
//! failed, it is asked for nothing more. Which of the two answered can be seen in the last digits: a device adds in 32
//! bits, fused or not as its compiler likes. So 'auto' is for whoever takes that; learning that must replay bit for bit
//! asks for 'cpu'.

use std::str::FromStr;

use crate::error::{ComputeError, Result};
#[cfg(feature = "wgpu")]
use crate::gpu::{DeviceMatrix, Gpu};
use crate::kernel::nearest::{self, Neighbor};
use crate::kernel::{product, softmax};
use crate::matrix::Matrix;

/// Bytes that buffers of a device may have together, those that wait for another use included.
pub const DEVICE_MEMORY_MAX: u64 = 1 << 30;

/// What a user asks for: `compute.device`.
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
    /// Calls that the CPU answered in the place of the device.
    pub fallbacks: u64,
}

/// A row of a list of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The adapter's name, or `cpu`.
    pub name: String,
    /// Why it was chosen, in words.
    pub reason: String,
    /// Why it is asked for nothing more, if so.
    pub lost: Option<String>,
    /// How much it has done.
    pub transfers: Transfers,
}

/// The kernels, on the device that was chosen when this was made.
///
/// Calls block until the result is there. They may come from several threads.
#[derive(Debug)]
pub struct Compute {
    reason: String,
    #[cfg(feature = "wgpu")]
    gpu: Option<Gpu>,
    #[cfg(feature = "wgpu")]
    fallbacks: std::sync::atomic::AtomicU64,
}

impl Compute {
    /// The CPU alone, for the reason given.
    #[must_use]
    pub fn cpu(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            #[cfg(feature = "wgpu")]
            gpu: None,
            #[cfg(feature = "wgpu")]
            fallbacks: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Chooses the device, which takes up to some seconds where a driver is slow. `memory_max` bounds the bytes of its
    /// buffers.
    ///
    /// # Errors
    /// `NotBuilt`, `NoAdapter`, `Refused` or `TimedOut`, for [`Preference::Wgpu`] alone: with 'auto' each of them is the
    /// reason for the CPU.
    pub fn choose(preference: Preference, memory_max: u64) -> Result<Self> {
        match preference {
            Preference::Cpu => Ok(Self::cpu("compute.device = 'cpu'")),
            Preference::Wgpu => Self::on_gpu(true, memory_max),
            Preference::Auto => {
                Ok(Self::on_gpu(false, memory_max).unwrap_or_else(|error| Self::cpu(&error.to_string())))
            }
        }
    }

    #[cfg(feature = "wgpu")]
    fn on_gpu(software: bool, memory_max: u64) -> Result<Self> {
        let (gpu, reason) = Gpu::request(software, memory_max)?;
        Ok(Self { reason, gpu: Some(gpu), fallbacks: std::sync::atomic::AtomicU64::new(0) })
    }

    #[cfg(not(feature = "wgpu"))]
    fn on_gpu(_: bool, _: u64) -> Result<Self> {
        Err(ComputeError::NotBuilt)
    }

    /// What was chosen and why, and what it has done.
    #[must_use]
    pub fn report(&self) -> Report {
        #[cfg(feature = "wgpu")]
        if let Some(gpu) = &self.gpu {
            let fallbacks = self.fallbacks.load(std::sync::atomic::Ordering::Relaxed);
            let transfers = Transfers { fallbacks, ..gpu.transfers() };
            let (name, reason) = (gpu.name().to_owned(), self.reason.clone());
            return Report { name, reason, lost: gpu.lost(), transfers };
        }
        Report { name: "cpu".into(), reason: self.reason.clone(), lost: None, transfers: Transfers::default() }
    }

    /// Sends a matrix to the device, if there is one that takes it, so that several calls send it once.
    #[must_use]
    pub fn place<'a>(&self, matrix: Matrix<'a>) -> Placed<'a> {
        Placed {
            matrix,
            #[cfg(feature = "wgpu")]
            device: self.gpu.as_ref().and_then(|gpu| self.tried(gpu.upload(matrix))),
        }
    }

    /// [`nearest::nearest`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn nearest(&self, stored: &Placed<'_>, asked: &Placed<'_>, count: usize) -> Result<Vec<Vec<Neighbor>>> {
        nearest::check_shapes(stored.matrix.shape(), asked.matrix.shape())?;
        #[cfg(feature = "wgpu")]
        if let Some((gpu, [stored, asked])) = self.on_device([stored, asked])
            && let Some(nearest) = self.tried(gpu.nearest(stored, asked, count))
        {
            return Ok(nearest);
        }
        nearest::nearest(stored.matrix, asked.matrix, count)
    }

    /// [`nearest::assign`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn assign(&self, points: &Placed<'_>, centroids: &Placed<'_>) -> Result<Vec<Option<Neighbor>>> {
        nearest::check_shapes(centroids.matrix.shape(), points.matrix.shape())?;
        #[cfg(feature = "wgpu")]
        if let Some((gpu, [points, centroids])) = self.on_device([points, centroids])
            && let Some(assigned) = self.tried(gpu.assign(points, centroids))
        {
            return Ok(assigned);
        }
        nearest::assign(points.matrix, centroids.matrix)
    }

    /// [`product::product`].
    ///
    /// # Errors
    /// `Shapes`.
    pub fn product(&self, left: &Placed<'_>, right: &Placed<'_>) -> Result<Vec<f64>> {
        product::check_shapes(left.matrix.shape(), right.matrix.shape())?;
        #[cfg(feature = "wgpu")]
        if let Some((gpu, [left, right])) = self.on_device([left, right])
            && let Some(values) = self.tried(gpu.product(left, right).and_then(|product| gpu.read(&product)))
        {
            return Ok(values);
        }
        product::product(left.matrix, right.matrix)
    }

    /// [`softmax::softmax_rows`] of scores that are `left` times `right`: probabilities, row by row, and the logarithm
    /// of each row. The scores do not leave the device.
    ///
    /// # Errors
    /// `Shapes`.
    pub fn softmax_of_product(&self, left: &Placed<'_>, right: &Placed<'_>) -> Result<(Vec<f64>, Vec<f64>)> {
        product::check_shapes(left.matrix.shape(), right.matrix.shape())?;
        #[cfg(feature = "wgpu")]
        if let Some((gpu, [left, right])) = self.on_device([left, right])
            && let Some(answer) = self.tried(gpu.product(left, right).and_then(|scores| gpu.softmax_rows(scores)))
        {
            return Ok(answer);
        }
        let mut scores = product::product(left.matrix, right.matrix)?;
        let logarithms = softmax::softmax_rows(&mut scores, left.matrix.rows(), right.matrix.columns())?;
        Ok((scores, logarithms))
    }

    #[cfg(all(test, feature = "wgpu"))]
    pub(crate) fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }

    /// Two matrices on the device, if both are on this one.
    #[cfg(feature = "wgpu")]
    fn on_device<'a>(&'a self, placed: [&'a Placed<'_>; 2]) -> Option<(&'a Gpu, [&'a DeviceMatrix; 2])> {
        let gpu = self.gpu.as_ref()?;
        let [a, b] = placed.map(|placed| placed.device.as_ref().filter(|matrix| gpu.has(matrix)));
        Some((gpu, [a?, b?]))
    }

    /// What the device answers; `None`, and counted, if the CPU is to.
    #[cfg(feature = "wgpu")]
    fn tried<T>(&self, answer: Result<T>) -> Option<T> {
        if answer.is_err() {
            self.fallbacks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        answer.ok()
    }
}

/// A matrix where kernels find it: with the caller, and on the device if that takes it.
#[derive(Debug)]
pub struct Placed<'a> {
    matrix: Matrix<'a>,
    #[cfg(feature = "wgpu")]
    device: Option<DeviceMatrix>,
}

#[cfg(test)]
mod tests {
    use super::{Compute, DEVICE_MEMORY_MAX, Preference};
    use crate::error::ComputeError;
    use crate::matrix::Matrix;

    #[test]
    fn a_device_has_a_name() {
        assert_eq!("auto".parse(), Ok(Preference::Auto));
        assert_eq!("cpu".parse(), Ok(Preference::Cpu));
        assert_eq!("wgpu".parse(), Ok(Preference::Wgpu));
        let error = "cuda".parse::<Preference>().unwrap_err();
        assert_eq!(error, ComputeError::UnknownDevice("cuda".into()));
        assert_eq!(error.to_string(), "compute.device = 'cuda' is none of 'auto', 'cpu' and 'wgpu'");
    }

    #[test]
    fn the_cpu_is_chosen_by_name_and_says_so() {
        let compute = Compute::choose(Preference::Cpu, DEVICE_MEMORY_MAX).unwrap();
        let report = compute.report();
        assert_eq!((report.name.as_str(), report.reason.as_str()), ("cpu", "compute.device = 'cpu'"));
    }

    #[test]
    fn auto_is_never_an_error() {
        let compute = Compute::choose(Preference::Auto, DEVICE_MEMORY_MAX).unwrap();
        let identity = Matrix::new(&[1.0, 0.0, 0.0, 1.0], 2, 2).unwrap();
        let placed = compute.place(identity);
        assert_eq!(compute.product(&placed, &placed).unwrap(), identity.values());
        assert!(!compute.report().reason.is_empty());
    }

    #[cfg(not(feature = "wgpu"))]
    #[test]
    fn wgpu_that_is_not_built_in_is_an_error_for_who_asks_for_it() {
        let error = Compute::choose(Preference::Wgpu, DEVICE_MEMORY_MAX).unwrap_err();
        assert_eq!(error, ComputeError::NotBuilt);
        let reason = Compute::choose(Preference::Auto, DEVICE_MEMORY_MAX).unwrap().report().reason;
        assert_eq!(reason, error.to_string());
    }

    #[test]
    fn shapes_that_do_not_fit_are_the_callers_to_mend() {
        let compute = Compute::cpu("a test");
        let (two, three) = ([1.0, 2.0], [1.0, 2.0, 3.0]);
        let (two, three) = (Matrix::new(&two, 1, 2).unwrap(), Matrix::new(&three, 1, 3).unwrap());
        let (two, three) = (compute.place(two), compute.place(three));
        let shapes = |operation| ComputeError::Shapes { operation, left: (1, 2), right: (1, 3) };
        assert_eq!(compute.product(&two, &three).unwrap_err(), shapes("product"));
        assert_eq!(compute.nearest(&two, &three, 1).unwrap_err(), shapes("distances"));
        assert_eq!(compute.assign(&three, &two).unwrap_err(), shapes("distances"));
        assert_eq!(compute.softmax_of_product(&two, &three).unwrap_err(), shapes("product"));
    }
}
