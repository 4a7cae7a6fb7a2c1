//! Who reads a table: DataFusion, if its files are Parquet and hold what was declared, else the connectors of streams.
//!
//! DataFusion makes NULL of a column that a file lacks, and an error of a value that does not fit; for a stream the first
//! is an error and the second a bad row. So each file's footer is asked first, which is read anyway.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::{DataFusionError, Result};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use tidemill_plans::batch::{BoundedTable, FileGroup, TableReader};
use tidemill_plans::bucket::{StoreError, is_url};
use tidemill_plans::connector::option;
use tidemill_plans::node::SourceNode;
use tokio::runtime::Handle;

use crate::objects::QueryObjects;
use crate::reading::Reading;
use crate::rows::RowTable;
use crate::views;

/// What DataFusion makes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texts {
    /// What was declared.
    AsDeclared,
    /// String views.
    Views,
}

/// Where a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// In this process.
    Here,
    /// By workers, each some of its parts.
    Workers,
}

/// What reads the files of a query's tables that DataFusion does not, what DataFusion reads from if they are far, and where.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) reader: Arc<dyn TableReader>,
    /// How far that is.
    pub(crate) reading: Arc<Reading>,
    pub(crate) objects: QueryObjects,
    pub(crate) site: Site,
}

/// What these files of a table are read by. Those that DataFusion is to read are added to the others. Waits for the disk.
pub(crate) fn provider(
    table: BoundedTable,
    group: &FileGroup,
    texts: Texts,
    readers: &Files,
    by_datafusion: &mut Vec<PathBuf>,
) -> Result<Arc<dyn TableProvider>> {
    if is_plain_parquet(&table.source)
        && let Some(urls) = urls_of_parquet(&table, &group.files, &readers.objects)?
    {
        let table = parquet(&table, texts, &urls)?;
        by_datafusion.extend(group.files.iter().cloned());
        return Ok(Arc::new(table));
    }
    let table = BoundedTable { files: Some(group.files.clone()), ..table };
    let (reader, reading) = (Arc::clone(&readers.reader), Arc::clone(&readers.reading));
    let (bytes, site) = (group.bytes, readers.site);
    Ok(Arc::new(RowTable { table: Arc::new(table), reader, reading, bytes, site }))
}

/// Where files are for DataFusion, if it reads them as they were declared.
fn urls_of_parquet(table: &BoundedTable, files: &[PathBuf], objects: &QueryObjects) -> Result<Option<Vec<String>>> {
    let options = &table.source.options;
    let path = option(options, "path").unwrap_or_default();
    if let Some(named) = objects.bucket(path, options)? {
        // On a thread that may wait.
        return Handle::current().block_on(objects.parquet(&named, files, &table.columns));
    }
    if !files.iter().all(|file| holds(file, &table.columns)) {
        return Ok(None);
    }
    files.iter().map(|file| absolute(file)).collect::<Result<_>>().map(Some)
}

/// An error of Parquet says which file is broken, if that shows when they are read once more. Waits for the disk.
pub(crate) fn naming_file(error: DataFusionError, files: &[PathBuf]) -> DataFusionError {
    let is_far = |path: &PathBuf| path.to_str().is_some_and(is_url);
    if files.iter().any(is_far) {
        // They would all be fetched whole.
        let names: Vec<String> = files.iter().take(3).map(|file| file.display().to_string()).collect();
        let one_of = match files {
            [_] => names.join(""),
            [_, _] | [_, _, _] => format!("one of {}", names.join(", ")),
            _ => format!("one of {} files, which begin with {}", files.len(), names.join(", ")),
        };
        let message = format!("{one_of}: not readable as Parquet: {}", error.find_root());
        return DataFusionError::External(message.into());
    }
    let broken = files.iter().find_map(|path| {
        let reason = read_all(path).err()?;
        Some(format!("{}: not readable as Parquet: {reason}", path.display()))
    });
    broken.map_or(error, |message| DataFusionError::External(message.into()))
}

/// Whether an error is one of a Parquet file.
pub(crate) fn is_of_parquet(error: &DataFusionError) -> bool {
    if StoreError::among(error).is_some() {
        return false;
    }
    match error.find_root() {
        DataFusionError::ParquetError(_) => true,
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ParquetError(_) => true,
            ArrowError::ExternalError(error) => error.is::<ParquetError>(),
            _ => false,
        },
        DataFusionError::External(error) => error.is::<ParquetError>(),
        _ => false,
    }
}

fn read_all(path: &Path) -> std::result::Result<(), ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    Ok(reader.into_iter().try_for_each(|batch| batch.map(drop))?)
}

/// Whether a table is nothing but the columns of Parquet files.
fn is_plain_parquet(source: &SourceNode) -> bool {
    let is_parquet = source.options.iter().any(|(key, value)| key == "format" && value == "parquet");
    is_parquet && source.is_plain()
}

/// Whether a file is one that DataFusion reads as it was declared. If it is not readable, whoever reads it says so.
fn holds(path: &Path, declared: &Schema) -> bool {
    let Some(text) = path.to_str() else { return false };
    // DataFusion would take it for a pattern.
    if text.contains(['*', '?', '[']) {
        return false;
    }
    let Ok(file) = File::open(path) else { return false };
    let Ok(metadata) = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()) else { return false };
    is_as_declared(metadata.schema(), declared)
}

/// Whether a file with these columns is one that DataFusion reads as it was declared.
pub(crate) fn is_as_declared(columns: &Schema, declared: &Schema) -> bool {
    declared.fields().iter().all(|declared| match columns.field_with_name(declared.name()) {
        Ok(found) => {
            let may_lack = found.is_nullable() && !declared.is_nullable();
            !may_lack && is_same(found.data_type(), declared.data_type())
        }
        Err(_) => false,
    })
}

/// Whether each value of one type is one of another.
fn is_same(found: &DataType, declared: &DataType) -> bool {
    found == declared || found.is_string() && declared.is_string()
}

fn parquet(table: &BoundedTable, texts: Texts, urls: &[String]) -> Result<ListingTable> {
    let urls = urls.iter().map(ListingTableUrl::parse).collect::<Result<_>>()?;
    // Which files there are is known, whatever they are called.
    let options = ListingOptions::new(Arc::new(ParquetFormat::new())).with_file_extension("");
    let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options);
    let columns = match texts {
        Texts::AsDeclared => Arc::clone(&table.columns),
        Texts::Views => views::of(&table.columns),
    };
    ListingTable::try_new(config.with_schema(columns))
}

fn absolute(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).map_err(|error| DataFusionError::External(Box::new(error)))?;
    path.into_os_string().into_string().map_err(|_| DataFusionError::Execution(String::from("a path is not in UTF-8")))
}
