//! COPY: a plan whose rows go to files, which have another name until all of them are complete.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::file_options::file_type::FileType;
use datafusion::datasource::file_format::arrow::ArrowFormatFactory;
use datafusion::datasource::file_format::csv::CsvFormatFactory;
use datafusion::datasource::file_format::json::JsonFormatFactory;
use datafusion::datasource::file_format::parquet::ParquetFormatFactory;
use datafusion::datasource::file_format::{FileFormatFactory, format_as_file_type};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use tidemill_plans::batch::{CopyFormat, CopyLayout, CopyTarget};
use tidemill_plans::bucket::local;
use tidemill_plans::flat::flat_expr;
use tidemill_plans::partitions::NULL_PARTITION;

/// What is at the end of a name as long as not everything is written.
pub(crate) const IN_PROGRESS: &str = ".inprogress";

/// Files that a folder may have got from additions.
pub(crate) const ADDITIONS_MAX: u32 = 1_000_000;

/// A plan that writes the rows of another to this path.
pub(crate) fn written(rows: LogicalPlan, target: &CopyTarget, mut path: String) -> Result<LogicalPlan> {
    let by = target.partition_by.clone();
    let rows = if target.format == CopyFormat::Csv { flat_rows(rows)? } else { rows };
    let rows = if by.is_empty() { rows } else { with_names_of_folders(rows, &by)? };
    // One file, whatever it is called; else one for each folder.
    let single = (String::from("single_file_output"), by.is_empty().to_string());
    let format = target.options.iter().map(|(key, value)| (format!("format.{key}"), value.clone()));
    let options = HashMap::from_iter(format.chain([single]));
    let file_type = file_type(target.format);
    if !by.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    Ok(LogicalPlan::Copy(CopyTo::new(Arc::new(rows), path, by, file_type, options)))
}

/// Rows with JSON in the place of lists and structs, for files whose values are flat.
fn flat_rows(rows: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(rows.schema());
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(rows);
    }
    let expr = |place: usize| {
        let (column, field) = (Expr::Column(Column::from(schema.qualified_field(place))), schema.field(place));
        match field.data_type().is_nested() {
            true => {
                Ok(flat_expr(column).map_err(|error| DataFusionError::External(Box::new(error)))?.alias(field.name()))
            }
            false => Ok(column.alias(field.name())),
        }
    };
    let exprs = (0..schema.fields().len()).map(expr).collect::<Result<Vec<Expr>>>()?;
    LogicalPlanBuilder::from(rows).project(exprs)?.build()
}

/// Rows whose partition columns are the names of their folders: DataFusion has no name for NULL.
fn with_names_of_folders(rows: LogicalPlan, by: &[String]) -> Result<LogicalPlan> {
    let schema = Arc::clone(rows.schema());
    let expr = |place: usize| {
        let column = Expr::Column(Column::from(schema.qualified_field(place)));
        let name = schema.field(place).name();
        if !by.contains(name) {
            return column.alias(name);
        }
        coalesce(vec![cast(column, DataType::Utf8), lit(NULL_PARTITION)]).alias(name)
    };
    let exprs: Vec<Expr> = (0..schema.fields().len()).map(expr).collect();
    LogicalPlanBuilder::from(rows).project(exprs)?.build()
}

/// What is being written. Dropped before it is finished, it is gone.
#[derive(Debug)]
pub(crate) struct Unfinished {
    written: PathBuf,
    complete: PathBuf,
    layout: CopyLayout,
    format: CopyFormat,
    /// Whether each value of some columns has a folder of its own.
    is_partitioned: bool,
    is_finished: bool,
}

impl Unfinished {
    /// Makes room for it. Waits for the disk.
    pub(crate) fn begin(target: &CopyTarget) -> Result<Self> {
        // Without a / at its end: a name is put behind it.
        let path: PathBuf = std::path::absolute(local(&target.path)).map_err(external)?.components().collect();
        let (layout, format) = (target.layout, target.format);
        let complete = match layout {
            CopyLayout::File => path,
            CopyLayout::Folder => begin_folder(free(path)?)?,
            CopyLayout::Replacement => begin_folder(path)?,
            CopyLayout::Addition => begin_addition(&path, format)?,
        };
        let (written, is_partitioned) = (in_progress(&complete), !target.partition_by.is_empty());
        Ok(Self { written, complete, layout, format, is_partitioned, is_finished: false })
    }

