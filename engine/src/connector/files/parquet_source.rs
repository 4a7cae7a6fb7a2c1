//! Reads Parquet files, a row group a split.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::conform::Conform;
use super::file_error;
use super::source::Split;
use crate::error::{EngineError, Result};

/// Every row group of every file. Footers are read and columns checked here.
pub(super) fn splits(files: &[PathBuf], conform: &Conform, batch_rows: usize) -> Result<Vec<Box<dyn Split>>> {
    let mut splits: Vec<Box<dyn Split>> = Vec::new();
    for path in files {
        let file = File::open(path).map_err(file_error("open", path))?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(broken(path))?;
        let columns = conform.find_columns(path, metadata.schema())?;
        for group in 0..metadata.metadata().num_row_groups() {
            splits.push(Box::new(RowGroup {
                path: path.clone(),
                metadata: metadata.clone(),
                group,
                columns: columns.clone(),
                conform: conform.clone(),
                batch_rows,
                reader: None,
                row: 0,
            }));
        }
    }
    Ok(splits)
}

fn broken<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> EngineError {
    let path = path.to_path_buf();
    move |error| EngineError::Format { path: path.clone(), reason: format!("not readable as Parquet: {error}") }
}

struct RowGroup {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    group: usize,
    columns: Vec<usize>,
    conform: Conform,
    batch_rows: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// Rows read so far.
    row: usize,
}

impl RowGroup {
    fn open(&self) -> Result<ParquetRecordBatchReader> {
        let file = File::open(&self.path).map_err(file_error("open", &self.path))?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), self.columns.iter().copied());
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![self.group])
            .with_batch_size(self.batch_rows)
            .build()
            .map_err(broken(&self.path))
    }
}

impl Split for RowGroup {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let reader = self.open()?;
                self.reader.insert(reader)
            }
        };
        let Some(batch) = reader.next().transpose().map_err(broken(&self.path))? else {
            self.reader = None;
            return Ok(None);
        };
        // The mask keeps the file's order of columns; a column may be declared anywhere.
        let mut in_file: Vec<usize> = self.columns.clone();
        in_file.sort_unstable();
        in_file.dedup();
        let place = |column: &usize| in_file.binary_search(column).unwrap_or(0);
        let columns: Vec<_> = self.columns.iter().map(|c| Arc::clone(batch.column(place(c)))).collect();
        let (path, group, first) = (self.path.display(), self.group, self.row);
        let place = move |row: usize| format!("{path}, row group {group}, row {}", first + row);
        let converted = self.conform.convert(&columns, batch.num_rows(), &place)?;
        self.row += batch.num_rows();
        Ok(Some(converted))
    }
}
