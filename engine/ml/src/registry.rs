//! Makes a model from what SQL gives: a type name, text options and a schema; or from a snapshot.
//!
//! A new algorithm is one entry in `MODEL_TYPES`; its options' names, defaults and checks stay in
//! the algorithm's own file, and from there also feed error messages and documentation.

#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::fmt::Display;

use arrow::datatypes::{DataType, Field};

use crate::boosted_trees::{self, BoostedTrees};
use crate::classes::LabelKind;
use crate::contextual_bandit::ContextualBandit;
use crate::dbscan::Dbscan;
use crate::error::{MlError, Result};
use crate::forecast::arima::Arima;
use crate::forecast::smoothing::Smoothing;
use crate::forecast::{Forecaster, SeriesModel, time_feature};
use crate::forest::{self, Forest};
use crate::gaussian_mixture::GaussianMixture;
use crate::half_space_trees::HalfSpaceTrees;
use crate::hoeffding_tree::HoeffdingTree;
use crate::hoeffding_tree::adaptive::HoeffdingAdaptiveTree;
use crate::hoeffding_tree::forest::AdaptiveRandomForest;
use crate::hoeffding_tree::regressor::HoeffdingTreeRegressor;
use crate::isolation_forest::IsolationForest;
use crate::kmeans::KMeans;
use crate::kmeans::online::OnlineKMeans;
use crate::linear::linear_regression::LinearRegression;
use crate::linear::linear_regression::batch::check_numeric_label;
use crate::linear::linear_regression::online::OnlineLinearRegression;
use crate::linear::linear_svm::LinearSvm;
use crate::linear::linear_svr;
use crate::linear::logistic_regression::LogisticRegression;
use crate::linear::multinomial_regression::MultinomialRegression;
use crate::matrix_factorization::MatrixFactorization;
use crate::model::{FeatureSchema, OnlineModel, OnlineSupervised, check_label_type};
use crate::naive_bayes::NaiveBayes;
use crate::nearest_neighbors::{self, NearestNeighbors};
use crate::one_class_svm::OneClassSvm;
use crate::pca::{self, Pca};
use crate::predictor::{Labelled, Predictor, Supervised};
use crate::q_learning::QLearning;
use crate::robust_zscore::RobustZscore;
use crate::rules;
use crate::snapshot;

/// One option of a model type, for documentation and for error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionDoc {
    /// The name as SQL writes it.
    pub name: &'static str,
    /// What a value looks like: `number`, `integer`, `boolean`, or the words to choose from.
    pub data_type: &'static str,
    /// The value when the option is left out.
    pub default: String,
    /// What it does, in one line.
    pub doc: &'static str,
}

impl OptionDoc {
    /// An option whose default reads so.
    pub(crate) fn new(name: &'static str, data_type: &'static str, default: &dyn Display, doc: &'static str) -> Self {
        Self { name, data_type, default: default.to_string(), doc }
    }
}

type Options = BTreeMap<String, String>;

/// What the crate must know of an algorithm to make it and to read it back.
struct ModelType {
    name: &'static str,
    /// The byte that marks its snapshots; never reused for another algorithm.
    tag: u8,
    learner: Learner,
    option_docs: fn() -> Vec<OptionDoc>,
}

/// How a model is made: for labels of a type, for the rewards of actions, or without either.
enum Learner {
    Labelled {
        create: fn(&Options, &FeatureSchema, &DataType) -> Result<Box<dyn OnlineSupervised>>,
        /// Whether a label column of this type can be learnt.
        check_label: fn(&str, &DataType) -> Result<()>,
        restore: fn(&[u8]) -> Result<Box<dyn OnlineSupervised>>,
    },
    Rewarded {
        create: fn(&Options, &FeatureSchema) -> Result<Box<dyn OnlineModel>>,
        restore: fn(&[u8]) -> Result<Box<dyn OnlineModel>>,
    },
    Unlabelled {
        create: fn(&Options, &FeatureSchema) -> Result<Box<dyn OnlineModel>>,
        restore: fn(&[u8]) -> Result<Box<dyn OnlineModel>>,
    },
}

impl Learner {
    /// Whether it learns a label column of this type; Null is none.
    ///
    /// # Errors
    /// `UnsupportedLabel`.
    fn check_label(&self, column: &str, data_type: &DataType) -> Result<()> {
        match self {
            Self::Labelled { check_label, .. } => check_label(column, data_type),
            Self::Rewarded { .. } => check_numeric_label(column, data_type),
            Self::Unlabelled { .. } if data_type.is_null() => Ok(()),
            Self::Unlabelled { .. } => Err(MlError::UnsupportedLabel {
                column: column.to_owned(),
                data_type: data_type.clone(),
                hint: "models of this type learn no label: leave it out",
            }),
        }
    }
}

