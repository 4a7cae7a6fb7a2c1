//! A run: entries in the order of their keys' hashes, or of their stamps and then of those, written once, from which
//! entries are only ever taken.
//!
//! In memory are where each block of the file begins, a [`Membership`] of the hashes, and a bit for each entry
//! that says whether it has been taken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use datafusion::common::hash_utils::RandomState;

use super::backend::{Dropped, Entry, Part};
use super::membership::Membership;
use super::scratch::{ScratchFile, ScratchFolder};
use crate::error::Result;

/// Entries are looked for in blocks of so many bytes, or of one entry. Tests want to see several.
const BLOCK_BYTES: usize = if cfg!(test) { 64 } else { 4 << 10 };

/// Bytes that are written, and read in order, at a time.
const STRETCH_BYTES: usize = if cfg!(test) { 256 } else { 128 << 10 };

/// What is before an entry's key: the lengths of key and value, and the stamp.
const HEADER_BYTES: usize = 16;

/// In what order entries are: by stamp, where they are found by it, then by the hash of the key.
pub(super) type Order = (i64, u64);

/// What is in a run's file, which is never changed, and where.
#[derive(Debug)]
pub(super) struct Sealed {
    file: ScratchFile,
    blocks: Vec<Block>,
    /// Where the entries of each stamp begin, if they are found by it: the stamp, and how many entries are before them.
    stamps: Vec<(i64, u32)>,
    hashes: Membership,
    entries: usize,
    bytes: u64,
}

/// Where a block begins.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// That of its first entry's key. Its stamp is known from [`Sealed::stamps`].
    hash: u64,
    offset: u64,
    /// How many entries are before it.
    entries: u32,
}

/// See the [module](self).
pub(super) struct Run {
    sealed: Arc<Sealed>,
    pub(super) part: Part,
    /// A bit for each entry that is gone.
    gone: Vec<u64>,
    pub(super) live: usize,
    pub(super) oldest: i64,
    pub(super) youngest: i64,
}

/// The block that was read last: keys are looked for in the order of their hashes.
#[derive(Default)]
pub(super) struct BlockBuffer {
    /// Which one it is.
    number: Option<usize>,
    bytes: Vec<u8>,
}

impl BlockBuffer {
    /// Forgets what was read: the next block is another run's.
    pub(super) fn clear(&mut self) {
        self.number = None;
    }
}

impl Sealed {
    fn offset(&self, block: usize) -> u64 {
        self.blocks.get(block).map_or(self.bytes, |block| block.offset)
    }

    fn read(&self, blocks: Range<usize>, bytes: &mut Vec<u8>) -> Result<()> {
        let (start, end) = (self.offset(blocks.start), self.offset(blocks.end));
        bytes.resize((end - start) as usize, 0);
        self.file.read(bytes, start)
    }

    /// The blocks in which entries with this stamp may be whose keys have such hashes.
    fn blocks_of(&self, stamp: i64, hashes: RangeInclusive<u64>) -> Range<usize> {
        let places = self.places_at(stamp..stamp.saturating_add(1));
        let [start, end] = [places.start, places.end]
            .map(|place| self.blocks.partition_point(|block| (block.entries as usize) < place));
        // These begin with entries of the stamp, in the order of hashes.
        let blocks = &self.blocks[start..end];
        // The first entries may be at the end of the block before the first one that begins with them.
        let first = (start + blocks.partition_point(|block| block.hash < *hashes.start())).saturating_sub(1);
        first..(start + blocks.partition_point(|block| block.hash <= *hashes.end())).max(first)
    }

    /// The places of the entries with such stamps.
    fn places_at(&self, stamps: Range<i64>) -> Range<usize> {
        let place = |stamp: i64| {
            let number = self.stamps.partition_point(|(known, _)| *known < stamp);
            self.stamps.get(number).map_or(self.entries, |(_, first)| *first as usize)
        };
        place(stamps.start)..place(stamps.end)
    }
}

