//! Reads Parquet files, a row group a split.
//!
//! Every subtask reads every footer when it is opened, to count the row groups, and keeps none: a
//! footer can be large, and is read again when its file's turn has come. Of an object, the wanted columns of a row group
//! are asked for together, and nothing else.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;
use tidemill_plans::codec;

use super::conform::Conform;
use super::file_bytes::FileBytes;
use super::medium::FileAt;
use super::source::{Split, Splits};
use super::{file_error, rows_gone, system_error};
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// A subtask's row groups, those of a file together. Columns are checked here.
pub(super) fn splits(files: &[FileAt], conform: &Conform, batch_rows: usize, share: Share) -> Result<Splits> {
    let mut splits = Splits::default();
    for path in files {
        let groups = OpenFile::open(path, conform)?.groups();
        let first = splits.add_file(groups);
        let waiting: VecDeque<usize> = (0..groups).filter(|group| share.owns(first + group)).collect();
        if !waiting.is_empty() {
            splits.own.push(Box::new(ParquetFile {
                path: path.clone(),
                groups,
                waiting,
                skip: 0,
                open: None,
                current: None,
                conform: conform.clone(),
                batch_rows,
            }));
        }
    }
    Ok(splits)
}

/// A file and its footer.
struct OpenFile {
    file: FileBytes,
    metadata: ArrowReaderMetadata,
    /// Where each declared column is.
    columns: Vec<usize>,
}

impl OpenFile {
    fn open(path: &FileAt, conform: &Conform) -> Result<Self> {
        let file = path.open()?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(broken(path))?;
        let columns = conform.find_columns(path, metadata.schema())?;
        Ok(Self { file, metadata, columns })
    }

    fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The rows of a row group, but for the first ones.
    fn read(&self, group: usize, skip: usize, batch_rows: usize, path: &Path) -> Result<ParquetRecordBatchReader> {
        let rows = usize::try_from(self.metadata.metadata().row_group(group).num_rows()).unwrap_or_default();
        if rows < skip {
            return Err(rows_gone(path, &format!("row group {group}"), skip, rows));
        }
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), self.columns.iter().copied());
        let fetched = self.file.fetch(self.chunks(group, &mask)).map_err(file_error("read", path))?;
        let reader = match fetched {
            Some(chunks) => reader(chunks, self.metadata.clone(), mask, group, skip, batch_rows),
            None => {
                let file = self.file.again().map_err(file_error("open", path))?;
                reader(file, self.metadata.clone(), mask, group, skip, batch_rows)
            }
        };
        reader.map_err(broken(path))
    }

    /// Where the wanted columns of a row group are in the file.
    fn chunks(&self, group: usize, mask: &ProjectionMask) -> Vec<Range<u64>> {
        let group = self.metadata.metadata().row_group(group);
        let wanted = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        let range = |(start, length): (u64, u64)| start..start.saturating_add(length);
        wanted.map(|(_, chunk)| range(chunk.byte_range())).collect()
    }

    /// The declared columns of a batch. The mask keeps the file's order of columns; a column may be
    /// declared anywhere.
    fn declared(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        let mut in_file = self.columns.clone();
        in_file.sort_unstable();
        in_file.dedup();
        let place = |column: &usize| in_file.binary_search(column).unwrap_or(0);
        self.columns.iter().map(|column| Arc::clone(batch.column(place(column)))).collect()
    }
}

/// The rows of a row group, but for the first ones.
fn reader<R: ChunkReader + 'static>(
    bytes: R,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    group: usize,
    skip: usize,
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
        .with_projection(mask)
        .with_row_groups(vec![group])
        .with_batch_size(batch_rows);
    if skip > 0 { builder.with_offset(skip).build() } else { builder.build() }
}

/// The system's error if it is one, else what is wrong with the file.
fn broken<E: std::error::Error + 'static>(path: &Path) -> impl Fn(E) -> EngineError {
    move |error| match system_error(&error) {
        Some(source) => file_error("read", path)(source),
        None => EngineError::Format { path: path.to_path_buf(), reason: format!("not readable as Parquet: {error}") },
    }
}

struct ParquetFile {
    path: FileAt,
    /// How many row groups it had when the source was opened.
    groups: usize,
    /// Those still to read.
    waiting: VecDeque<usize>,
    /// Rows of the next one that are not read.
    skip: usize,
    /// `None` until the first batch is asked for.
    open: Option<OpenFile>,
    current: Option<RowGroup>,
    conform: Conform,
    batch_rows: usize,
}

/// How far a subtask has come in a file.
#[derive(bincode::Encode, bincode::Decode)]
struct Position {
    /// The row group that it is reading; `None` behind its last.
    group: Option<usize>,
    /// Rows of it that have been read.
    rows: usize,
}

/// A row group that is being read.
struct RowGroup {
    number: usize,
    reader: ParquetRecordBatchReader,
    /// Rows read so far.
    rows: usize,
}

impl ParquetFile {
    fn reopen(&self) -> Result<OpenFile> {
        let open = OpenFile::open(&self.path, &self.conform)?;
        if open.groups() == self.groups {
            return Ok(open);
        }
        // Row groups were dealt out by their number: another count means others read it as it was.
        let (before, now) = (self.groups, open.groups());
        let reason = format!("it had {before} row groups when the job was deployed and has {now} now");
        Err(EngineError::Format { path: self.path.to_path_buf(), reason })
    }
}

impl Split for ParquetFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let open = match &self.open {
            Some(open) => open,
            None => {
                let open = self.reopen()?;
                self.open.insert(open)
            }
        };
        loop {
            let current = match &mut self.current {
                Some(current) => current,
                none => {
                    let Some(number) = self.waiting.pop_front() else { return Ok(None) };
                    let rows = std::mem::take(&mut self.skip);
                    let reader = open.read(number, rows, self.batch_rows, &self.path)?;
                    none.insert(RowGroup { number, reader, rows })
                }
            };
            if let Some(batch) = current.reader.next().transpose().map_err(broken(&self.path))? {
                let (path, number, first) = (self.path.display(), current.number, current.rows);
                current.rows += batch.num_rows();
                let place = |row: usize| format!("{path}, row group {number}, row {}", first + row);
                return self.conform.convert(&open.declared(&batch), batch.num_rows(), &place).map(Some);
            }
            self.current = None;
        }
    }

    fn position(&self) -> Result<Vec<u8>> {
        let current = self.current.as_ref().map(|current| (current.number, current.rows));
        let next = current.or_else(|| Some((*self.waiting.front()?, self.skip)));
        Ok(codec::encode(&Position { group: next.map(|(group, _)| group), rows: next.map_or(0, |(_, rows)| rows) })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position { group, rows } = codec::decode(position)?;
        self.waiting.retain(|waiting| group.is_some_and(|group| *waiting >= group));
        self.skip = rows;
        Ok(())
    }
}
