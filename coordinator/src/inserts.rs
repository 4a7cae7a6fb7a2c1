//! Numbers for INSERTs into sinks of files. A sink that has no query of its own may be written to by many jobs, at a time or
//! one after the other, and their files must not have the same names; those of a later INSERT come last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidemill_plans::batch::{BatchQuery, Destination};
use tidemill_plans::connector::INSERT_OPTION;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::node::{NodeKind, SinkNode};
use tidemill_sql::Catalog;

use crate::clock::Clock;

/// The connector whose sinks write files that are there when their job has ended.
const FILES: &str = "files";

/// Gives the numbers. They are microseconds of the calendar, so that another coordinator's are others, and grow.
#[derive(Debug)]
pub(crate) struct Inserts {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
}

impl Inserts {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: AtomicU64::new(0) }
    }

    /// Numbers what a job's graph writes into sinks that others write to, too.
    pub(crate) fn number(&self, graph: &mut DataflowGraph, catalog: &Catalog) {
        let number = self.next();
        for node in &mut graph.nodes {
            if let NodeKind::Sink(sink) = &mut node.kind {
                number_sink(sink, number, catalog);
            }
        }
    }

    /// The same of a query that runs as a whole.
    pub(crate) fn numbered(&self, query: &BatchQuery, catalog: &Catalog) -> BatchQuery {
        let mut query = query.clone();
        if let Destination::Sink(sink) = &mut query.destination {
            number_sink(sink, self.next(), catalog);
        }
        query
    }

    fn next(&self) -> u64 {
        let now = u64::try_from(self.clock.calendar().as_micros()).unwrap_or(u64::MAX);
        let after = |last: u64| now.max(last.saturating_add(1));
        let update = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        update.map_or(now, after)
    }
}

fn number_sink(sink: &mut SinkNode, number: u64, catalog: &Catalog) {
    if sink.connector == FILES && catalog.takes_inserts(&sink.table) {
        // As wide as they are for centuries: names sort as numbers do.
        sink.options.push((INSERT_OPTION.to_owned(), format!("{number:017}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;

    #[test]
    fn numbers_grow_though_the_clock_stands_still() {
        let inserts = Inserts::new(Arc::new(TestClock::default()));
        let first = inserts.next();
        assert_eq!([inserts.next(), inserts.next()], [first + 1, first + 2]);
    }
}