    /// Where the rows are written.
    pub(crate) fn path(&self) -> PathBuf {
        match self.layout {
            CopyLayout::Folder | CopyLayout::Replacement if !self.is_partitioned => {
                self.written.join(file_name(0, self.format))
            }
            _ => self.written.clone(),
        }
    }

    /// Gives it its name. Waits for the disk.
    pub(crate) fn finish(mut self) -> Result<()> {
        sync(&self.written).and_then(|()| self.rename()).map_err(external)?;
        self.is_finished = true;
        Ok(())
    }

    fn rename(&self) -> io::Result<()> {
        match self.layout {
            // No system call puts a folder in the place of one with files.
            CopyLayout::Replacement if self.complete.exists() => self.replace()?,
            _ => fs::rename(&self.written, &self.complete)?,
        }
        self.complete.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// For a moment neither folder has the name.
    fn replace(&self) -> io::Result<()> {
        let mut old = self.complete.clone().into_os_string();
        old.push(format!(".old{IN_PROGRESS}"));
        let old = PathBuf::from(old);
        fs::rename(&self.complete, &old)?;
        match fs::rename(&self.written, &self.complete) {
            Ok(()) => fs::remove_dir_all(&old),
            Err(error) => fs::rename(&old, &self.complete).and(Err(error)),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // There is none where writing never began.
        let _ = match self.layout {
            CopyLayout::Folder | CopyLayout::Replacement => fs::remove_dir_all(&self.written),
            CopyLayout::File | CopyLayout::Addition => fs::remove_file(&self.written),
        };
    }
}

/// A folder, if there is nothing of this name.
fn free(folder: PathBuf) -> Result<PathBuf> {
    let has_something = fs::read_dir(&folder).is_ok_and(|mut found| found.next().is_some());
    if has_something || folder.is_file() {
        return Err(refused(&folder, "has something in it already; name another folder, or remove this one"));
    }
    Ok(folder)
}

/// Makes the folder that is to become this one.
fn begin_folder(complete: PathBuf) -> Result<PathBuf> {
    complete.parent().map_or(Ok(()), fs::create_dir_all).map_err(external)?;
    let written = in_progress(&complete);
    match fs::create_dir(&written) {
        Ok(()) => Ok(complete),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(refused(&written, "is being written by another statement; if a crash has left it, remove it"))
        }
        Err(error) => Err(external(error)),
    }
}

/// Takes the first name that is free in a folder.
fn begin_addition(folder: &Path, format: CopyFormat) -> Result<PathBuf> {
    if folder.is_file() {
        return Err(refused(folder, "is a file, and only a folder gets more of them"));
    }
    fs::create_dir_all(folder).map_err(external)?;
    for number in 0..ADDITIONS_MAX {
        let complete = folder.join(file_name(number, format));
        let written = in_progress(&complete);
        match OpenOptions::new().write(true).create_new(true).open(&written) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(external(error)),
            // Nobody else completes a file of this name from here on.
            Ok(_) if complete.exists() => fs::remove_file(&written).map_err(external)?,
            Ok(_) => return Ok(complete),
        }
    }
    Err(refused(folder, "has no name left for another file; put its rows into fewer files"))
}

/// What is written has reached the disk, and not only the system.
fn sync(written: &Path) -> io::Result<()> {
    if written.is_dir() {
        for entry in fs::read_dir(written)? {
            sync(&entry?.path())?;
        }
    }
    File::open(written)?.sync_all()
}

fn in_progress(complete: &Path) -> PathBuf {
    let mut written = complete.to_path_buf().into_os_string();
    written.push(IN_PROGRESS);
    written.into()
}

/// What a file in a folder is called, so that sinks do not take it for one of theirs.
pub(crate) fn file_name(number: u32, format: CopyFormat) -> String {
    format!("rows-{number}.{}", format.extension())
}

pub(crate) fn refused(path: &Path, why: &str) -> DataFusionError {
    DataFusionError::External(format!("'{}' {why}", path.display()).into())
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
