//! The one choice of a process: who starts it sets the device, and whoever computes finds it.

use std::sync::{LazyLock, OnceLock};

use super::{Compute, Report, Transfers};

static CHOSEN: OnceLock<Compute> = OnceLock::new();

static CPU: LazyLock<Compute> = LazyLock::new(|| Compute::cpu("nobody has chosen a device in this process"));

/// Sets what [`chosen`] finds, once for all: a worker does so when it starts, by [`Compute::choose`]. False, and without
/// effect, if that has been done.
pub fn set_chosen(compute: Compute) -> bool {
    CHOSEN.set(compute).is_ok()
}

/// What this process computes with: the CPU until somebody has chosen.
#[must_use]
pub fn chosen() -> &'static Compute {
    CHOSEN.get().unwrap_or_else(|| &CPU)
}

/// The devices of this process: the one that was chosen, and behind a GPU the CPU, which answers for it.
#[must_use]
pub fn reports() -> Vec<Report> {
    let first = chosen().report();
    let behind = (first.name != "cpu").then(|| Report {
        name: "cpu".into(),
        reason: match first.lost {
            Some(_) => "in the place of a device that is lost".into(),
            None => "for what the device does not take, or what is not worth the way there".into(),
        },
        lost: None,
        transfers: Transfers::default(),
        speeds: None,
    });
    std::iter::once(first).chain(behind).collect()
}
