//! How much a coordinator takes on at a time: what is more is refused with a word, before it does any harm.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_plans::graph::{DataflowGraph, Node};
use tidemill_plans::node::NodeKind;
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
    /// How many bytes of state a query may hold in memory on each worker; 0 for no limit.
    pub query_memory: u64,
    /// How many bytes the prepared statements of a user may take, with the values of their parameters.
    pub prepared_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes_max: 1 << 20,
            statements_max: 256,
            jobs_max: 1000,
            query_memory: 0,
            prepared_bytes_max: 256 << 20,
        }
    }
}

impl Limits {
    /// How many bytes of state a graph may hold for which a session wants so many: the least of these for what is there
    /// for the rows of a SELECT; what is to run for ever has to have what it needs.
    pub(crate) fn query_memory(&self, graph: &DataflowGraph, wanted: u64) -> u64 {
        let is_end = |node: &&Node| matches!(node.kind, NodeKind::Sink(_) | NodeKind::Train(_) | NodeKind::Fit(_));
        let mut ends = graph.nodes.iter().filter(is_end);
        if ends.all(Node::is_result) { self.memory_of_query(wanted) } else { 0 }
    }

    /// How many bytes a query may hold for which a session wants so many.
    pub(crate) fn memory_of_query(&self, wanted: u64) -> u64 {
        [self.query_memory, wanted].into_iter().filter(|bytes| *bytes > 0).min().unwrap_or_default()
    }

    /// An error if a text of a client is too long.
    pub(crate) fn check_text(&self, text: impl AsRef<[u8]>) -> Result<()> {
        let (bytes, max) = (text.as_ref().len(), self.text_bytes_max);
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

#[cfg(test)]
mod tests {
    use tidemill_plans::connector::RESULT_CONNECTOR;
    use tidemill_plans::graph::Partitioning;
    use tidemill_plans::node::SinkNode;

    use super::*;
    use crate::testing::two_stage_graph;

    fn sink_graph(connector: &str) -> DataflowGraph {
        let mut graph = two_stage_graph(1, 1);
        let last = graph.nodes[1].clone();
        let sink = SinkNode::new("t", connector);
        let sink = graph.add_node(NodeKind::Sink(sink), 1, last.schema.0);
        graph.add_edge(last.id, sink, 0, Partitioning::Forward);
        graph
    }

    #[test]
    fn a_session_lowers_what_the_server_allows_a_query() {
        let of = |query_memory, graph: &DataflowGraph, wanted| {
            Limits { query_memory, ..Limits::default() }.query_memory(graph, wanted)
        };
        let query = sink_graph(RESULT_CONNECTOR);
        assert_eq!([of(0, &query, 0), of(0, &query, 7), of(5, &query, 0)], [0, 7, 5]);
        assert_eq!([of(5, &query, 7), of(5, &query, 3)], [5, 3]);
        assert_eq!(of(5, &sink_graph("files"), 3), 0);
    }
}
