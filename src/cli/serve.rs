//! `tidemill serve`: a coordinator and one worker in one process, for clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::device::DeviceArguments;
use super::duration;
use super::server::{Place, ServerArguments};
use crate::cluster;
use crate::config;
use crate::coordinator;
use crate::error::Result;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Keep the metadata and checkpoints in this folder; jobs and objects that were left there go on. Without it they
    /// are gone with the process.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients reach it by Flight SQL, and more workers; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    bind: SocketAddr,
    /// Where HTTP is served: /metrics for Prometheus, /healthz, /readyz and the API, /api/v1; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// How many compute threads there are; one for each core without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// How long another worker may be silent until its tasks are given to others.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    heartbeat_timeout: Duration,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(arguments: &ServeArguments) -> Result<ExitCode> {
    arguments.device.choose()?;
    let place = Place {
        data_dir: arguments.data_dir.as_deref().map(config::absolute).transpose()?,
        bind: arguments.bind,
        http: Some(arguments.http),
        heartbeat_timeout: arguments.heartbeat_timeout,
        slots: Some(arguments.slots.unwrap_or_else(cluster::cores)),
    };
    let coordinator = arguments.server.coordinator(place)?;
    actix::System::new().block_on(coordinator::run(coordinator))?;
    Ok(ExitCode::SUCCESS)
}
