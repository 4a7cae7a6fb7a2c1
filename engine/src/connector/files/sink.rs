//! Writes part files: one a subtask or, in a job with checkpoints, one between two of them where there are
//! rows.
//!
//! A part has a name that ends in `.inprogress` until it is complete, so nobody takes half a file for a
//! whole one. In a job with checkpoints it keeps that name until the checkpoint that covers it has been
//! sealed: until then the job may go back to an earlier one and write its rows again. Parts are named after
//! the checkpoint behind which they begin, so the names say which of them an earlier checkpoint does not cover.
//!
//! In a bucket a part is an upload until then, which nobody sees.
//!
//! What an earlier run left in the folder goes when there is something to take its place: a subtask removes
//! the parts of its own number as it completes its first. An INSERT adds to what is there: its parts are a series with a
//! name of its own, which goes on in whatever job goes on with its state.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::connector::{INSERT_OPTION, option};
use tidemill_plans::ids::{Epoch, OperatorId};
use tidemill_plans::node::SinkNode;

use super::claim::Owner;
use super::part::{PartName, PartNames, PartStage};
use super::parts::{Part, PartBytes, Parts, PartsClaim};
use super::writer::Writer;
use super::{extension, file_error, required};
use crate::connector::Sink;
use crate::error::{EngineError, Result};
use crate::state::{StateReader, StateWriter};
use crate::task::TaskEnv;

/// Rows in a chunk. Parquet's pages, Avro's blocks and Arrow's record batches end where a write ends, so
/// the cut shows in the file.
const CHUNK_ROWS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// The sink.
pub(super) struct FilesSink {
    node: SinkNode,
    schema: SchemaRef,
    parts: Parts,
    names: PartNames,
    /// In a job with checkpoints, where parts become visible with those that cover them.
    committing: Option<Committing>,
    current: Option<Current>,
    /// Whether there has been a part, so that none has to say that there are no rows.
    has_parts: bool,
    /// Whether the parts of an earlier run have been removed.
    is_cleared: bool,
}

/// What a job with checkpoints needs.
struct Committing {
    /// Keep other jobs and earlier attempts off: this subtask's parts, and those of subtasks that are no more.
    claims: Vec<PartsClaim>,
    owner: Owner,
    /// The last checkpoint.
    epoch: Epoch,
    /// Under which names parts are there that are complete, and the epoch with which each becomes visible.
    pending: Vec<(String, Epoch)>,
    /// Whether what a crash left unfinished has been removed.
    is_tidy: bool,
}

/// The part that is being written.
struct Current {
    writer: Writer,
    part: Part,
}

impl FilesSink {
    pub(super) fn open(
        node: &SinkNode,
        operator: OperatorId,
        subtask: u32,
        env: &TaskEnv,
        schema: SchemaRef,
    ) -> Result<Self> {
        let parts = Parts::open(required(&node.options, "path")?, &node.options)?;
        Self::open_at(parts, node, operator, subtask, env, schema)
    }

    /// The same with a place for its parts.
    pub(super) fn open_at(
        parts: Parts,
        node: &SinkNode,
        operator: OperatorId,
        subtask: u32,
        env: &TaskEnv,
        schema: SchemaRef,
    ) -> Result<Self> {
        let format = required(&node.options, "format")?;
        let mut sink = Self {
            node: node.clone(),
            schema,
            parts,
            names: PartNames { series: series(&node.options), subtask, extension: extension(format).to_owned() },
            committing: None,
            current: None,
            has_parts: false,
            is_cleared: false,
        };
        match &env.checkpoints {
            Some(place) => {
                let owner = Owner { sink: format!("{place} {} {operator}", env.job), attempt: env.attempt };
                sink.committing = Some(sink.claim(owner)?);
            }
            None => {
                let part = sink.parts.begin_only(&sink.names.only())?;
                sink.current = Some(sink.begin(part)?);
            }
        }
        Ok(sink)
    }

    /// Begins without a part: there may be some to be restored.
    fn claim(&self, owner: Owner) -> Result<Committing> {
        self.try_format()?;
        let claims = vec![self.parts.claim(&self.names.only(), &owner)?];
        Ok(Committing { claims, owner, epoch: Epoch::default(), pending: Vec::new(), is_tidy: false })
    }

    /// Makes a file that nobody sees: columns that the format does not have are an error now, not with the first
    /// row.
    fn try_format(&self) -> Result<()> {
        let nowhere = Path::new("/dev/null");
        let file = fs::OpenOptions::new().write(true).open(nowhere).map_err(file_error("write", nowhere))?;
        let path = self.parts.path(&self.names.only());
        let file = PartBytes::File(file);
        Writer::new(&self.node.options, &self.node.upsert_keys, file, &path, Arc::clone(&self.schema)).map(drop)
    }

    fn begin(&mut self, part: Part) -> Result<Current> {
        self.has_parts = true;
        let (options, keys) = (&self.node.options, &self.node.upsert_keys);
        let writer = Writer::new(options, keys, part.bytes()?, part.path(), Arc::clone(&self.schema))?;
        Ok(Current { writer, part })
    }

    /// The part that is being written; with checkpoints, behind the last of them.
    fn current(&mut self) -> Result<&mut Current> {
        let current = match self.current.take() {
            Some(current) => current,
            None => self.begin_next()?,
        };
        Ok(self.current.insert(current))
    }

