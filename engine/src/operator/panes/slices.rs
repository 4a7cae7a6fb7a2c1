//! Windows that have a part on disk, a slice after another: the keys whose hashes are in one range, of all panes.
//!
//! A pane's rows on disk are in the order of those hashes, so a slice is a stretch of each pane's rows, and all that is
//! of a key is in one slice. In memory is one slice at a time.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::Int64Type;
use tidemill_plans::node::TimeWindow;

use super::{Dictionary, Panes, Partial, WindowParts};
use crate::error::Result;
use crate::operator::groups::named;
use crate::state::spill::BatchesView;

/// Groups of a slice, more or less, with much memory. Tests want to see several.
const SLICE_GROUPS: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// See the [module](self).
pub(in crate::operator) struct Slices {
    window: TimeWindow,
    panes: Vec<i64>,
    /// What was on disk when the window closed.
    view: Option<BatchesView>,
    slices: u64,
    next: u64,
}

/// Keys that somebody asks for.
pub(in crate::operator) struct Asked {
    /// Their numbers, which grow.
    numbers: Vec<u32>,
    keys: Vec<ArrayRef>,
}

impl Asked {
    /// For keys of these numbers, each with a row of `keys` that has it.
    pub(in crate::operator) fn new(rows: &BTreeMap<u32, u32>, keys: &[ArrayRef]) -> Result<Self> {
        let picks = UInt32Array::from_iter_values(rows.values().copied());
        Ok(Self { numbers: rows.keys().copied().collect(), keys: take_arrays(keys, &picks, None)? })
    }
}

impl Panes {
    /// Whether a part of a window is on disk.
    pub(in crate::operator) fn is_away(&self, window: TimeWindow) -> bool {
        self.panes.range(window.start..window.end).any(|(_, pane)| pane.away_rows > 0)
    }

    /// A window, slice by slice. What it has in memory goes to disk, too, for it to be in order.
    pub(in crate::operator) fn slices(&mut self, window: TimeWindow) -> Result<Slices> {
        let panes: Vec<i64> = self.panes.range(window.start..window.end).map(|(start, _)| *start).collect();
        panes.iter().try_for_each(|start| self.put_away(*start))?;
        self.spilling.flush()?;
        let groups: usize = self.panes.range(window.start..window.end).map(|(_, pane)| pane.away_rows).sum();
        let bytes = self.spilling.disk_bytes() as usize / self.spilling.len().max(1);
        let slices = groups.div_ceil(self.spilling.memory().rows_at_once(SLICE_GROUPS, bytes)) as u64;
        Ok(Slices { window, panes, view: self.spilling.view(None), slices, next: 0 })
    }

    /// The next slice, which has some groups.
    pub(in crate::operator) fn next_slice(&self, slices: &mut Slices) -> Result<Option<WindowParts>> {
        let Some(view) = &slices.view else { return Ok(None) };
        while slices.next < slices.slices {
            let hashes = slice_hashes(slices.next, slices.slices);
            slices.next += 1;
            let mut dictionary = Dictionary::new(&self.key_schema)?;
            let mut parts = Vec::new();
            for start in &slices.panes {
                for (_, groups) in self.partials(&view.at(*start, hashes.clone())?)? {
                    let numbers = dictionary.number(groups.keys(), groups.rows())?;
                    parts.push(Arc::new(Partial { groups, numbers }));
                }
            }
            if !parts.is_empty() {
                return Ok(Some(WindowParts { window: slices.window, parts, keys: dictionary.len() }));
            }
        }
        Ok(None)
    }

    /// Puts what a slice has into one piece, in the place of the window's panes, which have been dropped: only windows
    /// with the same start may follow. The parts are then that one.
    pub(in crate::operator) fn collapse_slice(&mut self, of: &mut WindowParts) -> Result<()> {
        let merged = self.merged(of)?;
        let number = self.new_piece();
        self.put_piece((of.window.start, number), false, &merged.groups)?;
        self.spilling.flush()?;
        of.parts = vec![merged];
        Ok(())
    }

    /// Drops the panes of a window.
    pub(in crate::operator) fn drop_window(&mut self, window: TimeWindow) -> Result<()> {
        let starts: Vec<i64> = self.panes.range(window.start..window.end).map(|(start, _)| *start).collect();
        starts.into_iter().try_for_each(|start| self.drop_pane(start))
    }

    /// What has come for some keys of a window.
    pub(in crate::operator) fn parts_of(&mut self, window: TimeWindow, asked: &Asked) -> Result<WindowParts> {
        self.seal(window)?;
        let view = if self.is_away(window) { self.spilling.view(None) } else { None };
        let mut parts = Vec::new();
        for (start, pane) in self.panes.range(window.start..window.end) {
            if let Some(view) = view.as_ref().filter(|_| pane.away_rows > 0) {
                parts.extend(self.found(view, *start, asked)?);
            }
            for piece in &pane.pieces {
                parts.push(Arc::new(piece.partial.only(&asked.numbers)?));
            }
        }
        Ok(WindowParts { window, parts, keys: self.numbered() })
    }

    /// What a pane has of some keys on disk.
    fn found(&self, view: &BatchesView, start: i64, asked: &Asked) -> Result<Vec<Arc<Partial>>> {
        let (places, rows) = view.find(start, &asked.keys)?;
        let pieces = named(&rows, "partial")?.as_primitive::<Int64Type>();
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_by_key(|row| pieces.value(*row as usize));
        let mut numbers = order.iter().map(|row| asked.numbers[places[*row as usize]]);
        let partials = self.partials(&rows)?.into_iter();
        let partial = |(_, groups): (_, super::PartialGroups)| {
            let numbers = numbers.by_ref().take(groups.rows()).collect();
            Arc::new(Partial { groups, numbers })
        };
        Ok(partials.map(partial).collect())
    }
}

/// The hashes of one of so many slices.
pub(in crate::operator) fn slice_hashes(slice: u64, slices: u64) -> RangeInclusive<u64> {
    let start = |slice: u64| (u128::from(slice) << 64) / u128::from(slices);
    start(slice) as u64..=(start(slice + 1) - 1) as u64
}
