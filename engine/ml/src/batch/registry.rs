//! Makes a batch model from what SQL gives, as [`crate::registry`] does online ones.

mod tuned;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};

pub use self::tuned::tuning_option_docs;
use super::BatchModel;
use super::baseline::WithBaseline;
use crate::boosted_trees;
use crate::boosted_trees::batch::BatchBoostedTrees;
use crate::boosted_trees::config::TreeConfig;
use crate::classes::LabelKind;
use crate::dbscan::Dbscan;
use crate::dbscan::batch::BatchDbscan;
use crate::dbscan::config::DbscanConfig;
use crate::error::{MlError, Result};
use crate::forecast::arima::Arima;
use crate::forecast::arima::config::ArimaConfig;
use crate::forecast::batch::BatchForecast;
use crate::forecast::columns::SeriesColumns;
use crate::forecast::smoothing::Smoothing;
use crate::forecast::smoothing::config::SmoothingConfig;
use crate::forecast::{SeriesModel, time_feature};
use crate::forest::ForestType;
use crate::forest::batch::BatchForest;
use crate::forest::config::ForestConfig;
use crate::gaussian_mixture::GaussianMixture;
use crate::gaussian_mixture::batch::BatchGaussianMixture;
use crate::gaussian_mixture::config::MixtureConfig;
use crate::isolation_forest::IsolationForest;
use crate::isolation_forest::batch::BatchIsolationForest;
use crate::isolation_forest::config::IsolationForestConfig;
use crate::kmeans::KMeans;
use crate::kmeans::batch::BatchKMeans;
use crate::kmeans::config::KMeansConfig;
use crate::linear::linear_regression::LinearRegression;
use crate::linear::linear_regression::batch::{BatchLinearConfig, BatchLinearRegression, check_numeric_label};
use crate::linear::linear_svm::LinearSvm;
use crate::linear::linear_svm::batch::BatchLinearSvm;
use crate::linear::linear_svr;
use crate::linear::linear_svr::batch::BatchLinearSvr;
use crate::linear::linear_svr::config::SvrConfig;
use crate::linear::logistic_regression::LogisticRegression;
use crate::linear::logistic_regression::batch::{BatchLogisticConfig, BatchLogisticRegression};
use crate::linear::multinomial_regression::batch::BatchMultinomialRegression;
use crate::matrix_factorization::MatrixFactorization;
use crate::matrix_factorization::batch::BatchFactorization;
use crate::matrix_factorization::config::FactorizationConfig;
use crate::model::FeatureSchema;
use crate::naive_bayes::NaiveBayes;
use crate::naive_bayes::batch::BatchNaiveBayes;
use crate::naive_bayes::config::NaiveBayesConfig;
use crate::nearest_neighbors;
use crate::nearest_neighbors::batch::BatchNearestNeighbors;
use crate::nearest_neighbors::config::NeighborsConfig;
use crate::one_class_svm::OneClassSvm;
use crate::one_class_svm::batch::BatchOneClassSvm;
use crate::one_class_svm::config::OneClassConfig;
use crate::pca::Kind;
use crate::pca::batch::BatchPca;
use crate::pca::config::PcaConfig;
use crate::pca::truncated::{BatchTruncatedSvd, TruncatedConfig};
use crate::predictor::label_outputs;
use crate::registry::OptionDoc;
use crate::robust_zscore::RobustZscore;
use crate::robust_zscore::batch::BatchRobustZscore;
use crate::robust_zscore::config::RobustZscoreConfig;
use crate::rules;
use crate::rules::batch::BatchRules;
use crate::tuning::{self, Target, Tunable, auto};

type CreateBatch = fn(&BTreeMap<String, String>, &FeatureSchema, &DataType) -> Result<Box<dyn BatchModel>>;

/// What the crate must know of an algorithm to fit it.
struct BatchModelType {
    name: &'static str,
    create: CreateBatch,
    /// The type of predicted labels, given the label column's; none of a model without a label.
    label_type: Option<fn(&str, &DataType) -> Result<DataType>>,
    option_docs: fn() -> Vec<OptionDoc>,
}

