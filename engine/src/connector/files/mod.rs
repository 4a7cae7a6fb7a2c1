//! Files on local disk, as Parquet, CSV or JSON lines.
//!
//! A source's files are found when it is opened, in the order of their names. They are cut into
//! splits (a file, a row group of a Parquet file, a block of a CSV file) that are dealt out to the
//! subtasks in turn.
//!
//! Each subtask finds the files for itself, in its own process. So files must not come or go while a
//! job is deployed, or subtasks would count differently, and rows be read twice or by nobody. All of
//! them are open before the first one reads; each looks at its files once more then, and what has
//! changed since is an error. A file that comes later is not read.

mod conform;
mod csv_source;
mod json_source;
mod listing;
mod parquet_source;
mod part;
mod sink;
mod source;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::node::{SinkNode, SourceNode};

use self::listing::Listing;
use super::pace::{Pace, Paced};
use super::share::Share;
use super::{Sink, Source, number, option};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::task::TaskEnv;

/// What the name of a file ends in that a sink has not finished.
const IN_PROGRESS: &str = "inprogress";

/// Opens one subtask's share of the files.
pub(super) fn open_source(
    node: &SourceNode,
    env: &TaskEnv,
    stats: Arc<OperatorStats>,
    subtask: u32,
    parallelism: u32,
) -> Result<Box<dyn Source>> {
    let format = required(&node.options, "format")?;
    let listing = Listing::of(required(&node.options, "path")?, format)?;
    let bad_rows = conform::BadRows::new(&node.table, env, stats);
    let conform = conform::Conform::new(Arc::clone(&node.columns.0), bad_rows);
    let batch_rows = env.settings.source_batch_rows as usize;
    let share = Share { subtask, parallelism };
    let files = &listing.files;
    let splits = match format {
        "parquet" => parquet_source::splits(files, &conform, batch_rows, share)?,
        "csv" => {
            let options = csv_source::CsvOptions::new(&node.options, &node.declared, batch_rows)?;
            csv_source::splits(files, &conform, &options, share)?
        }
        "json" => json_source::splits(files, &conform, batch_rows, share)?,
        other => return Err(PlanError::InvalidOption(format!("files cannot be read as '{other}'")).into()),
    };
    // Who reads alone agrees with everybody.
    let unchecked = (parallelism > 1).then_some(listing);
    let source = source::FilesSource::new(splits.own, unchecked);
    Ok(match number(&node.options, "rows_per_second") {
        Some(rate) => Box::new(Paced::new(source, Pace::new(rate, share, splits.all as u64))),
        None => Box::new(source),
    })
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

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_path_buf();
    move |source| EngineError::File { action, path, source }
}

/// The system's error that a format's library came upon, such as a full disk. What a library calls an
/// I/O error itself, such as an early end, is about what the file holds.
fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
