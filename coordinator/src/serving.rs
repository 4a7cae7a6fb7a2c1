//! Models that clients are answered with: of each the version that has learnt most, as trainers tell it, and those that stay
//! beside it. See [`versions`].
//!
//! They are in memory, and kept for the next coordinator: a job that has ended publishes nothing, and the next version
//! of one that learns may be hours away. See [`kept`].

mod kept;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use tidemill_plans::PlanError;
use tidemill_plans::catalog::{ModelWeights, SERVED_BYTES_MAX};
use tidemill_plans::error::chain;
use tidemill_plans::model_reference::{ModelReference, WantedVersion};
use tidemill_plans::prediction::{KnownVersion, TrainedModel, TrainedModels};
use tidemill_sql::AliasCommand;
use tidemill_sql::access::{Privilege, Securable, require};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::warn;

use self::kept::{Found, KeptModels};
use self::versions::{Part, Versions};
use crate::access::{Access, Who};
use crate::error::{CoordinatorError, Result};

/// Between two times that changes are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The models.
#[derive(Default)]
pub(crate) struct ServedModels {
    known: Mutex<Known>,
    /// Where they are kept, if the metadata are.
    kept: Option<KeptModels>,
    /// Told when something has changed that is to be kept.
    changed: Notify,
    /// Told when some name may mean another version.
    moved: watch::Sender<()>,
    /// Held by whoever writes.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// By name.
    models: BTreeMap<String, Versions>,
    /// What of which is not kept as it is.
    unwritten: BTreeSet<(String, Part)>,
}

/// A model that somebody asks, for as long as they may.
pub(crate) struct AskedModel {
    pub(crate) models: Arc<ServedModels>,
    pub(crate) access: Arc<Access>,
    pub(crate) name: String,
    pub(crate) who: Who,
}

impl AskedModel {
    /// The version that is meant. What was granted when a connection began may have been revoked, and an alias may have moved:
    /// it is asked for each answer.
    pub(crate) fn current(&self) -> Result<Arc<ServedModel>> {
        let reference = ModelReference::parse(&self.name).map_err(|reason| refused(&self.name, reason))?;
        if let Some(rights) = self.access.rights(&self.who)? {
            let may = require(rights.as_ref(), Privilege::Predict, Securable::Object(reference.model.to_owned()));
            may.map_err(|error| CoordinatorError::Sql(Box::new(error)))?;
        }
        self.models.version(&reference)
    }

    /// Notes in the audit log that there are no more answers.
    pub(crate) async fn note<T>(&self, outcome: &Result<T>) {
        self.access.note(&self.who, "predict", &self.name, outcome).await;
    }
}

/// What is in a file.
enum Content {
    Weights(Arc<ServedModel>),
    Aliases(BTreeMap<String, i64>),
}

/// A version of a model.
pub(crate) struct ServedModel {
    weights: Arc<ModelWeights>,
    /// Restored when somebody first asks.
    model: OnceLock<Arc<TrainedModel>>,
}