const MODEL_TYPES: [BatchModelType; 28] = [
    BatchModelType {
        name: LogisticRegression::MODEL_TYPE,
        create: |options, schema, label| {
            let config = BatchLogisticConfig::from_options(LogisticRegression::MODEL_TYPE, options)?;
            // Only a BOOLEAN label makes a model that can go on learning online.
            if label == &DataType::Boolean {
                return Ok(Box::new(BatchLogisticRegression::new(config, schema.clone())?));
            }
            Ok(Box::new(BatchMultinomialRegression::new(config, schema.clone(), label)?))
        },
        label_type: Some(class_type),
        option_docs: BatchLogisticConfig::option_docs,
    },
    BatchModelType {
        name: LinearRegression::MODEL_TYPE,
        create: |options, schema, _| {
            let config = BatchLinearConfig::from_options(options)?;
            Ok(Box::new(BatchLinearRegression::new(config, schema.clone())?))
        },
        label_type: Some(number_type),
        option_docs: BatchLinearConfig::option_docs,
    },
    BatchModelType {
        name: LinearSvm::MODEL_TYPE,
        create: |options, schema, label| {
            let config = BatchLogisticConfig::from_options(LinearSvm::MODEL_TYPE, options)?;
            Ok(Box::new(BatchLinearSvm::new(config, schema.clone(), label)?))
        },
        label_type: Some(class_type),
        option_docs: BatchLogisticConfig::option_docs,
    },
    BatchModelType {
        name: linear_svr::MODEL_TYPE,
        create: |options, schema, _| {
            Ok(Box::new(BatchLinearSvr::new(SvrConfig::from_options(options)?, schema.clone())?))
        },
        label_type: Some(number_type),
        option_docs: SvrConfig::option_docs,
    },
    BatchModelType {
        name: NaiveBayes::MODEL_TYPE,
        create: |options, schema, label| {
            let config = NaiveBayesConfig::from_options(options)?;
            Ok(Box::new(BatchNaiveBayes::new(config, schema.clone(), label)?))
        },
        label_type: Some(class_type),
        option_docs: NaiveBayesConfig::option_docs,
    },
    BatchModelType {
        name: boosted_trees::CLASSIFIER,
        create: |options, schema, label| {
            let config = TreeConfig::from_options(boosted_trees::CLASSIFIER, options)?;
            Ok(Box::new(BatchBoostedTrees::classifier(config, schema.clone(), label)?))
        },
        label_type: Some(class_type),
        option_docs: TreeConfig::classifier_option_docs,
    },
    BatchModelType {
        name: boosted_trees::REGRESSOR,
        create: |options, schema, _| {
            let config = TreeConfig::from_options(boosted_trees::REGRESSOR, options)?;
            Ok(Box::new(BatchBoostedTrees::regressor(config, schema.clone())?))
        },
        label_type: Some(number_type),
        option_docs: TreeConfig::regressor_option_docs,
    },
    BatchModelType {
        name: boosted_trees::RANKER,
        create: |options, schema, _| {
            let config = TreeConfig::from_options(boosted_trees::RANKER, options)?;
            Ok(Box::new(BatchBoostedTrees::ranker(config, schema)?))
        },
        label_type: Some(number_type),
        option_docs: TreeConfig::ranker_option_docs,
    },
    BatchModelType {
        name: nearest_neighbors::CLASSIFIER,
        create: |options, schema, label| {
            let config = NeighborsConfig::from_options(nearest_neighbors::CLASSIFIER, options)?;
            Ok(Box::new(BatchNearestNeighbors::classifier(config, schema.clone(), label)?))
        },
        label_type: Some(class_type),
        option_docs: NeighborsConfig::option_docs,
    },
    BatchModelType {
        name: nearest_neighbors::REGRESSOR,
        create: |options, schema, _| {
            let config = NeighborsConfig::from_options(nearest_neighbors::REGRESSOR, options)?;
            Ok(Box::new(BatchNearestNeighbors::regressor(config, schema.clone())?))
        },
        label_type: Some(number_type),
        option_docs: NeighborsConfig::option_docs,
    },
    BatchModelType {
        name: Kind::Principal.name(),
        create: |options, schema, _| Ok(Box::new(BatchPca::new(PcaConfig::from_options(options)?, schema.clone())?)),
        label_type: None,
        option_docs: PcaConfig::option_docs,
    },
    BatchModelType {
        name: Kind::Truncated.name(),
        create: |options, schema, _| {
            let config = TruncatedConfig::from_options(options)?;
            Ok(Box::new(BatchTruncatedSvd::new(config, schema.clone())?))
        },
        label_type: None,
        option_docs: TruncatedConfig::option_docs,
    },
    BatchModelType {
        name: IsolationForest::MODEL_TYPE,
        create: |options, schema, _| {
            let config = IsolationForestConfig::from_options(options)?;
            Ok(Box::new(BatchIsolationForest::new(config, schema.clone())?))
        },
        label_type: None,
        option_docs: IsolationForestConfig::option_docs,
    },
    BatchModelType {
        name: OneClassSvm::MODEL_TYPE,
        create: |options, schema, _| {
            let config = OneClassConfig::from_options(options)?;
            Ok(Box::new(BatchOneClassSvm::new(config, schema.clone())?))
        },
        label_type: None,
        option_docs: OneClassConfig::option_docs,
    },
    BatchModelType {
        name: RobustZscore::MODEL_TYPE,
        create: |options, schema, _| {
            let config = RobustZscoreConfig::from_options(options)?;
            Ok(Box::new(BatchRobustZscore::new(config, schema.clone())?))
        },
        label_type: None,
        option_docs: RobustZscoreConfig::option_docs,
    },
    BatchModelType {
        name: MatrixFactorization::MODEL_TYPE,
        create: |options, schema, _| {
            let config = FactorizationConfig::from_options(options)?;
            Ok(Box::new(BatchFactorization::new(config, schema.clone())?))
        },
        label_type: Some(number_type),
        option_docs: FactorizationConfig::option_docs,
    },
    BatchModelType {
        name: KMeans::MODEL_TYPE,
        create: |options, schema, _| {
            let config = KMeansConfig::from_options(options)?;
            Ok(Box::new(BatchKMeans::new(config, schema.clone())?))
        },
        label_type: None,
        option_docs: KMeansConfig::option_docs,
    },
    BatchModelType {
        name: GaussianMixture::MODEL_TYPE,
        create: |options, schema, _| {
            let config = MixtureConfig::from_options(options)?;
            Ok(Box::new(BatchGaussianMixture::new(config, schema.clone())?))
        },
        label_type: None,
        option_docs: MixtureConfig::option_docs,
    },
    BatchModelType {
        name: Dbscan::MODEL_TYPE,
        create: |options, schema, _| {
            let config = DbscanConfig::from_options(options)?;
            Ok(Box::new(BatchDbscan::new(config, schema.clone())?))
        },
        label_type: None,
        option_docs: DbscanConfig::option_docs,
    },
    BatchModelType {
        name: ForestType::TreeClassifier.name(),
        create: |options, schema, label| create_forest(ForestType::TreeClassifier, options, schema, label),
        label_type: Some(class_type),
        option_docs: || ForestConfig::option_docs(ForestType::TreeClassifier),
    },
    BatchModelType {
        name: ForestType::TreeRegressor.name(),
        create: |options, schema, label| create_forest(ForestType::TreeRegressor, options, schema, label),
        label_type: Some(number_type),
        option_docs: || ForestConfig::option_docs(ForestType::TreeRegressor),
    },
    BatchModelType {
        name: ForestType::ForestClassifier.name(),
        create: |options, schema, label| create_forest(ForestType::ForestClassifier, options, schema, label),
        label_type: Some(class_type),
        option_docs: || ForestConfig::option_docs(ForestType::ForestClassifier),
    },
    BatchModelType {
        name: ForestType::ForestRegressor.name(),
        create: |options, schema, label| create_forest(ForestType::ForestRegressor, options, schema, label),
        label_type: Some(number_type),
        option_docs: || ForestConfig::option_docs(ForestType::ForestRegressor),
    },
    BatchModelType {
        name: Arima::MODEL_TYPE,
        create: |options, schema, _| {
            let (config, columns) = (ArimaConfig::from_options(options)?, SeriesColumns::from_options(options));
            Ok(Box::new(BatchForecast::new(config, columns, schema.clone())?))
        },
        label_type: None,
        option_docs: ArimaConfig::option_docs,
    },
    BatchModelType {
        name: Smoothing::MODEL_TYPE,
        create: |options, schema, _| {
            let (config, columns) = (SmoothingConfig::from_options(options)?, SeriesColumns::from_options(options));
            Ok(Box::new(BatchForecast::new(config, columns, schema.clone())?))
        },
        label_type: None,
        option_docs: SmoothingConfig::option_docs,
    },
    BatchModelType {
        name: auto::CLASSIFIER,
        create: |options, schema, label| auto::create(Target::Classes, options, schema, label),
        label_type: Some(class_type),
        option_docs: || auto::option_docs(Target::Classes),
    },
    BatchModelType {
        name: auto::REGRESSOR,
        create: |options, schema, label| auto::create(Target::Numbers, options, schema, label),
        label_type: Some(number_type),
        option_docs: || auto::option_docs(Target::Numbers),
    },
    BatchModelType {
        name: rules::MODEL_TYPE,
        create: |options, schema, label| Ok(Box::new(BatchRules::new(options, schema.clone(), label)?)),
        label_type: Some(any_type),
        option_docs: Vec::new,
    },
];

