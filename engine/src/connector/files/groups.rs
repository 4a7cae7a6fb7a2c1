//! The files of a table that is read as a whole, those together that are read alike: folders say what some columns are, and
//! files may lack columns that others of the table have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use tidemill_plans::batch::{BoundedTable, FileGroup};
use tidemill_plans::partitions::{partition_columns, partition_values};

use super::columns::columns_of_file;
use super::listing::Listing;
use super::required;
use crate::error::{EngineError, Result};

/// The groups, in the order of their first files.
pub(crate) fn groups_of(table: &BoundedTable) -> Result<Vec<FileGroup>> {
    let options = &table.source.options;
    let (path, format) = (required(options, "path")?, required(options, "format")?);
    let partitions = partition_columns(options);
    let files = Listing::in_folders(path, format, partitions.len())?.files;
    let said: BTreeSet<usize> =
        partitions.iter().map(|name| table.columns.index_of(name)).collect::<std::result::Result<_, _>>()?;
    let lacking = lacking(table, &files, format, &said);
    let mut groups: Vec<FileGroup> = Vec::new();
    for (file, missing) in files.into_iter().zip(lacking) {
        let partition = partition(table, &file, &partitions)?;
        match groups.iter_mut().find(|group| group.partition == partition && group.missing == missing) {
            Some(group) => group.files.push(file),
            None => groups.push(FileGroup { files: vec![file], partition, missing }),
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
fn lacking(table: &BoundedTable, files: &[PathBuf], format: &str, said: &BTreeSet<usize>) -> Vec<Vec<usize>> {
    // A line of JSON says which columns it has.
    if files.len() < 2 || format == "json" || !table.source.is_plain() {
        return vec![Vec::new(); files.len()];
    }
    // What cannot be read, whoever reads it says better.
    let schemas: Vec<Option<Schema>> =
        files.iter().map(|file| columns_of_file(file, format, &table.source.options).ok()).collect();
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
