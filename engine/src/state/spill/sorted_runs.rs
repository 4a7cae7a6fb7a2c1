//! A store of runs: each put writes one, and runs of like size are put together.
//!
//! What makes it simpler, and quicker, than a key-value store at large is that a key is in one run at most: it is
//! put when it leaves an operator's memory, and taken when it comes back there; or in any number of runs, if whoever
//! takes it looks into all of them. So nothing shadows anything, what is taken leaves no tombstone, and a view of the
//! store is the list of its runs. Where entries are found by their stamps, runs are in the order of these first: all that
//! is of a stamp is one stretch of each run, and of that stretch, in the order of hashes, keys are another.

use std::hash::BuildHasher;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use datafusion::common::hash_utils::RandomState;

use super::backend::{Dropped, Entry, Layout, Part, StateBackend, StateScan, StateView};
use super::run::{BlockBuffer, Cursor, Order, Run, RunView, RunWriter, merge};
use super::scratch::ScratchFolder;
use super::sizes::of_like_size;
use crate::error::Result;

/// See the [module](self).
pub(crate) struct SortedRuns {
    folder: ScratchFolder,
    layout: Layout,
    hasher: RandomState,
    runs: Vec<Run>,
    buffer: BlockBuffer,
}

impl SortedRuns {
    /// An empty store, whose files are in this folder.
    pub(crate) fn new(folder: ScratchFolder, layout: Layout) -> Self {
        Self { folder, layout, hasher: RandomState::default(), runs: Vec::new(), buffer: BlockBuffer::default() }
    }

