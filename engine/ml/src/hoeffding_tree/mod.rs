//! A Hoeffding tree: a decision tree of classes that grows along a stream, each row seen once (Domingos and Hulten 2000,
//! "Mining High-Speed Data Streams").
//!
//! A leaf keeps no rows but what splits are judged by: a normal distribution of each number and the counts of each
//! category, for each class. Every `grace_period` rows it looks whether the best split is ahead of the second best by so
//! much that more rows would not change the choice, and then becomes that split; see `split`. What a leaf says is naive
//! Bayes over the same statistics, or the shares of its classes. As River's `HoeffdingTreeClassifier` and MOA's, but
//! for leaves of one class, which go on learning.
//!
//! Rows without the number that a split asks for go where most rows went, as do categories that have no branch. Two
//! trees have no average, so one task learns all rows: see [`OnlineModel::merge`].
//!
//! Memory is bounded by `max_nodes` and `max_size`; beside these it holds the names of categories.

mod classes;
mod config;
mod leaf;
mod normal;
mod observers;
mod split;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod throughput;
mod tree;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use self::classes::{ClassesState, Labels, StreamClasses};
use self::config::TreeConfig;
use self::observers::Row;
use self::tree::{Tree, TreeState};
use crate::classes::{CLASSES_MAX, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::columns::{Columns, SparseRows};
use crate::feature::dictionary::{CategoryDictionary, DictionaryState};
use crate::feature::rows::Rows;
use crate::model::{FeatureKind, FeatureSchema, LearnReport, OnlineModel, RejectReason};
use crate::predictor::{Predictions, Supervised};
use crate::registry::OptionDoc;
use crate::snapshot;

/// A classifier that learns row by row; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct HoeffdingTree {
    /// Shared, so that a batch's columns can name it while the model changes.
    schema: Arc<FeatureSchema>,
    /// One for each categorical feature; they number categories by [`CategoryDictionary::number_or_insert`].
    dictionaries: Vec<CategoryDictionary>,
    classes: StreamClasses,
    tree: Tree,
    /// The rows of the batch being learnt. Kept to spare allocations; holds no state.
    scratch: SparseRows,
}

impl HoeffdingTree {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "hoeffding_tree_classifier";

    pub(crate) const SNAPSHOT_TAG: u8 = 61;

    /// A model that has learnt nothing, for labels of this type.
    ///
    /// # Errors
    /// `UnknownOption` or `InvalidOption`; `UnsupportedLabel`.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        let config = TreeConfig::from_options(options)?;
        let dictionary = CategoryDictionary::new(config.max_categories as usize);
        let categorical = schema.count(FeatureKind::Categorical);
        Ok(Self {
            tree: Tree::new(config, (schema.count(FeatureKind::Numeric), categorical)),
            dictionaries: vec![dictionary; categorical],
            classes: StreamClasses::new(LabelKind::of("label", label)?),
            scratch: SparseRows::new(&schema),
            schema: Arc::new(schema),
        })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        TreeConfig::option_docs()
    }

    /// Reads what [`OnlineModel::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors for bytes that
    /// decode to an impossible model.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a Hoeffding tree"));
        }
        snapshot::decode::<State>(payload)?.into_model()
    }

    /// Reads the whole batch into `scratch`, growing the dictionaries by the accepted rows; returns the class of each of
    /// those.
    fn encode(&mut self, columns: &Columns<'_>, labels: &Labels, rows: &mut Rows) -> Vec<u32> {
        self.scratch.grow(columns.rows());
        let mut classes = vec![0; columns.rows()];
        for block in columns.blocks() {
            let start = block.start;
            columns.write_numbers(block.clone(), &mut self.scratch, start, |row, reason| rows.reject(row, reason));
            self.number_classes(block.clone(), labels, rows, &mut classes);
            let dictionaries = &mut self.dictionaries;
            let number_of = |feature: usize, category: Option<&str>| dictionaries[feature].number_or_insert(category);
            columns.write_categories(block, &mut self.scratch, start, rows.accepted(), number_of);
        }
        classes
    }

    fn number_classes(&mut self, block: Range<usize>, labels: &Labels, rows: &mut Rows, classes: &mut [u32]) {
        for row in block {
            if !rows.is_accepted(row) {
                continue;
            }
            match self.classes.number(labels, row) {
                Some(class) => classes[row] = class,
                None => rows.reject(row, RejectReason::TooManyClasses { classes_max: CLASSES_MAX }),
            }
        }
    }

    /// What the tree says of the first classes, as many as there are, for each accepted row of a block; `read`
    /// finds it.
    fn probabilities<'a>(
        &self,
        classes: usize,
        rows: &Rows,
        block: Range<usize>,
        read: impl Fn(usize) -> Row<'a>,
        probabilities: &mut [Vec<f64>],
    ) {
        let mut of_row = vec![0.0; classes];
        for row in block {
            if rows.is_accepted(row) {
                self.tree.predict(read(row), &mut of_row);
                for (class, probability) in probabilities.iter_mut().zip(&of_row) {
                    class[row] = *probability;
                }
            }
        }
    }
}

