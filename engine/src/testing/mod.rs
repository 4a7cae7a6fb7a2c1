//! Tests of one operator without a runtime: rows as text in, rows as text out.
//!
//! ```ignore
//! let mut harness = OperatorHarness::new(&graph, operator)?;
//! harness.push(0, "a 1 @10\nb 2 @12")?;
//! harness.watermark(0, 20)?;
//! expect!["a 1 @10\nb 2 @12\nwatermark @20\n"].assert_eq(&harness.output()?);
//! ```

#[cfg(test)]
pub(crate) mod churn;
mod cramped;
#[cfg(test)]
pub(crate) mod graph;
mod harness;
#[cfg(test)]
pub(crate) mod instances;
mod layers;
#[cfg(test)]
pub(crate) mod rescale;
mod table;

pub use harness::{OperatorHarness, test_env};
pub use table::{parse_rows, show_rows};
