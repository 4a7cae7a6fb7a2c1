//! Who writes to a table, and what of it has been committed.
//!
//! The table `tidemill_commits`, beside the one that is written, gets a row with each transaction and in it. So it says
//! whether a transaction that is not there any more was committed, and which attempt was the last; of each instance of a
//! sink only the newest rows stay. Sessions have the name of their sink, instance and attempt, by which the next
//! attempt finds those of earlier ones and ends them.

use std::thread::sleep;
use std::time::Duration;

use tidemill_plans::ids::{Epoch, OperatorId};
use tokio_postgres::Config;

use super::session::{Session, failed};
use crate::connector::share::Share;
use crate::connector::transactions::TransactionName;
use crate::error::{EngineError, Result};
use crate::task::TaskEnv;

/// The name of the table.
const TABLE: &str = "tidemill_commits";

/// How long the name of a session may be, in bytes.
const SESSION_NAME_MAX: usize = 63;

/// How often it is looked whether sessions that were told to end have ended, and how long after each other.
const LOOKS: u32 = 500;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// One instance of a sink in an attempt at a job.
#[derive(Clone)]
pub(super) struct Identity {
    /// What sessions and transactions of the sink begin with.
    pub(super) prefix: String,
    pub(super) share: Share,
    pub(super) attempt: u32,
    /// The sink's name, for errors.
    pub(super) sink: String,
}

impl Identity {
    /// The place of a job's checkpoints ends in the name of its cluster.
    pub(super) fn new(place: &str, env: &TaskEnv, operator: OperatorId, share: Share, sink: &str) -> Self {
        let cluster = place.rsplit('/').next().unwrap_or(place);
        let prefix = format!("tidemill:{cluster}:{}:{operator}:", env.job);
        Self { prefix, share, attempt: env.attempt, sink: sink.to_owned() }
    }

    /// A session of this attempt.
    pub(super) fn session(&self, config: &Config) -> Result<Session> {
        let name = format!("{}{}:{}", self.prefix, self.share.subtask, self.attempt);
        if name.len() > SESSION_NAME_MAX {
            // Cut short, it would be taken for that of another attempt.
            let reason = format!("the server has no sessions of so long a name: {name}");
            return Err(EngineError::SinkRefused { sink: self.sink.clone(), reason });
        }
        Session::open(config, &name, &self.sink)
    }

    /// Ends the sessions that earlier attempts have, of the instances that this one looks after; an error if a later
    /// attempt has any.
    pub(super) fn fence(&self, session: &Session) -> Result<()> {
        const OTHERS: &str = "SELECT pid, application_name FROM pg_stat_activity
            WHERE left(application_name, length($1::text)) = $1 AND pid <> pg_backend_pid()";
        for _ in 0..LOOKS {
            let mut older = Vec::new();
            for row in session.query(OTHERS, &[&self.prefix])? {
                let (pid, name): (i32, String) = (row.get(0), row.get(1));
                let Some((subtask, attempt)) = self.instance(&name) else { continue };
                if self.looks_after(subtask) && attempt < self.attempt {
                    older.push(pid);
                }
                self.check_newest(subtask, attempt)?;
            }
            if older.is_empty() {
                return Ok(());
            }
            for pid in older {
                session.query("SELECT pg_terminate_backend($1)", &[&pid])?;
            }
            sleep(BETWEEN_LOOKS);
        }
        Err(failed("take over", &self.sink, "sessions of an earlier attempt do not end"))
    }

    /// Which instance and attempt the name of a session says.
    fn instance(&self, name: &str) -> Option<(u32, u32)> {
        let (subtask, attempt) = name.strip_prefix(&self.prefix)?.split_once(':')?;
        Some((subtask.parse().ok()?, attempt.parse().ok()?))
    }

    /// Whether this instance looks after what another of an earlier attempt has left.
    pub(super) fn looks_after(&self, subtask: u32) -> bool {
        subtask % self.share.parallelism == self.share.subtask
    }

