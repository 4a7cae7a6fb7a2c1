//! Changelogs as JSON lines: Debezium's envelopes around rows, and keys with the last row of each.
//!
//! As Flink writes and reads them. An update is written as two envelopes, one that takes the old row
//! away and one that brings the new one, for a changelog need not say which two belong together. Lines
//! of keys follow Kafka's compacted topics, whose messages have a key, and a value or none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use tidemill_plans::change::ChangeOp::{Delete, Insert, UpdateAfter, UpdateBefore};
use tidemill_plans::change::{ChangeOp, change_array, change_column_index, change_ops, with_absent_values};

use crate::connector::changes::last_rows;
use crate::error::Result;

/// The rows of an envelope, in the order of its columns.
const SIDES: [&str; 2] = ["before", "after"];
const BEFORE: usize = 0;
const AFTER: usize = 1;

/// The objects of a line of a key.
const KEY: &str = "key";
const VALUE: &str = "value";

/// What rows are written as.
pub(super) enum Encoding {
    /// Themselves.
    Rows,
    /// A Debezium envelope a change: `{"before":…,"after":…,"op":"c"}`, or `d`.
    Debezium,
    /// The last change of each key: `{"key":…,"value":…}`, the value `null` once the row is gone.
    Upsert {
        /// The columns of the key.
        keys: Vec<usize>,
    },
}

impl Encoding {
    /// The objects to write, one a line.
    pub(super) fn encode(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::Rows => Ok(batch.clone()),
            Self::Debezium => write_envelopes(batch),
            Self::Upsert { keys } => write_upserts(batch, keys),
        }
    }

    /// Whether NULLs are written: a reader of changes must tell them from what is left out.
    pub(super) fn has_nulls(&self) -> bool {
        !matches!(self, Self::Rows)
    }
}

fn write_envelopes(batch: &RecordBatch) -> Result<RecordBatch> {
    let adds = adds(batch)?;
    let op = StringArray::from_iter_values(adds.iter().map(|adds| if adds { "c" } else { "d" }));
    let (before, after) = (rows(batch, !&adds)?, rows(batch, adds)?);
    objects([(SIDES[BEFORE], before), (SIDES[AFTER], after), ("op", Arc::new(op))])
}

fn write_upserts(batch: &RecordBatch, keys: &[usize]) -> Result<RecordBatch> {
    let batch = last_rows(batch, keys)?;
    let adds = adds(&batch)?;
    let key = rows(&batch.project(keys)?, BooleanBuffer::new_set(batch.num_rows()))?;
    objects([(KEY, key), (VALUE, rows(&batch, adds)?)])
}

/// Which rows of a changelog add.
fn adds(batch: &RecordBatch) -> Result<BooleanBuffer> {
    Ok(change_ops(batch)?.into_iter().map(ChangeOp::adds).collect())
}

/// A column of rows, without the changelog column, of which only some are there.
fn rows(batch: &RecordBatch, there: BooleanBuffer) -> Result<ArrayRef> {
    let columns = change_column_index(batch.schema_ref()).unwrap_or(batch.num_columns());
    let fields: Fields = batch.schema_ref().fields().iter().take(columns).cloned().collect();
    let columns = batch.columns()[..columns].to_vec();
    Ok(Arc::new(StructArray::try_new(fields, columns, Some(NullBuffer::new(there)))?))
}

fn objects<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?)
}

/// What an envelope around rows of `columns`, which end in the changelog column, is read as. Everything
/// in it may be missing.
pub(super) fn envelope(columns: &Schema) -> SchemaRef {
    let row = fields_that_may_lack(columns);
    let side = |name: &str| Field::new(name, DataType::Struct(row.clone()), true);
    Arc::new(Schema::new(vec![side(SIDES[BEFORE]), side(SIDES[AFTER]), Field::new("op", DataType::Utf8, true)]))
}

/// What a key of these columns with its last row, of `columns`, is read as. Everything in it may be missing.
pub(super) fn keyed_row(columns: &Schema, keys: &[usize]) -> SchemaRef {
    let row = fields_that_may_lack(columns);
    let key: Fields = keys.iter().map(|key| Arc::clone(&row[*key])).collect();
    let part = |name: &str, fields: Fields| Field::new(name, DataType::Struct(fields), true);
    Arc::new(Schema::new(vec![part(KEY, key), part(VALUE, row)]))
}

/// The columns without the changelog column.
fn fields_that_may_lack(columns: &Schema) -> Fields {
    let declared = change_column_index(columns).unwrap_or(columns.fields().len());
    columns.fields().iter().take(declared).map(|field| field.as_ref().clone().with_nullable(true)).collect()
}

