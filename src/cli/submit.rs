//! `tidemill submit`: has a coordinator in another process run a plan, or looks at one.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tidemill_coordinator::api::SqlClient;
use tidemill_plans::explain::explain;
use tidemill_plans::settings::Settings;
use tidemill_sql::document::PlanDocument;

use super::login::LoginArguments;
use super::session::FormatArgument;
use super::tls::ClientTls;
use crate::error::{Result, TidemillError};
use crate::output::{self, Format};
use crate::say::{say, warn};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct SubmitArguments {
    /// The plan, a JSON document; - is standard input.
    #[arg(required_unless_present = "schema")]
    plan: Option<PathBuf>,
    /// Where the coordinator is; grpc+tls:// with TLS.
    #[arg(long, value_name = "URL", default_value = "grpc://127.0.0.1:50051")]
    url: String,
    #[command(flatten)]
    tls: ClientTls,
    #[command(flatten)]
    login: LoginArguments,
    /// Print the operators that would run, and run nothing.
    #[arg(long)]
    check: bool,
    /// How the operators are printed.
    #[arg(long, value_enum, default_value_t = FormatArgument::Table, requires = "check")]
    format: FormatArgument,
    /// Print the form of plans as JSON Schema.
    #[arg(long, conflicts_with_all = ["plan", "check"])]
    schema: bool,
}

pub(super) fn run(arguments: &SubmitArguments) -> Result<ExitCode> {
    let Some(plan) = &arguments.plan else {
        print(Format::Table, &PlanDocument::json_schema_text())?;
        return Ok(ExitCode::SUCCESS);
    };
    let json = read(plan)?;
    // What is wrong is told without a coordinator, too.
    let (graph, _) = PlanDocument::from_json(&json)?.to_graph(&Settings::default())?;
    if arguments.check {
        print(arguments.format.into(), &explain(&graph))?;
        return Ok(ExitCode::SUCCESS);
    }
    let connector = arguments.tls.connector(&arguments.url)?;
    let login = arguments.login.login()?;
    let submitting = async { SqlClient::connect(&arguments.url, &connector, login).await?.submit_plan(&json).await };
    let submitted = actix::System::new().block_on(submitting)?;
    submitted.warnings.iter().for_each(|warning| warn(warning));
    say(&format!("job {} runs; STOP JOB {} ends it", submitted.job, submitted.job));
    Ok(ExitCode::SUCCESS)
}

/// Prints lines: as they are, or as rows.
fn print(format: Format, text: &str) -> Result<()> {
    let lines = output::plan(text)?;
    output::print(format, &lines.schema(), &[lines])
}

fn read(plan: &PathBuf) -> Result<String> {
    let read = if plan.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(plan)
    };
    read.map_err(|source| TidemillError::ReadFile { path: plan.clone(), source })
}
