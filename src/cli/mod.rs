//! The command line: one subcommand a file.

mod completions;
mod coordinator;
mod device;
mod jobs;
mod limits;
mod login;
mod resume;
mod run;
mod serve;
mod server;
mod session;
mod shell;
mod sql;
mod submit;
mod tls;
mod users;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidemill_plans::settings::parse_duration_ms;
use tracing_subscriber::EnvFilter;

use crate::config;
use crate::error::Result;
use crate::follow::End;
use crate::say::{Redacted, say};

/// What is below the list of commands.
const AFTER_HELP: &str = "\
Results go to standard output, everything else to standard error. The exit status is:
  0    everything was done
  1    an error, which the last line on standard error that begins with 'error: ' tells
  2    the command line is not understood
  130  interrupted (SIGINT, Ctrl-C), and what was written is complete
  143  told to end (SIGTERM), likewise; a coordinator and a worker that are told to end have done so with 0";

/// SQL over streams and tables, and the models that learn from them.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, about, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a SQL script on a cluster of its own.
    Run(run::RunArguments),
    /// Go on with the jobs of a --data-dir whose process has ended before them.
    Resume(resume::ResumeArguments),
    /// Execute statements as they are typed, or from standard input, on a cluster of its own or at a coordinator.
    Shell(shell::ShellArguments),
    /// Serve clients that speak Flight SQL, with a coordinator and a worker in this process.
    Serve(serve::ServeArguments),
    /// Run the coordinator of a cluster whose workers are started by themselves.
    Coordinator(coordinator::CoordinatorArguments),
    /// Run one worker process for a coordinator, also for the next one at its address.
    Worker(worker::WorkerArguments),
    /// Execute statements on a cluster that runs.
    Sql(sql::SqlArguments),
    /// Look at the jobs of a cluster that runs, and control them.
    Jobs(jobs::JobsArguments),
    /// Run a dataflow plan, a JSON document, on a cluster that runs.
    Submit(submit::SubmitArguments),
    /// Print a script that has a shell complete this command.
    Completions(completions::CompletionsArguments),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(config::log_filter()))
        .with_writer(|| Redacted)
        .without_time()
        .with_target(false)
        .init();
    tidemill_plans::storage::configure(config::storage_options());
    let answer: Result<ExitCode> = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Resume(arguments) => resume::run(&arguments),
        Command::Shell(arguments) => shell::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Coordinator(arguments) => coordinator::run(&arguments),
        Command::Worker(arguments) => worker::run(&arguments),
        Command::Sql(arguments) => sql::run(&arguments),
        Command::Jobs(arguments) => jobs::run(&arguments),
        Command::Submit(arguments) => submit::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    tidemill_batch::remove_scratch();
    answer.unwrap_or_else(|error| {
        say(&format!("error: {}", error.chain()));
        ExitCode::FAILURE
    })
}

/// A process that a signal ends has this exit status plus the signal's number, as shells report it.
const SIGNALLED: i32 = 128;

fn exit_code(end: End) -> ExitCode {
    match end {
        End::Finished => ExitCode::SUCCESS,
        End::Interrupted(signal) => ExitCode::from(u8::try_from(SIGNALLED + signal.as_raw_value()).unwrap_or(u8::MAX)),
    }
}

/// A duration that is longer than nothing.
fn duration(text: &str) -> Result<Duration, String> {
    let ms = parse_duration_ms(text).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(|| String::from("a duration is written 5s, 500ms or 1min"))
}
