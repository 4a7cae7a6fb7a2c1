//! What models compute with.

use clap::Args;
use tidemill_compute::device::Preference;

use crate::device;
use crate::error::Result;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct DeviceArguments {
    /// What models compute with: a GPU where there is one, for what is worth the way there (auto); the CPU (cpu); or an
    /// adapter, be it in software, for everything (wgpu).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    compute_device: Preference,
}

impl DeviceArguments {
    /// Chooses the device of this process.
    pub(super) fn choose(&self) -> Result<()> {
        device::choose(self.compute_device)
    }
}
