//! Models that clients are answered with: of each the version that has learnt most, as trainers tell it.
//!
//! They are in memory, and kept for the next coordinator: a job that has ended publishes nothing, and the next version
//! of one that learns may be hours away. See [`kept`].

mod kept;

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
use tidemill_plans::prediction::{TrainedModel, TrainedModels};
use tidemill_sql::access::{Privilege, Securable, require};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::warn;

use self::kept::KeptModels;
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
    /// Told when something has changed.
    changed: Notify,
    /// Held by whoever writes.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// By name.
    models: BTreeMap<String, Arc<ServedModel>>,
    /// The names of those that are not kept as they are.
    unwritten: BTreeSet<String>,
}

/// A model that somebody asks, for as long as they may.
pub(crate) struct AskedModel {
    pub(crate) models: Arc<ServedModels>,
    pub(crate) access: Arc<Access>,
    pub(crate) name: String,
    pub(crate) who: Who,
}

impl AskedModel {
    /// The version that has learnt most. What was granted when a connection began may have been revoked: it is asked
    /// for each answer.
    pub(crate) fn newest(&self) -> Result<Arc<ServedModel>> {
        if let Some(rights) = self.access.rights(&self.who)? {
            let may = require(rights.as_ref(), Privilege::Predict, Securable::Object(self.name.clone()));
            may.map_err(|error| CoordinatorError::Sql(Box::new(error)))?;
        }
        self.models.newest(&self.name)
    }

    /// Notes in the audit log that there are no more answers.
    pub(crate) async fn note<T>(&self, outcome: &Result<T>) {
        self.access.note(&self.who, "predict", &self.name, outcome).await;
    }
}

/// A version of a model.
pub(crate) struct ServedModel {
    weights: ModelWeights,
    /// Restored when somebody first asks.
    model: OnceLock<Arc<TrainedModel>>,
}

impl ServedModels {
    /// Those of these names that an earlier coordinator has kept in a folder, if there is one.
    pub(crate) async fn open(folder: Option<&Path>, names: &BTreeSet<String>) -> Result<Self> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let kept = KeptModels::below(folder)?;
        let models = kept.read(names).await?.into_iter().map(|weights| (weights.model.clone(), served(weights)));
        let known = Mutex::new(Known { models: models.collect(), unwritten: BTreeSet::new() });
        Ok(Self { known, kept: Some(kept), ..Self::default() })
    }

    /// Takes note of a version. Another job may learn the same model from the beginning: what has learnt most stays.
    pub(crate) fn put(&self, weights: ModelWeights) {
        let (mut known, model) = (self.known(), weights.model.clone());
        if known.models.get(&model).is_none_or(|known| known.weights.learnt_to <= weights.learnt_to) {
            known.models.insert(model.clone(), served(weights));
            self.note_change(&mut known, model);
        }
    }

    /// Forgets a model that is dropped.
    pub(crate) fn remove(&self, model: &str) {
        let mut known = self.known();
        if known.models.remove(model).is_some() {
            self.note_change(&mut known, model.to_owned());
        }
    }

    /// Has a version answer again that another was to take the place of.
    pub(crate) fn put_back(&self, model: &str, served: Arc<ServedModel>) {
        let mut known = self.known();
        known.models.insert(model.to_owned(), served);
        self.note_change(&mut known, model.to_owned());
    }

    fn note_change(&self, known: &mut Known, model: String) {
        if self.kept.is_some() {
            known.unwritten.insert(model);
            self.changed.notify_one();
        }
    }

    /// Keeps what changes, for ever.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            self.write().await;
            sleep(WRITE_INTERVAL).await;
        }
    }

    /// Keeps what has changed. What cannot be kept is told; the next version is tried again.
    pub(crate) async fn write(&self) {
        let Some(kept) = &self.kept else { return };
        let _turn = self.writing.lock().await;
        let names = std::mem::take(&mut self.known().unwritten);
        for name in names {
            let model = self.known().models.get(&name).cloned();
            if let Err(error) = kept.keep(&name, model.as_ref().map(|model| &model.weights)).await {
                warn!(model = name, error = error.chain(), "the weights of a model are not kept");
            }
        }
    }

    /// The version that has learnt most.
    pub(crate) fn newest(&self, model: &str) -> Result<Arc<ServedModel>> {
        let found = self.known().models.get(model).cloned();
        found.ok_or_else(|| refused(model, String::from("it has published no version yet")))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrainedModels for ServedModels {
    fn newest(&self, model: &str) -> Result<Arc<TrainedModel>, String> {
        let served = self.newest(model).map_err(|error| error.chain())?;
        Ok(Arc::clone(served.trained().map_err(|error| error.chain())?))
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
    Arc::new(ServedModel { weights, model: OnceLock::new() })
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

    /// The model itself.
    pub(crate) fn trained(&self) -> Result<&Arc<TrainedModel>> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        if self.weights.state.is_empty() {
            return Err(self.refused(format!("it has more than {SERVED_BYTES_MAX} bytes; use ML.PREDICT in a query")));
        }
        let restored = TrainedModel::restore(self.weights.clone()).map_err(|error| self.refused(chain(&error)))?;
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
        models.write().await;
        // A job that learns it from the beginning.
        models.put(weights(1, 10));
        models.write().await;
        let again = open(&["m", "Odd %/", "other"]).await;
        assert_eq!(again.newest("m").unwrap().weights, weights(7, 100));
        assert_eq!(again.newest("Odd %/").unwrap().predict(&features()).unwrap().num_rows(), 3);
        again.remove("m");
        again.write().await;
        // One was dropped when its coordinator ended.
        assert!(open(&["m"]).await.newest("m").is_err());
        assert!(open(&["Odd %/"]).await.newest("Odd %/").is_err());

        again.put(weights(8, 110));
        again.write().await;
        let file = folder.path().join("models/m.weights");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[3] ^= 1;
        std::fs::write(file, bytes).unwrap();
        assert!(open(&["m"]).await.newest("m").is_err());
    }
}
