//! The threads of a worker: one a slot for compute tasks, and a runtime for what waits.

use actix::{Arbiter, ArbiterHandle};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Result, WorkersError};
use crate::slots::SlotId;

/// Threads of the I/O runtime. Connections are its work: encoding and decoding batches takes more
/// than one of them, and compute threads need the rest of the machine.
const IO_THREADS: usize = 2;

/// The compute threads: an actix arbiter each, which take turns between the task actors on them.
pub(crate) struct ComputePool {
    arbiters: Vec<Arbiter>,
}

impl ComputePool {
    /// Starts the threads; must be called inside an actix system.
    pub(crate) fn start(slots: usize) -> Result<Self> {
        let arbiters =
            (0..slots.max(1)).map(|slot| start_arbiter(&format!("compute-{slot}"))).collect::<Result<_>>()?;
        Ok(Self { arbiters })
    }

    /// The thread of a slot.
    pub(crate) fn arbiter(&self, slot: SlotId) -> ArbiterHandle {
        self.arbiters[slot.0].handle()
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

/// Starts an arbiter; `name` is for errors, the thread is named by actix.
pub(crate) fn start_arbiter(name: &str) -> Result<Arbiter> {
    Arbiter::try_new().map_err(|source| WorkersError::Thread { name: String::from(name), source })
}

/// The runtime of connections and events.
pub(crate) struct IoRuntime {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl IoRuntime {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let name = "tidemill-io";
        let built = Builder::new_multi_thread().worker_threads(IO_THREADS).thread_name(name).enable_all().build();
        let runtime = built.map_err(|source| WorkersError::Thread { name: String::from(name), source })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// To spawn on it.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for IoRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not the ordinary drop, which waits and must not run on an async thread.
            runtime.shutdown_background();
        }
    }
}
