//! Models over tables while they are fitted: CREATE MODEL answers once its model does. One that cannot be fitted is not there
//! afterwards, and what it was to replace is, as it was.

use std::sync::Arc;

use tidemill_plans::catalog::SERVED_BYTES_MAX;
use tidemill_plans::ids::JobId;
use tidemill_sql::{JobStatement, ReplacedModel};
use tokio::sync::watch;
use tracing::warn;

use super::dropping::{Had, end};
use super::writing::remove;
use super::{Gathered, Reply, SqlSession, sql_error};
use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::job::JobStatus;
use crate::serving::ServedModel;

/// A model that is being fitted. Whoever gets it waits until it can be asked.
#[derive(Debug)]
pub struct Training {
    status: watch::Receiver<JobStatus>,
    message: String,
}

impl Training {
    /// Waits for its end, which may be hours away; returns a message such as `CREATE MODEL m`. Nothing if it could not be
    /// fitted: the next step of its text says why.
    pub async fn wait(mut self) -> Option<String> {
        let ended = self.status.wait_for(JobStatus::is_terminal).await;
        matches!(ended.as_deref(), Ok(JobStatus::Finished)).then_some(self.message)
    }
}

/// A model whose training the last statement of a text has begun.
#[derive(Debug)]
pub(super) struct NewModel {
    name: String,
    text: String,
    job: JobId,
    status: watch::Receiver<JobStatus>,
    /// Where its rows are: no other model of its name has them there.
    training_set: Option<String>,
    old: Option<OldModel>,
}

/// A model that stays until it is known that another can take its place.
#[derive(Debug)]
struct OldModel {
    model: ReplacedModel,
    served: Arc<ServedModel>,
}

impl NewModel {
    /// The statement that has made it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Why it cannot be fitted, once that is known.
    fn failure(&self) -> Option<CoordinatorError> {
        match &*self.status.borrow() {
            JobStatus::Failed { domain, message } => {
                Some(CoordinatorError::JobFailed { domain: *domain, message: message.clone() })
            }
            JobStatus::Stopped => Some(CoordinatorError::Stopped { job: self.job }),
            _ => None,
        }
    }
}

impl SqlSession {
    /// Begins to train a model whose rows are there, with a job of its own. It is recorded with that.
    pub(super) async fn train(
        &mut self,
        written: &JobStatement,
        training: JobStatement,
        who: &Who,
    ) -> Result<(NewModel, Vec<Reply>)> {
        let (text, message) = (training.text().to_owned(), training.message().to_owned());
        let name = training.object().unwrap_or_default().to_owned();
        let replaced = match self.drops.check_free(&name).and_then(|()| self.sql.add_model(written).map_err(sql_error))
        {
            Ok(replaced) => replaced,
            Err(error) => {
                self.remove_place(training.new_place()).await?;
                return Err(error);
            }
        };
        let created = training.created().map(str::to_owned).into_iter().collect();
        let gathered = Gathered { statements: vec![training], messages: Vec::new(), created };
        let mut replies = match self.start(gathered, who).await {
            Ok(replies) => replies,
            Err(error) => {
                replaced.iter().for_each(|model| self.sql.put_back(model));
                return Err(error);
            }
        };
        // It was started last. It is not to be taken for one of the model that it replaces.
        let Some(own) = self.jobs.pop() else { return Err(CoordinatorError::Changed) };
        let (job, status) = (own.handle.id, own.handle.status.clone());
        let old = replaced.and_then(|model| self.set_aside(model));
        self.jobs.push(own);
        replies.push(Reply::Trains(Training { status: status.clone(), message }));
        let training_set = self.sql.training_set_of(&name);
        Ok((NewModel { name, text, job, status, training_set, old }, replies))
    }

    /// Ends what a model does that is to be replaced. Nothing is left of one that has never answered; others answer until
    /// the new one does, if they take and say the same.
    fn set_aside(&mut self, model: ReplacedModel) -> Option<OldModel> {
        let served = self.coordinator.serving().newest(model.name()).ok();
        let place = if served.is_some() { None } else { model.training_set() };
        if !model.is_alike() {
            self.coordinator.serving().hide_newest(model.name());
        }
        let had = Had { jobs: self.jobs_for_nothing_but(model.name()), log: false, versions: false, place };
        // Nobody waits: the new one has a place of its own.
        drop(self.drops.begin(&self.coordinator, model.name(), String::new(), had));
        served.map(|served| OldModel { model, served })
    }

    /// What has become of a model: an error if it could not be fitted, and then all is as it was before. One that nobody
    /// waits for any more is fitted all the same, and nothing stays of what it replaces.
    pub(super) async fn settle_model(&mut self, new: NewModel, who: &Who) -> Result<()> {
        if let Some(error) = new.failure().or_else(|| self.too_large(&new)) {
            if self.sql.training_set_of(&new.name) == new.training_set {
                self.undo_model(new, who).await?;
            }
            return Err(error);
        }
        // The registry knows its version, and statements behind it may ask for that.
        self.refresh().await?;
        let place = new.old.and_then(|old| old.model.training_set());
        self.remove_place(place).await
    }

    /// Why a model that has been fitted cannot take the place of the other: streams that ask it could not be given it.
    fn too_large(&self, new: &NewModel) -> Option<CoordinatorError> {
        new.old.as_ref().filter(|old| old.model.has_users())?;
        let served = self.coordinator.serving().newest(&new.name).ok()?;
        served.weights().state.is_empty().then(|| CoordinatorError::Model {
            model: new.name.clone(),
            reason: format!(
                "the new version has more than {SERVED_BYTES_MAX} bytes, too many for the streams that ask it; the one before \
                 stays. Make it smaller, give it a name of its own, or drop first what asks it"
            ),
        })
    }

    /// Removes a model that could not be fitted, and has the one back that it was to replace.
    async fn undo_model(&mut self, new: NewModel, who: &Who) -> Result<()> {
        let NewModel { name, training_set, old, .. } = new;
        // What is made of one that is alike can be made of the other.
        if !old.as_ref().is_some_and(|old| old.model.is_alike()) {
            self.sql.take_back(&name);
            if self.sql.training_set_of(&name).is_some() {
                // Somebody has made something of it meanwhile.
                return Ok(());
            }
        }
        self.remove(&name).await?;
        if let Some(OldModel { model, served }) = old {
            self.sql.put_back(&model);
            self.record(&name, who).await?;
            self.coordinator.serving().put_back(&name, served);
        }
        // They have ended; a name is free once nothing is left of them.
        for job in self.jobs_for_nothing_but(&name) {
            end(&self.coordinator, &job).await?;
        }
        self.remove_place(training_set).await
    }

    /// As [`Self::settle_model`], for a text that is left.
    pub(super) async fn leave_model(&mut self, new: NewModel, who: &Who) {
        let name = new.name.clone();
        if let Err(error) = self.settle_model(new, who).await {
            warn!(model = name, error = error.chain(), "a model in front of an error is not there");
        }
    }

    /// Removes the files of what is gone, or could not be made.
    async fn remove_place(&self, place: Option<String>) -> Result<()> {
        match place {
            Some(place) => remove(self.coordinator.tables(), place).await,
            None => Ok(()),
        }
    }
}
