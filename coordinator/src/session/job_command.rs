//! Statements about jobs, and about roles and secrets: what the coordinator does for them, and for whom.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use tidemill_plans::ids::JobId;
use tidemill_plans::protocol::StopMode;
use tidemill_sql::access::{self, AccessCommand, Privilege, Rights, Securable};
use tidemill_sql::system::{DEVICES, JOBS};
use tidemill_sql::{JobCommand, JobName};

use super::restore::running_views;
use super::{ObjectJob, Reply, Saving, SqlSession, show, sql_error};
use crate::access::{Told, Who};
use crate::error::{CoordinatorError, Result};
use crate::handle::{CoordinatorHandle, JobInfo, LeftJob};

impl SqlSession {
    pub(super) async fn job_command(&mut self, command: JobCommand, who: &Who) -> Result<Reply> {
        match command {
            JobCommand::ShowJobs => Ok(Reply::Rows(show::jobs(&visible_jobs(&self.coordinator, who).await?)?)),
            JobCommand::ShowJob(job) => Ok(Reply::Rows(show::jobs(&[self.visible_job(&job, who).await?])?)),
            JobCommand::ShowMetrics(job) => {
                let job = self.observed(&job, who).await?;
                let observed = self.coordinator.observe().await?.into_iter().find(|observed| observed.info.id == job);
                let observed = observed.ok_or(CoordinatorError::NotRunning { job })?;
                Ok(Reply::Rows(show::metrics(Some(&observed))?))
            }
            JobCommand::ShowCheckpoints(job) => {
                let job = self.observed(&job, who).await?;
                Ok(Reply::Rows(show::checkpoints(&self.coordinator.checkpoints(job).await?)?))
            }
            JobCommand::Stop(job) => {
                let job = self.controlled(&job, who).await?;
                self.coordinator.stop(job, StopMode::Drain).await?;
                Ok(Reply::Done(format!("STOP {job}")))
            }
            JobCommand::Resume(job) => {
                let job = self.controlled(&job, who).await?;
                self.resume(job).await?;
                Ok(Reply::Done(format!("RESUME {job}")))
            }
            JobCommand::Savepoint { job, url, stops } => {
                let job = self.controlled(&job, who).await?;
                self.coordinator.access().check_savepoint(url.as_deref(), who)?;
                let coordinator = self.coordinator.clone();
                Ok(Reply::Saves(Saving { coordinator, job, url, stops, asked: None }))
            }
            JobCommand::Rescale { job, parallelism } => {
                let job = self.controlled(&job, who).await?;
                self.coordinator.rescale(job, parallelism).await?;
                Ok(Reply::Done(format!("ALTER {job}")))
            }
        }
    }

    /// Goes on with a job that has failed.
    async fn resume(&mut self, job: JobId) -> Result<()> {
        let left = self.coordinator.left_jobs().await?.into_iter().find(|left| left.id == job);
        let LeftJob { graph, objects, .. } = left.ok_or(CoordinatorError::NoSuchJob { job })?;
        let mut handle = self.coordinator.resume(job).await?;
        handle.results.close();
        let objects = objects.unwrap_or_default();
        for (name, view) in running_views(job, &graph, &objects) {
            self.sql.view_started(&name, view);
        }
        self.jobs.retain(|known| known.handle.id != job);
        self.jobs.push(ObjectJob::new(handle, objects, &graph));
        Ok(())
    }

    /// The rows of a table about the cluster or its jobs, as far as somebody may see them.
    pub(super) async fn rows_of(&self, table: &str, who: &Who) -> Result<RecordBatch> {
        if table == DEVICES {
            return self.coordinator.devices().await;
        }
        let jobs = visible_jobs(&self.coordinator, who).await?;
        if table == JOBS {
            return show::jobs(&jobs);
        }
        let mut all = Vec::new();
        for job in jobs {
            // Whoever may see a job need not be one who may look into it.
            if self.observed(&JobName::Number(job.id.0), who).await.is_ok() {
                all.push((job.id, self.coordinator.checkpoints(job.id).await?));
            }
        }
        show::checkpoints_of(&all)
    }

