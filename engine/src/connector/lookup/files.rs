//! Files as a table: read as a whole, and again when what was read is too old.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use hashbrown::HashMap;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::{LookupTable, Projection, SourceNode};

use super::{Fetch, index, take_rows, ttl_ns};
use crate::clock;
use crate::connector::{SourceEvent, files};
use crate::error::Result;
use crate::metrics::OperatorStats;
use crate::rows::JoinKeys;
use crate::task::TaskEnv;

/// See the [module](self).
pub(super) struct FilesTable {
    source: SourceNode,
    env: TaskEnv,
    stats: Arc<OperatorStats>,
    keys: JoinKeys,
    ttl_ns: u64,
    loaded: Option<Loaded>,
}

/// The table as it was read.
struct Loaded {
    rows: RecordBatch,
    by_key: HashMap<Box<[u8]>, Vec<u32>>,
    read_ns: u64,
}

impl FilesTable {
    pub(super) fn new(table: &LookupTable, env: &TaskEnv, stats: Arc<OperatorStats>) -> Result<Self> {
        let columns = table.columns.fields().iter().map(|field| field.name().clone());
        let column = |name: String| Projection { expr: StreamExpr(datafusion::logical_expr::ident(&name)), name };
        let source = SourceNode {
            table: table.name.clone(),
            connector: table.connector.clone(),
            options: table.options.clone(),
            declared: table.declared.clone(),
            columns: table.columns.clone(),
            projection: columns.map(column).collect(),
            event_time: None,
            upsert_key: Vec::new(),
        };
        let keys = JoinKeys::new(&table.columns.0, &table.keys)?;
        Ok(Self { source, env: env.clone(), stats, keys, ttl_ns: ttl_ns(table), loaded: None })
    }

    fn load(&self) -> Result<Loaded> {
        let read_ns = clock::monotonic_ns();
        let mut reader = files::open_source(&self.source, &self.env, Arc::clone(&self.stats), 0, 1)?;
        let mut batches = Vec::new();
        loop {
            match reader.next_event()? {
                SourceEvent::Batch(batch) => batches.push(batch),
                SourceEvent::Idle | SourceEvent::CaughtUp => {}
                SourceEvent::End => break,
            }
        }
        let rows = concat_batches(&self.source.columns.0, &batches)?;
        let by_key = index(&self.keys.of(&rows)?, rows.num_rows());
        Ok(Loaded { rows, by_key, read_ns })
    }
}

impl Fetch for FilesTable {
    fn fetch(&mut self, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let is_fresh = |loaded: &Loaded| clock::monotonic_ns().saturating_sub(loaded.read_ns) < self.ttl_ns;
        let loaded = match self.loaded.take().filter(is_fresh) {
            Some(loaded) => loaded,
            None => self.load()?,
        };
        let wanted = self.keys.of_columns(keys)?;
        let rows = keys.first().map_or(0, |column| column.len());
        let picks = (0..rows).filter_map(|row| loaded.by_key.get(wanted.get(row)?)).flatten().copied();
        let found = take_rows(&loaded.rows, &picks.collect::<Vec<u32>>());
        self.loaded = Some(loaded);
        found
    }

    /// The table is in memory as it is.
    fn is_remote(&self) -> bool {
        false
    }
}
