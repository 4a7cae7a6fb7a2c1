//! Statements that run as a whole and write: INSERT INTO; CREATE TABLE AS, whose table is there once its rows are; and CREATE
//! MODEL over tables, whose training begins then. The session is others' meanwhile.

use std::path::Path;
use std::sync::Arc;

use tidemill_sql::JobStatement;
use tokio::sync::watch;

use super::appending::{Appending, Work};
use super::training::NewModel;
use super::{Reply, SqlSession, sql_error};
use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::job::JobStatus;
use crate::tables::TableFolders;

/// A table or a training set whose rows are being written.
#[derive(Debug)]
pub(super) struct NewTable {
    statement: JobStatement,
    status: watch::Receiver<JobStatus>,
}

impl SqlSession {
    /// Begins to write. A new table is left with the text, which takes it in once its rows are there.
    pub(super) async fn write(
        &mut self,
        statement: JobStatement,
        new_table: &mut Option<NewTable>,
        who: &Who,
    ) -> Result<Reply> {
        let training = statement.behind_its_rows();
        // A model is told of when its training has begun.
        let message = match &training {
            Some(_) => format!("TRAINING SET of {}", statement.object().unwrap_or_default()),
            None => statement.message().to_owned(),
        };
        let table = (training.is_some() || statement.new_table().is_some()).then(|| statement.clone());
        let Reply::Query(query) = self.select(statement, who).await? else { return Err(CoordinatorError::Changed) };
        *new_table = table.map(|statement| NewTable { statement, status: query.job.status.clone() });
        Ok(Reply::Appends(Appending { work: Work::Writes(Box::new(query)), message }))
    }

    /// Takes a table in if its rows are there, or begins to train a model with them.
    pub(super) async fn take_in(
        &mut self,
        table: NewTable,
        new_model: &mut Option<NewModel>,
        who: &Who,
    ) -> Result<Vec<Reply>> {
        if *table.status.borrow() != JobStatus::Finished {
            return Ok(Vec::new());
        }
        if let Some(training) = table.statement.behind_its_rows() {
            let (model, replies) = self.train(&table.statement, training, who).await?;
            *new_model = Some(model);
            return Ok(replies);
        }
        let Some(name) = table.statement.new_table() else { return Ok(Vec::new()) };
        let (before, replaced) = (self.sql.clone(), self.sql.place_of(name));
        let mut added = self.drops.check_free(name);
        added = added.and_then(|()| self.sql.add_table(&table.statement).map_err(sql_error));
        if added.is_ok() {
            added = self.record(name, who).await;
        }
        let gone = match &added {
            Ok(()) => replaced,
            Err(_) => {
                self.sql = before;
                table.statement.new_place()
            }
        };
        if let Some(place) = gone {
            remove(self.coordinator.tables(), place).await?;
        }
        added.map(|()| Vec::new())
    }
}

/// Removes what a table has whose place was not the user's.
pub(super) async fn remove(tables: &Arc<TableFolders>, place: String) -> Result<()> {
    let tables = Arc::clone(tables);
    let removed = tokio::task::spawn_blocking(move || tables.remove(Path::new(&place))).await;
    let removed = removed.map_err(|_| CoordinatorError::Lost { part: "thread" })?;
    removed.map_err(|error| CoordinatorError::Statement {
        message: format!("the files of a table that is gone cannot be removed: {error}"),
    })
}
