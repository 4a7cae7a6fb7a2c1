//! EXPLAIN ANALYZE: the tree with what each operator did, summed over its subtasks.

use super::Tree;
use crate::graph::DataflowGraph;
use crate::ids::OperatorId;
use crate::protocol::OperatorMetrics;

/// What all subtasks of an operator did together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    rows_in: u64,
    rows_out: u64,
    busy_ns: u64,
    /// The sum of what each held at most: at one moment it was no more.
    state_bytes: u64,
    late: u64,
    bad: u64,
    skipped: u64,
}

/// The trees of these sinks, each operator with a line of what it did. `metrics` are the newest of each
/// subtask; operators of which there are none have not run.
#[must_use]
pub fn explain_analyze(graph: &DataflowGraph, sinks: &[OperatorId], metrics: &[OperatorMetrics]) -> String {
    let note = |node: &crate::graph::Node| Some(Totals::of(node.id, metrics)?.to_string());
    let mut tree = Tree::new(graph, &note);
    for sink in graph.nodes.iter().rev().filter(|node| sinks.contains(&node.id)) {
        tree.print(sink, None, 0);
    }
    tree.text
}

impl Totals {
    fn of(operator: OperatorId, metrics: &[OperatorMetrics]) -> Option<Self> {
        let mut own = metrics.iter().filter(|metrics| metrics.operator == operator).peekable();
        own.peek()?;
        Some(own.fold(Self::default(), |totals, subtask| Self {
            rows_in: totals.rows_in + subtask.rows_in,
            rows_out: totals.rows_out + subtask.rows_out,
            busy_ns: totals.busy_ns + subtask.busy_ns,
            state_bytes: totals.state_bytes + subtask.state_bytes_max,
            late: totals.late + subtask.late_rows,
            bad: totals.bad + subtask.dead_letter_rows,
            skipped: totals.skipped + subtask.skipped_rows,
        }))
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rows in {}, out {}, busy {}", self.rows_in, self.rows_out, shown_time(self.busy_ns))?;
        if self.state_bytes > 0 {
            write!(f, ", state at most {}", shown_bytes(self.state_bytes))?;
        }
        for (what, rows) in [("late", self.late), ("bad", self.bad), ("skipped", self.skipped)] {
            if rows > 0 {
                write!(f, ", {what} {rows}")?;
            }
        }
        Ok(())
    }
}

/// Nanoseconds in a unit of which there are few digits.
fn shown_time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// Bytes in a unit of which there are few digits.
#[must_use]
pub fn shown_bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::graph::Partitioning;
    use crate::ids::JobId;
    use crate::node::{NodeKind, UnionNode};

    fn metrics(operator: u32, subtask: u32, rows: u64) -> OperatorMetrics {
        OperatorMetrics {
            rows_in: rows,
            rows_out: rows / 2,
            late_rows: u64::from(subtask),
            busy_ns: rows * 1_000,
            state_bytes_max: rows * 100,
            ..OperatorMetrics::new(JobId(1), OperatorId(operator), subtask)
        }
    }

    #[test]
    fn subtasks_are_summed_and_other_statements_left_out() {
        let mut graph = DataflowGraph::default();
        let mut add = || graph.add_node(NodeKind::Union(UnionNode {}), 2, Arc::new(Schema::empty()));
        let (source, one, _two) = (add(), add(), add());
        graph.add_edge(source, one, 0, Partitioning::Rebalance);
        let metrics = [metrics(0, 0, 4), metrics(1, 0, 20), metrics(1, 1, 20_000), metrics(2, 0, 7)];
        let expected = [
            "Union #1  [x2]",
            "    (rows in 20020, out 10010, busy 20.0 ms, state at most 1.9 MiB, late 1)",
            "  Union #0  [x2] -> rebalance",
            "      (rows in 4, out 2, busy 4 us, state at most 400 B)",
        ];
        let text = explain_analyze(&graph, &[one], &metrics);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn sizes_and_times_have_few_digits() {
        let bytes = [0, 1023, 1024, 1536, 5 << 30].map(shown_bytes);
        assert_eq!(bytes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
        let times = [999, 1_000_000, 9_999_900_000, 61_000_000_000].map(shown_time);
        assert_eq!(times, ["0 us", "1.0 ms", "9999.9 ms", "61.0 s"]);
    }
}
