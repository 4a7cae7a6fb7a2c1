//! Sessions whose rows have no room in memory: those that have got none lately go to disk, and of those the ones that
//! end last first. They come back when their session closes.
//!
//! What is known of a session stays: whether a row belongs to it, and when it ends.

use std::cmp::Reverse;
use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use super::snapshot::id_of;
use super::{Session, Sessions};
use crate::error::Result;
use crate::operator::held_rows::{HeldRows, Place};
use crate::state::StateMemory;
use crate::state::spill::{BatchesView, Layout, Part, SpilledBatches, TakenRows, with_keys};

/// Rows that are written, and read as state, at a time, but for those of one session. Tests want to see several batches.
const SPILLED_ROWS: usize = if cfg!(test) { 4 } else { 1 << 15 };

/// Where rows go: chunks of those of a session, by number.
pub(super) struct Spilling {
    pub(super) memory: StateMemory,
    rows: SpilledBatches,
    next_chunk: u64,
}

/// Rows that go together: their places, and the chunk of each.
#[derive(Default)]
struct Going {
    places: Vec<Place>,
    chunks: Vec<u64>,
}

impl Spilling {
    pub(super) fn new(memory: &StateMemory) -> Self {
        let rows = SpilledBatches::new(memory.scratch.clone(), Layout::OneRun, 1);
        Self { memory: memory.clone(), rows, next_chunk: 0 }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }

    /// Takes the rows of chunks out.
    pub(super) fn take(&mut self, chunks: Vec<u64>) -> Result<Option<TakenRows>> {
        let chunks: ArrayRef = Arc::new(UInt64Array::from(chunks));
        if chunks.is_empty() { Ok(None) } else { self.rows.take(&[chunks]) }
    }

    /// The rows that are here, or one part of them.
    pub(super) fn view(&self, only: Option<Part>) -> Option<BatchesView> {
        Some(self.rows.view(only, SPILLED_ROWS)?.without_keys())
    }

    /// A snapshot has all of them.
    pub(super) fn note_written(&mut self) {
        self.rows.note_written();
    }

    fn put(&mut self, part: Part, going: Going, held: &HeldRows) -> Result<()> {
        let rows = held.gather(&going.places)?;
        let schema = Arc::new(Schema::new(vec![Field::new("chunk", DataType::UInt64, false)]));
        let batch = with_keys(&schema, &[Arc::new(UInt64Array::from(going.chunks))], &rows)?;
        self.rows.put(part, &batch, &vec![0; batch.num_rows()])
    }
}

impl Sessions {
    /// Has the rows of some sessions go, if there is no room for all of them.
    pub(super) fn make_room(&mut self) -> Result<()> {
        if self.excess().is_none() {
            return Ok(());
        }
        self.compact()?;
        let Some(excess) = self.excess() else { return Ok(()) };
        let rows = self.held.rows() * excess / self.held_bytes().max(1) + 1;
        self.put_away(rows)?;
        self.compact()
    }

    /// How many bytes have to go.
    fn excess(&self) -> Option<usize> {
        let beside = self.spilling.memory_bytes() + self.waiting.bytes();
        self.spilling.memory.excess(self.held_bytes(), beside)
    }

    /// Has so many rows go, or some more: those of whole sessions.
    fn put_away(&mut self, rows: usize) -> Result<()> {
        let mut coldest: Vec<&mut Session> = self.by_key.values_mut().flatten().collect();
        coldest.retain(|session| !session.rows.is_empty());
        coldest.sort_unstable_by_key(|session| (session.touched, Reverse(session.last), session.number));
        let first_new = self.written.first_new();
        let mut going = [Part::Written, Part::Unwritten].map(|part| (part, Going::default()));
        let mut gone = 0;
        for session in &mut coldest {
            if gone >= rows {
                break;
            }
            gone += session.rows.len();
            let places = std::mem::take(&mut session.rows).into_iter();
            let (new, written): (Vec<Place>, Vec<Place>) =
                places.partition(|place| id_of(&self.held, *place) >= first_new);
            for ((part, going), places) in going.iter_mut().zip([written, new]) {
                if places.is_empty() {
                    continue;
                }
                session.away.push(self.spilling.next_chunk);
                session.away_rows += places.len();
                going.chunks.extend(repeat_n(self.spilling.next_chunk, places.len()));
                going.places.extend(places);
                self.spilling.next_chunk += 1;
                if going.places.len() >= SPILLED_ROWS {
                    self.spilling.put(*part, std::mem::take(going), &self.held)?;
                }
            }
        }
        coldest.into_iter().for_each(|session| session.touched = false);
        for (part, going) in going.into_iter().filter(|(_, going)| !going.places.is_empty()) {
            self.spilling.put(part, going, &self.held)?;
        }
        Ok(())
    }
}
