//! Prepared statements, and the values of their parameters.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::sql::server::PeekableFlightDataStream;
use tidemill_plans::codec::MESSAGE_BYTES_MAX;
use tidemill_plans::size::batch_bytes;
use tidemill_sql::{ParameterValue, ParsedStatement, parse_script, parse_substrait};
use tonic::Status;

use super::super::flight::to_status;
use super::incoming::Incoming;
use crate::error::{CoordinatorError, Result};

/// How often a statement may be executed at once, each time with other values.
const ROWS_MAX: usize = 10_000;

/// What has been read of a text takes so many bytes for each of its own, about.
const PARSED_BYTES: usize = 100;

/// A text that was read.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) statements: Vec<ParsedStatement>,
    /// Bytes of what they were read of.
    pub(super) read_bytes: usize,
    /// Rows of values; none have been given yet.
    pub(super) values: Option<Vec<RecordBatch>>,
}

impl Prepared {
    /// Reads a text. Parameters are those of its only statement.
    pub(super) fn read(text: &str) -> Result<Self> {
        let statements = parse_script(text).map_err(|error| CoordinatorError::Sql(Box::new(error)))?;
        if statements.is_empty() {
            return Err(refused(String::from("there is no statement")));
        }
        if statements.len() > 1 && statements.iter().any(|statement| statement.parameter_count() > 0) {
            return Err(refused(String::from("a text with parameters has one statement")));
        }
        Ok(Self { statements, read_bytes: text.len(), values: None })
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.read_bytes * PARSED_BYTES + self.values.iter().flatten().map(batch_bytes).sum::<usize>()
    }

    /// Reads a plan in Substrait.
    pub(super) fn read_plan(plan: &[u8]) -> Result<Self> {
        let statement = parse_substrait(plan).map_err(|error| CoordinatorError::Sql(Box::new(error)))?;
        Ok(Self { statements: vec![statement], read_bytes: plan.len(), values: None })
    }

    pub(super) fn parameter_count(&self) -> usize {
        self.statements.iter().map(ParsedStatement::parameter_count).sum()
    }

    /// The text for each row of values.
    pub(super) fn bound(&self) -> Result<Vec<Vec<ParsedStatement>>> {
        let count = self.parameter_count();
        if count == 0 {
            return Ok(vec![self.statements.clone()]);
        }
        let Some(values) = &self.values else {
            return Err(refused(format!("the statement has {count} parameters, which have no values yet")));
        };
        let rows: usize = values.iter().map(RecordBatch::num_rows).sum();
        if rows > ROWS_MAX {
            return Err(refused(format!("{rows} rows of values are too many at once; {ROWS_MAX} are possible")));
        }
        let Some(statement) = self.statements.first().filter(|_| rows > 0) else { return Ok(Vec::new()) };
        let lists = || values.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| values_of(batch, row)));
        let bound = match statement.bind_all(lists()) {
            Ok(Some(all)) => Ok(vec![vec![all]]),
            Ok(None) => lists().map(|values| Ok(vec![statement.bind(&values)?])).collect(),
            Err(error) => Err(error),
        };
        bound.map_err(|error| CoordinatorError::Sql(Box::new(error)))
    }
}

fn values_of(values: &RecordBatch, row: usize) -> Vec<ParameterValue<'_>> {
    values.columns().iter().map(|column| ParameterValue { array: column.as_ref(), row }).collect()
}

/// An error if the prepared statements of a user take more than they may.
pub(super) fn check_room(bytes: usize, max: usize) -> Result<()> {
    if bytes <= max { Ok(()) } else { Err(CoordinatorError::PreparedFull { bytes, max }) }
}

/// The parameters of a statement as columns.
pub(super) fn parameter_columns(types: Vec<Option<DataType>>) -> Schema {
    let field = |(place, data_type): (usize, Option<DataType>)| {
        Field::new(format!("${}", place + 1), data_type.unwrap_or(DataType::Null), true)
    };
    Schema::new(types.into_iter().enumerate().map(field).collect::<Vec<_>>())
}

/// The values that a client sends; none at all if it sends no columns.
pub(super) async fn receive(stream: PeekableFlightDataStream) -> Result<Option<Vec<RecordBatch>>, Status> {
    let mut incoming = Incoming::new(stream);
    let columns = incoming.columns().await?;
    let (mut received, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = incoming.next().await? {
        bytes += batch_bytes(&batch);
        if bytes > MESSAGE_BYTES_MAX {
            let message = format!("the values take more than {MESSAGE_BYTES_MAX} bytes; send them in parts");
            return Err(to_status(&refused(message)));
        }
        received.push(batch);
    }
    Ok((!columns.fields().is_empty()).then_some(received))
}

fn refused(message: String) -> CoordinatorError {
    CoordinatorError::Statement { message }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn texts_and_values_count() {
        let mut prepared = Prepared::read("SELECT 1 AS a").unwrap();
        assert_eq!(prepared.bytes(), 13 * PARSED_BYTES);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(5000)]));
        prepared.values = Some(vec![RecordBatch::try_from_iter([("1", text)]).unwrap()]);
        let bytes = prepared.bytes();
        assert!((6300..6600).contains(&bytes), "{bytes}");
        assert!(check_room(bytes, bytes).is_ok());
        let full = check_room(bytes + 1, bytes).unwrap_err().to_string();
        assert!(full.contains("--max-prepared-size") && full.contains(&format!("more than {bytes} bytes")), "{full}");
    }
}
