//! `tidemill run FILE.sql`: runs a script on an embedded cluster, or on worker processes it starts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tidemill_plans::settings::Settings;

use crate::cluster::Workers;
use crate::config;
use crate::error::{Result, TidemillError};
use crate::output::Format;
use crate::script::{self, End, Script};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The script.
    file: PathBuf,
    /// Instances of each operator that can be spread; the same as --set parallelism=N.
    #[arg(long, value_name = "N")]
    parallelism: Option<u32>,
    /// Start so many worker processes; without it, the work is done in this process.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Option<u32>,
    /// Set a setting before the script starts (SHOW ALL lists them).
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Keep the metadata (jobs, model versions and their metrics) in this folder; SHOW MODELS finds them
    /// there again.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = FormatArgument::Table)]
    format: FormatArgument,
}

/// The formats by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArgument {
    /// Boxes, for people.
    Table,
    /// A header and rows, nothing else.
    Csv,
    /// One object a line.
    Json,
}

/// A process that a signal ends has this exit status plus the signal's number, as shells report it.
const SIGNALLED: i32 = 128;

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let script = Script {
        path: arguments.file.clone(),
        text: config::read_script(&arguments.file)?,
        settings: settings(arguments)?,
        workers: arguments.workers.map_or(Workers::Embedded, Workers::Processes),
        data_dir: arguments.data_dir.clone(),
        format: match arguments.format {
            FormatArgument::Table => Format::Table,
            FormatArgument::Csv => Format::Csv,
            FormatArgument::Json => Format::Json,
        },
    };
    let end = actix::System::new().block_on(script::run(script))?;
    Ok(match end {
        End::Finished => ExitCode::SUCCESS,
        End::Interrupted(signal) => ExitCode::from(u8::try_from(SIGNALLED + signal.as_raw_value()).unwrap_or(u8::MAX)),
    })
}

fn settings(arguments: &RunArguments) -> Result<Settings> {
    let mut settings = Settings::default();
    for setting in &arguments.settings {
        let (name, value) = setting.split_once('=').ok_or_else(|| TidemillError::SetForm(setting.clone()))?;
        settings.set(name.trim(), value.trim())?;
    }
    if let Some(parallelism) = arguments.parallelism {
        settings.set("parallelism", &parallelism.to_string())?;
    }
    Ok(settings)
}
