//! The audit log: who has done what, from where, when, and what came of it.
//!
//! It is lines of JSON in files that are only appended to. One that is full is followed by the next, and the oldest
//! goes: so the log is bounded, and whoever wants to keep more copies files that are full. What is in it reaches the
//! system, not the disk, before its statement is answered: it survives the process.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tracing::error;

use super::show::{table, texts};
use crate::error::Result;

/// How large a file becomes, and how many there are.
const FILE_BYTES_MAX: u64 = 16 << 20;
const FILES_MAX: usize = 16;

/// Entries that are kept where there is no folder.
const KEPT_MAX: usize = 1000;

/// Of a longer text the beginning is noted.
const TEXT_BYTES_MAX: usize = 4096;

/// How many entries are shown if nobody says how many, and at most.
const SHOWN: usize = 100;
const SHOWN_MAX: usize = 10_000;

/// The folder of the log, in that of the metadata.
const FOLDER: &str = "audit";

/// What somebody has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When, in microseconds since 1970.
    pub(super) at: i64,
    /// Who; none where nobody is asked.
    pub(super) user: Option<String>,
    /// From where.
    pub(super) address: Option<String>,
    /// What it was: `login`, `statement`, `fetch`, `plan`.
    pub(super) action: String,
    /// The statement, without secrets.
    pub(super) text: String,
    /// `ok`, or why not.
    pub(super) outcome: String,
}

/// The log.
pub(super) struct Audit(Arc<Mutex<Log>>);

struct Log {
    /// Where it is; without a folder, the newest entries are in memory.
    folder: Option<PathBuf>,
    /// The number of the newest file, and the file, once something has been written.
    newest: u64,
    file: Option<File>,
    kept: VecDeque<Entry>,
}

impl Audit {
    /// The log in the folder of the metadata, if there is one.
    pub(super) fn new(data_dir: Option<&Path>) -> Self {
        let folder = data_dir.map(|folder| folder.join(FOLDER));
        let newest = folder.as_deref().and_then(|folder| numbers(folder).ok()?.last().copied()).unwrap_or(1);
        Self(Arc::new(Mutex::new(Log { folder, newest, file: None, kept: VecDeque::new() })))
    }

    /// Notes what somebody has done. That it cannot be noted is an error for whoever looks after the process, and no
    /// reason to undo it.
    pub(super) async fn note(&self, mut entry: Entry) {
        entry.text.truncate(entry.text.floor_char_boundary(TEXT_BYTES_MAX));
        let log = Arc::clone(&self.0);
        let noted = spawn_blocking(move || log.lock().unwrap_or_else(PoisonError::into_inner).append(entry)).await;
        match noted {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => error!(%failure, "audit log not written"),
            Err(failure) => error!(%failure, "audit log not written"),
        }
    }

    /// The newest entries, oldest first.
    pub(super) async fn rows(&self, limit: Option<usize>) -> Result<RecordBatch> {
        let log = Arc::clone(&self.0);
        let limit = limit.unwrap_or(SHOWN).min(SHOWN_MAX);
        let read = spawn_blocking(move || log.lock().unwrap_or_else(PoisonError::into_inner).newest(limit)).await;
        let read = read.unwrap_or_else(|failure| Err(io::Error::other(failure)));
        let entries = read.map_err(|source| crate::error::CoordinatorError::Audit { source })?;
        rows(&entries)
    }
}

impl Log {
    fn append(&mut self, entry: Entry) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else {
            self.kept.push_back(entry);
            keep_newest(&mut self.kept, KEPT_MAX);
            return Ok(());
        };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        if self.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|found| found.len() >= FILE_BYTES_MAX)) {
            self.newest += 1;
            self.file = None;
            let numbers = numbers(&folder)?;
            let old = numbers.len().saturating_sub(FILES_MAX - 1);
            numbers.iter().take(old).try_for_each(|number| fs::remove_file(path(&folder, *number)))?;
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&folder, self.newest)?,
        };
        self.file.insert(file).write_all(&line)
    }

    fn newest(&self, limit: usize) -> io::Result<Vec<Entry>> {
        let Some(folder) = &self.folder else {
            let skipped = self.kept.len().saturating_sub(limit);
            return Ok(self.kept.iter().skip(skipped).cloned().collect());
        };
        let mut entries = VecDeque::new();
        for number in numbers(folder)?.into_iter().rev() {
            let mut older = VecDeque::new();
            for line in BufReader::new(File::open(path(folder, number))?).lines() {
                // A process may have ended while it wrote a line.
                older.extend(serde_json::from_str::<Entry>(&line?).ok());
                keep_newest(&mut older, limit - entries.len());
            }
            older.append(&mut entries);
            entries = older;
            if entries.len() >= limit {
                break;
            }
        }
        Ok(entries.into())
    }
}

