//! Tests of one operator without a runtime: rows as text in, rows as text out.
//!
//! ```ignore
//! let mut harness = OperatorHarness::new(graph);
//! harness.push(0, "a 1 @10\nb 2 @12");
//! harness.watermark(0, 20);
//! harness.expect(expect!["+I a 1 @10 …"]);
//! ```

#[cfg(test)]
pub(crate) mod graph;
mod harness;
mod table;

pub use harness::{OperatorHarness, test_env};
pub use table::{parse_rows, show_rows};
