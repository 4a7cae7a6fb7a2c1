//! Which adapter, and a device of it, with an end to the waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use wgpu::DeviceType;

use super::faults::message_of;
use crate::error::{ComputeError, Result};

/// The best adapter, and in words which it is and why.
///
/// # Errors
/// `NoAdapter`, or `SoftwareOnly` unless `software` is set.
pub(super) fn choose(software: bool) -> Result<(wgpu::Adapter, String)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = ready(instance.enumerate_adapters(wgpu::Backends::PRIMARY)).unwrap_or_default();
    let infos: Vec<_> = adapters.iter().map(wgpu::Adapter::get_info).collect();
    let types: Vec<_> = infos.iter().map(|info| info.device_type).collect();
    let Some(index) = best(&types, software) else {
        let Some(info) = infos.first() else { return Err(ComputeError::NoAdapter) };
        return Err(ComputeError::SoftwareOnly { adapter: info.name.clone() });
    };
    let info = &infos[index];
    let kind = match info.device_type {
        DeviceType::DiscreteGpu => "a GPU of its own",
        DeviceType::IntegratedGpu => "a GPU within the processor",
        DeviceType::VirtualGpu => "a GPU of a virtual machine",
        DeviceType::Cpu => "an adapter in software, as 'wgpu' was asked for by name",
        DeviceType::Other => "an adapter of an unknown kind",
    };
    let reason = format!(
        "{} by {} ({} {}): {kind}, the best of {}",
        info.name,
        info.backend,
        info.driver,
        info.driver_info,
        infos.len()
    );
    Ok((adapters.swap_remove(index), reason))
}

/// The first of the best kind.
fn best(types: &[DeviceType], software: bool) -> Option<usize> {
    let rank = |device_type: &DeviceType| match device_type {
        DeviceType::DiscreteGpu => Some(0),
        DeviceType::IntegratedGpu => Some(1),
        DeviceType::VirtualGpu => Some(2),
        DeviceType::Other => Some(3),
        DeviceType::Cpu => software.then_some(4),
    };
    let ranked = types.iter().enumerate().filter_map(|(index, device_type)| Some((rank(device_type)?, index)));
    ranked.min().map(|(_, index)| index)
}

/// A device that may have buffers as large as the adapter's, and else wants what every adapter has.
pub(super) fn device_of(adapter: &wgpu::Adapter) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    let has = adapter.limits();
    let required_limits = wgpu::Limits {
        max_buffer_size: has.max_buffer_size,
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
        ..wgpu::Limits::downlevel_defaults()
    };
    let descriptor = wgpu::DeviceDescriptor { label: Some("tidemill"), required_limits, ..Default::default() };
    match ready(adapter.request_device(&descriptor)) {
        Some(Ok(device)) => Ok(device),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the driver has not answered at once".to_owned()),
    }
}

/// What a future of wgpu's has come to. Those of drivers are done when they are made; only a browser's are not.
pub(super) fn ready<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Runs what may hang in a driver on a thread of its own, which is left behind if it does.
///
/// # Errors
/// `TimedOut`, or `Refused` if it panics or no thread can be had.
pub(super) fn within<T: Send + 'static>(
    timeout: Duration,
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let refused = |message: String| ComputeError::Refused { adapter: "wgpu".to_owned(), message };
    let (sender, receiver) = channel();
    let run = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message_of(panic.as_ref()));
        // Nobody listens any more once it has timed out.
        drop(sender.send(outcome));
    };
    thread::Builder::new().name("wgpu-request".into()).spawn(run).map_err(|error| refused(error.to_string()))?;
    match receiver.recv_timeout(timeout) {
        Ok(outcome) => outcome.map_err(refused),
        Err(RecvTimeoutError::Timeout) => Err(ComputeError::TimedOut { what, timeout }),
        Err(RecvTimeoutError::Disconnected) => Err(refused(format!("{what} has ended without an answer"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::{ComputeError, DeviceType, Duration, best, within};

    #[test]
    fn a_gpu_of_its_own_is_best_and_software_needs_to_be_asked_for() {
        use DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, VirtualGpu};
        assert_eq!(best(&[Cpu, IntegratedGpu, DiscreteGpu, DiscreteGpu], false), Some(2));
        assert_eq!(best(&[Cpu, VirtualGpu], true), Some(1));
        assert_eq!(best(&[Cpu], true), Some(0));
        assert_eq!(best(&[Cpu], false), None);
        assert_eq!(best(&[], true), None);
    }

    #[test]
    fn a_driver_that_hangs_or_panics_is_an_error() {
        let (_hold, wait) = channel::<()>();
        let timeout = Duration::from_millis(10);
        let error = within(timeout, "waiting", move || wait.recv().is_ok()).unwrap_err();
        assert_eq!(error, ComputeError::TimedOut { what: "waiting", timeout });
        let error = within(Duration::from_secs(60), "waiting", || -> u32 { panic!("a driver's") }).unwrap_err();
        assert_eq!(error, ComputeError::Refused { adapter: "wgpu".into(), message: "a driver's".into() });
    }
}
