//! A path that is looked at again and again: files that come are read, and the source never ends.
//!
//! Each subtask finds the files for itself and reads those whose paths' hashes are its own, so subtasks
//! need not agree on what is there at a moment. A file is read once, as it is when its turn comes, for
//! as long as it is there: what is added to it later is not read, and one that is deleted and comes again
//! is another file.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::Reading;
use super::listing::{FoundFile, Place};
use super::source::FilesSource;
use crate::clock;
use crate::connector::share::Share;
use crate::connector::{Source, SourceEvent};
use crate::error::{EngineError, Result};

/// How long the source sleeps at most before it lets its driver look at commands.
const WAIT: Duration = Duration::from_millis(20);

/// How far a subtask has come: what a checkpoint of it has to hold.
#[derive(Debug, Default)]
struct Position {
    /// Its files that were read or are being read, as long as they are there.
    read: BTreeSet<PathBuf>,
}

/// The source.
pub(super) struct WatchedFiles {
    place: Place,
    reading: Reading,
    share: Share,
    /// From one look to the next.
    every_ns: u64,
    next_look_ns: u64,
    /// Files that were found and not read yet, in order.
    waiting: VecDeque<PathBuf>,
    current: Option<Current>,
    position: Position,
}

/// The file that is being read.
struct Current {
    path: PathBuf,
    source: FilesSource,
    /// Whether anything of it has been read.
    begun: bool,
}

impl WatchedFiles {
    pub(super) fn new(place: Place, reading: Reading, share: Share, every: Duration) -> Self {
        Self {
            place,
            reading,
            share,
            every_ns: u64::try_from(every.as_nanos()).unwrap_or(u64::MAX),
            next_look_ns: 0,
            waiting: VecDeque::new(),
            current: None,
            position: Position::default(),
        }
    }

    /// What the current file has to say; `None` at its end or if it is gone.
    fn read(&mut self) -> Result<Option<SourceEvent>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        match current.source.next_event() {
            Ok(SourceEvent::End) => self.current = None,
            Ok(event) => {
                current.begun = true;
                return Ok(Some(event));
            }
            Err(error) if !current.begun && is_gone(&error) => {
                self.position.read.remove(&current.path);
                self.current = None;
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn open(&mut self, path: PathBuf) -> Result<()> {
        let alone = Share { subtask: 0, parallelism: 1 };
        match self.reading.splits(std::slice::from_ref(&path), alone) {
            Ok(splits) => {
                self.position.read.insert(path.clone());
                self.current = Some(Current { path, source: FilesSource::new(splits.own, None), begun: false });
                Ok(())
            }
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Looks for files that have come, and forgets those that have gone.
    fn look(&mut self) -> Result<()> {
        let mut own: Vec<FoundFile> = self.place.complete_files()?;
        own.retain(|found| self.share.owns(hash(&found.path)));
        let there: BTreeSet<&Path> = own.iter().map(|found| found.path.as_path()).collect();
        self.position.read.retain(|path| there.contains(path.as_path()));
        own.retain(|found| !self.position.read.contains(&found.path));
        own.sort();
        self.waiting.extend(own.into_iter().map(|found| found.path));
        Ok(())
    }
}

impl Source for WatchedFiles {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if let Some(event) = self.read()? {
            return Ok(event);
        }
        if let Some(path) = self.waiting.pop_front() {
            self.open(path)?;
            return Ok(SourceEvent::Idle);
        }
        let now = clock::monotonic_ns();
        match self.next_look_ns.saturating_sub(now) {
            0 => {
                self.next_look_ns = now.saturating_add(self.every_ns);
                self.look()?;
            }
            left => std::thread::sleep(WAIT.min(Duration::from_nanos(left))),
        }
        Ok(SourceEvent::Idle)
    }
}

/// Whether a file was deleted before it was read.
fn is_gone(error: &EngineError) -> bool {
    matches!(error, EngineError::File { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// Which subtask a file belongs to: the same in every process and in every version (FNV-1a, 64 bits).
fn hash(path: &Path) -> usize {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
        as usize
}
