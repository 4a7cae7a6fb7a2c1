//! The device that this process computes with: chosen once, when it starts.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use tidemill_compute::device::{Compute, DEVICE_MEMORY_MAX, Preference, set_chosen};
use tracing::info;

use crate::error::Result;

static PREFERENCE: OnceLock<Preference> = OnceLock::new();

/// Chooses it, and says which and why in the log. Takes up to some seconds where a driver is slow.
///
/// # Errors
/// If a device that was asked for by name cannot be had.
pub fn choose(preference: Preference) -> Result<()> {
    let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let compute = Compute::choose(preference, DEVICE_MEMORY_MAX, threads)?;
    let report = compute.report();
    info!(device = report.name, reason = report.reason, "device chosen");
    set_chosen(compute);
    PREFERENCE.get_or_init(|| preference);
    Ok(())
}

/// What was wanted, for processes that this one starts.
#[must_use]
pub fn preference() -> Preference {
    PREFERENCE.get().copied().unwrap_or_default()
}
