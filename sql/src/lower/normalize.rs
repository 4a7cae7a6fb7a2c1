//! Sources whose rows replace each other by key: what they read is made into a changelog, which says what each
//! row has replaced.

use tidemill_plans::change::with_absent_values;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::{NodeKind, NormalizeNode, TimeToLive};

use super::stream::Stream;
use crate::catalog::StreamInfo;
use crate::job::JobBuilder;

impl JobBuilder {
    /// Adds a source of the last rows of keys, and behind it what knows the rows before them; `info` is what
    /// that delivers.
    pub(super) fn add_normalized(&mut self, source: NodeKind, readers: u32, info: &StreamInfo) -> Stream {
        let keys = info.upsert_keys.clone();
        let read = StreamInfo { schema: with_absent_values(&info.schema), ..info.clone() };
        let source = self.add_operator(source, readers, read);
        let ttl = self.state_ttl().map(|micros| TimeToLive { micros, time: info.times.first().copied() });
        let node = NodeKind::Normalize(NormalizeNode { keys: keys.clone(), ttl });
        let normalized = self.add_operator(node, self.settings.parallelism, info.clone());
        self.graph.add_edge(source.node, normalized.node, 0, Partitioning::Hash(keys));
        normalized
    }
}
