//! A path that is looked at again and again: files that come are read, and the source never ends.
//!
//! Each subtask finds the files for itself and reads those whose paths' hashes are its own, so subtasks
//! need not agree on what is there at a moment. A file is read once, as it is when its turn comes, for
//! as long as it is there: what is added to it later is not read, and one that is deleted and comes again
//! is another file.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidemill_plans::codec;

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
}

/// The file that is being read.
struct Current {
    path: PathBuf,
    source: FilesSource,
    /// Whether anything of it has been read.
    begun: bool,
}

impl WatchedFiles {
    pub(super) fn new(place: Place, reading: Arc<Reading>, share: Share, every: Duration) -> Self {
        Self {
            place,
            reading,
            share,
            every_ns: u64::try_from(every.as_nanos()).unwrap_or(u64::MAX),
            next_look_ns: 0,
            waiting: VecDeque::new(),
            current: None,
            read: BTreeSet::new(),
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

    /// Looks for files that have come, and forgets those that have gone.
    fn look(&mut self) -> Result<()> {
        let mut own: Vec<FoundFile> = self.place.complete_files(&self.reading.medium)?;
        own.retain(|found| self.share.owns(hash(&found.path)));
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
        match &self.current {
            Some(Current { path, source, begun: true }) => current = Some((bytes(path), source.position()?)),
            // It may be gone when it is looked for again.
            Some(Current { path, .. }) => drop(read.remove(path)),
            None => {}
        }
        Ok(codec::encode(&Position::V1 { read: read.iter().map(|path| bytes(path)).collect(), current })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position::V1 { read, current } = codec::decode(position)?;
        self.read = read.iter().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect();
        if let Some((path, place)) = current {
            let path = PathBuf::from(OsStr::from_bytes(&path));
            let mut source = self.source_of(&path)?;
            source.seek(&place)?;
            self.current = Some(Current { path, source, begun: true });
        }
        Ok(())
    }
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
