//! What clients do with a session that others use, too.

use std::sync::Arc;

use tidemill_plans::settings::Settings;
use tidemill_sql::{Description, JobStatement, ParsedStatement, PushTarget, TableInfo};
use tokio::sync::Mutex;

use super::{Gathered, Reply, Script, SqlSession, sql_error};
use crate::error::Result;
use crate::pushed::PushedLog;
use crate::serving::ServedModels;

/// A text that is executed in such a session. It is others' between two statements, and while rows come.
pub struct SharedScript {
    session: Arc<Mutex<SqlSession>>,
    /// Gone once there is nothing left to do.
    script: Option<Script>,
}

impl SharedScript {
    /// Begins to execute what was read.
    #[must_use]
    pub fn new(session: Arc<Mutex<SqlSession>>, script: Script) -> Self {
        Self { session, script: Some(script) }
    }

    /// Executes the next statement; returns what it and those before it have come to, and nothing behind the last one.
    /// After an error the text is left: what stands in front of that takes effect.
    pub async fn next(&mut self) -> Result<Option<Vec<Reply>>> {
        let Some(script) = &mut self.script else { return Ok(None) };
        let stepped = self.session.lock().await.step(script).await;
        if stepped.is_err() {
            self.leave().await;
        }
        stepped
    }

    /// Leaves the rest of the text.
    pub async fn leave(&mut self) {
        if let Some(script) = self.script.take() {
            self.session.lock().await.leave(script).await;
        }
    }

    /// The settings as the text has left them, if it has settings of its own.
    pub(crate) fn into_settings(self) -> Option<Settings> {
        self.script.and_then(|script| script.settings)
    }
}

impl SqlSession {
    /// Looks at what the registry has by now, and at the views; before statements are executed.
    pub(crate) async fn refresh(&mut self) -> Result<()> {
        self.sql.set_models(self.coordinator.models().await?);
        self.look_at_views().await
    }

    /// Looks at how many instances hold each view: whoever asks may have given its job another parallelism.
    pub(super) async fn look_at_views(&mut self) -> Result<()> {
        for (job, operator, instances) in self.coordinator.view_instances().await? {
            self.sql.view_is_held(job, operator, instances);
        }
        Ok(())
    }

    /// What statements come to with these settings, before anything is done.
    pub(crate) async fn describe(
        &mut self,
        statements: &[ParsedStatement],
        settings: &Settings,
    ) -> Result<Description> {
        self.refresh().await?;
        let mut scratch = self.sql.clone();
        settings.clone_into(&mut scratch.settings);
        scratch.describe(statements).map_err(sql_error)
    }

    /// Statements that are to be executed with these settings, and may change them.
    pub(crate) fn script(statements: Vec<ParsedStatement>, settings: Settings) -> Script {
        Script { statements: statements.into_iter(), gathered: Gathered::default(), settings: Some(settings) }
    }

    /// Begins a SELECT, or EXPLAIN ANALYZE, that has been described.
    pub(crate) async fn begin(&self, job: JobStatement) -> Result<Reply> {
        self.select(job).await
    }

    /// The objects that rows can be read from or written to.
    #[must_use]
    pub fn tables(&self) -> Vec<TableInfo> {
        self.sql.tables()
    }

    /// A source that rows can be pushed to, and its log.
    pub(crate) async fn push_target(&self, name: &str) -> Result<(PushTarget, PushedLog)> {
        let target = self.sql.push_target(name).map_err(sql_error)?;
        let log = self.coordinator.pushed().open_log(&target.table).await?;
        Ok((target, log))
    }

    /// The models that clients are answered with, of which this is to be one.
    pub(crate) fn served_models(&self, name: &str) -> Result<Arc<ServedModels>> {
        self.sql.model(name).map_err(sql_error)?;
        Ok(Arc::clone(self.coordinator.serving()))
    }

    /// Whether there is an object of this name.
    pub(crate) fn has_object(&self, name: &str) -> bool {
        self.sql.has_object(name)
    }

    /// The types of a statement's parameters, as far as they show.
    pub(crate) fn parameter_types(&self, statement: &ParsedStatement) -> Vec<Option<arrow::datatypes::DataType>> {
        self.sql.parameter_types(statement)
    }
}