impl Run {
    /// Whether a key with this hash may be here.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.sealed.hashes.may_hold(hash)
    }

    /// Takes the entries of a key out.
    pub(super) fn take(
        &mut self,
        order: Order,
        key: &[u8],
        buffer: &mut BlockBuffer,
        found: &mut dyn FnMut(Entry<'_>),
    ) -> Result<bool> {
        let mut places = Vec::new();
        self.find(order, key, buffer, &mut |place, entry| {
            places.push(place);
            found(entry);
        })?;
        places.iter().for_each(|place| self.let_go(*place));
        Ok(!places.is_empty())
    }

    /// Shows the entries of a key that are there, each behind its place.
    pub(super) fn find(
        &self,
        order: Order,
        key: &[u8],
        buffer: &mut BlockBuffer,
        found: &mut dyn FnMut(usize, Entry<'_>),
    ) -> Result<()> {
        for number in self.sealed.blocks_of(order.0, order.1..=order.1) {
            if buffer.number != Some(number) {
                self.sealed.read(number..number + 1, &mut buffer.bytes)?;
                buffer.number = Some(number);
            }
            let (mut at, mut place) = (0, self.sealed.blocks[number].entries as usize);
            while let Some((entry, end)) = entry_at(&buffer.bytes, at) {
                if entry.key == key && is_there(&self.gone, place) {
                    found(place, entry);
                }
                (at, place) = (end, place + 1);
            }
        }
        Ok(())
    }

    /// Has the entry in this place gone.
    fn let_go(&mut self, place: usize) {
        self.live -= usize::from(is_there(&self.gone, place));
        self.gone[place / 64] |= 1 << (place % 64);
    }

    /// Drops the entries with an older stamp, and shows them if somebody wants to see them.
    pub(super) fn drop_before(&mut self, stamp: i64, mut dropped: Option<&mut Dropped<'_>>) -> Result<()> {
        if self.oldest >= stamp {
            return Ok(());
        }
        if self.youngest < stamp && dropped.is_none() {
            self.live = 0;
            return Ok(());
        }
        let mut cursor = self.cursor();
        self.oldest = i64::MAX;
        while cursor.advance()? {
            let Some(entry) = cursor.current() else { break };
            if entry.stamp >= stamp {
                self.oldest = self.oldest.min(entry.stamp);
            } else {
                // The cursor shows what is there only.
                self.let_go(cursor.place());
                dropped.as_mut().map_or(Ok(()), |dropped| dropped(entry))?;
            }
        }
        Ok(())
    }

    /// Drops the entries with such stamps, by which they are in order.
    pub(super) fn drop_at(&mut self, stamps: Range<i64>) {
        for place in self.sealed.places_at(stamps) {
            self.let_go(place);
        }
    }

    /// Its entries as they are now.
    pub(super) fn cursor(&self) -> Cursor {
        self.view().cursor()
    }

    /// What it has now.
    pub(super) fn view(&self) -> RunView {
        RunView { sealed: Arc::clone(&self.sealed), gone: self.gone.clone().into() }
    }

    /// Bytes on disk, and those of them that entries which are there need.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.sealed.bytes
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.sealed.bytes * self.live as u64 / self.sealed.entries.max(1) as u64
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let Sealed { blocks, stamps, hashes, .. } = &*self.sealed;
        let stamps = stamps.capacity() * size_of::<(i64, u32)>();
        blocks.capacity() * size_of::<Block>() + stamps + hashes.bytes() + self.gone.capacity() * size_of::<u64>()
    }
}

fn is_there(gone: &[u64], place: usize) -> bool {
    gone[place / 64] & (1 << (place % 64)) == 0
}

/// The entry that begins there, and where it ends.
fn entry_at(bytes: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk::<HEADER_BYTES>()?;
    let [a, b, c, d, e, f, g, h, stamp @ ..] = *header;
    let (key, value) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
    let (key, value) = rest.get(..key + value)?.split_at(key);
    Some((Entry { key, stamp: i64::from_le_bytes(stamp), value }, at + HEADER_BYTES + key.len() + value.len()))
}

/// A run as it was at one moment.
#[derive(Clone)]
pub(super) struct RunView {
    sealed: Arc<Sealed>,
    gone: Arc<[u64]>,
}

impl RunView {
    /// Goes through it from the start.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { run: self.clone(), block: 0, place: 0, bytes: Vec::new(), at: 0..0 }
    }

    /// Shows the entries with a stamp, by which they are in order, whose keys have such hashes.
    pub(super) fn read(
        &self,
        stamp: i64,
        hashes: RangeInclusive<u64>,
        hasher: &RandomState,
        bytes: &mut Vec<u8>,
        found: &mut dyn FnMut(Entry<'_>),
    ) -> Result<()> {
        let Sealed { blocks, hashes: known, .. } = &*self.sealed;
        if self.sealed.places_at(stamp..stamp.saturating_add(1)).is_empty()
            || hashes.start() == hashes.end() && !known.may_hold(*hashes.start())
        {
            return Ok(());
        }
        for number in self.sealed.blocks_of(stamp, hashes.clone()) {
            self.sealed.read(number..number + 1, bytes)?;
            let (mut at, mut place) = (0, blocks[number].entries as usize);
            while let Some((entry, end)) = entry_at(bytes, at) {
                let is_wanted = entry.stamp == stamp && is_there(&self.gone, place);
                if is_wanted && hashes.contains(&hasher.hash_one(entry.key)) {
                    found(entry);
                }
                (at, place) = (end, place + 1);
            }
        }
        Ok(())
    }
}

/// Goes through a run in the order of hashes.
pub(super) struct Cursor {
    run: RunView,
    /// The first block that has not been read.
    block: usize,
    /// How many entries have been passed.
    place: usize,
    bytes: Vec<u8>,
    /// Where the current entry is in `bytes`.
    at: Range<usize>,
}

