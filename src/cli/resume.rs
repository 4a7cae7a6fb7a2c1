//! `tidemill resume --data-dir DIR`: goes on with the jobs that were left there.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::device::DeviceArguments;
use super::exit_code;
use crate::cluster::Workers;
use crate::error::Result;
use crate::resume::{self, Resume};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct ResumeArguments {
    /// The folder that the jobs were run with.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Go on with this job alone, by its number or by a sink or model that it makes; also with one that has failed.
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Start so many worker processes; without it, the work is done in this process.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Option<u32>,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(arguments: &ResumeArguments) -> Result<ExitCode> {
    arguments.device.choose()?;
    let workers = arguments.workers.map_or(Workers::Embedded, Workers::Processes);
    let resume = Resume { data_dir: arguments.data_dir.clone(), workers, job: arguments.job.clone() };
    Ok(exit_code(actix::System::new().block_on(resume::run(resume))?))
}