const MODEL_TYPES: [ModelType; 10] = [
    ModelType {
        name: LogisticRegression::MODEL_TYPE,
        tag: LogisticRegression::SNAPSHOT_TAG,
        learner: Learner::Labelled {
            create: |options, schema, _| Ok(Box::new(LogisticRegression::new(options, schema.clone())?)),
            check_label: check_label_type,
            restore: |bytes| Ok(Box::new(LogisticRegression::restore(bytes)?)),
        },
        option_docs: LogisticRegression::option_docs,
    },
    ModelType {
        name: OnlineLinearRegression::MODEL_TYPE,
        tag: OnlineLinearRegression::SNAPSHOT_TAG,
        learner: Learner::Labelled {
            create: |options, schema, _| Ok(Box::new(OnlineLinearRegression::new(options, schema.clone())?)),
            check_label: check_numeric_label,
            restore: |bytes| Ok(Box::new(OnlineLinearRegression::restore(bytes)?)),
        },
        option_docs: OnlineLinearRegression::option_docs,
    },
    ModelType {
        name: HoeffdingTree::MODEL_TYPE,
        tag: HoeffdingTree::SNAPSHOT_TAG,
        learner: Learner::Labelled {
            create: |options, schema, label| Ok(Box::new(HoeffdingTree::new(options, schema.clone(), label)?)),
            check_label: |column, data_type| LabelKind::of(column, data_type).map(drop),
            restore: |bytes| Ok(Box::new(HoeffdingTree::restore(bytes)?)),
        },
        option_docs: HoeffdingTree::option_docs,
    },
    ModelType {
        name: HoeffdingAdaptiveTree::MODEL_TYPE,
        tag: HoeffdingAdaptiveTree::SNAPSHOT_TAG,
        learner: Learner::Labelled {
            create: |options, schema, label| Ok(Box::new(HoeffdingAdaptiveTree::new(options, schema.clone(), label)?)),
            check_label: |column, data_type| LabelKind::of(column, data_type).map(drop),
            restore: |bytes| Ok(Box::new(HoeffdingAdaptiveTree::restore(bytes)?)),
        },
        option_docs: HoeffdingAdaptiveTree::option_docs,
    },
    ModelType {
        name: AdaptiveRandomForest::MODEL_TYPE,
        tag: AdaptiveRandomForest::SNAPSHOT_TAG,
        learner: Learner::Labelled {
            create: |options, schema, label| Ok(Box::new(AdaptiveRandomForest::new(options, schema.clone(), label)?)),
            check_label: |column, data_type| LabelKind::of(column, data_type).map(drop),
            restore: |bytes| Ok(Box::new(AdaptiveRandomForest::restore(bytes)?)),
        },
        option_docs: AdaptiveRandomForest::option_docs,
    },
    ModelType {
        name: HoeffdingTreeRegressor::MODEL_TYPE,
        tag: HoeffdingTreeRegressor::SNAPSHOT_TAG,
        learner: Learner::Labelled {
            create: |options, schema, _| Ok(Box::new(HoeffdingTreeRegressor::new(options, schema.clone())?)),
            check_label: check_numeric_label,
            restore: |bytes| Ok(Box::new(HoeffdingTreeRegressor::restore(bytes)?)),
        },
        option_docs: HoeffdingTreeRegressor::option_docs,
    },
    ModelType {
        name: HalfSpaceTrees::MODEL_TYPE,
        tag: HalfSpaceTrees::SNAPSHOT_TAG,
        learner: Learner::Unlabelled {
            create: |options, schema| Ok(Box::new(HalfSpaceTrees::new(options, schema.clone())?)),
            restore: |bytes| Ok(Box::new(HalfSpaceTrees::restore(bytes)?)),
        },
        option_docs: HalfSpaceTrees::option_docs,
    },
    ModelType {
        name: OnlineKMeans::MODEL_TYPE,
        tag: OnlineKMeans::SNAPSHOT_TAG,
        learner: Learner::Unlabelled {
            create: |options, schema| Ok(Box::new(OnlineKMeans::new(options, schema.clone())?)),
            restore: |bytes| Ok(Box::new(OnlineKMeans::restore(bytes)?)),
        },
        option_docs: OnlineKMeans::option_docs,
    },
    ModelType {
        name: ContextualBandit::MODEL_TYPE,
        tag: ContextualBandit::SNAPSHOT_TAG,
        learner: Learner::Rewarded {
            create: |options, schema| Ok(Box::new(ContextualBandit::new(options, schema)?)),
            restore: |bytes| Ok(Box::new(ContextualBandit::restore(bytes)?)),
        },
        option_docs: ContextualBandit::option_docs,
    },
    ModelType {
        name: QLearning::MODEL_TYPE,
        tag: QLearning::SNAPSHOT_TAG,
        learner: Learner::Rewarded {
            create: |options, schema| Ok(Box::new(QLearning::new(options, schema)?)),
            restore: |bytes| Ok(Box::new(QLearning::restore(bytes)?)),
        },
        option_docs: QLearning::option_docs,
    },
];

