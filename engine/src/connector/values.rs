//! Rows that stand in the statement itself.

use arrow::array::RecordBatch;
use tidemill_plans::codec;
use tidemill_plans::node::SourceNode;
use tidemill_plans::values::from_options;

use super::{Source, SourceEvent};
use crate::error::{EngineError, Result};
use crate::task::TaskEnv;

/// The rows, a batch at a time.
struct Values {
    rows: RecordBatch,
    /// How many have been given out.
    given: usize,
    batch_rows: usize,
}

/// How many rows have been given out.
#[derive(bincode::Encode, bincode::Decode)]
enum Position {
    V1(u64),
}

/// Opens a source of values, which one task reads.
pub(super) fn open_source(node: &SourceNode, env: &TaskEnv) -> Result<Box<dyn Source>> {
    let rows = from_options(&node.options)?;
    let schema = rows.schema();
    let columns: Result<Vec<usize>, _> =
        node.columns.fields().iter().map(|field| schema.index_of(field.name())).collect();
    let rows = rows.project(&columns?)?;
    Ok(Box::new(Values { rows, given: 0, batch_rows: env.settings.source_batch_rows as usize }))
}

impl Source for Values {
    fn next_event(&mut self) -> Result<SourceEvent> {
        let rows = (self.rows.num_rows() - self.given).min(self.batch_rows);
        if rows == 0 {
            return Ok(SourceEvent::End);
        }
        self.given += rows;
        Ok(SourceEvent::Batch(self.rows.slice(self.given - rows, rows)))
    }

    fn position(&self) -> Result<Vec<u8>> {
        Ok(codec::encode(&Position::V1(self.given as u64))?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position::V1(given) = codec::decode(position)?;
        let behind = || EngineError::State(format!("{given} rows were read, and there are {}", self.rows.num_rows()));
        self.given = usize::try_from(given).ok().filter(|given| *given <= self.rows.num_rows()).ok_or_else(behind)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn source() -> Values {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
        Values { rows: RecordBatch::try_from_iter([("a", values)]).unwrap(), given: 0, batch_rows: 2 }
    }

    /// The sizes of the batches that are left.
    fn left(source: &mut Values) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let SourceEvent::Batch(batch) = source.next_event().unwrap() {
            sizes.push(batch.num_rows());
        }
        sizes
    }

    #[test]
    fn one_goes_on_where_another_has_been() {
        let mut first = source();
        first.next_event().unwrap();
        let position = first.position().unwrap();
        let mut second = source();
        second.seek(&position).unwrap();
        assert_eq!((left(&mut first), left(&mut second)), (vec![2, 1], vec![2, 1]));
        let end = first.position().unwrap();
        second.rows = second.rows.slice(0, 4);
        assert!(second.seek(&end).unwrap_err().to_string().contains("5 rows were read, and there are 4"));
    }
}
