//! Snapshots put together: one of everything, and behind it what had changed at each barrier since.
//!
//! Rows whose keys a newer layer has brought, or taken away, are dropped. Rows are read when they are asked for, and the
//! keys of changes with them, which are in memory, as far as there is room, until all rows of that name have been read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidemill_plans::ids::Epoch;
use tidemill_plans::time::event_times;

use super::seen_keys::SeenKeys;
use super::{Changes, LaterRows, RowKeys, Rows, Snapshot, StateMemory, StateRows};
use crate::error::{EngineError, Result};

impl Snapshot {
    /// What an instance held when it wrote the last of these snapshots, which are all since one of everything, oldest
    /// first. What it takes to read it is a part of that much memory.
    pub fn merged(layers: Vec<Self>, memory: &StateMemory) -> Result<Self> {
        check_order(None, &layers)?;
        merge(layers, memory)
    }

    /// What had changed between the snapshot before these, and the last of them.
    pub fn merged_changes(layers: Vec<Self>, memory: &StateMemory) -> Result<Self> {
        let after = layers.first().and_then(|first| first.after);
        check_order(after, &layers)?;
        Ok(Self { after, ..merge(layers, memory)? })
    }
}

fn merge(mut layers: Vec<Snapshot>, memory: &StateMemory) -> Result<Snapshot> {
    let Some(newest) = layers.pop() else { return Ok(Snapshot::default()) };
    let mut merged = Snapshot { epoch: newest.epoch, after: None, values: newest.values, rows: BTreeMap::new() };
    for (name, rows) in newest.rows {
        let rows = if rows.changes.is_none() { rows } else { merged_rows(&name, rows, &mut layers, memory)? };
        if rows.changes.is_some() || !rows.rows.is_empty() {
            merged.rows.insert(name, rows);
        }
    }
    Ok(merged)
}

/// Each layer with changes goes on from the one before it.
fn check_order(mut before: Option<Epoch>, layers: &[Snapshot]) -> Result<()> {
    for layer in layers {
        if layer.has_changes() && (before.is_none() || layer.after != before) {
            let (epoch, after) = (layer.epoch, layer.after.unwrap_or_default());
            return Err(EngineError::State(format!("the changes of {epoch} go on from {after}, which is not there")));
        }
        before = Some(layer.epoch);
    }
    Ok(())
}

/// Rows of one name, which has changes in the newest layer. They are changes still if they are in the oldest too.
fn merged_rows(name: &str, newest: StateRows, older: &mut [Snapshot], memory: &StateMemory) -> Result<StateRows> {
    let Some(Changes { keys, .. }) = newest.changes.clone() else { return Ok(newest) };
    let belongs = newest.belongs.clone();
    let (mut layers, mut is_whole) = (vec![newest], false);
    for layer in older.iter_mut().rev() {
        // Where it is not named there was none of it, and what is below was no more.
        let found = layer.rows.remove(name);
        is_whole = found.as_ref().is_none_or(|rows| rows.changes.is_none());
        layers.extend(found);
        if is_whole {
            break;
        }
    }
    let (bounds, keys) = bounds(&layers, keys);
    let layer = |(layer, from): (StateRows, i64)| {
        let gone = layer.changes.map_or_else(Rows::default, |changes| changes.gone);
        Layer { rows: layer.rows, gone, from }
    };
    let layers: Vec<Layer> = layers.into_iter().zip(bounds).map(layer).collect();
    let changes = (!is_whole).then(|| Changes { keys: keys.clone(), gone: all_gone(&layers) });
    let merged = MergedRows { layers, keys, memory: memory.clone() };
    Ok(StateRows { belongs, rows: Rows::later(Arc::new(merged)), changes })
}

/// The keys that any layer has taken away.
fn all_gone(layers: &[Layer]) -> Rows {
    let batches = layers.iter().flat_map(|layer| layer.gone.batches.iter().cloned()).collect();
    let later = layers.iter().flat_map(|layer| layer.gone.later.iter().cloned()).collect();
    Rows { batches, later }
}

/// Of each layer, the newest first, from when on rows are left if time has passed rows; and how all of them together
/// call rows.
fn bounds(layers: &[StateRows], keys: RowKeys) -> (Vec<i64>, RowKeys) {
    let (mut bounds, mut from) = (Vec::with_capacity(layers.len()), i64::MIN);
    for layer in layers {
        bounds.push(from);
        if let Some(Changes { keys: RowKeys::Passing { from: own, .. }, .. }) = &layer.changes {
            from = from.max(*own);
        }
    }
    match keys {
        RowKeys::Passing { time, .. } => (bounds, RowKeys::Passing { time, from }),
        other => (bounds, other),
    }
}

/// The rows from `from` on.
fn not_passed(rows: RecordBatch, time: usize, from: i64) -> Result<Option<RecordBatch>> {
    if time >= rows.num_columns() {
        return Err(EngineError::State(String::from("the time of its rows is not among their columns")));
    }
    let times = event_times(rows.column(time))?;
    let left: BooleanArray = times.values().iter().map(|time| Some(*time >= from)).collect();
    Ok(Some(filter_record_batch(&rows, &left)?).filter(|rows| rows.num_rows() > 0))
}

/// Rows of layers, the newest first, without those that a newer layer has replaced or taken away.
struct MergedRows {
    layers: Vec<Layer>,
    keys: RowKeys,
    memory: StateMemory,
}

struct Layer {
    rows: Rows,
    /// The keys of those that are gone, which have no other columns.
    gone: Rows,
    /// The event time from which on rows are left.
    from: i64,
}

impl MergedRows {
    /// The keys that some layer has brought or taken away, but for the oldest: below it there is nothing. There may be as
    /// many as rows, so they are read anew whenever rows are, and are there until those have been.
    fn seen(&self) -> Result<SeenKeys> {
        let mut seen = SeenKeys::new(&self.keys, &self.memory);
        let (Some(columns), Some((_, newer))) = (self.keys.columns(), self.layers.split_last()) else {
            return Ok(seen);
        };
        for (layer, Layer { rows, gone, .. }) in newer.iter().enumerate() {
            rows.all()?.try_for_each(|rows| seen.note(layer, &rows?, columns))?;
            for gone in gone.all()? {
                let gone = gone?;
                seen.note(layer, &gone, &(0..gone.num_columns()).collect::<Vec<_>>())?;
            }
        }
        Ok(seen)
    }
}

impl LaterRows for MergedRows {
    /// Layer by layer, the oldest first.
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let seen = Arc::new(self.seen()?);
        let mut all: Box<dyn Iterator<Item = Result<RecordBatch>> + Send> = Box::new(std::iter::empty());
        for (layer, Layer { rows, from, .. }) in self.layers.iter().enumerate().rev() {
            let (seen, keys, from) = (Arc::clone(&seen), self.keys.clone(), *from);
            let unseen = move |rows: Result<RecordBatch>| match &keys {
                RowKeys::Each => rows.map(Some),
                RowKeys::Passing { time, .. } => not_passed(rows?, *time, from),
                RowKeys::Grouped(columns) | RowKeys::Exact(columns) => seen.unseen(layer, rows?, columns),
            };
            all = Box::new(all.chain(rows.all()?.filter_map(move |rows| unseen(rows).transpose())));
        }
        Ok(all)
    }
}
