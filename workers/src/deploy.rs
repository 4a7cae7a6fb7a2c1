//! Turns a deployment into this worker's part of a job: tasks and the channels between them.
//!
//! Nothing runs yet, and whatever fails leaves nothing behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tidemill_engine::connector::Views;
use tidemill_engine::state::{ScratchFolder, StateMemory};
use tidemill_engine::task::{
    BuiltTask, DeadLetters, NextSnapshot, QueryMemory, Receiver, Sender, TaskEnv, TaskPlan, build_task, channel,
};
use tidemill_plans::held::StreamsHeld;
use tidemill_plans::ids::{ChannelId, OperatorId, StageId, TaskId, WorkerId};
use tidemill_plans::protocol::{CoordinatorLink, Deployment};
use tidemill_plans::stage::Stages;
use tidemill_plans::storage::Storage;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::checkpoint_writer::CheckpointWriter;
use crate::error::{Result, WorkersError};
use crate::events::EventSender;
use crate::exchange::Exchange;
use crate::jobs::DeployedTask;
use crate::restored::{Restored, counts};
use crate::results::Results;
use crate::runner::caught;
use crate::running::{Ends, JobResources};
use crate::state_chain::StateChain;

/// Where a job is deployed: what its tasks need of their worker.
pub(crate) struct Site {
    /// Which worker this is.
    pub(crate) worker: WorkerId,
    /// The way to other workers.
    pub(crate) exchange: Exchange,
    /// The way to the coordinator.
    pub(crate) coordinator: Arc<dyn CoordinatorLink>,
    /// Where waiting is done.
    pub(crate) runtime: Handle,
    /// What materialized views hold here.
    pub(crate) views: Arc<Views>,
    /// The way into the worker's queue of events.
    pub(crate) events: EventSender,
    /// Where state goes that has no room in memory.
    pub(crate) scratch: ScratchFolder,
    /// Where what tasks hold is added up.
    pub(crate) streams: StreamsHeld,
}

/// A job's part on this worker, ready to start.
pub(crate) struct DeployedJob {
    /// Its tasks, for the table.
    pub(crate) tasks: Vec<DeployedTask>,
    /// All that it holds.
    pub(crate) resources: JobResources,
}

/// What is asked of the snapshots of this worker's tasks.
type NextSnapshots = BTreeMap<TaskId, NextSnapshot>;

/// The ends of all channels of this worker's tasks.
#[derive(Default)]
struct Wiring {
    receivers: HashMap<TaskId, HashMap<ChannelId, Receiver>>,
    senders: HashMap<TaskId, HashMap<ChannelId, Sender>>,
    remote: HashMap<TaskId, Vec<ChannelId>>,
}

impl Site {
    /// Builds the job's tasks and channels.
    pub(crate) async fn deploy(self, deployment: Deployment) -> Result<DeployedJob> {
        let run = deployment.run;
        let deployed = self.build(deployment).await;
        if deployed.is_err() {
            self.exchange.release(run).await;
        }
        deployed
    }

    async fn build(&self, deployment: Deployment) -> Result<DeployedJob> {
        let stages = Stages::of(&deployment.graph)?;
        let wiring = self.wire(&deployment, &stages).await?;
        let storage = deployment.checkpoints.as_deref().map(Storage::open).transpose()?;
        let state_memory = self.state_memory(&deployment, &stages)?;
        let restored = self.restored(&deployment, storage.as_ref(), &state_memory).await?;
        let cancelled = watch::Sender::new(false);
        let results = Results {
            job: deployment.run.job,
            coordinator: Arc::clone(&self.coordinator),
            runtime: self.runtime.clone(),
            cancelled: cancelled.subscribe(),
            parts: self.exchange.result_parts(),
        };
        let interrupt = Arc::new(AtomicBool::new(false));
        let env = TaskEnv {
            job: deployment.run.job,
            attempt: deployment.run.attempt,
            checkpoints: deployment.checkpoints.clone(),
            settings: deployment.settings.clone(),
            dead_letters: Arc::new(DeadLetters::open(&deployment.settings)?),
            models: Arc::new(Mutex::default()),
            served: Arc::default(),
            alignment: Arc::default(),
            results: Arc::new(results),
            state_memory,
            query_memory: Arc::new(QueryMemory::new(deployment.settings.query_memory, self.streams.clone())),
            views: Arc::clone(&self.views),
            interrupt: Arc::clone(&interrupt),
            teams: Arc::new(self.exchange.teams(deployment.run, self.teams_elsewhere(&deployment, &stages))),
        };
        let here = self.worker;
        let (models, served) = (Arc::clone(&env.models), Arc::clone(&env.served));
        let own = deployment.tasks.iter().filter(|(_, worker)| *worker == here).map(|(task, _)| *task);
        let chains: BTreeMap<TaskId, StateChain> = own.map(|task| (task, restored.chain_of(task))).collect();
        let next: NextSnapshots = chains.iter().map(|(task, chain)| (*task, chain.next())).collect();
        let writer = storage.map(|storage| {
            let memory = self.job_memory(&deployment);
            CheckpointWriter::start(&self.runtime, deployment.run, storage, memory, chains, self.events.clone())
        });
        // Sources open their files here, models are set up: not for a thread that others wait on.
        let building = self.runtime.spawn_blocking(move || {
            caught(|| Ok(build_tasks(&deployment, &stages, &env, wiring, &restored, next)))
                .map_err(WorkersError::from)?
        });
        let (tasks, built) = building
            .await
            .map_err(|error| WorkersError::Engine(tidemill_engine::EngineError::Panicked(error.to_string())))??;
        let ends = Ends { cancelled, interrupt };
        Ok(DeployedJob { tasks, resources: JobResources::new(built, models, served, ends, writer) })
    }

