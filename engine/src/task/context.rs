//! What an operator gets passed through: where its output goes, its counters, its job.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::catalog::{ModelVersion, ModelWeights, SERVED_BYTES_MAX};
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::result_ticket::ResultTicket;
use tidemill_plans::settings::Settings;
use tidemill_plans::time::Watermark;

use crate::connector::{ServedVersions, Views};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::state::StateMemory;
use crate::task::{Alignment, DeadLetter, DeadLetters, Message, QueryMemory, Teams};

/// Takes the rows of a SELECT's result to the session that asked.
pub trait ResultPort: Send + Sync {
    /// Returns once the session has taken the rows; called on an I/O thread, so it may block.
    fn send(&self, operator: OperatorId, batch: &RecordBatch) -> Result<()>;

    /// Has a part of the result fetched from this worker, by whoever shows its ticket.
    ///
    /// # Errors
    /// Nobody can fetch from here.
    fn hand_out(&self, ticket: ResultTicket, _schema: &SchemaRef) -> Result<Box<dyn ResultPart>> {
        Err(EngineError::Disconnected(format!("whoever would fetch part {}", ticket.part)))
    }
}

/// A part of a result, on its way to whoever fetches it. Dropped before its end it is not complete, and says so.
pub trait ResultPart: Send {
    /// Returns once there is room for more; called on an I/O thread, so it may block. An error if nobody fetches.
    fn send(&mut self, batch: &RecordBatch) -> Result<()>;

    /// All has been sent. Returns once that is known to whoever fetches.
    fn finish(&mut self) -> Result<()>;
}

/// What all tasks of a job on one worker share.
#[derive(Clone)]
pub struct TaskEnv {
    /// The job.
    pub job: JobId,
    /// The settings that it was started with.
    pub settings: Settings,
    /// Which attempt at the job.
    pub attempt: u32,
    /// Where the job's checkpoints are, if it has any: then its sinks must not show what none of them covers.
    pub checkpoints: Option<String>,
    /// Where rows go that cannot be used.
    pub dead_letters: Arc<DeadLetters>,
    /// What trainers have published.
    pub models: Arc<Mutex<PublishedModels>>,
    /// Which versions of models the coordinator has told of.
    pub served: Arc<ServedVersions>,
    /// Which sources wait for each other.
    pub alignment: Arc<Alignment>,
    /// Where results of SELECTs go.
    pub results: Arc<dyn ResultPort>,
    /// What each of the job's operators on this worker may keep in memory.
    pub state_memory: StateMemory,
    /// What the operators of a query hold in memory, all together.
    pub query_memory: Arc<QueryMemory>,
    /// The materialized views of this worker.
    pub views: Arc<Views>,
    /// Set once nobody wants what the job's tasks still make here: whoever computes for long looks at it.
    pub interrupt: Arc<AtomicBool>,
    /// Where the instances of an operator find each other.
    pub teams: Arc<dyn Teams>,
}

/// Models that were published and not yet reported; each heartbeat takes them.
#[derive(Debug, Default)]
pub struct PublishedModels {
    /// All versions, for the registry.
    pub versions: Vec<ModelVersion>,
    /// What the newest version of each model predicts with.
    pub newest: BTreeMap<String, ModelWeights>,
}

/// One operator's surroundings. Output is queued here in order; the chain takes it after each call.
pub struct OperatorContext {
    name: String,
    env: TaskEnv,
    stats: Arc<OperatorStats>,
    watermark: Watermark,
    output: VecDeque<Message>,
}

impl OperatorContext {
    /// The surroundings of the operator that `name` tells a person.
    #[must_use]
    pub fn new(name: String, env: TaskEnv, stats: Arc<OperatorStats>) -> Self {
        Self { name, env, stats, watermark: Watermark::MIN, output: VecDeque::new() }
    }

    /// Goes on where one like it was: this watermark has been emitted.
    pub fn go_on_at(&mut self, watermark: Watermark) {
        self.watermark = watermark;
    }

    /// Emits rows; empty batches are left out.
    pub fn emit(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            OperatorStats::add(&self.stats.rows_out, batch.num_rows());
            self.output.push_back(Message::Batch(batch));
        }
    }

    /// Emits a watermark if it is ahead of the last one: time never goes back.
    pub fn emit_watermark(&mut self, watermark: Watermark) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.stats.set_watermark(watermark);
            self.output.push_back(Message::Watermark(watermark));
        }
    }

    /// The last watermark emitted.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// Counts rows that came after all their windows had closed.
    pub fn count_late(&self, rows: usize) {
        OperatorStats::add(&self.stats.late_rows, rows);
    }

    /// Counts rows that the source was told to leave out.
    pub fn count_skipped(&self, rows: usize) {
        OperatorStats::add(&self.stats.skipped_rows, rows);
    }

    /// Counts a row that could not be used and routes it to the dead letters. How the row reads is asked
    /// only if somebody will read it.
    pub fn dead_letter(&self, reason: &str, row: impl FnOnce() -> Result<String>) -> Result<()> {
        OperatorStats::add(&self.stats.dead_letter_rows, 1);
        self.env
            .dead_letters
            .push(|| Ok(DeadLetter { operator: self.name.clone(), reason: reason.to_owned(), row: row()? }))
    }

    /// Reports a model version to the registry, and to those who answer clients with the newest one.
    pub fn report_model(&self, version: ModelVersion, label: &str, state: &[u8]) {
        if let Some(auc) = version.metrics.iter().find(|(name, _)| name == "auc") {
            self.stats.set_quality(auc.1);
        }
        let weights = ModelWeights {
            model: version.model.clone(),
            version: version.version,
            learnt_to: version.learnt_to,
            label: label.to_owned(),
            state: if state.len() > SERVED_BYTES_MAX { Vec::new() } else { state.to_vec() },
        };
        let mut models = self.env.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.versions.push(version);
        models.newest.insert(weights.model.clone(), weights);
    }

    /// The operator's counters.
    #[must_use]
    pub fn stats(&self) -> &OperatorStats {
        &self.stats
    }

    /// The job's settings, dead letters and result port.
    #[must_use]
    pub fn env(&self) -> &TaskEnv {
        &self.env
    }

    pub(crate) fn shared_stats(&self) -> Arc<OperatorStats> {
        Arc::clone(&self.stats)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn output(&self) -> &VecDeque<Message> {
        &self.output
    }

    pub(crate) fn take_output(&mut self) -> VecDeque<Message> {
        std::mem::take(&mut self.output)
    }
}
