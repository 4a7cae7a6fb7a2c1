//! COPY: a plan whose rows go to a file, which has another name until it is complete.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::file_options::file_type::FileType;
use datafusion::datasource::file_format::arrow::ArrowFormatFactory;
use datafusion::datasource::file_format::csv::CsvFormatFactory;
use datafusion::datasource::file_format::json::JsonFormatFactory;
use datafusion::datasource::file_format::parquet::ParquetFormatFactory;
use datafusion::datasource::file_format::{FileFormatFactory, format_as_file_type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::dml::CopyTo;
use tidemill_plans::batch::{CopyFormat, CopyTarget};

/// A plan that writes the rows of another.
pub(crate) fn written(rows: LogicalPlan, target: &CopyTarget) -> Result<LogicalPlan> {
    let (_, path) = paths(target)?;
    // One file, whatever it is called.
    let options = HashMap::from([(String::from("single_file_output"), String::from("true"))]);
    let (path, file_type) = (path.to_string_lossy().into_owned(), file_type(target.format));
    Ok(LogicalPlan::Copy(CopyTo::new(Arc::new(rows), path, Vec::new(), file_type, options)))
}

/// A file that is being written. Dropped before it is finished, it is gone.
#[derive(Debug)]
pub(crate) struct Unfinished {
    written: PathBuf,
    complete: PathBuf,
}

impl Unfinished {
    pub(crate) fn of(target: &CopyTarget) -> Result<Self> {
        let (complete, written) = paths(target)?;
        Ok(Self { written, complete })
    }

    /// Gives it its name.
    pub(crate) fn finish(self) -> Result<()> {
        std::fs::rename(&self.written, &self.complete).map_err(external)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // There is none behind a rename, nor where writing never began.
        let _ = std::fs::remove_file(&self.written);
    }
}

/// What a file is called, and until it is complete.
fn paths(target: &CopyTarget) -> Result<(PathBuf, PathBuf)> {
    let complete = std::path::absolute(&target.path).map_err(external)?;
    let mut written = complete.clone().into_os_string();
    written.push(".inprogress");
    Ok((complete, written.into()))
}

fn external(error: io::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn file_type(format: CopyFormat) -> Arc<dyn FileType> {
    let factory: Arc<dyn FileFormatFactory> = match format {
        CopyFormat::Parquet => Arc::new(ParquetFormatFactory::new()),
        CopyFormat::Csv => Arc::new(CsvFormatFactory::new()),
        CopyFormat::Json => Arc::new(JsonFormatFactory::new()),
        CopyFormat::Arrow => Arc::new(ArrowFormatFactory::new()),
    };
    format_as_file_type(factory)
}
