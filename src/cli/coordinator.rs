//! `tidemill coordinator`: the coordinator in a process of its own, for workers that are started by themselves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::device::DeviceArguments;
use super::duration;
use super::server::{Place, ServerArguments};
use crate::config;
use crate::coordinator;
use crate::error::Result;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct CoordinatorArguments {
    /// Keep the metadata in this folder; jobs that were left there go on.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where workers and clients reach it; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    bind: SocketAddr,
    /// Serve HTTP there, such as 127.0.0.1:8080: /metrics for Prometheus, /healthz, /readyz and the API, /api/v1.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// How long a worker may be silent until its tasks are given to others.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    heartbeat_timeout: Duration,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(arguments: &CoordinatorArguments) -> Result<ExitCode> {
    arguments.device.choose()?;
    let place = Place {
        data_dir: Some(config::absolute(&arguments.data_dir)?),
        bind: arguments.bind,
        http: arguments.http,
        heartbeat_timeout: arguments.heartbeat_timeout,
        slots: None,
    };
    let coordinator = arguments.server.coordinator(place)?;
    actix::System::new().block_on(coordinator::run(coordinator))?;
    Ok(ExitCode::SUCCESS)
}
