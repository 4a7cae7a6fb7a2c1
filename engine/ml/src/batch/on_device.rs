//! A device for the tests of what may compute there: of whatever adapter there is.

use std::num::NonZeroUsize;

use tidemill_compute::device::{Compute, DEVICE_MEMORY_MAX, Preference};

/// A device that all goes to. `None` is a test that has not been run, and standard error says so; as in the tests of
/// `tidemill-compute`, `TIDEMILL_REQUIRE_ADAPTER=1` has it fail instead.
#[expect(clippy::print_stderr, reason = "a test that does not test must not be quiet about it")]
pub(crate) fn compute() -> Option<Compute> {
    match Compute::choose(Preference::Wgpu, DEVICE_MEMORY_MAX, NonZeroUsize::MIN) {
        Ok(compute) => Some(compute),
        Err(error) => {
            assert!(option_env!("TIDEMILL_REQUIRE_ADAPTER") != Some("1"), "{error}");
            eprintln!("NOT TESTED ON A DEVICE: {error}");
            None
        }
    }
}
