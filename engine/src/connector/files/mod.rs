//! Files on local disk, as Parquet, CSV or JSON lines.
//!
//! A source's files are found when it is opened, in the order of their names. They are cut into
//! splits (a file, or a row group of a Parquet file) that are dealt out to the subtasks in turn.

mod conform;
mod csv_source;
mod json_source;
mod parquet_source;
mod sink;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::node::{SinkNode, SourceNode};

use super::{Sink, Source, option};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::task::TaskEnv;

/// Opens one subtask's share of the files.
pub(super) fn open_source(
    node: &SourceNode,
    env: &TaskEnv,
    stats: Arc<OperatorStats>,
    subtask: u32,
    parallelism: u32,
) -> Result<Box<dyn Source>> {
    let format = required(&node.options, "format")?;
    let files = find_files(required(&node.options, "path")?, format)?;
    let bad_rows = conform::BadRows::new(&node.table, env, stats);
    let conform = conform::Conform::new(Arc::clone(&node.columns.0), bad_rows);
    let batch_rows = env.settings.source_batch_rows as usize;
    let mut splits: Vec<Box<dyn source::Split>> = match format {
        "parquet" => parquet_source::splits(&files, &conform, batch_rows)?,
        "csv" => csv_source::splits(&files, &conform, &node.options, batch_rows)?,
        "json" => json_source::splits(&files, &conform, batch_rows)?,
        other => return Err(PlanError::InvalidOption(format!("files cannot be read as '{other}'")).into()),
    };
    let mut index = 0;
    splits.retain(|_| {
        index += 1;
        (index - 1) % parallelism == subtask
    });
    let rows_per_second: Option<u64> = option(&node.options, "rows_per_second").and_then(|rate| rate.parse().ok());
    let pace = rows_per_second.map(|rate| (rate / u64::from(parallelism)).max(1));
    Ok(Box::new(source::FilesSource::new(splits, pace)))
}

/// Opens one subtask's share of a folder of files.
pub(super) fn open_sink(node: &SinkNode, subtask: u32, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    let folder = PathBuf::from(required(&node.options, "path")?);
    Ok(Box::new(sink::FilesSink::open(&folder, required(&node.options, "format")?, subtask, schema)?))
}

fn required<'a>(options: &'a [(String, String)], name: &str) -> Result<&'a str> {
    option(options, name)
        .ok_or_else(|| PlanError::InvalidOption(format!("connector 'files' needs the option '{name}'")).into())
}

/// The files that a path names: itself, a folder's files of the format, or what a glob matches.
fn find_files(path: &str, format: &str) -> Result<Vec<PathBuf>> {
    if Path::new(path).is_file() {
        // Before it is read as a glob: a file's name may have brackets.
        return Ok(vec![PathBuf::from(path)]);
    }
    let pattern = if Path::new(path).is_dir() {
        format!("{}/*.{format}", glob::Pattern::escape(path.trim_end_matches('/')))
    } else {
        path.to_owned()
    };
    let matches = glob::glob(&pattern)
        .map_err(|error| PlanError::InvalidOption(format!("option 'path' is no valid glob: {error}")))?;
    let mut files: Vec<PathBuf> = matches.filter_map(std::result::Result::ok).filter(|file| file.is_file()).collect();
    files.sort();
    if files.is_empty() {
        let folder = std::env::current_dir().unwrap_or_default();
        return Err(EngineError::NoFiles { path: path.to_owned(), folder });
    }
    Ok(files)
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let path = path.to_path_buf();
    move |source| EngineError::File { action, path, source }
}

#[cfg(test)]
mod tests;
