//! Reads JSON lines, a file a split. A line that is no JSON object of the declared types is a bad row.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;

use super::conform::Conform;
use super::file_error;
use super::source::Split;
use crate::error::{EngineError, Result};

/// Every file.
pub(super) fn splits(files: &[PathBuf], conform: &Conform, batch_rows: usize) -> Vec<Box<dyn Split>> {
    let split = |path: &PathBuf| -> Box<dyn Split> {
        Box::new(JsonFile { path: path.clone(), lines: None, line: 0, conform: conform.clone(), batch_rows })
    };
    files.iter().map(split).collect()
}

struct JsonFile {
    path: PathBuf,
    lines: Option<BufReader<File>>,
    /// Lines read so far.
    line: u64,
    conform: Conform,
    batch_rows: usize,
}

impl JsonFile {
    /// The next lines that are not empty, with their numbers.
    fn read_lines(&mut self) -> Result<Vec<(u64, String)>> {
        let file = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let file = File::open(&self.path).map_err(file_error("open", &self.path))?;
                self.lines.insert(BufReader::new(file))
            }
        };
        let mut read = Vec::new();
        while read.len() < self.batch_rows {
            let mut text = String::new();
            if file.read_line(&mut text).map_err(file_error("read", &self.path))? == 0 {
                break;
            }
            self.line += 1;
            if !text.trim().is_empty() {
                read.push((self.line, text));
            }
        }
        Ok(read)
    }

    /// Decodes line by line, to find the ones that are no rows.
    fn decode_each(&self, lines: &[(u64, String)]) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for (number, text) in lines {
            match decode(&self.conform.columns, &self.path, text.as_bytes()) {
                Ok(row) => rows.extend(row),
                Err(error) => {
                    let place = format!("{}:{number}: {}", self.path.display(), text.trim_end());
                    self.conform.bad_rows.push(error.chain(), place)?;
                }
            }
        }
        Ok(rows)
    }
}

fn decode(schema: &SchemaRef, path: &Path, text: &[u8]) -> Result<Option<RecordBatch>> {
    let broken = |error: arrow::error::ArrowError| EngineError::Format {
        path: path.to_path_buf(),
        reason: format!("not readable as JSON lines: {error}"),
    };
    let mut decoder =
        ReaderBuilder::new(Arc::clone(schema)).with_batch_size(text.len().max(1)).build_decoder().map_err(broken)?;
    decoder.decode(text).map_err(broken)?;
    decoder.flush().map_err(broken)
}

impl Split for JsonFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let lines = self.read_lines()?;
            if lines.is_empty() {
                return Ok(None);
            }
            let text: String = lines.iter().map(|(_, text)| text.as_str()).collect();
            if let Ok(Some(batch)) = decode(&self.conform.columns, &self.path, text.as_bytes()) {
                return Ok(Some(batch));
            }
            let rows = self.decode_each(&lines)?;
            if !rows.is_empty() {
                return Ok(Some(arrow::compute::concat_batches(&self.conform.columns, &rows)?));
            }
        }
    }
}
