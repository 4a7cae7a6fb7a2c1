//! How much a coordinator takes on at a time: what is more is refused with a word, before it does any harm.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_sql::access::RoleLimit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Access, Who};
use crate::error::{CoordinatorError, Result};

/// What a server takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest text of a client, statements or a plan, in bytes. What is read of it takes some hundred times as much.
    pub text_bytes_max: usize,
    /// How many statements of clients there may be at a time, with those whose rows are being fetched.
    pub statements_max: usize,
    /// How many jobs there may be, with those of SELECTs.
    pub jobs_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { text_bytes_max: 1 << 20, statements_max: 256, jobs_max: 1000 }
    }
}

impl Limits {
    /// An error if a text of a client is too long.
    pub(crate) fn check_text(&self, text: &str) -> Result<()> {
        let (bytes, max) = (text.len(), self.text_bytes_max);
        if bytes <= max {
            return Ok(());
        }
        let message = format!(
            "the text has {bytes} bytes, and {max} are possible: send its statements one by one, rows by INSERT with \
             parameters or from files, or raise --max-statement-size"
        );
        Err(CoordinatorError::Statement { message })
    }
}

/// How many jobs there may be, of each user and in all.
pub(crate) struct JobRoom {
    pub(crate) jobs_max: usize,
    pub(crate) access: Arc<Access>,
}

impl JobRoom {
    /// An error if there is no room for a job of a user beside those that run, whose users these are.
    pub(crate) fn check<'a>(
        &self,
        user: Option<&str>,
        running: impl Iterator<Item = Option<&'a str>> + Clone,
    ) -> Result<()> {
        if running.clone().count() >= self.jobs_max {
            return Err(CoordinatorError::TooMany { what: "jobs", max: self.jobs_max, option: "--max-jobs" });
        }
        let Some(user) = user else { return Ok(()) };
        self.access.check_limit(RoleLimit::Jobs, user, running.flatten().map(|owner| (owner, 1)))
    }
}

/// Places for the statements of clients.
#[derive(Clone)]
pub(crate) struct StatementPlaces {
    free: Arc<Semaphore>,
    max: usize,
    access: Arc<Access>,
    /// How many statements each user has.
    held: Held,
}

type Held = Arc<Mutex<BTreeMap<String, usize>>>;

/// A place for a statement, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct StatementPlace {
    _permit: OwnedSemaphorePermit,
    /// Whose it is, if anybody is asked who they are.
    user: Option<String>,
    held: Held,
}

impl StatementPlaces {
    pub(crate) fn new(max: usize, access: Arc<Access>) -> Self {
        Self { free: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))), max, access, held: Held::default() }
    }

    /// A place for a statement of somebody.
    pub(crate) fn take(&self, who: &Who) -> Result<StatementPlace> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        let too_many = |_| CoordinatorError::TooMany { what: "statements", max: self.max, option: "--max-statements" };
        let permit = permit.map_err(too_many)?;
        if let Some(user) = &who.role {
            let mut held = lock(&self.held);
            let counts = held.iter().map(|(user, count)| (user.as_str(), *count));
            self.access.check_limit(RoleLimit::Statements, user, counts)?;
            *held.entry(user.clone()).or_default() += 1;
        }
        Ok(StatementPlace { _permit: permit, user: who.role.clone(), held: Arc::clone(&self.held) })
    }
}

impl Drop for StatementPlace {
    fn drop(&mut self) {
        let Some(user) = self.user.take() else { return };
        let mut held = lock(&self.held);
        if let Entry::Occupied(mut count) = held.entry(user) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn lock(held: &Mutex<BTreeMap<String, usize>>) -> MutexGuard<'_, BTreeMap<String, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
