//! `tidemill jobs`: has a coordinator in another process say how its jobs are, and change them.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidemill_sql::{JobCommand, JobName};

use super::login::LoginArguments;
use super::session::FormatArgument;
use super::tls::ClientTls;
use crate::error::Result;
use crate::remote;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct JobsArguments {
    #[command(subcommand)]
    command: JobsCommand,
    /// Where the coordinator is.
    #[arg(long, value_name = "URL", default_value = "grpc://127.0.0.1:50051", global = true)]
    url: String,
    #[command(flatten)]
    tls: ClientTls,
    #[command(flatten)]
    login: LoginArguments,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = FormatArgument::Table, global = true)]
    format: FormatArgument,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// The jobs that run, and those that have failed.
    List,
    /// How a job is.
    Show {
        /// Its number, or an object that it makes.
        job: String,
        /// Its newest checkpoints, too.
        #[arg(long)]
        checkpoints: bool,
        /// What its operators have done, too.
        #[arg(long)]
        metrics: bool,
    },
    /// End a job; what it has read is written.
    Stop {
        /// Its number, or an object that it makes.
        job: String,
    },
    /// Try a job again that has failed, from its newest checkpoint.
    Resume {
        /// Its number, or an object that it makes.
        job: String,
    },
    /// Write a savepoint of a job.
    Savepoint {
        /// Its number, or an object that it makes.
        job: String,
        /// The folder or URL that it is written to; without one it is below the job's checkpoints.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        /// End the job with it.
        #[arg(long)]
        stop: bool,
    },
    /// Give a job another parallelism.
    Rescale {
        /// Its number, or an object that it makes.
        job: String,
        /// How many instances its operators have that can be spread.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
        parallelism: u32,
    },
}

pub(super) fn run(arguments: &JobsArguments) -> Result<ExitCode> {
    let statements: Vec<String> = arguments.command.statements().iter().map(ToString::to_string).collect();
    let text = statements.join("; ");
    let connector = arguments.tls.connector(&arguments.url)?;
    let login = arguments.login.login()?;
    let executing = remote::execute(&arguments.url, &connector, login, &text, arguments.format.into());
    actix::System::new().block_on(executing)?;
    Ok(ExitCode::SUCCESS)
}

impl JobsCommand {
    /// The statements that do the same.
    fn statements(&self) -> Vec<JobCommand> {
        let name = |job: &String| JobName::from(job.as_str());
        match self {
            Self::List => vec![JobCommand::ShowJobs],
            Self::Show { job, checkpoints, metrics } => {
                let more = [
                    checkpoints.then(|| JobCommand::ShowCheckpoints(name(job))),
                    metrics.then(|| JobCommand::ShowMetrics(name(job))),
                ];
                [JobCommand::ShowJob(name(job))].into_iter().chain(more.into_iter().flatten()).collect()
            }
            Self::Stop { job } => vec![JobCommand::Stop(name(job))],
            Self::Resume { job } => vec![JobCommand::Resume(name(job))],
            Self::Savepoint { job, to, stop } => {
                vec![JobCommand::Savepoint { job: name(job), url: to.clone(), stops: *stop }]
            }
            Self::Rescale { job, parallelism } => {
                vec![JobCommand::Rescale { job: name(job), parallelism: *parallelism }]
            }
        }
    }
}