/// The changes that keys with their last rows stand for: updates, and deletions, whose rows have their keys
/// alone. `refuse` takes those that stand for none.
pub(super) fn read_upserts(
    lines: &RecordBatch,
    columns: &SchemaRef,
    keys: &[usize],
    mut refuse: impl FnMut(usize, String) -> Result<()>,
) -> Result<RecordBatch> {
    let (key_columns, value_columns) = (columns.project(keys)?, without_required(columns, keys));
    let key = Side::new(lines.column(0).as_struct(), &key_columns);
    let value = Side::new(lines.column(1).as_struct(), &value_columns);
    let (mut good, mut changes) = (Vec::new(), Vec::new());
    for line in 0..lines.num_rows() {
        let is_there = value.rows.is_valid(line);
        let of_value = || if is_there { value.fault(VALUE, line) } else { None };
        match key.fault(KEY, line).or_else(of_value) {
            Some(fault) => refuse(line, fault)?,
            None => {
                good.push(line as u32);
                changes.push(if is_there { UpdateAfter } else { Delete });
            }
        }
    }
    let good = UInt32Array::from(good);
    let column = |place: usize| match keys.iter().position(|key| *key == place) {
        Some(of_key) => take(key.rows.column(of_key), &good, None),
        None => take(value.rows.column(place), &good, None),
    };
    let mut values: Vec<ArrayRef> = (0..columns.fields().len() - 1).map(column).collect::<Result<_, _>>()?;
    values.push(change_array(&changes));
    Ok(RecordBatch::try_new(with_absent_values(columns), values)?)
}

/// What a value must have: it may lack the key, which is what the line says it is.
fn without_required(columns: &Schema, keys: &[usize]) -> Schema {
    let field = |(place, field): (usize, &Arc<Field>)| {
        let may_lack = field.is_nullable() || keys.contains(&place);
        field.as_ref().clone().with_nullable(may_lack)
    };
    Schema::new(columns.fields().iter().enumerate().map(field).collect::<Vec<_>>())
}

/// The changes that envelopes stand for, as rows of `columns`; `refuse` takes those that stand for none.
pub(super) fn read_envelopes(
    envelopes: &RecordBatch,
    columns: &SchemaRef,
    mut refuse: impl FnMut(usize, String) -> Result<()>,
) -> Result<RecordBatch> {
    let sides = [BEFORE, AFTER].map(|side| Side::new(envelopes.column(side).as_struct(), columns));
    let ops = envelopes.column(2).as_string::<i32>();
    let (mut picks, mut changes) = (Vec::new(), Vec::new());
    for line in 0..envelopes.num_rows() {
        let Some(stands_for) = meaning(ops.is_valid(line).then(|| ops.value(line))) else {
            let op = if ops.is_valid(line) { format!("op is '{}'", ops.value(line)) } else { String::from("no op") };
            refuse(line, format!("{op}; an envelope has one of c, r, u, d, and no schema around it"))?;
            continue;
        };
        match stands_for.iter().find_map(|(side, _)| sides[*side].fault(SIDES[*side], line)) {
            Some(fault) => refuse(line, format!("op is '{}', but {fault}", ops.value(line)))?,
            None => {
                picks.extend(stands_for.iter().map(|(side, _)| (*side, line)));
                changes.extend(stands_for.iter().map(|(_, change)| *change));
            }
        }
    }
    let column = |index: usize| {
        let [before, after] = [BEFORE, AFTER].map(|side| sides[side].rows.column(index).as_ref());
        interleave(&[before, after], &picks)
    };
    let mut values: Vec<ArrayRef> = (0..columns.fields().len() - 1).map(column).collect::<Result<_, _>>()?;
    values.push(change_array(&changes));
    Ok(RecordBatch::try_new(Arc::clone(columns), values)?)
}

/// The rows of an envelope that change, and how; `None` if nobody knows.
fn meaning(op: Option<&str>) -> Option<&'static [(usize, ChangeOp)]> {
    match op? {
        // `r` is what was there when the log began.
        "c" | "r" => Some(&[(AFTER, Insert)]),
        "u" => Some(&[(BEFORE, UpdateBefore), (AFTER, UpdateAfter)]),
        "d" => Some(&[(BEFORE, Delete)]),
        _ => None,
    }
}

/// One of the rows of each envelope.
struct Side<'a> {
    rows: &'a StructArray,
    /// The columns that must not be NULL, by name.
    required: Vec<(&'a str, BooleanArray)>,
}

impl<'a> Side<'a> {
    fn new(rows: &'a StructArray, columns: &'a Schema) -> Self {
        let required = columns.fields().iter().zip(rows.columns()).filter(|(field, _)| !field.is_nullable());
        let required = required.filter_map(|(field, values)| {
            let there = values.logical_nulls()?;
            Some((field.name().as_str(), BooleanArray::new(there.inner().clone(), None)))
        });
        Self { rows, required: required.collect() }
    }

    /// What is wrong with a row, if anything.
    fn fault(&self, name: &str, line: usize) -> Option<String> {
        if self.rows.is_null(line) {
            let hint = if name == SIDES[BEFORE] { "; a PostgreSQL table needs REPLICA IDENTITY FULL" } else { "" };
            return Some(format!("there is no \"{name}\"{hint}"));
        }
        let missing = self.required.iter().find(|(_, there)| !there.value(line));
        missing.map(|(column, _)| format!("column '{column}' of \"{name}\" is NULL, not NOT NULL"))
    }
}