/// The model types that forecast series.
const OF_SERIES: [&str; 2] = [Arima::MODEL_TYPE, Smoothing::MODEL_TYPE];

fn create_forest(
    model: ForestType,
    options: &BTreeMap<String, String>,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn BatchModel>> {
    let config = ForestConfig::from_options(model, options)?;
    Ok(Box::new(BatchForest::new(model, config, schema.clone(), label)?))
}

fn class_type(column: &str, data_type: &DataType) -> Result<DataType> {
    Ok(LabelKind::of(column, data_type)?.data_type())
}

fn number_type(column: &str, data_type: &DataType) -> Result<DataType> {
    check_numeric_label(column, data_type)?;
    Ok(DataType::Float64)
}

/// Numbers are predicted as such, other labels are classes; there may be none.
fn any_type(column: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Null => Ok(DataType::Null),
        number if number.is_floating() || number.is_decimal() => number_type(column, number),
        other => class_type(column, other),
    }
}

/// Makes a model that has no rows, for labels of the type `label`: `Null` for a model without a label.
///
/// # Errors
/// `UnknownModelType`, `UnsupportedLabel`, `UnknownOption`, `InvalidOption` or `TimeFeature`; each says what would work.
pub fn create_batch(
    model_type: &str,
    options: &BTreeMap<String, String>,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn BatchModel>> {
    predicted_label_type(model_type, "label", label)?;
    if let Some(column) = time_feature(schema)
        && !reads_times(model_type)
    {
        return Err(MlError::TimeFeature { column: column.to_owned(), model_type: model_type.to_owned() });
    }
    let known = find(model_type)?;
    match known.tunable() {
        Some(tunable) if tuning::is_asked_for(known.name, options) => tuning::create(&tunable, options, schema, label),
        Some(Tunable { target: Target::Classes, .. }) => {
            let kind = LabelKind::of("label", label)?;
            Ok(Box::new(WithBaseline::around((known.create)(options, schema, label)?, Some(kind))))
        }
        Some(Tunable { target: Target::Numbers, .. }) => {
            Ok(Box::new(WithBaseline::around((known.create)(options, schema, label)?, None)))
        }
        // A search looks after that itself.
        _ => (known.create)(options, schema, label),
    }
}

/// The features of a batch with this schema, as a model of this type reads them: times, too, if it is one of series.
///
/// # Errors
/// `UnsupportedFeature`, `DuplicateFeature` or `NoFeatures`.
pub fn feature_schema(model_type: &str, schema: &Schema) -> Result<FeatureSchema> {
    if reads_times(model_type) { FeatureSchema::with_times(schema) } else { FeatureSchema::from_arrow(schema) }
}

/// Whether models of this type are of series, so that a feature of theirs may be a time.
#[must_use]
pub fn reads_times(model_type: &str) -> bool {
    OF_SERIES.contains(&model_type)
}

/// The columns that a model adds to rows which is fitted so, to labels of this name and type if it takes any.
///
/// # Errors
/// As [`create_batch`].
pub fn fitted_outputs(
    model_type: &str,
    options: &BTreeMap<String, String>,
    schema: &FeatureSchema,
    label: (&str, &DataType),
) -> Result<Vec<Field>> {
    let (column, data_type) = label;
    let predicted = predicted_label_type(model_type, column, data_type)?;
    let model = create_batch(model_type, options, schema, data_type)?;
    Ok(if predicted.is_null() { model.outputs() } else { label_outputs(column, &predicted) })
}

/// Whether a model type learns a label, if there is one.
///
/// # Errors
/// `UnknownModelType`.
pub fn takes_label(model_type: &str) -> Result<bool> {
    Ok(find(model_type)?.label_type.is_some())
}

/// Whether there has to be a label: a rule is one without it, too.
///
/// # Errors
/// `UnknownModelType`.
pub fn needs_label(model_type: &str) -> Result<bool> {
    Ok(takes_label(model_type)? && model_type != rules::MODEL_TYPE)
}

/// The type of the labels that a model predicts which is fitted to a label column of this type; `Null` of a model
/// without a label.
///
/// # Errors
/// `UnknownModelType` or `UnsupportedLabel`, which says what would work.
pub fn predicted_label_type(model_type: &str, column: &str, data_type: &DataType) -> Result<DataType> {
    find(model_type)?.label_type.map_or(Ok(DataType::Null), |label_type| label_type(column, data_type))
}

/// The options of a model type that is fitted to a training set, in the order to show them; not those of splits and
/// searches, which are [`tuning_option_docs`].
///
/// # Errors
/// `UnknownModelType`.
pub fn batch_option_docs(model_type: &str) -> Result<Vec<OptionDoc>> {
    Ok((find(model_type)?.option_docs)())
}

/// The model types that [`create_batch`] knows, in the order to show them.
#[must_use]
pub fn valid_batch_model_types() -> Vec<&'static str> {
    MODEL_TYPES.iter().map(|model_type| model_type.name).collect()
}

fn find(name: &str) -> Result<&'static BatchModelType> {
    const { &MODEL_TYPES }.iter().find(|model_type| model_type.name == name).ok_or_else(|| MlError::UnknownModelType {
        model_type: name.to_owned(),
        valid: valid_batch_model_types().join(", "),
    })
}
