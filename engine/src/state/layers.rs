//! Snapshots put together: one of everything, and behind it what had changed at each barrier since.
//!
//! From the newest layer to the oldest, rows whose keys a newer one has brought, or taken away, are dropped.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use tidemill_plans::ids::Epoch;

use super::seen_keys::SeenKeys;
use super::{Changes, Snapshot, StateRows};
use crate::error::{EngineError, Result};

impl Snapshot {
    /// What an instance held when it wrote the last of these snapshots, which are all since one of everything, oldest
    /// first.
    pub fn merged(layers: Vec<Self>) -> Result<Self> {
        check_order(None, &layers)?;
        merge(layers)
    }

    /// What had changed between the snapshot before these, and the last of them.
    pub fn merged_changes(layers: Vec<Self>) -> Result<Self> {
        let after = layers.first().and_then(|first| first.after);
        check_order(after, &layers)?;
        Ok(Self { after, ..merge(layers)? })
    }
}

fn merge(mut layers: Vec<Snapshot>) -> Result<Snapshot> {
    let Some(newest) = layers.pop() else { return Ok(Snapshot::default()) };
    let mut merged = Snapshot { epoch: newest.epoch, after: None, values: newest.values, rows: BTreeMap::new() };
    for (name, rows) in newest.rows {
        let rows = if rows.changes.is_none() { rows } else { merged_rows(&name, rows, &mut layers)? };
        if rows.changes.is_some() || !rows.batches.is_empty() {
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
fn merged_rows(name: &str, newest: StateRows, older: &mut [Snapshot]) -> Result<StateRows> {
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
    let mut seen = SeenKeys::new(&keys);
    let mut all_gone = Vec::new();
    let mut kept: Vec<Vec<RecordBatch>> = Vec::with_capacity(layers.len());
    for StateRows { batches, changes, .. } in layers {
        let Some(columns) = keys.columns() else {
            kept.push(batches);
            continue;
        };
        kept.push(seen.unseen(&batches, columns)?);
        if let Some(Changes { gone, .. }) = changes {
            batches.iter().try_for_each(|rows| seen.note(rows, columns))?;
            gone.iter().try_for_each(|rows| seen.note(rows, &(0..rows.num_columns()).collect::<Vec<_>>()))?;
            all_gone.extend(gone);
        }
    }
    let changes = (!is_whole).then_some(Changes { keys, gone: all_gone });
    Ok(StateRows { belongs, later: None, batches: kept.into_iter().rev().flatten().collect(), changes })
}
