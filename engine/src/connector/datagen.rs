//! Rows of made-up values, each a function of the seed, its column's name and its number.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, SchemaRef};
use tidemill_plans::connector::datagen::{GeneratedColumn, GeneratedValues, generated_columns, generated_rows};
use tidemill_plans::node::SourceNode;

use super::generated::{self, Generate, GeneratedOptions};
use super::random::{Alphabet, Field, below, letters, push_text, unit};
use super::share::Share;
use super::{Source, number};
use crate::error::Result;
use crate::task::TaskEnv;

const LETTERS: Alphabet = letters(None);

/// Opens one subtask's share of the rows.
pub(super) fn open_source(node: &SourceNode, env: &TaskEnv, share: Share) -> Result<Box<dyn Source>> {
    let rows = DatagenRows {
        columns: generated_columns(&node.options, &node.columns)?,
        seed: number(&node.options, "seed").unwrap_or(0),
        schema: Arc::clone(&node.columns.0),
    };
    let options = GeneratedOptions {
        rows: generated_rows(&node.options)?.unwrap_or(u64::MAX),
        batch_rows: u64::from(env.settings.source_batch_rows),
        rows_per_second: number(&node.options, "rows_per_second"),
        share,
    };
    Ok(generated::open(rows, &options, node))
}

struct DatagenRows {
    columns: Vec<GeneratedColumn>,
    seed: u64,
    schema: SchemaRef,
}

impl Generate for DatagenRows {
    fn rows(&self, numbers: Range<u64>) -> Result<RecordBatch> {
        let columns = self.columns.iter().zip(self.schema.fields()).map(|(column, field)| {
            let values =
                values(column.values, Field::new(self.seed, field.name()), field.data_type(), numbers.clone())?;
            let nulls = Field::new(self.seed, &format!("{}.null_rate", field.name()));
            with_nulls(values, column.null_rate, nulls, numbers.clone())
        });
        let options = RecordBatchOptions::new().with_row_count(Some((numbers.end - numbers.start) as usize));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn values(values: GeneratedValues, field: Field, data_type: &DataType, rows: Range<u64>) -> Result<ArrayRef> {
    Ok(match values {
        GeneratedValues::RandomWhole { min, max } => {
            let count = max.abs_diff(min).saturating_add(1);
            wholes(data_type, rows, |row| min.wrapping_add_unsigned(below(field.at(row), count)))
        }
        GeneratedValues::Sequence { start, step } => {
            let value = |row: u64| start.saturating_add(step.saturating_mul(row as i64));
            if *data_type == DataType::Utf8 {
                return Ok(Arc::new(StringArray::from_iter_values(rows.map(|row| value(row).to_string()))));
            }
            wholes(data_type, rows, value)
        }
        GeneratedValues::RandomFloat { min, max } => {
            Arc::new(Float64Array::from_iter_values(rows.map(|row| min + unit(field.at(row)) * (max - min))))
        }
        GeneratedValues::RandomBoolean => {
            let values: BooleanBuffer = rows.map(|row| field.at(row) & 1 == 1).collect();
            Arc::new(BooleanArray::new(values, None))
        }
        GeneratedValues::RandomText { length } => texts(field, length, rows)?,
    })
}

fn wholes(data_type: &DataType, rows: Range<u64>, value: impl Fn(u64) -> i64) -> ArrayRef {
    match data_type {
        DataType::Int32 => {
            let narrow = |value: i64| i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX });
            Arc::new(Int32Array::from_iter_values(rows.map(|row| narrow(value(row)))))
        }
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(rows.map(value))),
        _ => Arc::new(TimestampMicrosecondArray::from_iter_values(rows.map(value))),
    }
}

fn texts(field: Field, length: usize, rows: Range<u64>) -> Result<ArrayRef> {
    let count = (rows.end - rows.start) as usize;
    let mut text = Vec::with_capacity(count * length);
    for row in rows {
        push_text(&mut text, &mut field.draws(row), length, &LETTERS);
    }
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(length, count));
    Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(text), None)?))
}

