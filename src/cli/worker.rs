//! `tidemill worker`: one worker process. It finds its coordinator again when that has been gone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tidemill_workers::{ProcessConfig, WithoutCoordinator};

use super::{duration, exit_code};
use crate::config;
use crate::error::Result;
use crate::worker;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// Where the coordinator listens.
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: String,
    /// How many compute threads to offer.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: u32,
    /// Where other workers reach this one; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Where they reach it if that is another address, as behind a proxy.
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<SocketAddr>,
    /// End when there is no coordinator, instead of waiting for one.
    #[arg(long)]
    end_without_coordinator: bool,
    /// How long it waits at SIGTERM or Ctrl-C until other workers have its tasks.
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = duration)]
    leave_timeout: Duration,
    /// The file with what the processes of the cluster show each other, if they have to.
    #[arg(long, value_name = "FILE")]
    cluster_secret: Option<PathBuf>,
    /// Let other machines reach it, though there is neither encryption nor authentication.
    #[arg(long)]
    insecure: bool,
}

pub(super) fn run(arguments: &WorkerArguments) -> Result<ExitCode> {
    config::check_bind(arguments.bind, arguments.insecure)?;
    let config = ProcessConfig {
        coordinator: arguments.coordinator.clone(),
        slots: arguments.slots,
        bind: arguments.bind,
        advertise: arguments.advertise,
        without_coordinator: match arguments.end_without_coordinator {
            true => WithoutCoordinator::Ends,
            false => WithoutCoordinator::Waits,
        },
        leave_limit: arguments.leave_timeout,
        scratch: config::scratch_folder(),
        secret: arguments.cluster_secret.as_deref().map(config::cluster_secret).transpose()?,
    };
    Ok(exit_code(actix::System::new().block_on(worker::run(config))?))
}
