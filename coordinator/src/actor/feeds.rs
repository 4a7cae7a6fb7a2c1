//! Versions of models for streams that run: which job is told what, and when.
//!
//! The sources of a job that give out versions ([`MODEL_CONNECTOR`]) each stand for a name, such as `m` or `m@champion`. Once
//! an attempt runs, they are told what their names mean, and from then on whenever that changes. One is told at a time, so
//! requests do not fill a lane; versions in between are passed over. What is lost with a worker is told the next attempt. A
//! name that means nothing any more leaves its streams what they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Addr, Context, Handler, MessageResult};
use tidemill_plans::connector::{MODEL_CONNECTOR, MODEL_OPTION, option};
use tidemill_plans::ids::{RunId, TaskId, WorkerId};
use tidemill_plans::model_reference::ModelReference;
use tidemill_plans::node::NodeKind;
use tidemill_plans::protocol::{Deployment, WorkerRequest};
use tidemill_plans::stage::Stages;
use tokio::sync::watch;

use super::Coordinator;
use super::messages::ModelsMoved;
use crate::job::state::State;
use crate::serving::{ServedModel, ServedModels};

/// What the sources of one attempt have been told.
#[derive(Default)]
pub(super) struct Feeds {
    /// By their names and where they run, what they have been told last.
    told: BTreeMap<(String, WorkerId), Option<Arc<ServedModel>>>,
    /// Whether one is being told something.
    is_telling: bool,
}

impl Feeds {
    /// Those of an attempt that is placed, which know nothing yet.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let graph = &deployment.graph;
        let models = graph.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Source(source) if source.connector == MODEL_CONNECTOR => {
                Some((node.id, option(&source.options, MODEL_OPTION)?.to_owned()))
            }
            _ => None,
        });
        let mut models = models.peekable();
        // Of most jobs no stages are needed.
        let stages = models.peek().and_then(|_| Stages::of(graph).ok());
        let place = |operator| {
            let task = TaskId { stage: stages.as_ref()?.stage_of(operator).ok()?, subtask: 0 };
            deployment.tasks.iter().find(|(placed, _)| *placed == task).map(|(_, worker)| *worker)
        };
        let told = models.filter_map(|(operator, name)| Some(((name, place(operator)?), None))).collect();
        Self { told, is_telling: false }
    }

    /// What has been told has been answered.
    pub(super) fn note_answer(&mut self) {
        self.is_telling = false;
    }

    /// The next source that is to be told of a version, which counts as told from now on.
    fn next(&mut self, models: &ServedModels) -> Option<(String, WorkerId, Arc<ServedModel>)> {
        if self.is_telling {
            return None;
        }
        let found = self.told.iter_mut().find_map(|((name, worker), told)| {
            let served = models.version(&ModelReference::parse(name).ok()?).ok()?;
            let is_news = !told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &served));
            // What is too large is not kept here.
            (is_news && !served.weights().state.is_empty()).then(|| {
                *told = Some(Arc::clone(&served));
                (name.clone(), *worker, served)
            })
        });
        self.is_telling = found.is_some();
        found
    }
}

impl Coordinator {
    /// Tells a run, once all of it does, of a version that it does not know.
    pub(super) fn tell_versions(&mut self, run: RunId, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&run.job).filter(|job| job.run() == run) else { return };
        if !matches!(job.machine.state(), State::Running(_)) {
            return;
        }
        if let Some((reference, worker, served)) = job.feeds.next(&self.serving) {
            let weights = Arc::clone(served.weights());
            self.request(run, worker, WorkerRequest::Model { run, reference, weights }, ctx);
        }
    }
}

impl Handler<ModelsMoved> for Coordinator {
    type Result = MessageResult<ModelsMoved>;

    fn handle(&mut self, _: ModelsMoved, ctx: &mut Context<Self>) -> Self::Result {
        for run in self.runs() {
            self.tell_versions(run, ctx);
        }
        MessageResult(())
    }
}

/// Brings the actor what changes, for ever. However much does meanwhile, it is told once more.
pub(super) async fn follow_models(mut moved: watch::Receiver<()>, coordinator: Addr<Coordinator>) {
    while moved.changed().await.is_ok() {
        if coordinator.send(ModelsMoved).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use tidemill_plans::catalog::{ModelWeights, UNTIMED};
    use tidemill_sql::AliasCommand;

    use super::*;

    fn version(version: i64, state: &[u8]) -> ModelWeights {
        let (model, label) = (String::from("m"), String::new());
        ModelWeights { model, version, learnt_to: UNTIMED, label, state: state.to_vec() }
    }

    fn name(models: &ServedModels, alias: &str, version: Option<i64>) {
        block_on(models.alias(&AliasCommand { model: String::from("m"), alias: alias.to_owned(), version })).unwrap();
    }

    /// Who is told of which version next, and answers.
    fn told(feeds: &mut Feeds, models: &ServedModels) -> String {
        let next = feeds.next(models);
        assert!(next.is_none() || feeds.next(models).is_none(), "one at a time");
        feeds.note_answer();
        next.map_or_else(
            || String::from("nobody"),
            |(name, worker, served)| format!("{name} at {worker}: {}", served.weights().version),
        )
    }

    #[test]
    fn each_source_is_told_once_what_its_name_means() {
        let models = ServedModels::default();
        let told_of = |name: &str, worker| ((name.to_owned(), WorkerId(worker)), None);
        let told_before = BTreeMap::from([told_of("m", 1), told_of("m@good", 1), told_of("m@good", 2)]);
        let mut feeds = Feeds { told: told_before, is_telling: false };
        assert_eq!(told(&mut feeds, &models), "nobody");
        models.put(version(1, b"1"));
        assert_eq!([(); 2].map(|()| told(&mut feeds, &models)), ["m at worker-1: 1", "nobody"]);
        name(&models, "good", Some(1));
        let all = ["m@good at worker-1: 1", "m@good at worker-2: 1", "nobody"];
        assert_eq!([(); 3].map(|()| told(&mut feeds, &models)), all);
        models.put(version(2, b"2"));
        models.put(version(3, b"3"));
        assert_eq!([(); 2].map(|()| told(&mut feeds, &models)), ["m at worker-1: 3", "nobody"]);
        name(&models, "good", None);
        assert_eq!(told(&mut feeds, &models), "nobody", "what meant something goes on");
        models.put(version(4, b""));
        assert_eq!(told(&mut feeds, &models), "nobody", "it is too large to be kept");
    }

    #[test]
    fn whoever_follows_hears_of_changes_alone() {
        let models = ServedModels::default();
        let mut moved = models.follow();
        assert!(!moved.has_changed().unwrap());
        models.put(version(2, b"2"));
        assert!(moved.has_changed().unwrap());
        moved.mark_unchanged();
        models.put(version(1, b"1"));
        assert!(!moved.has_changed().unwrap(), "an older one means nothing");
        name(&models, "good", Some(2));
        assert!(moved.has_changed().unwrap());
    }
}
