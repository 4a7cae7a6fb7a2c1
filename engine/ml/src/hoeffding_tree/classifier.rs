//! What classifiers that learn along a stream by trees have in common: features, classes, and what is said of rows.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use super::classes::{ClassesState, StreamClasses};
use super::explain::Asker;
use super::tree::Row;
use crate::batch::parallel::{in_parallel, stretches, worthwhile};
use crate::classes::{CLASSES_MAX, LabelKind};
use crate::error::{MlError, Result};
use crate::explain::Explanations;
use crate::feature::rows::Rows;
use crate::feature::stream::{FeaturesState, StreamFeatures};
use crate::model::{FeatureKind, FeatureSchema, LearnReport, OnlineSupervised, RejectReason};
use crate::predictor::{Predictions, Supervised};
use crate::registry::OptionDoc;
use crate::snapshot;

/// The most parts that rows are cut into to be predicted.
const PARTS_MAX: usize = 64;

/// What tells classes apart, given by their numbers.
pub(crate) trait ClassLearner: Sized + Send + Sync {
    /// The name in `CREATE MODEL`.
    const MODEL_TYPE: &'static str;

    const SNAPSHOT_TAG: u8;

    /// What a snapshot holds of it.
    type State: Encode + Decode<()>;

    /// One that has learnt nothing, for so many numeric and categorical features.
    ///
    /// # Errors
    /// `UnknownOption` or `InvalidOption`.
    fn from_options(options: &BTreeMap<String, String>, features: (usize, usize)) -> Result<Self>;

    fn option_docs() -> Vec<OptionDoc>;

    /// Categories of one feature that are told apart.
    fn max_categories(&self) -> u32;

    /// Writes the probability of each class: of the first ones, as many as there is room for.
    fn predict(&self, row: Row<'_>, probabilities: &mut [f64]);

    /// About how long a prediction takes.
    fn nanoseconds_a_prediction(&self) -> usize {
        200
    }

    /// Learns rows with these classes one after the other.
    fn learn<'a>(&mut self, rows: impl Iterator<Item = (Row<'a>, u32)>);

    fn state(&self) -> Self::State;

    /// Categories of one feature that are told apart.
    ///
    /// # Errors
    /// `InvalidOption` for options out of range.
    fn max_categories_of(state: &Self::State) -> Result<u32>;

    /// The one that wrote this, given how many numbers, categories of each feature, classes and rows there are.
    ///
    /// # Errors
    /// `CorruptState`.
    fn restore(state: Self::State, features: (usize, &[usize]), classes: usize, rows: u64) -> Result<Self>;
}

/// A classifier that learns row by row.
#[derive(Debug, Clone)]
pub(crate) struct StreamClassifier<L> {
    features: StreamFeatures,
    classes: StreamClasses,
    pub(super) learner: L,
}

impl<L: ClassLearner> StreamClassifier<L> {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = L::MODEL_TYPE;

    pub(crate) const SNAPSHOT_TAG: u8 = L::SNAPSHOT_TAG;

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        L::option_docs()
    }

    /// A model that has learnt nothing, for labels of this type.
    ///
    /// # Errors
    /// `UnknownOption` or `InvalidOption`; `UnsupportedLabel`.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        let counts = (schema.count(FeatureKind::Numeric), schema.count(FeatureKind::Categorical));
        let learner = L::from_options(options, counts)?;
        Ok(Self {
            features: StreamFeatures::new(schema, learner.max_categories()),
            classes: StreamClasses::new(LabelKind::of("label", label)?),
            learner,
        })
    }

    /// Reads what [`OnlineSupervised::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors for bytes that
    /// decode to an impossible model.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != L::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is that of another model type"));
        }
        let State { features, classes, learner } = snapshot::decode::<State<L::State>>(payload)?;
        let features = features.into_features(L::max_categories_of(&learner)?)?;
        let classes = classes.into_classes()?;
        let counts = (features.counts().0, features.categories());
        let rows = classes.total_rows();
        let learner = L::restore(learner, (counts.0, &counts.1), classes.names().len(), rows)?;
        Ok(Self { features, classes, learner })
    }
}

