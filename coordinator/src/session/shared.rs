//! What clients do with a session that others use, too.

use std::sync::Arc;

use tidemill_plans::settings::Settings;
use tidemill_sql::{
    Description, JobStatement, ParsedStatement, PushTarget, Session, SqlError, TableInfo, note_shared_sinks,
};
use tokio::sync::Mutex;

use super::{Reply, Script, SqlSession, sql_error};
use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::pushed::PushedLog;
use crate::serving::AskedModel;

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
    /// Asks the catalog for somebody: what they may not know of is not there.
    pub(super) fn as_seen_by<T>(&mut self, who: &Who, ask: impl FnOnce(&mut Session) -> T) -> Result<T> {
        let rights = self.coordinator.access().rights(who)?;
        Ok(self.sql.with_rights(rights, ask))
    }

    /// Looks at what the registry has by now, and at the views; before statements are executed.
    pub(crate) async fn refresh(&mut self) -> Result<()> {
        self.sql.set_models(self.coordinator.models().await?);
        if self.is_kept {
            self.sql.set_secrets(self.coordinator.access().secret_names());
        }
        self.look_at_views().await
    }

    /// Looks at how many instances hold each view: whoever asks may have given its job another parallelism.
    pub(super) async fn look_at_views(&mut self) -> Result<()> {
        for (job, operator, instances) in self.coordinator.view_instances().await? {
            self.sql.view_is_held(job, operator, instances);
        }
        Ok(())
    }

    /// What statements come to for somebody with these settings, before anything is done.
    pub(crate) async fn describe(
        &mut self,
        statements: &[ParsedStatement],
        settings: &Settings,
        who: &Who,
    ) -> Result<Description> {
        self.refresh().await?;
        let statements = &self.completed(statements.to_vec(), who).await?;
        let view_rows = self.view_rows(statements, Some(settings), who).await?;
        let rights = self.coordinator.access().rights(who)?;
        let mut scratch = self.sql.clone();
        settings.clone_into(&mut scratch.settings);
        scratch.set_view_rows(view_rows);
        let described = scratch.with_rights(rights, |sql| sql.describe(statements)).map_err(sql_error);
        // What is described and not denied is noted when it is done.
        if matches!(&described, Err(CoordinatorError::Sql(error)) if matches!(**error, SqlError::Denied { .. })) {
            let texts: Vec<&str> = statements.iter().map(ParsedStatement::text).collect();
            self.coordinator.access().note(who, "statement", &texts.join("; "), &described).await;
        }
        described
    }

    /// Statements that are to be executed for somebody with these settings, and may change them.
    pub(crate) fn script(mut statements: Vec<ParsedStatement>, settings: Settings, who: Who) -> Script {
        note_shared_sinks(&mut statements);
        Script::new(statements.into_iter(), Some(settings), who)
    }

    /// Begins a SELECT, or EXPLAIN ANALYZE, that has been described.
    pub(crate) async fn begin(&mut self, job: JobStatement, who: &Who) -> Result<Reply> {
        let text = job.text().to_owned();
        // Somebody may have given a view's job another parallelism since.
        self.look_at_views().await?;
        let begun = self.select(job, who).await;
        self.coordinator.access().note(who, "fetch", &text, &begun).await;
        begun
    }

    /// A source that somebody may push rows to, and its log.
    pub(crate) async fn push_target(&mut self, name: &str, who: &Who) -> Result<(PushTarget, PushedLog)> {
        let target = self.as_seen_by(who, |sql| sql.push_target(name))?.map_err(sql_error);
        self.coordinator.access().note(who, "push", name, &target).await;
        let target = target?;
        let log = self.coordinator.pushed().open_log(&target.table).await?;
        Ok((target, log))
    }

    /// A model that somebody asks.
    pub(crate) async fn asked_model(&mut self, name: &str, who: &Who) -> Result<AskedModel> {
        let found = self.as_seen_by(who, |sql| sql.model(name))?.map_err(sql_error);
        let (models, access) = (Arc::clone(self.coordinator.serving()), Arc::clone(self.coordinator.access()));
        let asked = AskedModel { models, access, name: name.to_owned(), who: who.clone() };
        asked.note(&found).await;
        found.map(|_| asked)
    }

    /// Whether there is an object of this name that somebody may know of.
    pub(crate) fn has_object(&mut self, name: &str, who: &Who) -> Result<bool> {
        self.as_seen_by(who, |sql| sql.has_object(name))
    }

    /// The objects that rows can be read from or written to, for whoever has the session to themselves.
    #[must_use]
    pub fn all_tables(&self) -> Vec<TableInfo> {
        self.sql.tables()
    }

    /// The objects that rows can be read from or written to, as far as somebody may know of them.
    pub(crate) fn tables(&mut self, who: &Who) -> Result<Vec<TableInfo>> {
        self.as_seen_by(who, |sql| sql.tables())
    }

    /// The types of a statement's parameters, as far as they show to somebody.
    pub(crate) fn parameter_types(
        &mut self,
        statement: &ParsedStatement,
        who: &Who,
    ) -> Result<Vec<Option<arrow::datatypes::DataType>>> {
        self.as_seen_by(who, |sql| sql.parameter_types(statement))
    }
}
