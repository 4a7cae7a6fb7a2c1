//! What has gone wrong on a device, from wherever wgpu tells it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use super::adapter::ready;
use crate::error::{ComputeError, Result};

/// The first failure; there is no way back from it.
#[derive(Debug, Default)]
pub(super) struct Faults {
    first: OnceLock<String>,
}

impl Faults {
    /// Takes note of what no error scope catches, and of the device's loss.
    pub(super) fn watch(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::new(Self::default());
        let uncaptured = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error| uncaptured.note(error.to_string())));
        let lost = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| lost.note(format!("{reason:?}: {message}")));
        faults
    }

    pub(super) fn first(&self) -> Option<String> {
        self.first.get().cloned()
    }

    fn note(&self, message: String) {
        // Only the first counts: the others follow from it.
        self.first.get_or_init(|| message);
    }

    fn check(&self) -> Result<()> {
        self.first().map_or(Ok(()), |message| Err(ComputeError::Lost(message)))
    }

    /// Runs `work`, unless the device is lost, within scopes for every kind of error.
    ///
    /// # Errors
    /// `Lost` for whatever wgpu complains of; then the device is lost. What `work` itself returns: of that, waiting in
    /// vain is the device's loss, too, and the rest leaves it as it is.
    pub(super) fn attempt<T>(&self, device: &wgpu::Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| in_scopes(device, work)));
        let (result, complaint) = outcome.unwrap_or_else(|panic| (Ok(None), Some(message_of(panic.as_ref()))));
        if let Some(complaint) = complaint {
            self.note(complaint);
        }
        match &result {
            Err(ComputeError::Lost(message)) => self.note(message.clone()),
            Err(error @ ComputeError::TimedOut { .. }) => self.note(error.to_string()),
            Ok(_) | Err(_) => {}
        }
        // The result of a device that was lost meanwhile may be anything.
        self.check()?;
        result?.ok_or_else(|| ComputeError::Lost("no answer".to_owned()))
    }
}

/// What `work` returns, and what the scopes caught.
fn in_scopes<T>(device: &wgpu::Device, work: impl FnOnce() -> Result<T>) -> (Result<Option<T>>, Option<String>) {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let result = work();
    let caught = [ready(internal.pop()), ready(validation.pop()), ready(memory.pop())];
    let complaint = caught.into_iter().flatten().flatten().next();
    (result.map(Some), complaint.map(|error| error.to_string()))
}

/// What a panic said.
pub(super) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}
