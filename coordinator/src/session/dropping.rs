//! Objects that are dropped: their jobs write what they have read, and the session is others' meanwhile.
//!
//! A name is free again once that is done, for who makes an object anew must not meet what is left of the one before.

use std::time::Duration;

use tidemill_plans::protocol::StopMode;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::writing;
use crate::error::{CoordinatorError, Result};
use crate::handle::{CoordinatorHandle, JobHandle};

/// How long a statement waits for the jobs of what it drops. They end all the same.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long the session's end waits for them.
const PATIENCE_AT_END: Duration = Duration::from_secs(30);

/// An object that is being dropped. Whoever gets it waits until its jobs have ended.
#[derive(Debug)]
pub struct Dropping {
    name: String,
    message: String,
    end: Ended,
}

impl Dropping {
    /// Waits until nothing is left of the object; returns a message such as `DROP VIEW v`.
    ///
    /// # Errors
    /// What could not be ended or removed, or that it takes long.
    pub async fn wait(self) -> Result<String> {
        let Self { name, message, end } = self;
        match timeout(PATIENCE, end.wait()).await {
            Ok(None) => Ok(message),
            Ok(Some(reason)) => Err(failed(format!("'{name}' is dropped, but not all that it had is gone: {reason}"))),
            Err(_) => {
                let waited = PATIENCE.as_secs();
                let reason = format!("'{name}' is dropped, and its job still ends after {waited} s; SHOW JOBS has it");
                Err(failed(reason))
            }
        }
    }
}

fn failed(message: String) -> CoordinatorError {
    CoordinatorError::Statement { message }
}

/// What becomes of an end that others wait for.
#[derive(Debug, Clone, PartialEq)]
enum State {
    Ends,
    /// What has gone wrong, if something has.
    Ended(Option<String>),
}

/// The end of a dropped object's jobs.
#[derive(Debug, Clone)]
struct Ended(watch::Receiver<State>);

impl Ended {
    fn is_there(&self) -> bool {
        *self.0.borrow() != State::Ends
    }

    /// Waits for it; returns what has gone wrong.
    async fn wait(mut self) -> Option<String> {
        let ended = self.0.wait_for(|state| *state != State::Ends).await;
        match ended.as_deref() {
            Ok(State::Ended(reason)) => reason.clone(),
            _ => Some(CoordinatorError::ShutDown.to_string()),
        }
    }
}

/// What a dropped object had.
pub(super) struct Had {
    /// Jobs that work for nothing else.
    pub(super) jobs: Vec<JobHandle>,
    /// A log of pushed rows.
    pub(super) log: bool,
    /// Versions of a model; not of one that another of its name takes the place of.
    pub(super) versions: bool,
    /// Files of a table, which go if their place was not the user's.
    pub(super) place: Option<String>,
}

/// The objects that a session is dropping.
#[derive(Default)]
pub(super) struct Drops {
    ends: Vec<(String, Ended)>,
    /// Ends with the session.
    running: JoinSet<()>,
}

impl Drops {
    /// Has an object's jobs end, and then removes what it had.
    pub(super) fn begin(&mut self, coordinator: &CoordinatorHandle, name: &str, message: String, had: Had) -> Dropping {
        self.forget_ended();
        // Jobs that end may still read a log whose source is dropped after their views.
        let readers: Vec<Ended> = self.ends.iter().map(|(_, end)| end.clone()).collect();
        let (end, ended) = watch::channel(State::Ends);
        let (coordinator, owned_name) = (coordinator.clone(), name.to_owned());
        self.running.spawn(async move {
            let done = end_all(&coordinator, &owned_name, had, readers).await;
            let reason = done.err().map(|error| error.chain());
            if let Some(reason) = &reason {
                warn!(object = owned_name, reason, "not all that a dropped object had is gone");
            }
            end.send_replace(State::Ended(reason));
        });
        let end = Ended(ended);
        self.ends.push((name.to_owned(), end.clone()));
        Dropping { name: name.to_owned(), message, end }
    }

    fn forget_ended(&mut self) {
        self.ends.retain(|(_, end)| !end.is_there());
        while self.running.try_join_next().is_some() {}
    }

    /// An error if an object of this name is still being dropped.
    pub(super) fn check_free(&self, name: &str) -> Result<()> {
        match self.ends.iter().any(|(dropped, end)| dropped == name && !end.is_there()) {
            false => Ok(()),
            true => Err(failed(format!(
                "'{name}' is still being dropped: its job writes what it has read; create it once DROP has answered"
            ))),
        }
    }

    /// Waits for all of them, for a while.
    pub(super) async fn finish(&mut self) {
        let all = async { while self.running.join_next().await.is_some() {} };
        if timeout(PATIENCE_AT_END, all).await.is_err() {
            warn!("jobs of dropped objects are left before they have ended");
        }
    }
}

async fn end_all(coordinator: &CoordinatorHandle, name: &str, had: Had, readers: Vec<Ended>) -> Result<()> {
    for job in &had.jobs {
        end(coordinator, job).await?;
    }
    if had.log {
        for reader in readers {
            reader.wait().await;
        }
        coordinator.pushed().remove(name).await?;
    }
    if had.versions {
        // Its jobs may have published one as they ended.
        coordinator.forget_model(name).await?;
    }
    match had.place {
        Some(place) => writing::remove(coordinator.tables(), place).await,
        None => Ok(()),
    }
}

/// Ends a job; what it has read is written.
pub(super) async fn end(coordinator: &CoordinatorHandle, job: &JobHandle) -> Result<()> {
    job.stop(StopMode::Drain).await?;
    job.wait().await;
    coordinator.forget_views(job.id).await
}
