//! Writes part files: one a subtask or, in a job with checkpoints, one between two of them where there are
//! rows.
//!
//! A part has a name that ends in `.inprogress` until it is complete, so nobody takes half a file for a
//! whole one. In a job with checkpoints it keeps that name until the checkpoint that covers it has been
//! sealed: until then the job may go back to an earlier one and write its rows again. Parts are named after
//! the checkpoint behind which they begin, so one that is written again takes the place of the first.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::SinkNode;

use super::part::{self, PartFile, PartNames};
use super::writer::Writer;
use super::{extension, file_error, required};
use crate::connector::Sink;
use crate::error::{EngineError, Result};
use crate::state::{StateReader, StateWriter};

/// Rows in a chunk. Parquet's pages, Avro's blocks and Arrow's record batches end where a write ends, so
/// the cut shows in the file.
const CHUNK_ROWS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// The sink.
pub(super) struct FilesSink {
    node: SinkNode,
    schema: SchemaRef,
    folder: PathBuf,
    names: PartNames,
    /// Whether parts become visible with the checkpoints that cover them.
    has_checkpoints: bool,
    current: Option<Current>,
    /// Parts that are complete, and the epoch with which each becomes visible.
    pending: Vec<(PartFile, Epoch)>,
    /// The epoch of the last checkpoint.
    epoch: Option<Epoch>,
    /// Whether there has been a part, so that none has to say that there are no rows.
    has_parts: bool,
    /// Whether what a crash left behind has been removed.
    is_tidy: bool,
}

/// The part that is being written.
struct Current {
    writer: Writer,
    part: PartFile,
}

impl FilesSink {
    pub(super) fn open(node: &SinkNode, subtask: u32, has_checkpoints: bool, schema: SchemaRef) -> Result<Self> {
        let (folder, format) = (required(&node.options, "path")?, required(&node.options, "format")?);
        let mut sink = Self {
            node: node.clone(),
            schema,
            folder: PathBuf::from(folder),
            names: PartNames { subtask, extension: extension(format).to_owned() },
            has_checkpoints,
            current: None,
            pending: Vec::new(),
            epoch: None,
            has_parts: false,
            is_tidy: !has_checkpoints,
        };
        // With checkpoints a part of the first name may be there already, to be restored.
        if has_checkpoints {
            sink.try_format()?
        } else {
            sink.current = Some(sink.begin()?)
        }
        Ok(sink)
    }

    /// Makes a file that nobody sees: a folder that cannot be made or columns that the format does not have
    /// are errors now, not with the first row.
    fn try_format(&self) -> Result<()> {
        let nowhere = Path::new("/dev/null");
        let file = fs::OpenOptions::new().write(true).open(nowhere).map_err(file_error("write", nowhere))?;
        let path = self.folder.join(self.names.after(None));
        part::make_folder(&self.folder)?;
        Writer::new(&self.node.options, &self.node.upsert_keys, file, &path, Arc::clone(&self.schema)).map(drop)
    }

    /// Removes what a crash left behind, once: what is kept for a commit comes later.
    fn tidy(&mut self, is_ours: impl Fn(u32) -> bool) -> Result<()> {
        if self.is_tidy {
            return Ok(());
        }
        self.is_tidy = true;
        part::remove_abandoned(&self.folder, &self.names, is_ours)
    }

    /// Begins the part behind the last checkpoint.
    fn begin(&mut self) -> Result<Current> {
        let subtask = self.names.subtask;
        self.tidy(|other| other == subtask)?;
        self.has_parts = true;
        let part = PartFile::create(&self.folder, &self.names.after(self.epoch))?;
        let (options, keys) = (&self.node.options, &self.node.upsert_keys);
        let writer = Writer::new(options, keys, part.file()?, part.path(), Arc::clone(&self.schema))?;
        Ok(Current { writer, part })
    }

    /// Completes the current part, to become visible with an epoch.
    fn complete_current(&mut self, epoch: Epoch) -> Result<()> {
        let Some(Current { writer, mut part }) = self.current.take() else { return Ok(()) };
        writer.finish(part.path())?;
        if self.has_checkpoints {
            part.keep()?;
            self.pending.push((part, epoch));
            return Ok(());
        }
        part.complete()
    }
}

impl Sink for FilesSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.has_checkpoints && batch.num_rows() == 0 {
            return Ok(());
        }
        let current = match &mut self.current {
            Some(current) => current,
            None if self.has_checkpoints => {
                let begun = self.begin()?;
                self.current.insert(begun)
            }
            None => {
                let path = self.folder.join(self.names.after(None));
                return Err(EngineError::Format { path, reason: String::from("it is complete") });
            }
        };
        current.writer.write(batch, current.part.path())
    }

    fn chunk_rows(&self) -> Option<NonZeroUsize> {
        Some(CHUNK_ROWS)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        if !self.has_checkpoints {
            return Ok(());
        }
        self.complete_current(state.epoch())?;
        self.epoch = Some(state.epoch());
        let pending: Vec<&str> = self.pending.iter().map(|(part, _)| part.name()).collect();
        state.value("pending", &pending)?;
        state.value("epoch", &state.epoch())?;
        state.value("has_parts", &self.has_parts)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        for name in state.values::<Vec<String>>("pending")?.concat() {
            part::complete(&self.folder, &name)?;
        }
        part::sync_folder(&self.folder)?;
        self.epoch = state.values("epoch")?.into_iter().max();
        self.has_parts = state.values("has_parts")?.contains(&true);
        self.tidy(|subtask| state.has_part_of(subtask))
    }

    fn commits(&self) -> bool {
        self.has_checkpoints
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let mut is_changed = false;
        for (part, _) in self.pending.extract_if(.., |(_, covered_by)| *covered_by <= epoch) {
            part::complete(&self.folder, part.name())?;
            is_changed = true;
        }
        if is_changed { part::sync_folder(&self.folder) } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        if !self.has_parts {
            self.current = Some(self.begin()?);
        }
        self.complete_current(Epoch::END)
    }
}
