//! `tidemill worker`: one worker process, until its coordinator lets it go.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use tidemill_workers::{WorkerConfig, run_worker};

use crate::config;
use crate::error::Result;

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
}

pub(super) fn run(arguments: &WorkerArguments) -> Result<ExitCode> {
    let scratch = config::scratch_folder();
    let config = WorkerConfig { slots: arguments.slots, bind: Some(arguments.bind), scratch };
    actix::System::new().block_on(run_worker(config, &arguments.coordinator))?;
    Ok(ExitCode::SUCCESS)
}
