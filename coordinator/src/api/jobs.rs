//! Control of jobs as Flight actions: JSON in, JSON out. In between are the statements that do the same.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidemill_plans::PlanError;
use tidemill_sql::{JobCommand, JobName};
use tokio::sync::Mutex;

use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::session::{Reply, SharedScript, SqlSession};

const LIST: &str = "tidemill.list_jobs";
const SHOW: &str = "tidemill.show_job";
const STOP: &str = "tidemill.stop_job";
const RESUME: &str = "tidemill.resume_job";
const SAVEPOINT: &str = "tidemill.savepoint_job";
const RESCALE: &str = "tidemill.rescale_job";
const METRICS: &str = "tidemill.job_metrics";

/// The actions, and what each does.
pub(super) const ACTIONS: &[(&str, &str)] = &[
    (LIST, "The jobs: {} -> {\"jobs\": [{\"job\": 7, \"status\": \"running\", ...}]}."),
    (SHOW, "A job and its checkpoints: {\"job\": 7} or {\"job\": \"what it makes\"} -> {\"job\": {...}, ...}."),
    (STOP, "Ends a job; what it has read is written: {\"job\": 7} -> {\"message\": \"...\"}."),
    (RESUME, "Tries a job again that has failed: {\"job\": 7} -> {\"message\": \"...\"}."),
    (SAVEPOINT, "Writes a savepoint: {\"job\": 7, \"url\": \"...\", \"stop\": false} -> {\"savepoint\": \"...\"}."),
    (RESCALE, "Gives a job another parallelism: {\"job\": 7, \"parallelism\": 4} -> {\"message\": \"...\"}."),
    (METRICS, "What the operators of a job have done: {\"job\": 7} -> {\"operators\": [{...}]}."),
];

/// Which job; its number, or the name of an object that it makes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Which {
    Number(u64),
    Name(String),
}

impl From<Which> for JobName {
    fn from(which: Which) -> Self {
        match which {
            Which::Number(number) => Self::Number(number),
            Which::Name(name) => Self::Object(name),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneJob {
    job: Which,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SavepointOf {
    job: Which,
    url: Option<String>,
    #[serde(default)]
    stop: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RescaleTo {
    job: Which,
    parallelism: u32,
}

/// Carries an action out; its answer, or nothing if there is none of this name.
pub(super) async fn act(
    session: &Arc<Mutex<SqlSession>>,
    action: &str,
    body: &[u8],
    who: &Who,
) -> Option<Result<Value>> {
    let control = Control { session, action, who };
    Some(match action {
        LIST => control.rows(JobCommand::ShowJobs).await.map(|jobs| json!({ "jobs": jobs })),
        SHOW => control.show(body).await,
        STOP => control.on_job(body, JobCommand::Stop).await,
        RESUME => control.on_job(body, JobCommand::Resume).await,
        SAVEPOINT => control.savepoint(body).await,
        RESCALE => control.rescale(body).await,
        METRICS => control.metrics(body).await,
        _ => return None,
    })
}

/// An action that is being carried out.
struct Control<'a> {
    session: &'a Arc<Mutex<SqlSession>>,
    action: &'a str,
    who: &'a Who,
}

impl Control<'_> {
    async fn show(&self, body: &[u8]) -> Result<Value> {
        let job: JobName = self.read::<OneJob>(body)?.job.into();
        let mut rows = self.rows(JobCommand::ShowJob(job.clone())).await?;
        let checkpoints = match self.rows(JobCommand::ShowCheckpoints(job)).await {
            // One that has failed is known, and nobody remembers its checkpoints.
            Err(CoordinatorError::NotRunning { .. }) => Vec::new(),
            checkpoints => checkpoints?,
        };
        Ok(json!({ "job": rows.pop(), "checkpoints": checkpoints }))
    }

    async fn on_job(&self, body: &[u8], command: impl FnOnce(JobName) -> JobCommand) -> Result<Value> {
        self.message(command(self.read::<OneJob>(body)?.job.into())).await
    }

    async fn savepoint(&self, body: &[u8]) -> Result<Value> {
        let SavepointOf { job, url, stop } = self.read(body)?;
        match self.run(JobCommand::Savepoint { job: job.into(), url, stops: stop }).await? {
            Reply::Saves(saving) => Ok(json!({ "savepoint": saving.wait().await?.url })),
            _ => Err(CoordinatorError::Changed),
        }
    }

    async fn rescale(&self, body: &[u8]) -> Result<Value> {
        let RescaleTo { job, parallelism } = self.read(body)?;
        self.message(JobCommand::Rescale { job: job.into(), parallelism }).await
    }

    async fn metrics(&self, body: &[u8]) -> Result<Value> {
        let job = self.read::<OneJob>(body)?.job.into();
        Ok(json!({ "operators": self.rows(JobCommand::ShowMetrics(job)).await? }))
    }

    /// The request, whose form the list of actions tells.
    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|error| {
            let form = ACTIONS.iter().find(|(name, _)| *name == self.action).map_or("", |(_, what)| what);
            let message = format!("the body of {} cannot be read: {error}. {form}", self.action);
            CoordinatorError::Statement { message }
        })
    }

    async fn rows(&self, command: JobCommand) -> Result<Vec<Value>> {
        match self.run(command).await? {
            Reply::Rows(rows) => to_json(&rows),
            _ => Err(CoordinatorError::Changed),
        }
    }

    async fn message(&self, command: JobCommand) -> Result<Value> {
        match self.run(command).await? {
            Reply::Done(message) => Ok(json!({ "message": message })),
            _ => Err(CoordinatorError::Changed),
        }
    }

    /// What a statement comes to.
    async fn run(&self, command: JobCommand) -> Result<Reply> {
        let script = self.session.lock().await.read_apart(&command.to_string(), self.who.clone()).await?;
        let mut script = SharedScript::new(Arc::clone(self.session), script);
        let mut last = None;
        while let Some(replies) = script.next().await? {
            last = replies.into_iter().last();
        }
        last.ok_or(CoordinatorError::Changed)
    }
}

/// Rows as objects, of which each has all columns.
fn to_json(rows: &RecordBatch) -> Result<Vec<Value>> {
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut bytes);
    writer.write(rows).and_then(|()| writer.finish()).map_err(PlanError::from)?;
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&bytes).map_err(|_| CoordinatorError::Lost { part: "JSON writer" })
}
