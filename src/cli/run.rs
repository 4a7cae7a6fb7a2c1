//! `tidemill run FILE.sql`: runs a script on an embedded cluster, or on worker processes it starts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::session::SessionArguments;
use crate::config;
use crate::error::Result;
use crate::script::{self, End, Script};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The script.
    file: PathBuf,
    #[command(flatten)]
    session: SessionArguments,
}

/// A process that a signal ends has this exit status plus the signal's number, as shells report it.
const SIGNALLED: i32 = 128;

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let session = &arguments.session;
    let script = Script {
        path: arguments.file.clone(),
        text: config::read_script(&arguments.file)?,
        settings: session.settings()?,
        workers: session.workers(),
        data_dir: session.data_dir.clone(),
        format: session.format(),
    };
    let end = actix::System::new().block_on(script::run(script))?;
    Ok(match end {
        End::Finished => ExitCode::SUCCESS,
        End::Interrupted(signal) => ExitCode::from(u8::try_from(SIGNALLED + signal.as_raw_value()).unwrap_or(u8::MAX)),
    })
}