impl ServedModels {
    /// Those of these names that an earlier coordinator has kept in a folder, if there is one.
    pub(crate) async fn open(folder: Option<&Path>, names: &BTreeSet<String>) -> Result<Self> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let kept = KeptModels::below(folder)?;
        let mut models: BTreeMap<String, Versions> = BTreeMap::new();
        for (name, found) in kept.read(names).await? {
            let versions = models.entry(name).or_default();
            match found {
                Found::Newest(weights) => versions.newest = Some(served(weights)),
                Found::Version(weights) => drop(versions.kept.insert(weights.version, served(weights))),
                Found::Aliases(aliases) => versions.aliases = aliases,
            }
        }
        let known = Mutex::new(Known { models, unwritten: BTreeSet::new() });
        Ok(Self { known, kept: Some(kept), ..Self::default() })
    }

    /// Takes note of a version.
    pub(crate) fn put(&self, weights: ModelWeights) {
        let (mut known, model) = (self.known(), weights.model.clone());
        let changed = known.models.entry(model.clone()).or_default().put(&served(weights));
        self.note_changes(&mut known, &model, changed);
    }

    /// Forgets a model that is dropped.
    pub(crate) fn remove(&self, model: &str) {
        let mut known = self.known();
        if let Some(versions) = known.models.remove(model) {
            self.note_changes(&mut known, model, versions.parts());
        }
    }

    /// Has nothing answer for a model's plain name until it has another version.
    pub(crate) fn hide_newest(&self, model: &str) {
        self.set_newest(model, None);
    }

    /// Has a version answer again that another was to take the place of.
    pub(crate) fn put_back(&self, model: &str, served: Arc<ServedModel>) {
        self.set_newest(model, Some(served));
    }

    fn set_newest(&self, model: &str, newest: Option<Arc<ServedModel>>) {
        let mut known = self.known();
        known.models.entry(model.to_owned()).or_default().newest = newest;
        self.note_changes(&mut known, model, vec![Part::Newest]);
    }

    /// Gives or takes an alias; it is kept when that has been done.
    pub(crate) async fn alias(&self, command: &AliasCommand) -> Result<()> {
        let AliasCommand { model, alias, version } = command;
        {
            let mut known = self.known();
            let versions = known.models.entry(model.clone()).or_default();
            let changed = match version {
                Some(version) => versions.set_alias(alias, *version),
                None => versions.unset_alias(alias),
            };
            let changed = changed.map_err(|reason| refused(model, reason))?;
            self.note_changes(&mut known, model, changed);
        }
        self.write().await
    }

    /// Changes, from now on, of what names mean.
    pub(crate) fn follow(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    fn note_changes(&self, known: &mut Known, model: &str, parts: Vec<Part>) {
        if !parts.is_empty() {
            self.moved.send_replace(());
        }
        if self.kept.is_some() && !parts.is_empty() {
            known.unwritten.extend(parts.into_iter().map(|part| (model.to_owned(), part)));
            self.changed.notify_one();
        }
    }

    /// Keeps what changes, for ever.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            if let Err(error) = self.write().await {
                warn!(error = error.chain(), "what is known of models is not kept");
            }
            sleep(WRITE_INTERVAL).await;
        }
    }

    /// Keeps what has changed: all that can be.
    ///
    /// # Errors
    /// What could not be kept last; its next version is tried again.
    pub(crate) async fn write(&self) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let _turn = self.writing.lock().await;
        let changed = std::mem::take(&mut self.known().unwritten);
        let mut outcome = Ok(());
        for (name, part) in changed {
            let content = self.content(&name, &part);
            if let Err(error) = kept.keep(&name, &part, content).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    /// What is to be in a file; nothing if that is not to be there.
    fn content(&self, model: &str, part: &Part) -> Option<Content> {
        let known = self.known();
        let versions = known.models.get(model)?;
        match part {
            Part::Newest => versions.newest.clone().map(Content::Weights),
            Part::Version(version) => versions.kept.get(version).cloned().map(Content::Weights),
            Part::Aliases => Some(versions.aliases.clone()).filter(|aliases| !aliases.is_empty()).map(Content::Aliases),
        }
    }

    /// The version that has learnt most.
    pub(crate) fn newest(&self, model: &str) -> Result<Arc<ServedModel>> {
        self.version(&ModelReference { model, version: WantedVersion::Newest })
    }

    /// The version that is meant.
    pub(crate) fn version(&self, reference: &ModelReference<'_>) -> Result<Arc<ServedModel>> {
        let known = self.known();
        let none = Versions::default();
        let versions = known.models.get(reference.model).unwrap_or(&none);
        versions.find(reference.version).map_err(|reason| refused(reference.model, reason))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrainedModels for ServedModels {
    fn find(&self, model: &ModelReference<'_>) -> Result<Arc<TrainedModel>, String> {
        let served = self.version(model).map_err(|error| error.chain())?;
        Ok(Arc::clone(served.trained().map_err(|error| error.chain())?))
    }

    fn versions(&self, model: &str) -> Vec<KnownVersion> {
        self.known().models.get(model).map(Versions::known).unwrap_or_default()
    }
}

impl fmt::Debug for ServedModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModels").finish_non_exhaustive()
    }
}

impl fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModel").field("model", &self.weights.model).finish_non_exhaustive()
    }
}

fn served(weights: ModelWeights) -> Arc<ServedModel> {
    Arc::new(ServedModel { weights: Arc::new(weights), model: OnceLock::new() })
}

impl ServedModel {
    /// The columns of answers: those of the rows, and what ML.PREDICT adds.
    pub(crate) fn columns(&self, rows: &Schema) -> Result<SchemaRef> {
        let added = self.trained()?.added();
        let own = rows.fields().iter().cloned();
        Ok(Arc::new(Schema::new(own.chain(added.into_iter().map(Arc::new)).collect::<Vec<_>>())))
    }

    /// Rows with the predictions for them.
    pub(crate) fn predict(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let added = self.trained()?.predict(rows).map_err(|error| self.refused(chain(&error)))?;
        let columns = rows.columns().iter().cloned().chain(added).collect();
        Ok(RecordBatch::try_new(self.columns(rows.schema_ref())?, columns).map_err(PlanError::from)?)
    }

    /// Its bytes, and whose they are.
    pub(crate) fn weights(&self) -> &Arc<ModelWeights> {
        &self.weights
    }

