//! What is still to be done of rows that came, or of a watermark: a slice of output at a time.

use std::collections::VecDeque;

use arrow::array::RecordBatch;

use super::side::Arrival;
use super::{CHUNK_ROWS, IntervalJoin};
use crate::error::Result;
use crate::operator::held_rows::Place;
use crate::task::OperatorContext;

/// See the [module](self).
pub(super) enum Rest {
    Nothing,
    /// Rows that came on a port, from this one on.
    Arrival {
        port: usize,
        arrival: Box<Arrival>,
        next: usize,
    },
    /// A watermark: rows of a port that will have no partner, then those of the next port.
    RuledOut {
        port: usize,
        rows: RuledOut,
    },
}

/// Rows that will have no partner.
pub(super) struct RuledOut {
    /// Those that were on disk.
    read: VecDeque<RecordBatch>,
    /// Those that are held, and the first of them that is still to be emitted.
    held: (Vec<Place>, usize),
}

impl Rest {
    /// Bytes of what is in memory for this alone.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Arrival { .. } => 0,
            Self::RuledOut { rows, .. } => rows.read.iter().map(RecordBatch::get_array_memory_size).sum(),
        }
    }
}

impl IntervalJoin {
    /// The rows of a side that the watermarks rule out.
    pub(super) fn ruled_out(&mut self, port: usize) -> Result<Rest> {
        let other = self.sides[1 - port].watermark;
        let read = self.sides[port].take_due(other)?.into();
        let held = (self.sides[port].take_ruled_out(other), 0);
        Ok(Rest::RuledOut { port, rows: RuledOut { read, held } })
    }

    /// Emits the next slice of what is still to be done, if there is one.
    pub(super) fn go_on(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Nothing => Ok(()),
            Rest::Arrival { port, mut arrival, mut next } => {
                self.probe(port, &mut arrival, &mut next, ctx)?;
                if next < arrival.batch.num_rows() {
                    self.rest = Rest::Arrival { port, arrival, next };
                    return Ok(());
                }
                self.settle(port, *arrival, ctx)?;
                self.spill()
            }
            Rest::RuledOut { port, rows } => self.emit_ruled_out(port, rows, ctx),
        }
    }

    fn emit_ruled_out(&mut self, port: usize, mut rows: RuledOut, ctx: &mut OperatorContext) -> Result<()> {
        if let Some(slice) = self.next_ruled_out(port, &mut rows)? {
            ctx.emit(self.without_partner(port, &slice)?);
            self.rest = Rest::RuledOut { port, rows };
            return Ok(());
        }
        let other = self.sides[1 - port].watermark;
        self.sides[port].clean_up(other)?;
        if port + 1 < self.sides.len() {
            self.rest = self.ruled_out(port + 1)?;
            return self.go_on(ctx);
        }
        self.spill()?;
        ctx.emit_watermark(self.output_watermark());
        Ok(())
    }

    fn next_ruled_out(&self, port: usize, rows: &mut RuledOut) -> Result<Option<RecordBatch>> {
        if let Some(read) = rows.read.pop_front() {
            return Ok(Some(read));
        }
        let (places, next) = &mut rows.held;
        let slice = &places[*next..places.len().min(*next + CHUNK_ROWS)];
        *next += slice.len();
        if slice.is_empty() { Ok(None) } else { self.sides[port].gather(slice).map(Some) }
    }
}
