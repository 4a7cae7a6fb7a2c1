//! Who sends a request, and what they may see and do: the same as by statements.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use tidemill_plans::catalog::{CatalogEntry, ObjectKind};
use tidemill_plans::ids::JobId;
use tidemill_sql::access::{may_see, require_owner};
use tidemill_sql::{JobCommand, JobName};
use tokio::sync::Mutex;

use super::answers::Object;
use super::problem::Problem;
use crate::access::{MONITOR, Who};
use crate::error::{CoordinatorError, Result};
use crate::handle::{CoordinatorHandle, JobInfo};
use crate::session::{Reply, SharedScript, SqlSession, visible_jobs};

/// What requests are about.
#[derive(Clone)]
pub(crate) struct Rest {
    pub(crate) coordinator: CoordinatorHandle,
    /// Knows who may do what with which job.
    pub(crate) session: Arc<Mutex<SqlSession>>,
}

/// A request of somebody.
pub(in crate::api) struct Asking {
    rest: Rest,
    who: Who,
}

impl FromRequestParts<Rest> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Problem> {
        let who = parts.extensions.get::<Who>().cloned();
        let missing = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has no user");
        Ok(Self { rest: rest.clone(), who: who.ok_or_else(missing)? })
    }
}

impl Asking {
    pub(in crate::api) fn coordinator(&self) -> &CoordinatorHandle {
        &self.rest.coordinator
    }

    /// The jobs that they may know of.
    pub(super) async fn jobs(&self) -> Result<Vec<JobInfo>> {
        visible_jobs(self.coordinator(), &self.who).await
    }

    /// A job that they may know of: of this number, or that makes something of this name.
    pub(super) async fn job(&self, name: &str) -> Result<JobInfo> {
        self.rest.session.lock().await.visible_job(&job_name(name), &self.who).await
    }

    /// A job that they may stop and change.
    async fn controlled(&self, name: &str) -> Result<JobInfo> {
        let job = self.rest.session.lock().await.controlled(&job_name(name), &self.who).await?;
        self.info(job).await
    }

    /// A job whose inside they may see.
    pub(super) async fn observed(&self, name: &str) -> Result<JobInfo> {
        let job = self.rest.session.lock().await.observed(&job_name(name), &self.who).await?;
        self.info(job).await
    }

    async fn info(&self, job: JobId) -> Result<JobInfo> {
        let found = self.coordinator().jobs().await?.into_iter().find(|info| info.id == job);
        found.ok_or(CoordinatorError::NotRunning { job })
    }

    /// Does to a job what a statement would, and notes that in the audit log.
    pub(super) async fn change<T, F: Future<Output = Result<T>>>(
        &self,
        name: &str,
        command: impl FnOnce(JobName) -> JobCommand,
        change: impl FnOnce(JobInfo) -> F,
    ) -> Result<T> {
        let done = async { change(self.controlled(name).await?).await }.await;
        let statement = command(job_name(name)).to_string();
        self.coordinator().access().note(&self.who, "statement", &statement, &done).await;
        done
    }

    /// Executes a statement that comes to no rows, as if they had sent it.
    pub(in crate::api) async fn execute(&self, statement: &str) -> Result<()> {
        let session = &self.rest.session;
        let script = session.lock().await.read_apart(statement, self.who.clone()).await?;
        let mut script = SharedScript::new(Arc::clone(session), script);
        while let Some(replies) = script.next().await? {
            for reply in replies {
                if let Reply::Drops(dropping) = reply {
                    dropping.wait().await?;
                }
            }
        }
        Ok(())
    }

    /// An error if they may not have a savepoint written there.
    pub(super) fn check_place(&self, url: Option<&str>) -> Result<()> {
        self.coordinator().access().check_savepoint(url, &self.who)
    }

    /// Whether they may know of an object.
    pub(in crate::api) fn may_see(&self, name: &str, kind: ObjectKind) -> Result<bool> {
        let rights = self.coordinator().access().limited_rights(&self.who)?;
        Ok(rights.is_none_or(|rights| may_see(rights.as_ref(), name, kind)))
    }

    /// The objects that they may know of; how they were created is for their owners.
    pub(super) async fn objects(&self) -> Result<Vec<Object>> {
        let mut shown = Vec::new();
        for entry in self.coordinator().objects().await? {
            if self.may_see(&entry.name, entry.kind)? {
                let is_owner = self.is_owner(&entry);
                shown.push(Object::new(entry, is_owner));
            }
        }
        Ok(shown)
    }

    /// An object that is theirs; nothing if they may not know of it.
    pub(super) async fn object(&self, name: &str) -> Result<Option<Object>> {
        let Some(entry) = self.coordinator().objects().await?.into_iter().find(|entry| entry.name == name) else {
            return Ok(None);
        };
        if !self.may_see(&entry.name, entry.kind)? {
            return Ok(None);
        }
        self.check_owner(&entry)?;
        Ok(Some(Object::new(entry, true)))
    }

    /// An error if they may not see what is nobody's object.
    pub(super) fn check_sees_all(&self, what: &str) -> Result<()> {
        match self.coordinator().access().sees_all(&self.who)? {
            true => Ok(()),
            false => {
                let message = format!("{what} is for members of {MONITOR}, and for superusers: GRANT {MONITOR} TO …");
                Err(CoordinatorError::Denied { message })
            }
        }
    }

    /// Whether they may see how an object was created.
    pub(in crate::api) fn is_owner(&self, entry: &CatalogEntry) -> bool {
        self.check_owner(entry).is_ok()
    }

    fn check_owner(&self, entry: &CatalogEntry) -> Result<()> {
        let rights = self.coordinator().access().limited_rights(&self.who)?;
        let checked = rights.map_or(Ok(()), |rights| require_owner(rights.as_ref(), &entry.name));
        checked.map_err(|error| CoordinatorError::Sql(Box::new(error)))
    }
}

/// The job of this number, also as `job-7`, or that makes something of this name.
fn job_name(name: &str) -> JobName {
    JobName::from(name.strip_prefix("job-").unwrap_or(name))
}
