//! The rows of sessions that have closed.

use std::iter::repeat_n;

use arrow::array::{RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};

use super::{Session, Sessions};
use crate::error::Result;
use crate::operator::held_rows::Place;
use crate::operator::state_rows::take_note;
use crate::state::spill::TakenRows;

/// Rows of sessions that are put together at a time, but for those of one. Tests want to see several parts.
const CLOSE_ROWS: usize = if cfg!(test) { 4 } else { 1 << 15 };

impl Sessions {
    /// Whether there are sessions that have closed and have not been taken.
    pub(in crate::operator) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Takes the first of those that have closed, as many as are worth closing together.
    pub(in crate::operator) fn take_closed(&mut self) -> Vec<Session> {
        let mut rows = 0;
        let is_more = |session: &&Session| {
            let is_more = rows == 0 || rows + session.len() <= CLOSE_ROWS;
            rows += session.len();
            is_more
        };
        let part = self.closed.iter().take_while(is_more).count();
        self.closed.drain(..part).collect()
    }

    /// The rows of sessions that have closed, session by session. They are gone then.
    pub(in crate::operator) fn close(&mut self, sessions: &[Session]) -> Result<RecordBatch> {
        let places: Vec<Place> = sessions.iter().flat_map(|session| &session.rows).copied().collect();
        let mut rows = self.held.gather(&places)?;
        let mut of: Vec<usize> =
            sessions.iter().enumerate().flat_map(|(at, session)| repeat_n(at, session.rows.len())).collect();
        let away =
            sessions.iter().enumerate().flat_map(|(at, session)| session.away.iter().map(move |away| (*away, at)));
        let (chunks, owners): (Vec<u64>, Vec<usize>) = away.unzip();
        if let Some(TakenRows { rows: taken, places: chunks, .. }) = self.spilling.take(chunks)? {
            of.extend(chunks.into_iter().map(|chunk| owners[chunk]));
            rows = concat_batches(&rows.schema(), [&rows, &taken])?;
        }
        let (_, ids) = take_note::<UInt64Array>(&rows)?;
        let mut order: Vec<u32> = (0..of.len() as u32).collect();
        let place = |row: &u32| (of[*row as usize], ids.value(*row as usize));
        if !order.is_sorted_by_key(place) {
            order.sort_unstable_by_key(place);
            rows = take_record_batch(&rows, &UInt32Array::from(order))?;
        }
        self.rows -= rows.num_rows();
        self.written.note_gone(&rows, &self.keys, self.rows)?;
        Ok(rows.project(&(0..rows.num_columns() - 1).collect::<Vec<_>>())?)
    }
}