    /// Where operators meet whose first instance is on another worker: its data address.
    fn teams_elsewhere(&self, deployment: &Deployment, stages: &Stages) -> HashMap<OperatorId, String> {
        let addresses: HashMap<WorkerId, &String> =
            deployment.workers.iter().map(|(worker, address)| (*worker, address)).collect();
        let firsts = deployment.tasks.iter().filter(|(task, worker)| task.subtask == 0 && *worker != self.worker);
        let meeting =
            firsts.filter_map(|(task, worker)| Some((stages.stage(task.stage).ok()?, *addresses.get(worker)?)));
        meeting.flat_map(|(stage, address)| stage.operators.iter().map(move |one| (*one, address.clone()))).collect()
    }

    /// What each operator of this worker that can do with less may keep in memory: all have the same share.
    fn state_memory(&self, deployment: &Deployment, stages: &Stages) -> Result<StateMemory> {
        let mut instances = 0;
        for (task, _) in deployment.tasks.iter().filter(|(_, worker)| *worker == self.worker) {
            for operator in &stages.stage(task.stage)?.operators {
                instances += usize::from(deployment.graph.node(*operator)?.kind.spills());
            }
        }
        Ok(self.job_memory(deployment).shared_by(instances))
    }

    /// What the job's state may have in memory on this worker.
    fn job_memory(&self, deployment: &Deployment) -> StateMemory {
        let bytes_max = usize::try_from(deployment.settings.state_memory).ok().filter(|bytes| *bytes > 0);
        StateMemory { bytes_max, scratch: self.scratch.clone() }
    }

    /// Reads the state that this worker's tasks go on from.
    async fn restored(
        &self,
        deployment: &Deployment,
        storage: Option<&Storage>,
        memory: &StateMemory,
    ) -> Result<Restored> {
        let (Some(storage), Some(manifest)) = (storage, &deployment.restore) else { return Ok(Restored::default()) };
        let own = deployment.tasks.iter().filter(|(_, worker)| *worker == self.worker).map(|(task, _)| *task);
        let parallelism: BTreeMap<StageId, u32> = counts(deployment.tasks.iter().map(|(task, _)| task.stage));
        Restored::read(storage, memory, manifest, own, &parallelism).await
    }

    /// Makes every channel that begins or ends at a task of this worker.
    async fn wire(&self, deployment: &Deployment, stages: &Stages) -> Result<Wiring> {
        let places: HashMap<TaskId, WorkerId> = deployment.tasks.iter().copied().collect();
        let place = |task: TaskId| places.get(&task).copied().ok_or(WorkersError::NotPlaced { task });
        for task in stages.tasks() {
            place(task)?;
        }
        let addresses: HashMap<WorkerId, &str> =
            deployment.workers.iter().map(|(worker, address)| (*worker, address.as_str())).collect();
        let bytes_max = deployment.settings.channel_bytes as usize;
        let mut wiring = Wiring::default();
        for (id, from, to) in stages.channels(deployment.run, &deployment.graph)? {
            let edge = &deployment.graph.edges[id.edge as usize];
            let schema = deployment.graph.schema(edge.from)?;
            let (sends, receives) = (place(from)?, place(to)?);
            match (sends == self.worker, receives == self.worker) {
                (true, true) => {
                    let (sender, receiver) = channel(bytes_max);
                    wiring.senders.entry(from).or_default().insert(id, sender);
                    wiring.receivers.entry(to).or_default().insert(id, receiver);
                }
                (true, false) => {
                    let peer = *addresses.get(&receives).ok_or(WorkersError::NoAddress(receives))?;
                    let sender = self.exchange.outgoing(peer, id, schema, bytes_max).await?;
                    wiring.senders.entry(from).or_default().insert(id, sender);
                    wiring.remote.entry(from).or_default().push(id);
                }
                (false, true) => {
                    let receiver = self.exchange.incoming(id, schema, bytes_max)?;
                    wiring.receivers.entry(to).or_default().insert(id, receiver);
                    wiring.remote.entry(to).or_default().push(id);
                }
                (false, false) => {}
            }
        }
        Ok(wiring)
    }
}

fn build_tasks(
    deployment: &Deployment,
    stages: &Stages,
    env: &TaskEnv,
    mut wiring: Wiring,
    restored: &Restored,
    mine: NextSnapshots,
) -> Result<(Vec<DeployedTask>, Vec<BuiltTask>)> {
    let mut tasks = Vec::with_capacity(mine.len());
    let mut built = Vec::with_capacity(mine.len());
    for (task, next_snapshot) in mine {
        let receivers = wiring.receivers.remove(&task).unwrap_or_default();
        let senders = wiring.senders.remove(&task).unwrap_or_default();
        let (graph, restore) = (&deployment.graph, restored.of(stages.stage(task.stage)?));
        let one = build_task(TaskPlan { graph, stages, task, env, receivers, senders, restore, next_snapshot })?;
        let remote_channels = wiring.remote.remove(&task).unwrap_or_default();
        tasks.push(DeployedTask { id: task, has_driver: one.driver.is_some(), remote_channels });
        built.push(one);
    }
    Ok((tasks, built))
}
