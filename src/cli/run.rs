//! `tidemill run FILE.sql`: runs a script on an embedded cluster, or on worker processes it starts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::device::DeviceArguments;
use super::exit_code;
use super::session::SessionArguments;
use crate::config;
use crate::error::Result;
use crate::script::{self, Script};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The script.
    file: PathBuf,
    #[command(flatten)]
    session: SessionArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    arguments.device.choose()?;
    let session = &arguments.session;
    let script = Script {
        path: arguments.file.clone(),
        text: config::read_script(&arguments.file)?,
        settings: session.settings()?,
        workers: session.workers(),
        data_dir: session.data_dir.clone(),
        format: session.format(),
        http: session.http,
    };
    let end = actix::System::new().block_on(script::run(script))?;
    Ok(exit_code(end))
}
