//! Files on local disk or in a bucket ([`medium`]), as Parquet, Arrow IPC, Avro, CSV or JSON lines.
//!
//! A source's files are found when it is opened, in the order of their names. They are cut into
//! splits (a file, a row group of a Parquet file, a record batch of an Arrow file, a block of a CSV
//! file) that are dealt out to the subtasks in turn.
//!
//! Each subtask finds the files for itself, in its own process. So files must not come or go while a
//! job is deployed, or subtasks would count differently, and rows be read twice or by nobody. All of
//! them are open before the first one reads; each looks at its files once more then, and what has
//! changed since is an error. A file that comes later is not read, unless the path is watched
//! ([`watch`]).

mod arrow_source;
mod avro_source;
mod changes;
mod claim;
pub(super) mod columns;
mod conform;
mod csv_source;
mod file_bytes;
mod format;
mod groups;
mod held;
mod json_source;
mod listing;
mod medium;
mod objects;
mod parquet_source;
mod part;
mod parts;
mod sink;
mod source;
mod uploads;
mod waiting;
mod watch;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::bucket::StoreError;
use tidemill_plans::connector::StartupMode;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{SinkNode, SourceNode};
use tidemill_plans::settings::parse_duration_ms;

pub(super) use self::groups::groups_of;
use self::listing::{Listing, Place};
pub(crate) use self::medium::Buckets;
use self::medium::Medium;
use super::pace::{Pace, Paced};
use super::share::Share;
use super::{Sink, Source, number, option};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::task::TaskEnv;

/// What the name of a file ends in that a sink has not finished.
const IN_PROGRESS: &str = "inprogress";

/// Opens one subtask's share of these files of a source that ends.
pub(super) fn open_files(
    node: &SourceNode,
    env: &TaskEnv,
    stats: Arc<OperatorStats>,
    files: &[PathBuf],
    share: Share,
    buckets: &Buckets,
) -> Result<Box<dyn Source>> {
    let (medium, _) = buckets.medium(required(&node.options, "path")?, &node.options)?;
    let reading = reading(node, medium, env, stats)?;
    Ok(Box::new(source::FilesSource::open(Arc::new(reading), files, share)?))
}

fn reading(node: &SourceNode, medium: Medium, env: &TaskEnv, stats: Arc<OperatorStats>) -> Result<format::Reading> {
    let bad_rows = conform::BadRows::new(&node.table, env, stats);
    let conform = conform::Conform::new(Arc::clone(&node.columns.0), bad_rows);
    format::Reading::new(node, medium, conform, env.settings.source_batch_rows as usize)
}

/// Opens one subtask's share of the files.
pub(super) fn open_source(
    node: &SourceNode,
    env: &TaskEnv,
    stats: Arc<OperatorStats>,
    subtask: u32,
    parallelism: u32,
) -> Result<Box<dyn Source>> {
    let (path, format) = (required(&node.options, "path")?, required(&node.options, "format")?);
    let (medium, path) = Medium::of(path, &node.options)?;
    let reading = reading(node, medium.clone(), env, stats)?;
    let share = Share { subtask, parallelism };
    if let Some(every) = watch_interval(&node.options) {
        let (place, mode) = (Place::watched(&medium, path, format)?, StartupMode::of(&node.options));
        let source = watch::WatchedFiles::new(place, Arc::new(reading), share, every, mode)?;
        // Whoever has no file now may have the next one.
        return Ok(at_pace(source, node, share, u64::from(parallelism)));
    }
    let listing = Listing::of(&medium, path, format)?;
    let mut source = source::FilesSource::open(Arc::new(reading), &listing.files, share)?;
    // Who reads alone agrees with everybody.
    if parallelism > 1 {
        source = source.check_first(listing);
    }
    let splits = source.splits_of_all() as u64;
    Ok(at_pace(source, node, share, splits))
}

/// From one look for new files to the next, if there is to be any.
fn watch_interval(options: &[(String, String)]) -> Option<Duration> {
    option(options, "watch").and_then(parse_duration_ms).map(Duration::from_millis)
}

/// A source that is held to the pace of its options, if they have one; what it reads comes in so many parts.
fn at_pace<S: Source + 'static>(source: S, node: &SourceNode, share: Share, parts: u64) -> Box<dyn Source> {
    let pace = number(&node.options, "rows_per_second").map(|rate| Pace::new(rate, share, parts));
    Box::new(Paced::new(source, pace, node))
}

/// Opens one subtask's share of a folder of files.
pub(super) fn open_sink(
    node: &SinkNode,
    operator: OperatorId,
    subtask: u32,
    env: &TaskEnv,
    schema: SchemaRef,
) -> Result<Box<dyn Sink>> {
    Ok(Box::new(sink::FilesSink::open(node, operator, subtask, env, schema)?))
}

/// What the names of files of a format end in.
fn extension(format: &str) -> &str {
    match format {
        "debezium-json" | "upsert-json" => "json",
        other => other,
    }
}

fn required<'a>(options: &'a [(String, String)], name: &str) -> Result<&'a str> {
    option(options, name)
        .ok_or_else(|| PlanError::InvalidOption(format!("connector 'files' needs the option '{name}'")).into())
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_path_buf();
    move |source| EngineError::File { action, path, source }
}

/// A file that is shorter than what was read of it.
fn cut_off(path: &Path, read: u64) -> EngineError {
    let reason = format!("its first {read} bytes were read before, and it has less now");
    EngineError::Format { path: path.to_path_buf(), reason }
}

/// A file in which a part has not the rows any more that were read of it.
fn rows_gone(path: &Path, part: &str, read: usize, now: usize) -> EngineError {
    let reason = format!("{read} rows of its {part} were read before, and it has {now} now");
    EngineError::Format { path: path.to_path_buf(), reason }
}

/// The system's error that a format's library came upon, such as a full disk, or a store's. What a library calls an
/// I/O error itself, such as an early end, is about what the file holds.
fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    if let Some(said) = StoreError::among(error) {
        return Some(said.clone().into_io());
    }
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
