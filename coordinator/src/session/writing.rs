//! Statements that run as a whole and write: INSERT INTO; CREATE TABLE AS, whose table is there once its rows are; and CREATE
//! MODEL over tables, whose training begins then. The session is others' meanwhile.

use std::path::Path;
use std::sync::Arc;

use tidemill_sql::{JobStatement, ReplacedModel};
use tokio::sync::watch;

use super::appending::{Appending, Work};
use super::dropping::Had;
use super::{Gathered, Reply, SqlSession, sql_error};
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

    /// Takes a table in if its rows are there; what is to be trained with them is one more job of the text.
    pub(super) async fn take_in(&mut self, table: NewTable, gathered: &mut Gathered, who: &Who) -> Result<()> {
        if *table.status.borrow() != JobStatus::Finished {
            return Ok(());
        }
        if let Some(training) = table.statement.behind_its_rows() {
            return self.take_in_model(&table.statement, training, gathered).await;
        }
        let Some(name) = table.statement.new_table() else { return Ok(()) };
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
        added
    }
}

impl SqlSession {
    /// Takes a model in whose training set is there. It is recorded with its job.
    async fn take_in_model(
        &mut self,
        written: &JobStatement,
        training: JobStatement,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let free = self.drops.check_free(training.object().unwrap_or_default());
        let added = free.and_then(|()| self.sql.add_model(written).map_err(sql_error));
        match added {
            Ok(replaced) => {
                gathered.replaced.extend(replaced);
                gathered.add(training);
            }
            Err(error) => {
                if let Some(place) = training.new_place() {
                    remove(self.coordinator.tables(), place).await?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends what models had that others have replaced. One that takes and says the same answers until the other is trained.
    pub(super) fn end_replaced(&mut self, replaced: Vec<ReplacedModel>) {
        for model in replaced {
            if !model.is_alike() {
                self.coordinator.serving().remove(model.name());
            }
            let jobs = self.jobs_for_nothing_but(model.name());
            let had = Had { jobs, log: false, place: model.training_set() };
            // Nobody waits: the new one has a place of its own.
            drop(self.drops.begin(&self.coordinator, model.name(), String::new(), had));
        }
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
