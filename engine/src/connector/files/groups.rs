//! The files of a table that is read as a whole, those together that are read alike: folders say what some columns are, and
//! files may lack columns that others of the table have.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::datatypes::Schema;
use tidemill_plans::batch::{BoundedTable, FileGroup};
use tidemill_plans::partitions::{partition_columns, partition_values};

use super::columns::columns_of_file;
use super::listing::Listing;
use super::medium::{Buckets, FileAt};
use super::required;
use crate::error::{EngineError, Result};

/// Files in a bucket that are looked at at the same time.
const ASKED_MAX: usize = 16;

/// The groups, in the order of their first files.
pub(crate) fn groups_of(table: &BoundedTable, buckets: &Buckets) -> Result<Vec<FileGroup>> {
    let options = &table.source.options;
    let (path, format) = (required(options, "path")?, required(options, "format")?);
    let (medium, path) = buckets.medium(path, options)?;
    let partitions = partition_columns(options);
    let files = Listing::in_folders(&medium, path, format, partitions.len())?.files;
    let said: BTreeSet<usize> =
        partitions.iter().map(|name| table.columns.index_of(name)).collect::<std::result::Result<_, _>>()?;
    let lacking = lacking(table, &medium.files(&files), format, &said);
    let mut groups: Vec<FileGroup> = Vec::new();
    for (file, missing) in files.into_iter().zip(lacking) {
        let partition = partition(table, &file, &partitions)?;
        let bytes = medium.file(file.as_path()).size()?;
        match groups.iter_mut().find(|group| group.partition == partition && group.missing == missing) {
            Some(group) => {
                group.files.push(file);
                group.bytes += bytes;
            }
            None => groups.push(FileGroup { files: vec![file], partition, missing, bytes }),
        }
    }
    Ok(groups)
}

/// What the folders of a file say.
fn partition(table: &BoundedTable, file: &Path, columns: &[String]) -> Result<Vec<(usize, Option<String>)>> {
    let wrong = || EngineError::Format {
        path: file.to_path_buf(),
        reason: format!(
            "its folders are not called {}",
            columns.iter().map(|name| format!("{name}=…/")).collect::<String>()
        ),
    };
    let values = partition_values(file, columns.len()).ok_or_else(wrong)?;
    let place = |((said, value), name): ((String, Option<String>), &String)| match said == *name {
        true => Ok((table.columns.index_of(name)?, value)),
        false => Err(wrong()),
    };
    values.into_iter().zip(columns).map(place).collect()
}

/// For each file the columns that it lacks and another has. What no file has is an error of whoever reads it.
fn lacking(table: &BoundedTable, files: &[FileAt], format: &str, said: &BTreeSet<usize>) -> Vec<Vec<usize>> {
    // A line of JSON says which columns it has.
    if files.len() < 2 || format == "json" || !table.source.is_plain() {
        return vec![Vec::new(); files.len()];
    }
    // What cannot be read, whoever reads it says better.
    let schemas = schemas(files, format, &table.source.options);
    let has = |schema: &Option<Schema>, column: usize| {
        schema.as_ref().is_none_or(|schema| schema.index_of(table.columns.field(column).name()).is_ok())
    };
    let may_lack = |column: &usize| table.columns.field(*column).is_nullable() && !said.contains(column);
    let somewhere: Vec<usize> = (0..table.columns.fields().len())
        .filter(may_lack)
        .filter(|column| schemas.iter().any(|schema| schema.is_some() && has(schema, *column)))
        .collect();
    let of = |schema| somewhere.iter().copied().filter(|column| !has(schema, *column)).collect();
    schemas.iter().map(of).collect()
}

/// What columns each file has, if it can be read. Those that are far are asked several at a time.
fn schemas(files: &[FileAt], format: &str, options: &[(String, String)]) -> Vec<Option<Schema>> {
    let of_files = |files: &[FileAt]| -> Vec<Option<Schema>> {
        files.iter().map(|file| columns_of_file(file, format, options).ok()).collect()
    };
    if !files.first().is_some_and(FileAt::is_far) {
        return of_files(files);
    }
    let part = files.len().div_ceil(ASKED_MAX).max(1);
    std::thread::scope(|threads| {
        let asked: Vec<_> = files.chunks(part).map(|files| threads.spawn(move || of_files(files))).collect();
        let answers = asked.into_iter().zip(files.chunks(part));
        // What cannot be read, whoever reads it says better.
        answers
            .flat_map(|(asked, files)| asked.join().unwrap_or_else(|_| files.iter().map(|_| None).collect()))
            .collect()
    })
}
