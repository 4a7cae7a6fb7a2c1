//! The command line: one subcommand a file.

mod run;
mod session;
mod shell;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config;
use crate::error::Result;

/// SQL over streams and tables, and the models that learn from them.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a SQL script on a cluster of its own.
    Run(run::RunArguments),
    /// Execute statements from standard input, one after another, on a cluster of its own.
    Shell(shell::ShellArguments),
    /// Run one worker process for a coordinator.
    Worker(worker::WorkerArguments),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(config::log_filter()))
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let answer: Result<ExitCode> = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Shell(arguments) => shell::run(&arguments),
        Command::Worker(arguments) => worker::run(&arguments),
    };
    answer.unwrap_or_else(|error| {
        report(&error.chain());
        ExitCode::FAILURE
    })
}

/// Tells the person at the terminal what went wrong.
#[expect(clippy::print_stderr, reason = "the one place where the command speaks of errors")]
fn report(message: &str) {
    eprintln!("error: {message}");
}
