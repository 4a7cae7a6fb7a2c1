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
    /// Serve metrics for Prometheus at http://ADDRESS/metrics, such as 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Option<SocketAddr>,
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = FormatArgument::Table)]
    format: FormatArgument,
}

/// The formats by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArgument {
    /// Boxes, for people.
    Table,
    /// A header and rows, nothing else.
    Csv,
    /// One object a line.
    Json,
}

impl SessionArguments {
    pub(super) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        for setting in &self.settings {
            let (name, value) = setting.split_once('=').ok_or_else(|| TidemillError::SetForm(setting.clone()))?;
            settings.set(name.trim(), value.trim())?;
        }
        if let Some(parallelism) = self.parallelism {
            settings.set("parallelism", &parallelism.to_string())?;
        }
        Ok(settings)
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
            FormatArgument::Csv => Self::Csv,
            FormatArgument::Json => Self::Json,
        }
    }
}
