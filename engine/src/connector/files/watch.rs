//! A path that is looked at again and again: files that come are read, and the source never ends.
//!
//! Each subtask finds the files for itself and reads those whose paths' hashes are its own, so subtasks
//! need not agree on what is there at a moment. A file is read once, as it is when its turn comes, for
//! as long as it is there: what is added to it later is not read, and one that is deleted and comes again
//! is another file.
//!
//! Where what was there is told from what comes, a subtask lists its files once, when it is opened: those are the past.
//! They are part of its position for as long as any is left. A file that comes while another subtask still looks is
//! on one side of the seam at the one subtask that it belongs to, so nobody has to agree on a moment here, either.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidemill_plans::codec;
use tidemill_plans::connector::StartupMode;

use super::format::Reading;
use super::listing::{FoundFile, Place};
use super::source::FilesSource;
use crate::clock;
use crate::connector::share::Share;
use crate::connector::{Source, SourceEvent};
use crate::error::{EngineError, Result};

/// How long the source sleeps at most before it lets its driver look at commands.
const WAIT: Duration = Duration::from_millis(20);

/// How far a subtask has come.
#[derive(bincode::Encode, bincode::Decode)]
enum Position {
    V1 {
        /// The paths of its files that were read or are being read.
        read: Vec<Vec<u8>>,
        /// The one that is being read, and where.
        current: Option<(Vec<u8>, Vec<u8>)>,
    },
    /// As long as what was there is not read.
    V2 {
        /// As above.
        read: Vec<Vec<u8>>,
        /// As above.
        current: Option<(Vec<u8>, Vec<u8>)>,
        /// Files that were there and have not been begun, in order.
        past: Vec<Vec<u8>>,
    },
}

/// The source.
pub(super) struct WatchedFiles {
    place: Place,
    reading: Arc<Reading>,
    share: Share,
    /// From one look to the next.
    every_ns: u64,
    next_look_ns: u64,
    /// Files that were found and not read yet, in order.
    waiting: VecDeque<PathBuf>,
    current: Option<Current>,
    /// Its files that were read or are being read, as long as they are there.
    read: BTreeSet<PathBuf>,
    mode: StartupMode,
    /// Whether those that wait were there when the job began, and no others have been looked for.
    is_backfilling: bool,
}

/// The file that is being read.
struct Current {
    path: PathBuf,
    source: FilesSource,
    /// Whether anything of it has been read.
    begun: bool,
}

impl WatchedFiles {
    pub(super) fn new(
        place: Place,
        reading: Arc<Reading>,
        share: Share,
        every: Duration,
        mode: StartupMode,
    ) -> Result<Self> {
        let mut source = Self {
            place,
            reading,
            share,
            every_ns: u64::try_from(every.as_nanos()).unwrap_or(u64::MAX),
            next_look_ns: 0,
            waiting: VecDeque::new(),
            current: None,
            read: BTreeSet::new(),
            mode,
            is_backfilling: mode == StartupMode::Backfill,
        };
        match mode {
            StartupMode::Earliest => {}
            StartupMode::Latest => source.read = source.own_files()?.into_iter().map(|found| found.path).collect(),
            StartupMode::Backfill => source.look()?,
        }
        Ok(source)
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
                self.read.remove(&current.path);
                self.current = None;
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn source_of(&self, path: &PathBuf) -> Result<FilesSource> {
        // It may have been replaced since it was found, and is read as it is now.
        self.reading.medium.file(path.as_path()).forget();
        let alone = Share { subtask: 0, parallelism: 1 };
        FilesSource::open(Arc::clone(&self.reading), std::slice::from_ref(path), alone)
    }

    fn open(&mut self, path: PathBuf) -> Result<()> {
        match self.source_of(&path) {
            Ok(source) => {
                self.read.insert(path.clone());
                self.current = Some(Current { path, source, begun: false });
                Ok(())
            }
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The subtask's files that are there.
    fn own_files(&self) -> Result<Vec<FoundFile>> {
        let mut own: Vec<FoundFile> = self.place.complete_files(&self.reading.medium)?;
        own.retain(|found| self.share.owns(hash(&found.path)));
        Ok(own)
    }

    /// Looks for files that have come, and forgets those that have gone.
    fn look(&mut self) -> Result<()> {
        let mut own = self.own_files()?;
        let there: BTreeSet<&Path> = own.iter().map(|found| found.path.as_path()).collect();
        self.read.retain(|path| there.contains(path.as_path()));
        own.retain(|found| !self.read.contains(&found.path));
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
        if std::mem::take(&mut self.is_backfilling) {
            return Ok(SourceEvent::CaughtUp);
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

    fn position(&self) -> Result<Vec<u8>> {
        let mut read = self.read.clone();
        let mut current = None;
        let mut past: Vec<Vec<u8>> = Vec::new();
        match &self.current {
            Some(Current { path, source, begun: true }) => current = Some((bytes(path), source.position()?)),
            // It may be gone when it is looked for again.
            Some(Current { path, .. }) => {
                read.remove(path);
                past.push(bytes(path));
            }
            None => {}
        }
        let read = read.iter().map(|path| bytes(path)).collect();
        if !self.is_backfilling {
            return Ok(codec::encode(&Position::V1 { read, current })?);
        }
        past.extend(self.waiting.iter().map(|path| bytes(path)));
        Ok(codec::encode(&Position::V2 { read, current, past })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let (read, current, past) = match codec::decode(position)? {
            Position::V1 { read, current } => (read, current, None),
            Position::V2 { read, current, past } => (read, current, Some(past)),
        };
        // What was found when this was opened has come since, but for what was there then already.
        self.is_backfilling = past.is_some() && self.mode == StartupMode::Backfill;
        self.waiting = past.iter().flatten().map(|path| path_of(path)).collect();
        self.read = read.iter().map(|path| path_of(path)).collect();
        if let Some((path, place)) = current {
            let path = path_of(&path);
            let mut source = self.source_of(&path)?;
            source.seek(&place)?;
            self.current = Some(Current { path, source, begun: true });
        }
        Ok(())
    }

    fn is_backfilling(&self) -> bool {
        self.is_backfilling
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
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