    fn begin_next(&mut self) -> Result<Current> {
        let Some(committing) = &mut self.committing else {
            let path = self.parts.path(&self.names.only());
            return Err(EngineError::Format { path, reason: String::from("it is complete") });
        };
        if !std::mem::replace(&mut committing.is_tidy, true) {
            let own = self.names.subtask;
            let is_left = |part: PartName| part.subtask == own && part.stage != PartStage::Complete;
            self.parts.remove(&self.names, |_, part| is_left(part))?;
        }
        let part = self.parts.begin(&self.names.after(committing.epoch), committing.owner.attempt)?;
        self.begin(part)
    }

    /// Completes the current part, to become visible with an epoch.
    fn complete_current(&mut self, epoch: Epoch) -> Result<()> {
        let Some(Current { writer, part }) = self.current.take() else { return Ok(()) };
        writer.finish(part.path())?;
        match &mut self.committing {
            Some(committing) => committing.pending.push((part.keep()?, epoch)),
            None => {
                self.clear()?;
                part.complete(&self.parts)?;
            }
        }
        Ok(())
    }

    /// Removes, once, what an earlier run has left of this subtask; but what is about to be replaced stays until
    /// it is.
    fn clear(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_cleared, true) {
            return Ok(());
        }
        let own = self.names.subtask;
        let replaced = self.committing.is_none().then(|| self.names.only());
        self.parts.remove_left(&self.names, |name, part| {
            part.subtask == own && part.stage == PartStage::Complete && replaced.as_deref() != Some(name)
        })
    }
}

/// What the parts of a sink's job begin with.
fn series(options: &[(String, String)]) -> String {
    option(options, INSERT_OPTION).map_or_else(|| String::from("part"), |number| format!("insert-{number}"))
}

impl Sink for FilesSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.committing.is_some() && batch.num_rows() == 0 {
            return Ok(());
        }
        let Current { writer, part } = self.current()?;
        writer.write(batch, part.path())
    }

    fn chunk_rows(&self) -> Option<NonZeroUsize> {
        Some(CHUNK_ROWS)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.complete_current(state.epoch())?;
        let Some(committing) = &mut self.committing else { return Ok(()) };
        committing.epoch = state.epoch();
        let pending: Vec<&str> = committing.pending.iter().map(|(part, _)| part.as_str()).collect();
        state.value("pending", &pending)?;
        state.value("epoch", &state.epoch())?;
        state.value("has_parts", &self.has_parts)?;
        state.value("series", &self.names.series)?;
        let uncleared = (!self.is_cleared).then_some(self.names.subtask);
        state.value("uncleared", &uncleared)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        let Some(committing) = &mut self.committing else { return Ok(()) };
        // Savepoints of before INSERTs had their own lack it.
        let series = state.values::<String>("series")?.pop().filter(|series| *series != self.names.series);
        let goes_on = series.is_some();
        self.names.series = series.unwrap_or_else(|| self.names.series.clone());
        let mut pending: Vec<String> = state.values::<Vec<String>>("pending")?.concat();
        if state.is_of_savepoint() {
            // They were completed by the job that the savepoint is of, and whoever has them may have taken them away.
            pending.iter_mut().for_each(|name| *name = self.parts.complete_name(name));
        }
        let is_of_savepoint = state.is_of_savepoint();
        let complete_name = |pending: &str| match is_of_savepoint {
            true => pending.to_owned(),
            false => self.parts.complete_name(pending),
        };
        let uncleared: Vec<Option<u32>> = state.values("uncleared")?;
        // Instances that have ended wrote theirs with the end.
        let epoch = state.values("epoch")?.into_iter().min().unwrap_or_default();
        let is_covered = |name: &str, part: PartName| match part.stage {
            PartStage::Complete => {
                let is_earlier_runs = uncleared.contains(&Some(part.subtask));
                let is_pending = pending.iter().any(|pending| complete_name(pending) == name);
                is_pending || !is_earlier_runs && part.epoch.is_none_or(|begun| begun < epoch)
            }
            PartStage::InProgress => pending.iter().any(|pending| pending == name),
            PartStage::Claimed => false,
        };
        let is_claimed = |from: u32| from == self.names.subtask && !goes_on;
        for subtask in (0..state.instances()).filter(|from| state.has_part_of(*from) && !is_claimed(*from)) {
            let names = PartNames { subtask, ..self.names.clone() };
            committing.claims.push(self.parts.claim(&names.only(), &committing.owner)?);
        }
        // The rows behind the checkpoint come again.
        self.parts.remove(&self.names, |name, part| state.has_part_of(part.subtask) && !is_covered(name, part))?;
        for name in pending.iter().filter(|_| !state.is_of_savepoint()) {
            self.parts.complete(name)?;
        }
        self.parts.sync()?;
        (committing.epoch, committing.is_tidy, self.is_cleared) = (epoch, true, true);
        self.has_parts = state.values("has_parts")?.contains(&true);
        Ok(())
    }

    fn commits(&self) -> bool {
        self.committing.is_some()
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let Some(committing) = &self.committing else { return Ok(()) };
        committing.claims.iter().try_for_each(PartsClaim::check)?;
        self.clear()?;
        let Some(committing) = &mut self.committing else { return Ok(()) };
        let mut is_changed = false;
        for (part, _) in committing.pending.extract_if(.., |(_, covered_by)| *covered_by <= epoch) {
            self.parts.complete(&part)?;
            is_changed = true;
        }
        if epoch == Epoch::END {
            committing.claims.iter_mut().for_each(PartsClaim::end);
        }
        if is_changed { self.parts.sync() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        if !self.has_parts {
            self.current()?;
        }
        self.complete_current(Epoch::END)
    }
}