    /// The places of entries in their order, behind these.
    fn in_order(&self, entries: &[Entry<'_>]) -> Vec<(Order, u32)> {
        let mut places: Vec<(Order, u32)> =
            entries.iter().zip(0..).map(|(entry, place)| (order(*entry, self.layout, &self.hasher), place)).collect();
        places.sort_unstable();
        places
    }

    /// Keys in the order in which they are looked for, each with its place.
    fn wanted(&self, keys: &[&[u8]]) -> Vec<(Order, u32)> {
        debug_assert!(self.layout != Layout::ByStamp, "keys are in the order of their hashes");
        self.in_order(&keys.iter().map(|key| Entry { key, stamp: 0, value: &[] }).collect::<Vec<_>>())
    }

    /// Shows the entries of these keys, each behind its key's place in `keys`. They stay.
    pub(super) fn find(&self, keys: &[&[u8]], found: &mut dyn FnMut(usize, Entry<'_>)) -> Result<()> {
        let wanted = self.wanted(keys);
        for run in &self.runs {
            let mut buffer = BlockBuffer::default();
            for (order, place) in wanted.iter().filter(|(order, _)| run.may_hold(order.1)) {
                let at = *place as usize;
                run.find(*order, keys[at], &mut buffer, &mut |_, entry| found(at, entry))?;
            }
        }
        Ok(())
    }

    /// Does a bounded part of what keeps runs few, and few of their bytes wasted.
    fn tidy_up(&mut self) -> Result<()> {
        self.runs.retain(|run| run.live > 0);
        let chosen = [Part::Written, Part::Unwritten].map(|part| (part, self.to_be_merged(part)));
        let Some((part, chosen)) = chosen.into_iter().find(|(_, chosen)| !chosen.is_empty()) else { return Ok(()) };
        let mut numbers = 0..;
        let merged: Vec<Run> =
            self.runs.extract_if(.., |_| numbers.next().is_some_and(|number| chosen.contains(&number))).collect();
        let merged = merge(&self.folder, part, &merged, |entry| order(entry, self.layout, &self.hasher))?;
        self.runs.push(merged);
        Ok(())
    }

    /// Runs of like size, if there are enough; else one of which most is gone.
    fn to_be_merged(&self, part: Part) -> Vec<usize> {
        let runs = self.runs.iter().enumerate().filter(|(_, run)| run.part == part);
        let many = of_like_size(runs.map(|(number, run)| (number, run.live_bytes())));
        let is_sparse = |run: &Run| run.part == part && run.live_bytes() * 2 < run.disk_bytes();
        many.unwrap_or_else(|| self.runs.iter().position(is_sparse).into_iter().collect())
    }
}

impl StateBackend for SortedRuns {
    fn put(&mut self, part: Part, entries: &[Entry<'_>]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut writer = RunWriter::new(&self.folder, entries.len())?;
        for (order, place) in self.in_order(entries) {
            writer.add(order, entries[place as usize])?;
        }
        self.runs.push(writer.finish(part)?);
        self.tidy_up()
    }

    fn take(&mut self, keys: &[&[u8]], found: &mut dyn FnMut(usize, Part, Entry<'_>)) -> Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let mut wanted = self.wanted(keys);
        for run in &mut self.runs {
            self.buffer.clear();
            let mut left = Vec::with_capacity(wanted.len());
            for (order, place) in wanted {
                let (at, part) = (place as usize, run.part);
                let is_found = run.may_hold(order.1)
                    && run.take(order, keys[at], &mut self.buffer, &mut |entry| found(at, part, entry))?;
                if !is_found || self.layout == Layout::ManyRuns {
                    left.push((order, place));
                }
            }
            wanted = left;
        }
        self.tidy_up()
    }

    fn drop_before(&mut self, stamp: i64, mut dropped: Option<&mut Dropped<'_>>) -> Result<()> {
        for run in &mut self.runs {
            match &mut dropped {
                Some(dropped) => run.drop_before(stamp, Some(*dropped))?,
                None => run.drop_before(stamp, None)?,
            }
        }
        self.tidy_up()
    }

    fn drop_at(&mut self, stamps: Range<i64>) -> Result<()> {
        debug_assert!(self.layout == Layout::ByStamp, "entries are found by their stamps");
        self.runs.iter_mut().for_each(|run| run.drop_at(stamps.clone()));
        self.tidy_up()
    }

    fn view(&self, only: Option<Part>) -> Arc<dyn StateView> {
        let runs = self.runs.iter().filter(|run| only.is_none_or(|part| run.part == part));
        Arc::new(RunViews { runs: runs.map(Run::view).collect(), hasher: self.hasher.clone() })
    }

    fn note_written(&mut self) {
        self.runs.iter_mut().for_each(|run| run.part = Part::Written);
    }

    fn stamps(&self) -> Option<(i64, i64)> {
        let oldest = self.runs.iter().map(|run| run.oldest).min()?;
        Some((oldest, self.runs.iter().map(|run| run.youngest).max()?))
    }

    fn len(&self) -> usize {
        self.runs.iter().map(|run| run.live).sum()
    }

    fn memory_bytes(&self) -> usize {
        self.runs.iter().map(Run::memory_bytes).sum()
    }

    fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(Run::disk_bytes).sum()
    }
}

fn order(entry: Entry<'_>, layout: Layout, hasher: &RandomState) -> Order {
    (if layout == Layout::ByStamp { entry.stamp } else { 0 }, hasher.hash_one(entry.key))
}

/// The runs of a store as they were at one moment.
struct RunViews {
    runs: Vec<RunView>,
    hasher: RandomState,
}

impl StateView for RunViews {
    fn scan(&self) -> Box<dyn StateScan> {
        Box::new(Scan { left: self.runs.iter().rev().cloned().collect(), at: None })
    }

    fn read(&self, stamp: i64, hashes: RangeInclusive<u64>, found: &mut dyn FnMut(Entry<'_>)) -> Result<()> {
        let mut bytes = Vec::new();
        self.runs.iter().try_for_each(|run| run.read(stamp, hashes.clone(), &self.hasher, &mut bytes, found))
    }

    fn find(&self, stamp: i64, key: &[u8], found: &mut dyn FnMut(Entry<'_>)) -> Result<()> {
        let hash = self.hasher.hash_one(key);
        self.read(stamp, hash..=hash, &mut |entry| {
            if entry.key == key {
                found(entry);
            }
        })
    }
}

/// Goes through runs, one behind the other.
struct Scan {
    left: Vec<RunView>,
    at: Option<Cursor>,
}

impl StateScan for Scan {
    fn next(&mut self) -> Result<Option<Entry<'_>>> {
        loop {
            if let Some(cursor) = &mut self.at
                && cursor.advance()?
            {
                break;
            }
            let Some(next) = self.left.pop() else { return Ok(None) };
            self.at = Some(next.cursor());
        }
        Ok(self.at.as_ref().and_then(Cursor::current))
    }
}

#[cfg(test)]
mod tests;
