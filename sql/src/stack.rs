//! A stack deep enough for parsing and planning.
//!
//! sqlparser and DataFusion recurse over syntax trees, some of it without a guard; two megabytes, a
//! test thread's stack, end at a sum of a few hundred terms. So each statement is worked on in a
//! thread of its own, whose stack is only mapped as far as it is used.

use std::thread;

use crate::error::{Result, SqlError};

/// Bytes; the parser's limits keep what is needed well below.
const STACK_BYTES: usize = 128 << 20;

/// Does some work on a deep stack.
pub(crate) fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name(String::from("sql")).stack_size(STACK_BYTES);
        let thread = builder.spawn_scoped(scope, work).map_err(SqlError::Thread)?;
        // A panic is a bug of ours or of a dependency; it stays one.
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
