//! Instances of Fit that fit one model together: the first has the rows, tells them the others, and then each does its part.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_ml::{MlError, Team};
use tidemill_plans::graph::Node;
use tidemill_plans::ipc;

use crate::task::{Parts, TaskEnv, TeamError, TeamLink};

/// The largest part of a message to the others, in bytes: those of 16 members are still one message.
const PIECE_BYTES_MAX: usize = 2 << 20;

/// Behind a piece: whether there is more.
const MORE: u8 = 1;

/// The label's column behind those of the features.
const LABEL: &str = "label";

/// One instance among others.
#[derive(Debug)]
pub(in crate::operator) struct FitTeam {
    link: Arc<dyn TeamLink>,
    rank: usize,
    size: usize,
    round: AtomicU64,
    interrupt: Arc<AtomicBool>,
}

/// What the first tells the others.
pub(super) enum Told {
    /// These are the features that the model has.
    Features(SchemaRef),
    /// Rows to learn, and their labels.
    Rows(RecordBatch, ArrayRef),
    /// These were all.
    AllRows,
}

impl FitTeam {
    /// Nothing for the only instance of an operator.
    pub(in crate::operator) fn join(node: &Node, subtask: u32, env: &TaskEnv) -> Option<Arc<Self>> {
        let size = node.parallelism;
        (size > 1).then(|| {
            Arc::new(Self {
                link: env.teams.join(node.id, subtask, size),
                rank: subtask as usize,
                size: size as usize,
                round: AtomicU64::new(0),
                interrupt: Arc::clone(&env.interrupt),
            })
        })
    }

    /// Whether it has the rows.
    pub(super) fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Tells the others which features the model has.
    pub(super) fn tell_features(&self, features: &Schema) -> Result<(), MlError> {
        self.tell(ipc::of_schema(&Arc::new(features.clone())))
    }

    /// Tells the others rows and their labels.
    pub(super) fn tell_rows(&self, features: &RecordBatch, labels: &ArrayRef) -> Result<(), MlError> {
        let label = Arc::new(Field::new(LABEL, labels.data_type().clone(), true));
        let fields = features.schema_ref().fields().iter().cloned().chain([label]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = features.columns().iter().cloned().chain([Arc::clone(labels)]).collect();
        let rows = RecordBatch::try_new(schema, columns).map_err(|error| lost(&error.to_string()))?;
        self.tell(ipc::of_batch(&rows))
    }

    /// Tells the others that they have all rows.
    pub(super) fn tell_all(&self) -> Result<(), MlError> {
        self.tell(Ok(Vec::new()))
    }

    fn tell(&self, message: tidemill_plans::error::Result<Vec<u8>>) -> Result<(), MlError> {
        let message = message.map_err(|error| lost(&error.to_string()))?;
        self.gather(message).map(drop)
    }

    /// What the first tells next.
    pub(super) fn told(&self) -> Result<Told, MlError> {
        let message = self.gather(Vec::new())?.into_iter().next().unwrap_or_default();
        if message.is_empty() {
            return Ok(Told::AllRows);
        }
        let decoded = ipc::decode(message).map_err(|error| lost(&error.to_string()))?;
        let Some(rows) = decoded.batches.into_iter().next() else { return Ok(Told::Features(decoded.schema)) };
        let mut features = rows;
        let labels = features.remove_column(features.num_columns() - 1);
        Ok(Told::Rows(features, labels))
    }

    /// One round of pieces.
    fn exchange(&self, piece: Vec<u8>) -> Result<Parts, MlError> {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        self.link.exchange(round, piece, &|| self.interrupt.load(Ordering::Relaxed)).map_err(|error| match error {
            TeamError::Over => MlError::Stopped,
            TeamError::Lost(reason) => MlError::Team { reason },
        })
    }
}

impl Team for FitTeam {
    fn size(&self) -> usize {
        self.size
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn gather(&self, part: Vec<u8>) -> Result<Vec<Vec<u8>>, MlError> {
        let mut left = part.as_slice();
        let mut all = vec![Vec::new(); self.size];
        loop {
            let (piece, rest) = left.split_at(left.len().min(PIECE_BYTES_MAX));
            left = rest;
            let mut own = Vec::with_capacity(piece.len() + 1);
            own.extend_from_slice(piece);
            own.push(if left.is_empty() { 0 } else { MORE });
            let pieces = self.exchange(own)?;
            let mut has_more = false;
            for (whole, piece) in all.iter_mut().zip(pieces.iter()) {
                let (more, piece) = piece.split_last().ok_or_else(|| lost("an empty message"))?;
                whole.extend_from_slice(piece);
                has_more |= *more == MORE;
            }
            if !has_more {
                return Ok(all);
            }
        }
    }
}

fn lost(reason: &str) -> MlError {
    MlError::Team { reason: reason.to_owned() }
}
