//! Writes the state of a job's tasks to the storage of its checkpoints, while the tasks go on.
//!
//! What a task writes goes on from what it wrote before, be that checkpoint sealed or not. So its files make a chain,
//! and one that could not be written ends it.
//!
//! What a task has passed and how it has ended are told in that order, whichever is written first: the
//! coordinator must not take the state that a task ended with for the one at a barrier before.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use arrow::error::ArrowError;
use futures::StreamExt;
use tidemill_engine::EngineError;
use tidemill_engine::state::{ScratchFolder, Snapshot};
use tidemill_engine::task::Passed;
use tidemill_plans::checkpoint::{StateFile, TaskState};
use tidemill_plans::error::chain;
use tidemill_plans::ids::{Epoch, RunId, TaskId};
use tidemill_plans::protocol::WorkerEvent;
use tidemill_plans::pushed::LogNeed;
use tidemill_plans::storage::{PART_BYTES, Storage};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tracing::warn;

use crate::events::EventSender;
use crate::restored;
use crate::state_chain::StateChain;

/// How long writing one task's state may take.
const WRITE_LIMIT: Duration = Duration::from_secs(120);

/// Parts of an object that wait to be sent.
const PARTS_AHEAD: usize = 1;

/// Tasks whose state is written at the same time.
const WRITES_AT_ONCE: usize = 4;

/// The writer of one run. It ends when it is dropped, with what it has not written.
pub(crate) struct CheckpointWriter {
    /// No bound of its own: tasks write once an epoch, and one epoch is on its way at a time.
    queue: mpsc::UnboundedSender<(TaskId, Passed)>,
    task: AbortHandle,
}

impl CheckpointWriter {
    /// A writer for `run`, which tells the coordinator through `events`. Each task has its chain.
    pub(crate) fn start(
        runtime: &Handle,
        run: RunId,
        storage: Storage,
        scratch: ScratchFolder,
        mut chains: BTreeMap<TaskId, StateChain>,
        events: EventSender,
    ) -> Self {
        let (queue, states) = mpsc::unbounded_channel();
        let writing = async move {
            let write = |(task, passed)| write(run, task, passed, storage.clone());
            // Files are put together here, one task's after the other's: they are small against what they change.
            let mut written = UnboundedReceiverStream::new(states).map(write).buffered(WRITES_AT_ONCE);
            while let Some(written) = written.next().await {
                let chain = chains.entry(written.task).or_default();
                events.push(written.settle(run, chain, &storage, &scratch).await);
            }
        };
        Self { queue, task: runtime.spawn(writing).abort_handle() }
    }

