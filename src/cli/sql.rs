//! `tidemill sql`: has a coordinator in another process execute statements.

use std::process::ExitCode;

use clap::Args;

use super::login::LoginArguments;
use super::session::FormatArgument;
use super::tls::ClientTls;
use crate::error::Result;
use crate::remote;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct SqlArguments {
    /// The statements.
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    command: String,
    /// Where the coordinator is; grpc+tls:// with TLS.
    #[arg(long, value_name = "URL", default_value = "grpc://127.0.0.1:50051")]
    url: String,
    #[command(flatten)]
    tls: ClientTls,
    #[command(flatten)]
    login: LoginArguments,
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = FormatArgument::Table)]
    format: FormatArgument,
}

pub(super) fn run(arguments: &SqlArguments) -> Result<ExitCode> {
    let connector = arguments.tls.connector(&arguments.url)?;
    let login = arguments.login.login()?;
    let executing = remote::execute(&arguments.url, &connector, login, &arguments.command, arguments.format.into());
    actix::System::new().block_on(executing)?;
    Ok(ExitCode::SUCCESS)
}
