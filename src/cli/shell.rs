//! `tidemill shell`: statements from standard input, on a cluster of its own.

use std::process::ExitCode;

use clap::Args;

use super::exit_code;
use super::session::SessionArguments;
use crate::error::Result;
use crate::shell::{self, Shell};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct ShellArguments {
    #[command(flatten)]
    session: SessionArguments,
}

pub(super) fn run(arguments: &ShellArguments) -> Result<ExitCode> {
    let session = &arguments.session;
    let shell = Shell {
        settings: session.settings()?,
        workers: session.workers(),
        data_dir: session.data_dir.clone(),
        format: session.format(),
        http: session.http,
    };
    Ok(exit_code(actix::System::new().block_on(shell::run(shell))?))
}