    /// Has a task's state written, at a barrier or, with [`Epoch::END`], at its end.
    pub(crate) fn write(&self, task: TaskId, passed: Passed) {
        // It is there as long as this is.
        let _ = self.queue.send((task, passed));
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One task's state at a barrier, written or not.
struct Written {
    task: TaskId,
    epoch: Epoch,
    alignment_us: u64,
    needs: Option<LogNeed>,
    has_changes: bool,
    file: Result<StateFile, String>,
}

async fn write(run: RunId, task: TaskId, passed: Passed, storage: Storage) -> Written {
    let Passed { epoch, state, alignment_us, needs } = passed;
    let state = state.unwrap_or_default();
    let has_changes = state.has_changes();
    let path = StateFile::path_of(run, task, epoch);
    let bytes = timeout(WRITE_LIMIT, put(&storage, &path, state)).await;
    let bytes = bytes.unwrap_or_else(|_| Err(format!("{path} was not written within {WRITE_LIMIT:?}")));
    Written { task, epoch, alignment_us, needs, has_changes, file: bytes.map(|bytes| StateFile { path, bytes }) }
}

impl Written {
    /// Makes it part of its task's chain; what the coordinator is to hear of it.
    async fn settle(
        self,
        run: RunId,
        chain: &mut StateChain,
        storage: &Storage,
        scratch: &ScratchFolder,
    ) -> WorkerEvent {
        let Self { task, epoch, alignment_us, needs, has_changes, file } = self;
        let state: Result<TaskState, String> = match file {
            Ok(file) => match chain.add(file, has_changes) {
                Ok(state) => {
                    let path = StateFile::path_of_merged(run, task, epoch);
                    Ok(merged(chain, path, storage, scratch).await.unwrap_or(state))
                }
                Err(message) => Err(message),
            },
            Err(message) => {
                chain.lose();
                Err(message)
            }
        };
        match (state, epoch) {
            (Ok(state), Epoch::END) => WorkerEvent::TaskFinished { run, task, state: Some(state) },
            (Ok(state), epoch) => {
                WorkerEvent::BarrierPassed { run, task, epoch, state: Some(state), alignment_us, needs }
            }
            (Err(message), epoch) => WorkerEvent::CheckpointFailed { run, task, epoch, message },
        }
    }
}

/// Puts the newest files of a chain together, if they are worth it; the files that it has then. They are as good as they
/// are if that cannot be.
async fn merged(chain: &mut StateChain, path: String, storage: &Storage, scratch: &ScratchFolder) -> Option<TaskState> {
    let files = chain.to_merge()?.to_vec();
    let written = timeout(WRITE_LIMIT, async {
        let state = restored::merged_changes(storage, scratch, &files).await.map_err(|error| error.chain())?;
        put(storage, &path, state).await
    });
    match written.await.unwrap_or_else(|_| Err(format!("it took more than {WRITE_LIMIT:?}"))) {
        Ok(bytes) => Some(chain.replace(files.len(), StateFile { path, bytes })),
        Err(message) => {
            warn!(path, message, "files of state are not put together");
            None
        }
    }
}

/// Writes a snapshot while it is sent: of its bytes there are never more than some parts in memory.
async fn put(storage: &Storage, path: &str, state: Snapshot) -> Result<u64, String> {
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let writing = spawn_blocking(move || {
        let mut parts = Parts { part: Vec::new(), sender };
        state.write(&mut parts)?;
        parts.send().map_err(|error| EngineError::from(ArrowError::from(error)))
    });
    let sent = storage.put_parts(path, ReceiverStream::new(parts)).await;
    // Of an object that could not be sent the writer knows only that nobody takes it.
    let size = sent.map_err(|error| chain(&error))?;
    let written = writing.await.map_err(|error| error.to_string())?;
    written.map_err(|error: EngineError| error.chain())?;
    let (storage, object) = (storage.clone(), path.to_owned());
    let flushed = spawn_blocking(move || storage.flush(&object)).await.map_err(|error| error.to_string())?;
    flushed.map_err(|error| format!("cannot flush {path}: {error}"))?;
    Ok(size)
}

/// Bytes that are sent in parts.
struct Parts {
    part: Vec<u8>,
    sender: mpsc::Sender<Vec<u8>>,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        self.sender.blocking_send(part).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() >= PART_BYTES {
            self.send()?;
        }
        self.part.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tidemill_engine::state::{Belongs, RowKeys};
    use tidemill_plans::ids::{JobId, StageId};

    use super::*;

    const RUN: RunId = RunId::first(JobId(1));
    const TASK: TaskId = TaskId { stage: StageId(0), subtask: 0 };

    /// A snapshot at the barrier of an epoch, of what has changed since the one before or of everything.
    fn passed(epoch: u64, has_changes: bool) -> Passed {
        let mut state = Snapshot::default();
        match has_changes {
            true => state.writer_of_changes(Epoch(epoch), Epoch(epoch - 1)).changes(
                "rows",
                Belongs::Anywhere,
                RowKeys::Each,
                [],
                [],
            ),
            false => state.writer(Epoch(epoch)).value("all", &[epoch; 1000]).unwrap(),
        }
        Passed { epoch: Epoch(epoch), state: Some(state), ..Passed::default() }
    }

    #[tokio::test]
    async fn nothing_is_sealed_that_goes_on_from_a_file_which_was_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
        let scratch = ScratchFolder::new(folder.path().join("scratch"));
        let mut chain = StateChain::default();
        // A folder is where the file of epoch 3 is to be.
        fs::create_dir_all(folder.path().join(StateFile::path_of(RUN, TASK, Epoch(3)))).unwrap();
        let mut told = Vec::new();
        for (epoch, has_changes) in
            [(1, false), (2, true), (3, true), (4, true), (5, false), (6, true), (7, true), (8, true), (9, true)]
        {
            let written = write(RUN, TASK, passed(epoch, has_changes), storage.clone()).await;
            let told_now = match written.settle(RUN, &mut chain, &storage, &scratch).await {
                WorkerEvent::BarrierPassed { state: Some(state), .. } => {
                    let epochs = state.files.iter().flat_map(|file| StateFile::epoch_of(&file.path));
                    Ok(epochs.map(|epoch| epoch.0).collect::<Vec<_>>())
                }
                WorkerEvent::CheckpointFailed { epoch, .. } => Err(epoch.0),
                other => panic!("{other:?}"),
            };
            told.push(told_now);
        }
        let before = [Ok(vec![1]), Ok(vec![1, 2]), Err(3), Err(4), Ok(vec![5])];
        // Three that are alike become one.
        let behind = [Ok(vec![5, 6]), Ok(vec![5, 6, 7]), Ok(vec![5, 8]), Ok(vec![5, 8, 9])];
        assert_eq!(told, [&before[..], &behind].concat());
    }
}
