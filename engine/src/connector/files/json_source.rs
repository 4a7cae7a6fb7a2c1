//! Reads JSON lines, a file a split. A line that is no JSON object of the declared types is a bad row.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;

use super::conform::Conform;
use super::file_error;
use super::source::Split;
use crate::error::{EngineError, Result};

/// Every file.
pub(super) fn splits(files: &[PathBuf], conform: &Conform, batch_rows: usize) -> Result<Vec<Box<dyn Split>>> {
    let mut splits: Vec<Box<dyn Split>> = Vec::new();
    for path in files {
        // A declared type that JSON has no reader for is an error now, not a bad row each time.
        decode(&conform.columns, path, b"", 1)?;
        splits.push(Box::new(JsonFile {
            path: path.clone(),
            lines: None,
            line: 0,
            conform: conform.clone(),
            batch_rows,
        }));
    }
    Ok(splits)
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
    /// The next lines that are not empty, with their numbers. Bytes: what is no UTF-8 is one bad row.
    fn read_lines(&mut self) -> Result<Vec<(u64, Vec<u8>)>> {
        let file = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let file = File::open(&self.path).map_err(file_error("open", &self.path))?;
                self.lines.insert(BufReader::new(file))
            }
        };
        let mut read = Vec::new();
        while read.len() < self.batch_rows {
            let mut text = Vec::new();
            if file.read_until(b'\n', &mut text).map_err(file_error("read", &self.path))? == 0 {
                break;
            }
            self.line += 1;
            if !text.trim_ascii().is_empty() {
                read.push((self.line, text));
            }
        }
        Ok(read)
    }

    /// Decodes line by line, to find the ones that are no rows.
    fn decode_each(&self, lines: &[(u64, Vec<u8>)]) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for (number, text) in lines {
            match decode(&self.conform.columns, &self.path, text, 1) {
                Ok(row) => rows.extend(row),
                Err(error) => {
                    let text = String::from_utf8_lossy(text.trim_ascii_end());
                    let place = format!("{}:{number}: {text}", self.path.display());
                    self.conform.bad_rows.push(error.chain(), place)?;
                }
            }
        }
        Ok(rows)
    }
}

/// Reads at most `rows` objects, all that `text` has. The decoder reserves memory for that many rows
/// of every column, so `rows` is a count of lines and no guess.
fn decode(schema: &SchemaRef, path: &Path, text: &[u8], rows: usize) -> Result<Option<RecordBatch>> {
    let broken = |error: ArrowError| EngineError::Format {
        path: path.to_path_buf(),
        reason: format!("not readable as JSON lines: {error}"),
    };
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(rows).build_decoder().map_err(broken)?;
    if decoder.decode(text).map_err(broken)? < text.len() {
        return Err(broken(ArrowError::JsonError(String::from("more than one object in a line"))));
    }
    decoder.flush().map_err(broken)
}

impl Split for JsonFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let lines = self.read_lines()?;
            if lines.is_empty() {
                return Ok(None);
            }
            let text: Vec<u8> = lines.iter().flat_map(|(_, text)| text).copied().collect();
            // As many rows as lines, or else an object spans lines and each line is looked at alone.
            if let Ok(Some(batch)) = decode(&self.conform.columns, &self.path, &text, lines.len())
                && batch.num_rows() == lines.len()
            {
                return Ok(Some(batch));
            }
            let rows = self.decode_each(&lines)?;
            if !rows.is_empty() {
                return Ok(Some(arrow::compute::concat_batches(&self.conform.columns, &rows)?));
            }
        }
    }
}
