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
use tidemill_engine::state::{Snapshot, StateMemory};
use tidemill_engine::task::Passed;
use tidemill_plans::checkpoint::{StateFile, TaskState};
use tidemill_plans::error::chain;
use tidemill_plans::ids::{Epoch, RunId, TaskId};
use tidemill_plans::protocol::WorkerEvent;
use tidemill_plans::pushed::LogNeed;
use tidemill_plans::storage::Storage;
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

/// Tasks whose state is written at the same time, where memory is not limited.
const WRITES_AT_ONCE: usize = 4;

/// Of the memory that a job's state may have, this part is as much again for the bytes that are sent.
const SENT_PART: usize = 8;

/// The writer of one run. It ends when it is dropped, with what it has not written.
pub(crate) struct CheckpointWriter {
    /// No bound of its own: tasks write once an epoch, and one epoch is on its way at a time.
    queue: mpsc::UnboundedSender<(TaskId, Passed)>,
    task: AbortHandle,
}

impl CheckpointWriter {
    /// A writer for `run`, which tells the coordinator through `events`. Each task has its chain, and all of them
    /// together so much memory for state.
    pub(crate) fn start(
        runtime: &Handle,
        run: RunId,
        storage: Storage,
        memory: StateMemory,
        mut chains: BTreeMap<TaskId, StateChain>,
        events: EventSender,
    ) -> Self {
        let (queue, states) = mpsc::unbounded_channel();
        let at_once = writes_at_once(&storage, memory.bytes_max);
        let writing = async move {
            let write = |(task, passed)| write(run, task, passed, storage.clone());
            // Files are put together here, one task's after the other's: they are small against what they change.
            let mut written = UnboundedReceiverStream::new(states).map(write).buffered(at_once);
            while let Some(written) = written.next().await {
                let chain = chains.entry(written.task).or_default();
                events.push(written.settle(run, chain, &storage, &memory).await);
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

/// How many tasks' state is written at the same time. Each has a part that is filled, those that wait and one that is
/// being sent.
fn writes_at_once(storage: &Storage, state_memory: Option<usize>) -> usize {
    let bytes = (PARTS_AHEAD + 2) * storage.part_bytes();
    state_memory.map_or(WRITES_AT_ONCE, |memory| (memory / SENT_PART / bytes).clamp(1, WRITES_AT_ONCE))
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
    async fn settle(self, run: RunId, chain: &mut StateChain, storage: &Storage, memory: &StateMemory) -> WorkerEvent {
        let Self { task, epoch, alignment_us, needs, has_changes, file } = self;
        let state: Result<TaskState, String> = match file {
            Ok(file) => match chain.add(file, has_changes) {
                Ok(state) => {
                    let path = StateFile::path_of_merged(run, task, epoch);
                    Ok(merged(chain, path, storage, memory).await.unwrap_or(state))
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
async fn merged(chain: &mut StateChain, path: String, storage: &Storage, memory: &StateMemory) -> Option<TaskState> {
    let files = chain.to_merge()?.to_vec();
    let written = timeout(WRITE_LIMIT, async {
        let state = restored::merged_changes(storage, memory, &files).await.map_err(|error| error.chain())?;
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
    let part_bytes = storage.part_bytes();
    let writing = spawn_blocking(move || {
        let mut parts = Parts { part: Vec::new(), part_bytes, sender };
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

/// Bytes that are sent in parts, all of them of the same size but the last.
struct Parts {
    part: Vec<u8>,
    part_bytes: usize,
    sender: mpsc::Sender<Vec<u8>>,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        self.sender.blocking_send(part).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Parts {
    /// Takes what there is room for: a part never grows, for that would be twice its size at the end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() == self.part_bytes {
            self.send()?;
        }
        if self.part.is_empty() {
            self.part.reserve_exact(self.part_bytes);
        }
        let taken = bytes.len().min(self.part_bytes - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use futures::stream;
    use object_store::memory::InMemory;
    use tempfile::TempDir;
    use tidemill_engine::state::{Belongs, RowKeys, ScratchFolder};
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
    async fn parts_are_of_one_size_and_take_no_more_memory() {
        let (sender, mut receiver) = mpsc::channel(3);
        let mut parts = Parts { part: Vec::new(), part_bytes: 8, sender };
        let writing = move || {
            parts.write_all(&[1; 5])?;
            parts.write_all(&[2; 15])?;
            parts.send()
        };
        spawn_blocking(writing).await.unwrap().unwrap();
        let mut sizes = Vec::new();
        while let Some(part) = receiver.recv().await {
            sizes.push((part.len(), part.capacity()));
        }
        assert_eq!(sizes, [(8, 8), (8, 8), (4, 8)]);
    }

    fn storages(folder: &TempDir) -> [Storage; 2] {
        [Storage::open(folder.path().to_str().unwrap()).unwrap(), Storage::on(Arc::new(InMemory::new()))]
    }

    #[tokio::test]
    async fn objects_are_put_part_by_part() {
        for storage in storages(&tempfile::tempdir().unwrap()) {
            let part = storage.part_bytes();
            for bytes in [0, 1, part - 1, part, part + 1, 3 * part] {
                let object: Vec<u8> = (0..bytes).map(|byte| byte as u8).collect();
                let parts: Vec<Vec<u8>> = object.chunks(part).map(<[u8]>::to_vec).collect();
                assert_eq!(storage.put_parts("object", stream::iter(parts)).await.unwrap(), bytes as u64);
                assert!(storage.get("object").await.unwrap() == Some(object), "{bytes} bytes");
            }
        }
    }

    #[test]
    fn with_little_memory_few_tasks_are_written_at_a_time() {
        let counts = storages(&tempfile::tempdir().unwrap()).map(|storage| {
            [None, Some(1 << 30), Some(56 << 20), Some(1)].map(|memory| writes_at_once(&storage, memory))
        });
        assert_eq!(counts, [[4, 4, 2, 1], [4, 4, 1, 1]], "in a folder, in a bucket");
    }

    #[tokio::test]
    async fn nothing_is_sealed_that_goes_on_from_a_file_which_was_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
        let scratch = ScratchFolder::new(folder.path().join("scratch"));
        let memory = StateMemory { bytes_max: None, scratch };
        let mut chain = StateChain::default();
        // A folder is where the file of epoch 3 is to be.
        fs::create_dir_all(folder.path().join(StateFile::path_of(RUN, TASK, Epoch(3)))).unwrap();
        let mut told = Vec::new();
        for (epoch, has_changes) in
            [(1, false), (2, true), (3, true), (4, true), (5, false), (6, true), (7, true), (8, true), (9, true)]
        {
            let written = write(RUN, TASK, passed(epoch, has_changes), storage.clone()).await;
            let told_now = match written.settle(RUN, &mut chain, &storage, &memory).await {
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
