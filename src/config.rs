//! The only code that reads the environment and the files named on the command line.

use std::path::Path;

use crate::error::{Result, TidemillError};

/// Which log lines go to standard error, in the syntax of `tracing-subscriber`'s filters.
#[must_use]
pub fn log_filter() -> String {
    std::env::var("TIDEMILL_LOG").unwrap_or_else(|_| String::from("warn"))
}

/// The text of a file.
pub fn read_script(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| TidemillError::ReadFile { path: path.to_path_buf(), source })
}
