//! What commands that execute SQL take: settings, workers, the folder of the metadata, the output's format.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidemill_plans::settings::Settings;

use crate::cluster::Workers;
use crate::error::{Result, TidemillError};
use crate::output::Format;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct SessionArguments {
    /// Instances of each operator that can be spread; the same as --set parallelism=N.
    #[arg(long, value_name = "N")]
    parallelism: Option<u32>,
    /// Start so many worker processes; without it, the work is done in this process.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Option<u32>,
    /// Set a setting before the first statement (SHOW ALL lists them).
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Keep the metadata (jobs, model versions and their metrics) in this folder; SHOW MODELS finds them
    /// there again.
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Serve HTTP there, such as 127.0.0.1:8080: /metrics for Prometheus, /healthz, /readyz and the API, /api/v1.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Option<SocketAddr>,
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = FormatArgument::Table)]
    format: FormatArgument,
}

/// The formats by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArgument {
    /// Boxes, for people, cut to what the terminal has room for.
    Table,
    /// A line for each value.
    Expanded,
    /// A header and rows, nothing else.
    Csv,
    /// One object a line.
    Json,
}

impl SessionArguments {
    pub(super) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        for (name, value) in self.assignments()? {
            settings.set(&name, &value)?;
        }
        Ok(settings)
    }

    /// The settings that the user sets, and their values.
    pub(super) fn assignments(&self) -> Result<Vec<(String, String)>> {
        let assignment = |text: &String| {
            let (name, value) = text.split_once('=').ok_or_else(|| TidemillError::SetForm(text.clone()))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        let mut assignments: Vec<(String, String)> = self.settings.iter().map(assignment).collect::<Result<_>>()?;
        assignments.extend(self.parallelism.map(|n| (String::from("parallelism"), n.to_string())));
        Ok(assignments)
    }

    pub(super) fn workers(&self) -> Workers {
        self.workers.map_or(Workers::Embedded, Workers::Processes)
    }

    pub(super) fn format(&self) -> Format {
        self.format.into()
    }
}

impl From<FormatArgument> for Format {
    fn from(argument: FormatArgument) -> Self {
        match argument {
            FormatArgument::Table => Self::Table,
            FormatArgument::Expanded => Self::Expanded,
            FormatArgument::Csv => Self::Csv,
            FormatArgument::Json => Self::Json,
        }
    }
}