/// Makes a model that has learnt nothing, for labels of the type `label`: Null for one without a label.
///
/// # Errors
/// `UnknownModelType`, `UnsupportedLabel`, `UnknownOption`, `InvalidOption` or `TimeFeature`; each says what would work.
pub fn create(
    model_type: &str,
    options: &Options,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn OnlineModel>> {
    let learner = &find(model_type)?.learner;
    learner.check_label("label", label)?;
    if let Some(column) = time_feature(schema) {
        return Err(MlError::TimeFeature { column: column.to_owned(), model_type: model_type.to_owned() });
    }
    match learner {
        Learner::Labelled { create, .. } => Ok(Box::new(Labelled(create(options, schema, label)?))),
        Learner::Rewarded { create, .. } | Learner::Unlabelled { create, .. } => create(options, schema),
    }
}

/// Whether models of this type learn a label online.
///
/// # Errors
/// `UnknownModelType`.
pub fn learns_label(model_type: &str) -> Result<bool> {
    Ok(!matches!(find(model_type)?.learner, Learner::Unlabelled { .. }))
}

/// The columns that a model adds to rows which learns such features and the label column online; its type is Null for a
/// model without a label.
///
/// # Errors
/// Those of [`create`], about the label by its column's name.
pub fn learnt_outputs(
    model_type: &str,
    options: &Options,
    schema: &FeatureSchema,
    (column, data_type): (&str, &DataType),
) -> Result<Vec<Field>> {
    find(model_type)?.learner.check_label(column, data_type)?;
    Ok(create(model_type, options, schema, data_type)?.outputs(column))
}

/// Those columns of a training query that only learning reads, beside the label, by a model of this type: rows to be
/// predicted need not have them, and they are no features. Most models have none.
///
/// Learning finds them in its batches by name. The schema that [`create`] gets may have them or not.
///
/// # Errors
/// `UnknownModelType`, `UnknownOption` or `InvalidOption`, which a column that is not there is, too.
pub fn learning_columns(model_type: &str, options: &Options, columns: &[&str]) -> Result<Vec<String>> {
    match find(model_type)?.name {
        ContextualBandit::MODEL_TYPE => ContextualBandit::learning_columns(options, columns),
        QLearning::MODEL_TYPE => QLearning::learning_columns(options, columns),
        _ => Ok(Vec::new()),
    }
}

/// Makes the model that wrote this snapshot, to go on learning.
///
/// # Errors
/// `StateVersion`, `StateTooLarge` or `CorruptState`; `NotOnline` for a model that only
/// [`restore_predictor`] reads. Never panics, whatever the bytes.
pub fn restore(bytes: &[u8]) -> Result<Box<dyn OnlineModel>> {
    let (tag, _) = snapshot::open(bytes)?;
    match MODEL_TYPES.iter().find(|model_type| model_type.tag == tag).map(|model_type| &model_type.learner) {
        Some(Learner::Labelled { restore, .. }) => Ok(Box::new(Labelled(restore(bytes)?))),
        Some(Learner::Rewarded { restore, .. } | Learner::Unlabelled { restore, .. }) => restore(bytes),
        None => Err(MlError::NotOnline { model_type: restore_predictor(bytes)?.model_type() }),
    }
}

/// Makes whatever model wrote this snapshot, for predictions only.
///
/// # Errors
/// `StateVersion`, `StateTooLarge` or `CorruptState`. Never panics, whatever the bytes.
pub fn restore_predictor(bytes: &[u8]) -> Result<Box<dyn Predictor>> {
    match snapshot::open(bytes)?.0 {
        IsolationForest::SNAPSHOT_TAG => Ok(Box::new(IsolationForest::restore(bytes)?)),
        OneClassSvm::SNAPSHOT_TAG => Ok(Box::new(OneClassSvm::restore(bytes)?)),
        RobustZscore::SNAPSHOT_TAG => Ok(Box::new(RobustZscore::restore(bytes)?)),
        rules::SNAPSHOT_TAG => rules::restore(bytes),
        pca::SNAPSHOT_TAG | pca::TRUNCATED_SNAPSHOT_TAG => Ok(Box::new(Pca::restore(bytes)?)),
        KMeans::SNAPSHOT_TAG => Ok(Box::new(KMeans::restore(bytes)?)),
        OnlineKMeans::SNAPSHOT_TAG => Ok(Box::new(OnlineKMeans::restore(bytes)?)),
        HalfSpaceTrees::SNAPSHOT_TAG => Ok(Box::new(HalfSpaceTrees::restore(bytes)?)),
        GaussianMixture::SNAPSHOT_TAG => Ok(Box::new(GaussianMixture::restore(bytes)?)),
        Dbscan::SNAPSHOT_TAG => Ok(Box::new(Dbscan::restore(bytes)?)),
        Arima::SNAPSHOT_TAG => Ok(Box::new(Forecaster::<Arima>::restore(bytes)?)),
        Smoothing::SNAPSHOT_TAG => Ok(Box::new(Forecaster::<Smoothing>::restore(bytes)?)),
        ContextualBandit::SNAPSHOT_TAG => Ok(Box::new(ContextualBandit::restore(bytes)?)),
        QLearning::SNAPSHOT_TAG => Ok(Box::new(QLearning::restore(bytes)?)),
        _ => Ok(Box::new(Labelled(restore_supervised(bytes)?))),
    }
}

/// Makes the model with a label that wrote this snapshot, for predictions only.
///
/// # Errors
/// As [`restore_predictor`]; `CorruptState` for a model without a label, too.
pub fn restore_supervised(bytes: &[u8]) -> Result<Box<dyn Supervised>> {
    match snapshot::open(bytes)?.0 {
        LogisticRegression::SNAPSHOT_TAG => Ok(Box::new(LogisticRegression::restore(bytes)?)),
        MultinomialRegression::SNAPSHOT_TAG => Ok(Box::new(MultinomialRegression::restore(bytes)?)),
        LinearSvm::SNAPSHOT_TAG => Ok(Box::new(LinearSvm::restore(bytes)?)),
        NaiveBayes::SNAPSHOT_TAG => Ok(Box::new(NaiveBayes::restore(bytes)?)),
        boosted_trees::SNAPSHOT_TAG | boosted_trees::RANKER_SNAPSHOT_TAG => Ok(Box::new(BoostedTrees::restore(bytes)?)),
        forest::SNAPSHOT_TAG => Ok(Box::new(Forest::restore(bytes)?)),
        HoeffdingTree::SNAPSHOT_TAG => Ok(Box::new(HoeffdingTree::restore(bytes)?)),
        HoeffdingAdaptiveTree::SNAPSHOT_TAG => Ok(Box::new(HoeffdingAdaptiveTree::restore(bytes)?)),
        AdaptiveRandomForest::SNAPSHOT_TAG => Ok(Box::new(AdaptiveRandomForest::restore(bytes)?)),
        HoeffdingTreeRegressor::SNAPSHOT_TAG => Ok(Box::new(HoeffdingTreeRegressor::restore(bytes)?)),
        MatrixFactorization::SNAPSHOT_TAG => Ok(Box::new(MatrixFactorization::restore(bytes)?)),
        LinearRegression::SNAPSHOT_TAG | linear_svr::SNAPSHOT_TAG => Ok(Box::new(LinearRegression::restore(bytes)?)),
        OnlineLinearRegression::SNAPSHOT_TAG => Ok(Box::new(OnlineLinearRegression::restore(bytes)?)),
        nearest_neighbors::SNAPSHOT_TAG => Ok(Box::new(NearestNeighbors::restore(bytes)?)),
        _ => Err(MlError::corrupt("its model tag is unknown")),
    }
}

/// The model types that [`create`] knows, in the order to show them.
#[must_use]
pub fn valid_model_types() -> Vec<&'static str> {
    MODEL_TYPES.iter().map(|model_type| model_type.name).collect()
}

/// The options of a model type, in the order to show them.
///
/// # Errors
/// `UnknownModelType`.
pub fn option_docs(model_type: &str) -> Result<Vec<OptionDoc>> {
    Ok((find(model_type)?.option_docs)())
}

fn find(name: &str) -> Result<&'static ModelType> {
    const { &MODEL_TYPES }
        .iter()
        .find(|model_type| model_type.name == name)
        .ok_or_else(|| MlError::UnknownModelType { model_type: name.to_owned(), valid: valid_model_types().join(", ") })
}