impl Cursor {
    /// Goes to the next entry; whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool> {
        loop {
            if self.at.end == self.bytes.len() && !self.read_on()? {
                return Ok(false);
            }
            let Some((_, end)) = entry_at(&self.bytes, self.at.end) else { return Ok(false) };
            self.at = self.at.end..end;
            self.place += 1;
            if is_there(&self.run.gone, self.place()) {
                return Ok(true);
            }
        }
    }

    /// The entry that it is at.
    pub(super) fn current(&self) -> Option<Entry<'_>> {
        entry_at(&self.bytes, self.at.start).map(|(entry, _)| entry)
    }

    /// The place of the current entry in the run.
    fn place(&self) -> usize {
        self.place.saturating_sub(1)
    }

    fn read_on(&mut self) -> Result<bool> {
        let start = self.block;
        let limit = self.run.sealed.offset(start) + STRETCH_BYTES as u64;
        while self.block < self.run.sealed.blocks.len()
            && (self.block == start || self.run.sealed.offset(self.block) < limit)
        {
            self.block += 1;
        }
        self.at = 0..0;
        self.run.sealed.read(start..self.block, &mut self.bytes)?;
        Ok(start < self.block)
    }
}

/// Writes a run.
pub(super) struct RunWriter {
    file: ScratchFile,
    blocks: Vec<Block>,
    stamps: Vec<(i64, u32)>,
    hashes: Membership,
    entries: usize,
    /// What is not in the file yet, and where it goes.
    bytes: Vec<u8>,
    offset: u64,
    oldest: i64,
    youngest: i64,
}

impl RunWriter {
    /// A run of at most so many entries.
    pub(super) fn new(folder: &ScratchFolder, entries: usize) -> Result<Self> {
        Ok(Self {
            file: folder.file()?,
            blocks: Vec::new(),
            stamps: Vec::new(),
            hashes: Membership::for_keys(entries),
            entries: 0,
            bytes: Vec::new(),
            offset: 0,
            oldest: i64::MAX,
            youngest: i64::MIN,
        })
    }

    /// Adds an entry, which is not before those that have been added.
    pub(super) fn add(&mut self, order: Order, entry: Entry<'_>) -> Result<()> {
        let offset = self.offset + self.bytes.len() as u64;
        if self.blocks.last().is_none_or(|last| offset - last.offset >= BLOCK_BYTES as u64) {
            self.blocks.push(Block { hash: order.1, offset, entries: self.entries as u32 });
        }
        if self.stamps.last().is_none_or(|(last, _)| *last != order.0) {
            self.stamps.push((order.0, self.entries as u32));
        }
        self.hashes.add(order.1);
        self.entries += 1;
        (self.oldest, self.youngest) = (self.oldest.min(entry.stamp), self.youngest.max(entry.stamp));
        self.bytes.extend_from_slice(&self.file.length(entry.key)?.to_le_bytes());
        self.bytes.extend_from_slice(&self.file.length(entry.value)?.to_le_bytes());
        self.bytes.extend_from_slice(&entry.stamp.to_le_bytes());
        self.bytes.extend_from_slice(entry.key);
        self.bytes.extend_from_slice(entry.value);
        if self.bytes.len() >= STRETCH_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.file.write(&self.bytes, self.offset)?;
        self.offset += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    /// The run.
    pub(super) fn finish(mut self, part: Part) -> Result<Run> {
        self.write()?;
        self.blocks.shrink_to_fit();
        self.stamps.shrink_to_fit();
        let Self { file, blocks, stamps, hashes, entries, offset, oldest, youngest, .. } = self;
        let sealed = Arc::new(Sealed { file, blocks, stamps, hashes, entries, bytes: offset });
        Ok(Run { sealed, part, gone: vec![0; entries.div_ceil(64)], live: entries, oldest, youngest })
    }
}

/// Puts runs of one part together.
pub(super) fn merge(
    folder: &ScratchFolder,
    part: Part,
    runs: &[Run],
    order: impl Fn(Entry<'_>) -> Order,
) -> Result<Run> {
    debug_assert!(runs.iter().all(|run| run.part == part), "each has one part's entries");
    let mut writer = RunWriter::new(folder, runs.iter().map(|run| run.live).sum())?;
    let mut cursors: Vec<Cursor> = runs.iter().map(Run::cursor).collect();
    let mut next = BinaryHeap::new();
    let order = |cursor: &Cursor| cursor.current().map_or((i64::MAX, u64::MAX), &order);
    for (number, cursor) in cursors.iter_mut().enumerate() {
        if cursor.advance()? {
            next.push(Reverse((order(cursor), number)));
        }
    }
    while let Some(Reverse((least, number))) = next.pop() {
        let cursor = &mut cursors[number];
        if let Some(entry) = cursor.current() {
            writer.add(least, entry)?;
        }
        if cursor.advance()? {
            next.push(Reverse((order(cursor), number)));
        }
    }
    writer.finish(part)
}
