//! Tables of PostgreSQL servers, to write to. They are looked up in [`super::lookup`].
//!
//! New rows are copied into transactions that are prepared at a checkpoint ([`appended`]). Rows with a key wait in the
//! checkpoint and replace those of their key once it has been sealed ([`upserted`]). Both note what has been written in
//! a table beside ([`ledger`]), in the same transaction, so that nothing is written twice.

mod appended;
mod direct;
mod ledger;
mod session;
mod table;
mod upserted;
mod values;

use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::connector::{Direction, value};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::SinkNode;
use tokio_postgres::Config;

use self::appended::Appended;
use self::direct::DirectSink;
use self::ledger::Identity;
use self::session::Session;
use self::table::Table;
use self::upserted::Upserts;
use super::logged::LoggedSink;
use super::share::Share;
use super::transactions::TransactionalSink;
use super::{Sink, option};
use crate::error::{EngineError, Result};
use crate::task::TaskEnv;

/// The server that an option names.
pub(super) fn server(options: &[(String, String)]) -> Result<Config> {
    let url = option(options, "url").unwrap_or_default();
    url.parse().map_err(|error: tokio_postgres::Error| {
        PlanError::InvalidOption(format!("option 'url' is no PostgreSQL address: {error}")).into()
    })
}

/// A name as it stands in statements.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name, with the schema before it if there is one.
pub(super) fn quoted_path(path: &str) -> String {
    path.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

/// Opens one subtask's share of a table.
pub(super) fn open_sink(
    node: &SinkNode,
    operator: OperatorId,
    share: Share,
    env: &TaskEnv,
    schema: SchemaRef,
) -> Result<Box<dyn Sink>> {
    let config = server(&node.options)?;
    let Some(place) = &env.checkpoints else {
        if option(&node.options, "delivery") == Some("exactly_once") {
            let reason = "delivery = 'exactly_once' needs checkpoints: --data-dir, or SET checkpoint_storage";
            return Err(refused(node, reason));
        }
        return direct(node, Session::open(&config, "tidemill", &node.table)?, schema);
    };
    let identity = Identity::new(place, env, operator, share, &node.table);
    let session = identity.session(&config)?;
    if value("postgres", Direction::Sink, &node.options, "delivery") == Some("at_least_once") {
        identity.fence(&session)?;
        return direct(node, session, schema);
    }
    let table = Table::open(node, &session, &schema)?;
    let name = node.table.clone();
    if node.upsert_keys.is_empty() {
        let transactions = Appended::open(table, identity, session, &config)?;
        return Ok(Box::new(TransactionalSink::new(transactions, name, share.subtask, env.attempt)));
    }
    let upserts = Upserts::open(table, identity, session)?;
    Ok(Box::new(LoggedSink::new(upserts, schema, node.upsert_keys.clone(), env.attempt)))
}

/// A sink whose rows are there as soon as they are written.
fn direct(node: &SinkNode, session: Session, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    let table = Table::open(node, &session, &schema)?;
    Ok(Box::new(DirectSink::new(table, session)))
}

fn refused(node: &SinkNode, reason: impl Into<String>) -> EngineError {
    EngineError::SinkRefused { sink: node.table.clone(), reason: reason.into() }
}