/// Drops the first ones, so that no more than `max` are left.
fn keep_newest(entries: &mut VecDeque<Entry>, max: usize) {
    while entries.len() > max {
        entries.pop_front();
    }
}

/// Opens a file at its end, which begins a line.
fn open(folder: &Path, number: u64) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let path = path(folder, number);
    let is_torn = fs::read(&path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if is_torn {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.jsonl"))
}

/// The numbers of the files, oldest first.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let number = |name: &str| name.strip_suffix(".jsonl")?.parse().ok();
    let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name.to_str()?)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A row an entry.
pub(super) fn rows(entries: &[Entry]) -> Result<RecordBatch> {
    let optional = |value: fn(&Entry) -> Option<&str>| -> ArrayRef {
        Arc::new(entries.iter().map(value).collect::<StringArray>())
    };
    let text = |value: fn(&Entry) -> &String| texts(entries.iter().map(|entry| value(entry).clone()));
    table(vec![
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(entries.iter().map(|entry| entry.at)))),
        ("user", optional(|entry| entry.user.as_deref())),
        ("address", optional(|entry| entry.address.as_deref())),
        ("action", text(|entry| &entry.action)),
        ("text", text(|entry| &entry.text)),
        ("outcome", text(|entry| &entry.outcome)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i64, text: &str) -> Entry {
        let (action, outcome) = (String::from("statement"), String::from("ok"));
        let user = Some(String::from("ann"));
        Entry { at: number, user, address: None, action, text: text.to_owned(), outcome }
    }

    async fn numbers_of(audit: &Audit, limit: Option<usize>) -> Vec<i64> {
        let rows = audit.rows(limit).await.unwrap();
        arrow::array::AsArray::as_primitive::<arrow::datatypes::TimestampMicrosecondType>(rows.column(0))
            .values()
            .to_vec()
    }

    #[tokio::test]
    async fn entries_survive_the_process_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(Some(folder.path()));
        assert!(numbers_of(&audit, None).await.is_empty());
        for number in 1..=3 {
            audit.note(entry(number, "SELECT\n1")).await;
        }
        assert_eq!(numbers_of(&audit, Some(2)).await, [2, 3]);
        let file = path(&folder.path().join(FOLDER), 1);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, &text[..text.len() - 5]).unwrap();
        let audit = Audit::new(Some(folder.path()));
        audit.note(entry(4, &"é".repeat(5000))).await;
        assert_eq!(numbers_of(&audit, None).await, [1, 2, 4]);
        assert!(audit.rows(Some(1)).await.unwrap().get_array_memory_size() < 12_000);
    }

    #[tokio::test]
    async fn the_log_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(Some(folder.path()));
        let log = folder.path().join(FOLDER);
        fs::create_dir_all(&log).unwrap();
        for number in 1..=FILES_MAX as u64 + 3 {
            let sparse = File::create(path(&log, number)).unwrap();
            sparse.set_len(0).unwrap();
        }
        let audit_later = Audit::new(Some(folder.path()));
        audit_later.note(entry(1, "x")).await;
        // The file is full, as far as its length says.
        let newest = *numbers(&log).unwrap().last().unwrap();
        OpenOptions::new().write(true).open(path(&log, newest)).unwrap().set_len(FILE_BYTES_MAX).unwrap();
        audit_later.note(entry(2, "x")).await;
        let left = numbers(&log).unwrap();
        assert_eq!((left.len(), left.last()), (FILES_MAX, Some(&(newest + 1))));
        drop(audit);

        let in_memory = Audit::new(None);
        for number in 0..KEPT_MAX as i64 + 5 {
            in_memory.note(entry(number, "x")).await;
        }
        assert_eq!(numbers_of(&in_memory, Some(5000)).await.len(), KEPT_MAX);
    }
}
