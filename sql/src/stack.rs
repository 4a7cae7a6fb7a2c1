//! A stack deep enough for parsing and planning.
//!
//! sqlparser and DataFusion recurse over syntax trees, some of it without a guard; two megabytes, a
//! test thread's stack, end at a sum of a few hundred terms. So each statement is worked on on a
//! stack of its own, which is only mapped as far as it is used.

/// Bytes; the parser's limits keep what is needed well below.
const STACK_BYTES: usize = 128 << 20;

/// Does some work on a deep stack, in place if it is on one already.
pub(crate) fn on_deep_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_BYTES / 2, STACK_BYTES, work)
}