impl<L: ClassLearner> StreamClassifier<L> {
    /// Says what it does of rows of the batch that was read last, on several threads where that is worth it.
    fn say(&self, rows: &[usize], said: &mut Said) {
        let parts = worthwhile(PARTS_MAX, rows.len() * self.learner.nanoseconds_a_prediction());
        let classes = said.of_row.len();
        let predict = |row: usize, room: &mut [f64]| self.learner.predict(self.features.row(row).into(), room);
        if parts == 1 || classes == 0 {
            return rows.iter().for_each(|row| said.say(*row, |room| predict(*row, room)));
        }
        let parts = stretches(rows, parts);
        let of_part = |rows: &&[usize]| {
            let mut probabilities = vec![0.0; rows.len() * classes];
            let rooms = probabilities.chunks_exact_mut(classes);
            rows.iter().zip(rooms).for_each(|(row, room)| predict(*row, room));
            probabilities
        };
        for (rows, probabilities) in parts.iter().zip(in_parallel(&parts, of_part)) {
            let of_rows = probabilities.chunks_exact(classes);
            rows.iter().zip(of_rows).for_each(|(row, own)| said.say(*row, |room| room.copy_from_slice(own)));
        }
    }
}

impl<L: ClassLearner> Supervised for StreamClassifier<L> {
    fn model_type(&self) -> &'static str {
        L::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.features.schema()
    }

    fn label_type(&self) -> DataType {
        self.classes.kind().data_type()
    }

    fn class_names(&self) -> Vec<String> {
        self.classes.names().to_vec()
    }

    fn rows_learnt(&self) -> u64 {
        self.classes.total_rows()
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let mut said = Said::new(self.classes.names().len(), features.num_rows());
        let rows = self
            .features
            .visit(features, |row, of_row| said.say(row, |room| self.learner.predict(of_row.into(), room)))?;
        Ok(self.classes.predictions(features.num_rows(), said.probabilities, rows.usable()))
    }

    fn explanations(&self, features: &RecordBatch, said: &Predictions) -> Result<Option<Explanations>> {
        let rows = features.num_rows();
        let mut explanations = Explanations::new(self.schema(), rows);
        let mut probabilities = vec![0.0; self.classes.names().len()];
        if probabilities.is_empty() {
            // No class is known yet.
            return Ok(Some(explanations.of_usable(Some(NullBuffer::new_null(rows)))));
        }
        let mut asker = Asker::new(&self.features)?;
        let rows = self.features.visit(features, |number, row| {
            let class = said.place(number);
            let predict = |row: Row<'_>| {
                self.learner.predict(row, &mut probabilities);
                probabilities[class]
            };
            asker.explain(row.into(), (number, class), predict, &mut explanations);
        })?;
        Ok(Some(explanations.of_usable(rows.usable())))
    }
}

impl<L: ClassLearner> OnlineSupervised for StreamClassifier<L> {
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport<Predictions>> {
        if labels.len() != features.num_rows() {
            return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
        }
        let labels = self.classes.read(labels)?;
        let mut rows = Rows::labelled(labels.array());
        // What is said before the batch is said of the classes known before it.
        let mut said = Said::new(self.classes.names().len(), features.num_rows());
        let mut numbers = vec![0; features.num_rows()];
        self.features.read(features, &mut rows, |block, rows| {
            for row in block.filter(|row| rows.is_accepted(*row)).collect::<Vec<_>>() {
                match self.classes.number(&labels, row) {
                    Some(class) => numbers[row] = class,
                    None => rows.reject(row, RejectReason::TooManyClasses { classes_max: CLASSES_MAX }),
                }
            }
        })?;
        let accepted = || (0..features.num_rows()).filter(|row| rows.is_accepted(*row));
        self.say(&accepted().collect::<Vec<_>>(), &mut said);
        let said = self.classes.predictions(features.num_rows(), said.probabilities, rows.usable());
        self.learner.learn(accepted().map(|row| (self.features.row(row).into(), numbers[row])));
        accepted().for_each(|row| self.classes.count(numbers[row]));
        let (rows, rejected) = rows.into_rejected();
        Ok(LearnReport { rows, rejected, said })
    }

    /// Two trees that split differently have no average.
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        if snapshots.is_empty() { Ok(()) } else { Err(MlError::NotMergeable { model_type: L::MODEL_TYPE }) }
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state =
            State { features: self.features.state(), classes: self.classes.state(), learner: self.learner.state() };
        snapshot::seal(L::SNAPSHOT_TAG, &state)
    }

    fn class_rows(&self) -> Vec<u64> {
        self.classes.rows().to_vec()
    }
}

/// The probabilities of the rows of a batch, class by class.
struct Said {
    probabilities: Vec<Vec<f64>>,
    /// Those of one row.
    of_row: Vec<f64>,
}

impl Said {
    fn new(classes: usize, rows: usize) -> Self {
        Self { probabilities: vec![vec![0.0; rows]; classes], of_row: vec![0.0; classes] }
    }

    fn say(&mut self, row: usize, predict: impl FnOnce(&mut [f64])) {
        predict(&mut self.of_row);
        for (class, probability) in self.probabilities.iter_mut().zip(&self.of_row) {
            class[row] = *probability;
        }
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State<Learner> {
    features: FeaturesState,
    classes: ClassesState,
    learner: Learner,
}