    /// The model itself.
    pub(crate) fn trained(&self) -> Result<&Arc<TrainedModel>> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        if self.weights.state.is_empty() {
            return Err(self.refused(format!("it has more than {SERVED_BYTES_MAX} bytes; use ML.PREDICT in a query")));
        }
        let restored =
            TrainedModel::restore(ModelWeights::clone(&self.weights)).map_err(|error| self.refused(chain(&error)))?;
        Ok(self.model.get_or_init(|| Arc::new(restored)))
    }

    fn refused(&self, reason: String) -> CoordinatorError {
        refused(&self.weights.model, reason)
    }
}

fn refused(model: &str, reason: String) -> CoordinatorError {
    CoordinatorError::Model { model: model.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array};
    use arrow::datatypes::{DataType, Float64Type};
    use tidemill_ml::{FeatureSchema, create};

    use super::*;

    fn features() -> RecordBatch {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(-1.0), Some(1.0), None]));
        RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap()
    }

    fn weights(version: i64, learnt_to: i64) -> ModelWeights {
        let rows = features();
        let schema = FeatureSchema::from_arrow(rows.schema_ref()).unwrap();
        let mut model = create("logistic_reg", &BTreeMap::new(), &schema, &DataType::Boolean).unwrap();
        for _ in 0..100 {
            model.learn(&rows, &BooleanArray::from(vec![false, true, true])).unwrap();
        }
        let state = model.snapshot().unwrap();
        ModelWeights { model: String::from("m"), version, learnt_to, label: String::from("late"), state }
    }

    #[test]
    fn the_version_that_has_learnt_most_answers() {
        let models = ServedModels::default();
        assert!(models.newest("m").err().unwrap().to_string().contains("has published no version"));
        models.put(weights(7, 100));
        // A job that learns it from the beginning.
        models.put(weights(1, 10));
        let served = models.newest("m").unwrap();
        let answer = served.predict(&features()).unwrap();
        let names: Vec<&str> = answer.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["x", "predicted_late", "predicted_late_prob", "model_version", "model_event_time"]);
        assert_eq!(answer.column(1).as_boolean().iter().collect::<Vec<_>>()[..2], [Some(false), Some(true)]);
        assert!(answer.column(2).as_primitive::<Float64Type>().value(1) > 0.5);
        assert_eq!(served.columns(features().schema_ref()).unwrap(), answer.schema());
        let other: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        let error = served.predict(&RecordBatch::try_from_iter([("y", other)]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("model 'm'") && error.contains('x'), "{error}");
        models.put(ModelWeights { state: Vec::new(), ..weights(8, 200) });
        let error = models.newest("m").unwrap().predict(&features()).unwrap_err().to_string();
        assert!(error.contains("use ML.PREDICT"), "{error}");
        models.remove("m");
        assert!(models.newest("m").is_err());
    }

    #[tokio::test]
    async fn the_next_coordinator_answers_with_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let open = async |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ServedModels::open(Some(folder.path()), &names).await.unwrap()
        };
        let odd = || ModelWeights { model: String::from("Odd %/"), ..weights(3, 30) };
        let models = open(&[]).await;
        models.put(weights(7, 100));
        models.put(odd());
        models.write().await.unwrap();
        // A job that learns it from the beginning.
        models.put(weights(1, 10));
        models.write().await.unwrap();
        let again = open(&["m", "Odd %/", "other"]).await;
        assert_eq!(*again.newest("m").unwrap().weights, weights(7, 100));
        assert_eq!(again.newest("Odd %/").unwrap().predict(&features()).unwrap().num_rows(), 3);
        again.remove("m");
        again.write().await.unwrap();
        // One was dropped when its coordinator ended.
        assert!(open(&["m"]).await.newest("m").is_err());
        assert!(open(&["Odd %/"]).await.newest("Odd %/").is_err());

        // Aliases and what they name are there again, too; the newest version has no file but its own.
        let give = |version| AliasCommand { model: String::from("m"), alias: String::from("good"), version };
        again.put(weights(8, 110));
        again.alias(&give(Some(8))).await.unwrap();
        again.put(weights(9, 120));
        again.write().await.unwrap();
        let third = open(&["m"]).await;
        let number = |models: &ServedModels, name: &str| {
            models.version(&ModelReference::parse(name).unwrap()).map(|served| served.weights.version)
        };
        assert_eq!((number(&third, "m").unwrap(), number(&third, "m@good").unwrap()), (9, 8));
        assert!(third.alias(&AliasCommand { alias: String::from("bad"), ..give(None) }).await.is_err());
        third.alias(&give(None)).await.unwrap();
        assert!(number(&third, "m@good").is_err() && number(&third, "m$8").is_err());
        let files: Vec<_> = std::fs::read_dir(folder.path().join("models")).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");

        let file = folder.path().join("models/m.weights");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[3] ^= 1;
        std::fs::write(file, bytes).unwrap();
        assert!(open(&["m"]).await.newest("m").is_err());
    }
}