fn with_nulls(values: ArrayRef, null_rate: f64, field: Field, rows: Range<u64>) -> Result<ArrayRef> {
    if null_rate == 0.0 {
        return Ok(values);
    }
    let absent: BooleanBuffer = rows.map(|row| unit(field.at(row)) < null_rate).collect();
    let nulls = new_null_array(values.data_type(), values.len());
    Ok(zip(&BooleanArray::new(absent, None), &nulls, &values)?)
}

#[cfg(test)]
mod tests {
    use tidemill_plans::expr::StreamSchema;
    use tidemill_plans::ids::{JobId, OperatorId};
    use tidemill_plans::settings::Settings;

    use super::*;
    use crate::connector::SourceEvent;
    use crate::connector::positions::check_positions;
    use crate::metrics::OperatorStats;
    use crate::testing::graph::schema;
    use crate::testing::{show_rows, test_env};

    fn read(options: &[(&str, &str)], columns: &str, batch_rows: u32, parallelism: u32) -> Vec<String> {
        let node = SourceNode {
            table: String::from("t"),
            connector: String::from("datagen"),
            options: options.iter().map(|(key, value)| (String::from(*key), String::from(*value))).collect(),
            declared: Vec::new(),
            columns: StreamSchema(schema(columns)),
            projection: Vec::new(),
            event_time: None,
            upsert_key: Vec::new(),
        };
        let settings = Settings { source_batch_rows: batch_rows, ..Settings::default() };
        let env = TaskEnv { settings, ..test_env().unwrap() };
        let mut rows = Vec::new();
        for subtask in 0..parallelism {
            let mut source = open_source(&node, &env, Share { subtask, parallelism }).unwrap();
            while let SourceEvent::Batch(batch) = source.next_event().unwrap() {
                rows.extend(show_rows(&batch).unwrap().lines().map(String::from));
            }
        }
        rows.sort();
        rows
    }

    #[test]
    fn sequences_count_and_end() {
        let options = [("fields.n.kind", "sequence"), ("fields.n.start", "5"), ("fields.n.end", "7")];
        let options = [&options[..], &[("fields.k.kind", "sequence"), ("fields.t.step", "1s")]].concat();
        let rows = read(&options, "n:int k:text t:time!", 2, 1);
        assert_eq!(rows, ["5 0 @1700000000", "6 1 @1700000001", "7 2 @1700000002"]);
    }

    #[test]
    fn rows_go_on_behind_those_that_were_made() {
        let node = SourceNode {
            table: String::from("t"),
            connector: String::from("datagen"),
            options: vec![(String::from("rows"), String::from("50"))],
            declared: Vec::new(),
            columns: StreamSchema(schema("n:int")),
            projection: Vec::new(),
            event_time: None,
            upsert_key: Vec::new(),
        };
        let open = |subtask, batch_rows| {
            let settings = Settings { source_batch_rows: batch_rows, ..Settings::default() };
            let env = TaskEnv { settings, ..test_env().unwrap() };
            open_source(&node, &env, Share { subtask, parallelism: 3 }).unwrap()
        };
        for subtask in 0..3 {
            let counters = || Arc::new(OperatorStats::new(JobId(1), OperatorId(0), 0));
            check_positions(|| (open(subtask, 7), counters()));
        }
        let position = open(0, 7).position().unwrap();
        let error = open(0, 8).seek(&position).unwrap_err().to_string();
        assert!(error.ends_with("rows were made 7 at a time by 3 subtasks, and are now 8 by 3"), "{error}");
    }

    #[test]
    fn any_split_gives_the_same_rows_within_their_bounds() {
        let options = [("rows", "1000"), ("fields.n.min", "-3"), ("fields.n.max", "3"), ("fields.f.null_rate", "0.3")];
        let columns = "n:int f:float k:text b:bool t:time";
        let whole = read(&options, columns, 5000, 1);
        assert_eq!(whole, read(&options, columns, 7, 3));
        assert_eq!(whole.len(), 1000);
        let numbers: std::collections::BTreeSet<&str> = whole.iter().filter_map(|row| row.split(' ').next()).collect();
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), ["-1", "-2", "-3", "0", "1", "2", "3"]);
        let nulls = whole.iter().filter(|row| row.split(' ').nth(1) == Some("-")).count();
        assert!((240..360).contains(&nulls), "{nulls}");
        assert_ne!(whole, read(&[&options[..], &[("seed", "1")]].concat(), columns, 7, 3));
    }
}
