//! Open sessions as their rows, with the number of the session behind the columns.
//!
//! The order of a session's rows, and of the sessions of a key, is kept: a row that joins two sessions puts
//! the rows of one behind those of the other, and sums of floats show it.

use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, Schema, UInt64Type};
use tidemill_plans::time::event_times;

use super::{Session, Sessions, key_of};
use crate::error::Result;
use crate::operator::held_rows::Place;
use crate::state::{Belongs, StateReader, StateWriter};

/// Rows written at a time, but for those of one session. Tests want to see several batches.
const BATCH_ROWS: usize = if cfg!(test) { 3 } else { 1 << 16 };

impl Sessions {
    /// Writes everything.
    pub(in crate::operator) fn snapshot(&self, state: &mut StateWriter<'_>) -> Result<()> {
        let belongs = Belongs::ToKeys(self.keys.clone());
        state.value("watermark", &self.watermark)?;
        self.waiting.snapshot(belongs.clone(), &mut state.part("waiting"));
        let mut keys: Vec<&Vec<Session>> = self.by_key.values().collect();
        keys.sort_unstable_by_key(|sessions| sessions.first().map(|session| session.number));
        let (mut batches, mut batch, mut rows) = (Vec::new(), Vec::new(), 0);
        for session in keys.into_iter().flatten() {
            batch.push(session);
            rows += session.len();
            if rows >= BATCH_ROWS {
                batches.push(self.session_rows(&std::mem::take(&mut batch))?);
                rows = 0;
            }
        }
        batches.push(self.session_rows(&batch)?);
        state.rows("sessions", belongs, batches);
        Ok(())
    }

    /// The rows of sessions, session by session, with the session's number.
    fn session_rows(&self, sessions: &[&Session]) -> Result<RecordBatch> {
        let places: Vec<Place> = sessions.iter().flat_map(|session| &session.rows).copied().collect();
        let rows = self.held.gather(&places)?;
        let numbers = sessions.iter().flat_map(|session| repeat_n(session.number, session.len()));
        let number = Arc::new(Field::new("session", DataType::UInt64, false));
        let fields: Vec<_> = rows.schema().fields().iter().cloned().chain([number]).collect();
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from_iter_values(numbers)) as ArrayRef);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Takes up what was written.
    pub(in crate::operator) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        if let Some(least) = state.values("watermark")?.into_iter().min() {
            self.watermark = least;
        }
        self.waiting.restore(&state.part("waiting"))?;
        let mut found = Vec::new();
        for batch in state.rows("sessions")? {
            self.read_sessions(&batch, &mut found)?;
        }
        self.open(found);
        Ok(())
    }

    /// Holds the rows of a batch; adds its sessions, each with its key. A session is never parted between
    /// batches.
    fn read_sessions(&mut self, batch: &RecordBatch, found: &mut Vec<(Box<[u8]>, Session)>) -> Result<()> {
        let columns = batch.num_columns() - 1;
        let rows = batch.project(&(0..columns).collect::<Vec<_>>())?;
        let numbers = batch.column(columns).as_primitive::<UInt64Type>().values();
        let keys = self.key_rows(&rows)?;
        let times = event_times(rows.column(self.time))?;
        let held = self.held.push(rows);
        let mut start = 0;
        for same in numbers.chunk_by(|a, b| a == b) {
            let own = times.slice(start, same.len());
            let rows = (start..start + same.len()).map(|row| (held, row as u32)).collect();
            let (first, last) = (min(&own).unwrap_or_default(), max(&own).unwrap_or_default());
            found.push((Box::from(key_of(&keys, start)), Session { number: same[0], first, last, rows }));
            start += same.len();
        }
        Ok(())
    }

    /// Opens sessions, numbered anew in the order of their numbers: several instances had the same ones.
    fn open(&mut self, mut found: Vec<(Box<[u8]>, Session)>) {
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|place| found[*place].1.number);
        for place in order {
            self.next += 1;
            found[place].1.number = self.next;
        }
        for (key, session) in found {
            self.by_end.insert(session.end(self.gap), key.clone());
            self.by_key.entry(key).or_default().push(session);
        }
    }
}
