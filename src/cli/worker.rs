//! `tidemill worker`: one worker process. It finds its coordinator again when that has been gone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tidemill_net::Address;
use tidemill_workers::{ProcessConfig, WithoutCoordinator};

use super::device::DeviceArguments;
use super::tls::ServerTls;
use super::{duration, exit_code};
use crate::config::{self, Protection};
use crate::error::{Result, TidemillError};
use crate::worker;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// Where the coordinator listens: HOST:PORT, or a URL. With --tls-cert it has to speak TLS.
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: String,
    /// How many compute threads to offer.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: u32,
    /// Where other workers reach this one; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Where they reach it if that is another address, as behind a proxy or by the name in its certificate.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// End when there is no coordinator, instead of waiting for one.
    #[arg(long)]
    end_without_coordinator: bool,
    /// How long it waits at SIGTERM or Ctrl-C until other workers have its tasks.
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = duration)]
    leave_timeout: Duration,
    #[command(flatten)]
    tls: ServerTls,
    /// The file with what the processes of the cluster show each other, if they have to.
    #[arg(long, value_name = "FILE")]
    cluster_secret: Option<PathBuf>,
    /// Let other machines reach it, though encryption or authentication is missing.
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(arguments: &WorkerArguments) -> Result<ExitCode> {
    arguments.device.choose()?;
    let tls = arguments.tls.open()?;
    let protection = Protection::by(tls.as_ref(), arguments.cluster_secret.is_some());
    config::check_bind(arguments.bind, protection, arguments.insecure)?;
    let config = ProcessConfig {
        coordinator: coordinator(&arguments.coordinator, tls.is_some())?,
        tls,
        slots: arguments.slots,
        bind: arguments.bind,
        advertise: arguments.advertise.clone(),
        without_coordinator: match arguments.end_without_coordinator {
            true => WithoutCoordinator::Ends,
            false => WithoutCoordinator::Waits,
        },
        leave_limit: arguments.leave_timeout,
        scratch: config::scratch_folder(),
        secret: arguments.cluster_secret.as_deref().map(config::cluster_secret).transpose()?,
        batch_memory: config::batch_memory(),
    };
    Ok(exit_code(actix::System::new().block_on(worker::run(config))?))
}

/// The coordinator's address. A worker with TLS has no business with one that has none: their words are secrets.
fn coordinator(text: &str, has_tls: bool) -> Result<Address> {
    match Address::from_url(text) {
        Some(address) if has_tls && !address.has_tls => Err(TidemillError::PlainUrl(text.to_owned())),
        Some(address) => Ok(address),
        None => Ok(Address { has_tls, authority: text.to_owned() }),
    }
}