    /// An error if a later attempt has written or writes.
    pub(super) fn check_newest(&self, subtask: u32, attempt: u32) -> Result<()> {
        if self.looks_after(subtask) && attempt > self.attempt {
            return Err(EngineError::SinkTakenOver { sink: self.sink.clone() });
        }
        Ok(())
    }
}

/// See the [module](self).
pub(super) struct Ledger {
    /// The table, with its schema if need be.
    table: String,
    identity: Identity,
}

impl Ledger {
    /// Makes the table unless it is there.
    pub(super) fn open(schema: &str, identity: Identity, session: &Session) -> Result<Self> {
        let table = format!("{schema}{TABLE}");
        let ledger = Self { table, identity };
        if ledger.is_there(session)? {
            return Ok(ledger);
        }
        let table = &ledger.table;
        let create = format!(
            "CREATE TABLE {table} (sink text, subtask bigint, attempt bigint, after bigint, \
             PRIMARY KEY (sink, subtask, attempt, after))"
        );
        match session.try_execute("write to", &create)? {
            Ok(()) => Ok(ledger),
            // Somebody else may have been faster.
            Err(_) if ledger.is_there(session)? => Ok(ledger),
            Err(error) => {
                let answer = error.as_db_error().map(|answer| answer.message().to_owned()).unwrap_or_default();
                let sink = ledger.identity.sink;
                let hint = format!("let somebody who may do so say: {create}; and GRANT SELECT, INSERT, DELETE on it");
                let reason = format!(
                    "it keeps what it has committed in the table {table}, and cannot make it ({answer}); {hint}"
                );
                Err(EngineError::SinkRefused { sink, reason })
            }
        }
    }

    fn is_there(&self, session: &Session) -> Result<bool> {
        let found = session.query("SELECT to_regclass($1::text) IS NOT NULL", &[&self.table])?;
        Ok(found.first().is_some_and(|row| row.get(0)))
    }

    /// Notes a transaction, in it. False if it has been noted before, and so been committed.
    pub(super) fn note(&self, session: &Session, name: TransactionName) -> Result<bool> {
        let statement = format!("INSERT INTO {} VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", self.table);
        let (subtask, attempt, after) = numbers(name);
        Ok(session.change("write to", &statement, &[&self.identity.prefix, &subtask, &attempt, &after])? == 1)
    }

    /// The transactions that have been committed, as far as they are still known, of the instances that this one
    /// looks after.
    pub(super) fn committed(&self, session: &Session) -> Result<Vec<TransactionName>> {
        let question = format!("SELECT subtask, attempt, after FROM {} WHERE sink = $1", self.table);
        let rows = session.query(&question, &[&self.identity.prefix])?;
        let number =
            |row: &tokio_postgres::Row, place: usize| u32::try_from(row.get::<_, i64>(place)).unwrap_or(u32::MAX);
        let names = rows.iter().map(|row| TransactionName {
            subtask: number(row, 0),
            attempt: number(row, 1),
            after: Epoch(u64::try_from(row.get::<_, i64>(2)).unwrap_or_default()),
        });
        Ok(names.filter(|name| self.identity.looks_after(name.subtask)).collect())
    }

    /// Forgets the transactions of an instance before one that has been committed.
    pub(super) fn forget_before(&self, session: &Session, name: TransactionName) -> Result<()> {
        let statement =
            format!("DELETE FROM {} WHERE sink = $1 AND subtask = $2 AND attempt <= $3 AND after < $4", self.table);
        let (subtask, attempt, after) = numbers(name);
        session.change("write to", &statement, &[&self.identity.prefix, &subtask, &attempt, &after]).map(drop)
    }
}

/// As the server has them.
fn numbers(name: TransactionName) -> (i64, i64, i64) {
    (i64::from(name.subtask), i64::from(name.attempt), i64::try_from(name.after.0).unwrap_or(i64::MAX))
}