    /// Carries a statement about roles, privileges, secrets or the audit log out.
    pub(super) async fn access_command(&mut self, command: AccessCommand, who: &Who) -> Result<Reply> {
        if !self.is_kept {
            let message = "users, privileges and secrets are those of a coordinator such as tidemill serve";
            return Err(CoordinatorError::Statement { message: message.to_owned() });
        }
        let seen: BTreeSet<String> = self.as_seen_by(who, |sql| sql.catalog.names())?;
        match self.coordinator.access().carry_out(who, command, |name| seen.contains(name)).await? {
            Told::Done(message) => {
                self.sql.set_secrets(self.coordinator.access().secret_names());
                Ok(Reply::Done(message.to_owned()))
            }
            Told::Rows(rows) => Ok(Reply::Rows(rows)),
        }
    }

    /// The job of this name, if somebody may know of it.
    pub(crate) async fn visible_job(&self, name: &JobName, who: &Who) -> Result<JobInfo> {
        let job = self.find(name).await?;
        let shown = visible_jobs(&self.coordinator, who).await?.into_iter().find(|info| info.id == job);
        shown.ok_or_else(|| match name {
            JobName::Object(name) => CoordinatorError::UnknownObject { name: name.clone() },
            JobName::Number(_) => CoordinatorError::NotRunning { job },
        })
    }

    /// The job of this name, into which somebody may look.
    pub(crate) async fn observed(&self, name: &JobName, who: &Who) -> Result<JobId> {
        match self.coordinator.access().sees_all(who)? {
            true => self.find(name).await,
            false => self.controlled(name, who).await,
        }
    }

    /// The job of this name, which somebody may stop and change: all that it makes is theirs, or they have CONTROL.
    pub(crate) async fn controlled(&self, name: &JobName, who: &Who) -> Result<JobId> {
        let job = self.find(name).await?;
        let Some(rights) = self.coordinator.access().limited_rights(who)? else {
            return Ok(job);
        };
        if self.owns_job(job, who) || self.coordinator.owns_query(job, who) {
            return Ok(job);
        }
        if let JobName::Object(name) = name
            && !may_do_something(rights.as_ref(), name)
        {
            return Err(CoordinatorError::UnknownObject { name: name.clone() });
        }
        let Some(known) = self.jobs.iter().find(|known| known.handle.id == job) else {
            return Err(CoordinatorError::Denied { message: format!("{job} is not yours; superusers may stop it") });
        };
        for object in &known.objects {
            let on = Securable::Object(object.clone());
            access::require(rights.as_ref(), Privilege::Control, on).map_err(sql_error)?;
        }
        Ok(job)
    }

    fn owns_job(&self, job: JobId, who: &Who) -> bool {
        self.coordinator.access().owns_job(job, who)
    }

    /// The job of this name: of the jobs that make an object of it, one of this session.
    async fn find(&self, name: &JobName) -> Result<JobId> {
        let name = match name {
            JobName::Number(number) => return Ok(JobId(*number)),
            JobName::Object(name) => name,
        };
        if let Some(own) = self.jobs.iter().find(|job| job.objects.contains(name)) {
            return Ok(own.handle.id);
        }
        self.coordinator.job_of(name).await
    }
}

/// The jobs that make what somebody may do something with, and the queries as a whole that are theirs. Streams of SELECTs
/// are for superusers, and who watches all.
pub(crate) async fn visible_jobs(coordinator: &CoordinatorHandle, who: &Who) -> Result<Vec<JobInfo>> {
    let (mut jobs, access) = (coordinator.jobs().await?, coordinator.access());
    if !access.sees_all(who)?
        && let Some(rights) = access.limited_rights(who)?
    {
        let may_see = |job: &JobInfo| job.makes.iter().any(|name| may_do_something(rights.as_ref(), name));
        jobs.retain(|job| access.owns_job(job.id, who) || access.is_any_of(job.owner.as_deref(), who) || may_see(job));
    }
    Ok(jobs)
}

fn may_do_something(rights: &dyn Rights, object: &str) -> bool {
    let on = Securable::Object(object.to_owned());
    on.privileges().iter().any(|privilege| rights.has(*privilege, &on))
}
