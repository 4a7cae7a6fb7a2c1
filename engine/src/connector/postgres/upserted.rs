//! Rows that replace each other by key, written in one transaction when their checkpoint has been sealed.

use arrow::array::RecordBatch;

use super::ledger::{Identity, Ledger};
use super::session::Session;
use super::table::Table;
use crate::connector::logged::Replaces;
use crate::connector::transactions::TransactionName;
use crate::error::Result;

/// See the [module](self).
pub(super) struct Upserts {
    table: Table,
    identity: Identity,
    ledger: Ledger,
    session: Session,
}

impl Upserts {
    pub(super) fn open(table: Table, identity: Identity, session: Session) -> Result<Self> {
        let ledger = Ledger::open(&table.schema, identity.clone(), &session)?;
        Ok(Self { table, identity, ledger, session })
    }
}

impl Replaces for Upserts {
    fn take_over(&mut self) -> Result<()> {
        self.identity.fence(&self.session)?;
        let committed = self.ledger.committed(&self.session)?;
        committed.iter().try_for_each(|name| self.identity.check_newest(name.subtask, name.attempt))
    }

    fn apply(&mut self, name: TransactionName, rows: &RecordBatch) -> Result<()> {
        const ACTION: &str = "write to";
        self.session.execute(ACTION, "BEGIN")?;
        if !self.ledger.note(&self.session, name)? {
            return self.session.execute(ACTION, "ROLLBACK");
        }
        self.table.replace(&self.session, rows)?;
        self.ledger.forget_before(&self.session, name)?;
        self.session.execute("commit to", "COMMIT")
    }
}
