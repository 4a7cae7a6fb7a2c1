//! What has been taken of clients that number what they push, so that what is sent again is not there twice.
//!
//! As Kafka's idempotent producers do it: a client has an id, and its batches rising numbers. The frame of a batch names
//! both, so rows and number are on disk together or not at all; the first frame of a segment has those of all clients
//! before it, in front of no rows, so that one segment is enough to know them.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;

use crate::error::Result;

/// Under which a frame's columns have the marks, as JSON.
const KEY: &str = "tidemill.marks";

/// Clients that are remembered; of more, the one goes that has pushed nothing for the longest.
const CLIENTS_MAX: usize = 1000;

/// A batch of a client that numbers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The client's id.
    pub id: String,
    /// The batch's number, greater than those of the client's batches before it.
    pub sequence: u64,
}

/// The greatest number of each client, in the order of their last batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<(String, u64)>);

impl Marks {
    /// Whether a batch has been taken already.
    #[must_use]
    pub fn has(&self, mark: &Mark) -> bool {
        self.0.iter().any(|(id, sequence)| *id == mark.id && *sequence >= mark.sequence)
    }

    /// Takes note of a batch.
    pub fn note(&mut self, mark: &Mark) {
        let before = self.0.iter().position(|(id, _)| *id == mark.id).map(|place| self.0.remove(place));
        let sequence = before.map_or(mark.sequence, |(_, before)| before.max(mark.sequence));
        self.0.push((mark.id.clone(), sequence));
        let surplus = self.0.len().saturating_sub(CLIENTS_MAX);
        self.0.drain(..surplus);
    }

    /// Whether nobody has numbered anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of all that a frame has.
    pub fn read(&mut self, frame: &RecordBatch) {
        let text = frame.schema_ref().metadata().get(KEY);
        let marks: Vec<(String, u64)> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        marks.into_iter().for_each(|(id, sequence)| self.note(&Mark { id, sequence }));
    }

    /// No rows with these columns, which carry all marks.
    pub fn without_rows(&self, columns: &Schema) -> Result<RecordBatch> {
        let none = RecordBatch::new_empty(columns.clone().into());
        carrying(&none, &self.0)
    }
}

impl Mark {
    /// Rows that carry the mark.
    pub fn on(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        carrying(rows, &[(self.id.clone(), self.sequence)])
    }
}

fn carrying(rows: &RecordBatch, marks: &[(String, u64)]) -> Result<RecordBatch> {
    let text = serde_json::to_string(marks).map_err(|error| crate::PlanError::InvalidGraph(error.to_string()))?;
    let mut schema = rows.schema_ref().as_ref().clone();
    schema.metadata.insert(KEY.to_owned(), text);
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.into(), rows.columns().to_vec(), &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: &str, sequence: u64) -> Mark {
        Mark { id: id.to_owned(), sequence }
    }

    #[test]
    fn marks_come_back_from_frames() {
        let mut marks = Marks::default();
        assert!(marks.is_empty() && !marks.has(&mark("a", 0)));
        [mark("a", 3), mark("b", 1), mark("a", 2)].iter().for_each(|mark| marks.note(mark));
        assert!(marks.has(&mark("a", 3)) && !marks.has(&mark("a", 4)) && !marks.has(&mark("c", 0)));
        let none = marks.without_rows(&Schema::empty()).unwrap();
        let mut again = Marks::default();
        again.read(&none);
        assert_eq!(again, marks);
        again.read(&mark("b", 7).on(&none).unwrap());
        assert!(again.has(&mark("b", 7)) && !marks.has(&mark("b", 7)));
        (0..CLIENTS_MAX as u64).for_each(|n| again.note(&mark(&n.to_string(), 1)));
        assert!(!again.has(&mark("a", 1)) && again.has(&mark("0", 1)));
    }
}
