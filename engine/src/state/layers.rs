//! Snapshots put together: one of everything, and behind it what had changed at each barrier since.
//!
//! From the newest layer to the oldest, rows whose keys a newer one has brought, or taken away, are dropped.

use arrow::array::RecordBatch;

use super::seen_keys::SeenKeys;
use super::{Changes, Snapshot, StateRows};
use crate::error::{EngineError, Result};

impl Snapshot {
    /// What an instance held when it wrote the last of these snapshots, which are all since one of everything, oldest
    /// first.
    pub fn merged(mut layers: Vec<Self>) -> Result<Self> {
        check_order(&layers)?;
        let Some(newest) = layers.pop() else { return Ok(Self::default()) };
        let mut merged = Self { epoch: newest.epoch, after: None, values: newest.values, ..Self::default() };
        for (name, rows) in newest.rows {
            let rows = if rows.changes.is_none() { rows } else { merged_rows(&name, rows, &mut layers)? };
            if !rows.batches.is_empty() {
                merged.rows.insert(name, rows);
            }
        }
        Ok(merged)
    }
}

/// Each layer with changes goes on from the one before it.
fn check_order(layers: &[Snapshot]) -> Result<()> {
    let mut before = None;
    for layer in layers {
        if layer.has_changes() && (before.is_none() || layer.after != before) {
            let (epoch, after) = (layer.epoch, layer.after.unwrap_or_default());
            return Err(EngineError::State(format!("the changes of {epoch} go on from {after}, which is not there")));
        }
        before = Some(layer.epoch);
    }
    Ok(())
}

/// Rows of one name, which has changes in the newest layer.
fn merged_rows(name: &str, newest: StateRows, older: &mut [Snapshot]) -> Result<StateRows> {
    let Some(Changes { keys, .. }) = newest.changes.clone() else { return Ok(newest) };
    let belongs = newest.belongs.clone();
    let mut layers = vec![newest];
    for layer in older.iter_mut().rev() {
        // Where it is not named there was none of it, and what is below was no more.
        let Some(rows) = layer.rows.remove(name) else { break };
        let is_whole = rows.changes.is_none();
        layers.push(rows);
        if is_whole {
            break;
        }
    }
    let mut seen = SeenKeys::new(&keys);
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
        }
    }
    Ok(StateRows { belongs, later: None, batches: kept.into_iter().rev().flatten().collect(), changes: None })
}