/// A row of a scratch, whose numbers are as they were read.
fn row_of(scratch: &SparseRows, row: usize) -> Row<'_> {
    let numbers = scratch.numbers(row);
    Row { numbers, categories: &scratch.row(row).0[1 + numbers.len()..] }
}

impl Supervised for HoeffdingTree {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
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
        let columns = Columns::resolve(&self.schema, features)?;
        let mut rows = Rows::new(columns.rows());
        let mut scratch = SparseRows::new(&self.schema);
        let classes = self.classes.names().len();
        let mut probabilities = vec![vec![0.0; columns.rows()]; classes];
        for block in columns.blocks() {
            let start = block.start;
            scratch.grow(block.len());
            columns.write_numbers(block.clone(), &mut scratch, 0, |row, reason| rows.reject(row, reason));
            let number_of = |feature: usize, category: Option<&str>| self.dictionaries[feature].slot(category);
            columns.write_categories(block.clone(), &mut scratch, 0, rows.accepted(), number_of);
            let read = |row: usize| row_of(&scratch, row - start);
            self.probabilities(classes, &rows, block, read, &mut probabilities);
        }
        Ok(self.classes.predictions(columns.rows(), probabilities, rows.usable()))
    }
}

impl OnlineModel for HoeffdingTree {
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport> {
        if labels.len() != features.num_rows() {
            return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
        }
        let labels = self.classes.read(labels)?;
        let schema = Arc::clone(&self.schema);
        let columns = Columns::resolve(&schema, features)?;
        let mut rows = Rows::labelled(labels.array());
        // What is said before the batch is said of the classes known before it.
        let known = self.classes.names().len();
        let classes = self.encode(&columns, &labels, &mut rows);
        let mut probabilities = vec![vec![0.0; columns.rows()]; known];
        let read = |row: usize| row_of(&self.scratch, row);
        self.probabilities(known, &rows, 0..columns.rows(), read, &mut probabilities);
        let said = self.classes.predictions(columns.rows(), probabilities, rows.usable());
        for (row, class) in classes.into_iter().enumerate() {
            if rows.is_accepted(row) {
                self.tree.learn(row_of(&self.scratch, row), class);
                self.classes.count(class);
            }
        }
        let (rows, rejected) = rows.into_rejected();
        Ok(LearnReport { rows, rejected, said })
    }

    /// Two trees that split differently have no average.
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        if snapshots.is_empty() { Ok(()) } else { Err(MlError::NotMergeable { model_type: Self::MODEL_TYPE }) }
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State {
            schema: FeatureSchema::clone(&self.schema),
            dictionaries: self.dictionaries.iter().map(CategoryDictionary::state).collect(),
            classes: self.classes.state(),
            tree: self.tree.state(),
        };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }

    fn class_rows(&self) -> Vec<u64> {
        self.classes.rows().to_vec()
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    schema: FeatureSchema,
    dictionaries: Vec<DictionaryState>,
    classes: ClassesState,
    tree: TreeState,
}

impl State {
    fn into_model(self) -> Result<HoeffdingTree> {
        let schema = self.schema.restored()?;
        let config = self.tree.config();
        config.validate()?;
        if self.dictionaries.len() != schema.count(FeatureKind::Categorical) {
            return Err(MlError::corrupt("the dictionaries do not fit the categorical features"));
        }
        let mut dictionaries = Vec::with_capacity(self.dictionaries.len());
        for state in &self.dictionaries {
            dictionaries.push(CategoryDictionary::restore_numbered(state, config.max_categories as usize)?);
        }
        let classes = self.classes.into_classes()?;
        let categories: Vec<usize> = dictionaries.iter().map(CategoryDictionary::numbers).collect();
        let features = (schema.count(FeatureKind::Numeric), categories.as_slice());
        let tree = self.tree.into_tree(features, classes.names().len(), classes.total_rows())?;
        Ok(HoeffdingTree { dictionaries, classes, tree, scratch: SparseRows::new(&schema), schema: Arc::new(schema) })
    }
}
