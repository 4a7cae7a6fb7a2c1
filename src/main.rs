//! The `tidemill` command.

use std::process::ExitCode;

/// It gives memory back where the C library's keeps it: `state_memory` bounds what the process takes.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tidemill::cli::main()
}
