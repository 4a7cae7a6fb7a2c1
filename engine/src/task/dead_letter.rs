//! Rows that could not be used: always counted, and written to a file when the user names one.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tidemill_plans::settings::Settings;
use tracing::warn;

use crate::error::{EngineError, Result};

/// How many dead letters are logged; all are counted and written.
const LOGGED_MAX: u64 = 5;

/// Rows that are remembered where each counts once: 16 MiB of them.
const SEEN_MAX: usize = 1 << 20;

/// One row that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The operator that refused it.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// The row as it was, or where it is.
    pub row: String,
}

/// A job's dead letters on one worker: JSON lines with `operator`, `reason` and `row`.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    state: Mutex<State>,
    /// Hashes of rows that have been told, where a row may be read twice.
    seen: Option<Mutex<HashSet<u64>>>,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    rows: u64,
}

impl DeadLetters {
    /// Opens the file that the settings name, for appending: several processes may share it, a line
    /// is one write.
    pub fn open(settings: &Settings) -> Result<Self> {
        let path = PathBuf::from(&settings.dead_letter_path);
        let file = if settings.dead_letter_path.is_empty() {
            None
        } else {
            let opened = OpenOptions::new().create(true).append(true).open(&path);
            Some(opened.map_err(|source| EngineError::File { action: "open", path: path.clone(), source })?)
        };
        Ok(Self { path, state: Mutex::new(State { file, rows: 0 }), seen: None })
    }

    /// The same where a row may be read twice, and counts once.
    #[must_use]
    pub fn each_once(self) -> Self {
        Self { seen: Some(Mutex::default()), ..self }
    }

    /// Whether a row in a place has not been told yet. Behind a number of rows all count.
    pub fn is_first(&self, operator: &str, place: &str) -> bool {
        let Some(seen) = &self.seen else { return true };
        let mut hasher = DefaultHasher::new();
        (operator, place).hash(&mut hasher);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len() >= SEEN_MAX || seen.insert(hasher.finish())
    }

    /// Takes a row, which is asked for only if it is written or among the first, which are logged.
    pub fn push(&self, letter: impl FnOnce() -> Result<DeadLetter>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rows += 1;
        if state.file.is_none() && state.rows > LOGGED_MAX {
            return Ok(());
        }
        let letter = letter()?;
        if state.rows <= LOGGED_MAX {
            warn!(operator = letter.operator, reason = letter.reason, row = letter.row, "row to dead letters");
        }
        let Some(file) = &mut state.file else { return Ok(()) };
        let mut line = json!({ "operator": letter.operator, "reason": letter.reason, "row": letter.row }).to_string();
        line.push('\n');
        file.write_all(line.as_bytes()).map_err(|source| EngineError::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}
