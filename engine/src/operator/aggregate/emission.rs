//! What has changed, and at the end what is on disk, goes downstream a slice after another: what is made of groups has
//! as many bytes as they have, so that of all of them at once would be as much again.

use std::mem;
use std::vec::IntoIter;

use tidemill_plans::node::AggregateEmit;

use super::before::Before;
use super::spilling::GroupBatches;
use super::{Aggregate, EMIT_ROWS};
use crate::error::Result;
use crate::task::OperatorContext;

/// Groups of a slice. Tests want to see several.
const EMIT_GROUPS: usize = if cfg!(test) { 3 } else { EMIT_ROWS };

/// What is still to be emitted. See the [module](self).
#[derive(Default)]
pub(super) struct Emission {
    /// Groups that have changed.
    changed: IntoIter<u32>,
    spilled: Spilled,
}

/// Groups on disk that are emitted when those in memory have been, and take their place then.
#[derive(Default)]
enum Spilled {
    /// They are not.
    #[default]
    Stay,
    /// They are.
    Due,
    /// They are being emitted.
    Going(GroupBatches),
}

impl Emission {
    pub(super) fn has_more(&self) -> bool {
        self.changed.len() > 0 || !matches!(self.spilled, Spilled::Stay)
    }

    /// What is on disk is emitted, too.
    pub(super) fn emits_spilled(&mut self) {
        self.spilled = Spilled::Due;
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.changed.len() * size_of::<u32>()
    }
}

impl Aggregate {
    /// Emits the first slice of how the changed groups differ from what downstream knows.
    pub(super) fn begin_emission(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        debug_assert!(self.emission.changed.len() == 0, "the changes before have been emitted");
        self.emission.changed = mem::take(&mut self.changed).into_iter();
        self.go_on_emitting(ctx)
    }

    /// Emits the next slice, and makes room behind the last.
    pub(super) fn go_on_emitting(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        if self.emission.changed.len() == 0 {
            self.take_next_spilled()?;
        }
        self.emit_slice(ctx)?;
        let is_last = !self.emission.has_more() && self.emit == AggregateEmit::OnUpdate;
        if is_last { self.spill() } else { Ok(()) }
    }

    /// Emits the slices that are left.
    pub(super) fn end_emission(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        while self.emission.has_more() {
            self.go_on_emitting(ctx)?;
        }
        Ok(())
    }

    fn emit_slice(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let slice: Vec<u32> = self.emission.changed.by_ref().take(EMIT_GROUPS).collect();
        if slice.is_empty() {
            return Ok(());
        }
        self.emit_changed(&slice, ctx)?;
        if self.emission.changed.len() > 0 {
            return Ok(());
        }
        self.before = Before::default();
        self.drop_empty_groups()
    }

    /// Takes the next groups that are on disk in the place of those that have been emitted.
    fn take_next_spilled(&mut self) -> Result<()> {
        if matches!(self.emission.spilled, Spilled::Due) {
            self.emission.spilled = self.take_spilled()?.map_or(Spilled::Stay, Spilled::Going);
        }
        let Spilled::Going(batches) = &mut self.emission.spilled else { return Ok(()) };
        let Some(groups) = batches.next().transpose()? else {
            self.emission.spilled = Spilled::Stay;
            return Ok(());
        };
        self.keep(&[])?;
        self.read_groups(&groups)?;
        self.emission.changed = mem::take(&mut self.changed).into_iter();
        Ok(())
    }
}
