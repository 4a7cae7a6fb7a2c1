//! Whose the jobs are that make no object of the catalog: those of plans, and queries as a whole.

use tidemill_plans::ids::JobId;

use super::{Access, Who, roles};
use crate::error::Result;

impl Access {
    /// Whether a job is somebody's that makes no object of the catalog.
    pub(crate) fn owns_job(&self, job: JobId, who: &Who) -> bool {
        self.is_any_of(self.roles().jobs.get(&job).map(String::as_str), who)
    }

    /// Whether somebody has the rights of an owner.
    pub(crate) fn is_any_of(&self, owner: Option<&str>, who: &Who) -> bool {
        let roles = self.roles();
        owner.zip(who.role.as_deref()).is_some_and(|(owner, role)| roles.all_of(role).contains(owner))
    }

    /// Notes whose a job is that makes no object of the catalog.
    pub(crate) async fn own_job(&self, job: JobId, who: &Who) -> Result<()> {
        match &who.role {
            Some(owner) => self.change(vec![roles::own_job(job, Some(owner))?]).await,
            None => Ok(()),
        }
    }

    /// Forgets whose jobs were that are there no more.
    pub(crate) async fn forget_jobs(&self, left: &[JobId]) -> Result<()> {
        let gone = self.roles().jobs.keys().filter(|job| !left.contains(job)).copied().collect::<Vec<_>>();
        if gone.is_empty() {
            return Ok(());
        }
        self.change(gone.into_iter().map(|job| roles::own_job(job, None)).collect::<Result<_>>()?).await
    }
}
