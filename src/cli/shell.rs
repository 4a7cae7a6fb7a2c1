//! `tidemill shell`: statements from standard input, on a cluster of its own or on one that runs.

use std::process::ExitCode;

use clap::Args;

use super::device::DeviceArguments;
use super::exit_code;
use super::login::LoginArguments;
use super::session::SessionArguments;
use super::tls::ClientTls;
use crate::error::Result;
use crate::shell::{self, Place, Shell};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct ShellArguments {
    /// Execute statements on the cluster whose coordinator is there, such as grpc://127.0.0.1:50051; what they start
    /// goes on when the shell ends.
    #[arg(long, value_name = "URL", conflicts_with_all = ["workers", "data_dir", "http"])]
    url: Option<String>,
    #[command(flatten)]
    tls: ClientTls,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    session: SessionArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(arguments: &ShellArguments) -> Result<ExitCode> {
    let session = &arguments.session;
    // What is wrong with them is told before anybody is asked.
    let settings = Box::new(session.settings()?);
    if arguments.url.is_none() {
        arguments.device.choose()?;
    }
    let place = match &arguments.url {
        Some(url) => Place::Server {
            url: url.clone(),
            connector: arguments.tls.connector(url)?,
            login: arguments.login.login()?,
            settings: session.assignments()?,
        },
        None => Place::Embedded {
            settings,
            workers: session.workers(),
            data_dir: session.data_dir.clone(),
            http: session.http,
        },
    };
    let shell = Shell { place, format: session.format() };
    Ok(exit_code(actix::System::new().block_on(shell::run(shell))?))
}
