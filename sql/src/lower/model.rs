//! Models: what CREATE MODEL promises, and the operators that keep it, Train and Fit.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::Expr;
use tidemill_plans::PlanError;
use tidemill_plans::algorithm::{
    SPLIT_COLUMN, Training, is_feature_list, learning_columns, needs_label, outputs, reads_times, resolve_model_type,
    takes_label,
};
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::{
    FIT_WORKERS_MAX, FitNode, ModelFreshness, NodeKind, TrainNode, model_version_schema, predicted_fields,
};

use super::stream::Stream;
use crate::ast::quoted;
use crate::catalog::{Catalog, Detail, ModelObject, Object, StreamInfo};
use crate::error::{Result, SqlError};
use crate::interval::text_micros;
use crate::planner::QueryPlanner;
use crate::planner::source::{column_names, type_name};
use crate::planner::transform::{PlannedTransform, plan_transform};
use crate::statement::{CreateModel, Name, Options, TransformClause, TransformItem};

/// The options that every model takes that learns as rows come, for messages.
const COMMON_OPTIONS: &str = "model_type, label, publish_every, model_freshness";

/// Those of models that are fitted to a training set.
const COMMON_OPTIONS_OF_FITTED: &str = "model_type, label, model_freshness, training_set, workers";

/// Names and types.
type Columns = Vec<(String, DataType)>;

/// The options that say what is learnt, taken out of the others.
struct Common {
    /// The algorithm's own name.
    model_type: &'static str,
    label: Option<String>,
    freshness: ModelFreshness,
    others: Options,
}

impl Common {
    fn of(create: &CreateModel, training: Training) -> Result<Self> {
        let mut others = create.options.clone();
        let at = others.at;
        let missing = |key: &str, example: &str| {
            SqlError::invalid(format!("a model needs the option '{key}': WITH ({key} = '{example}', …)")).at(at)
        };
        let model_type = others.take("model_type").ok_or_else(|| missing("model_type", "logistic_reg"))?;
        let model_type = resolved(&model_type, training).map_err(|error| others.locate(error))?;
        let label = others.take("label");
        match &label {
            None if needs_label(model_type, training)? => return Err(missing("label", "late")),
            Some(_) if !takes_label(model_type, training)? => {
                let message = format!("a model of type {model_type} learns no label: leave out the option");
                return Err(SqlError::invalid(message).at(others.place("label")));
            }
            _ => {}
        }
        let freshness = freshness(others.take("model_freshness").as_deref());
        let freshness = freshness.map_err(|error| error.at(others.place("model_freshness")))?;
        Ok(Self { model_type, label, freshness, others })
    }

    /// What the model says of a row, if it can be trained with these columns and the options that are left.
    fn outputs(
        &self,
        training: Training,
        columns: &Schema,
        features: &[(String, DataType)],
        common: &str,
    ) -> Result<Vec<Field>> {
        let label = self.label.as_ref().map(|label| self.label_among(columns, label)).transpose()?;
        let fields = features.iter().map(|(name, data_type)| Field::new(name, data_type.clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        check_features(&schema, self.model_type, training)?;
        outputs(self.model_type, training, &self.others.pairs, &schema, label).map_err(|error| {
            let message = match &error {
                PlanError::GivenOption { option, .. } if !is_unknown(option, &error) => error.to_string(),
                _ => format!("{error}; options of every such model are {common}"),
            };
            let place = self.others.locate(error).position().unwrap_or(self.others.at);
            SqlError::invalid(message).at(place)
        })
    }

    /// The columns that only learning reads, and the features.
    fn learning(&self, training: Training, columns: Columns) -> Result<(Columns, Columns)> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let learning = learning_columns(self.model_type, training, &self.others.pairs, &names)?;
        Ok(columns.into_iter().partition(|(name, _)| learning.contains(name)))
    }

    /// The column by which the training set is split: it is no feature.
    fn split_column(&self, columns: &Schema) -> Result<Option<&str>> {
        let Some(name) = self.others.get(SPLIT_COLUMN) else { return Ok(None) };
        match columns.field_with_name(name) {
            Ok(_) => Ok(Some(name)),
            Err(_) => {
                let names = column_names(columns);
                let message = format!("the training query has no column '{name}' to split by; there are: {names}");
                Err(SqlError::invalid(message).at(self.others.place(SPLIT_COLUMN)))
            }
        }
    }

    /// The TRANSFORM of a model that says none, if some of its features are lists: which features these are is part of each
    /// version, as what TRANSFORM makes is.
    fn all_as_they_are(&self, features: &[(String, DataType)]) -> Option<TransformClause> {
        features.iter().find(|(_, data_type)| is_feature_list(data_type))?;
        let at = self.others.at;
        let names = features.iter().map(|(name, _)| name).chain(&self.label);
        let items = names.map(|name| {
            let expr = Box::new(Expr::Identifier(quoted(name)));
            TransformItem::Column { expr, name: Name { text: name.clone(), at }, at }
        });
        Some(TransformClause { items: items.collect(), at })
    }

    fn label_among<'a>(&self, columns: &'a Schema, label: &str) -> Result<&'a Field> {
        columns.field_with_name(label).map_err(|_| {
            let names = column_names(columns);
            let message = format!("the label '{label}' is not a column of the training query; there are: {names}");
            SqlError::invalid(message).at(self.others.place("label"))
        })
    }
}

/// Checks a model against its training query's columns.
pub(crate) fn plan_model(create: &CreateModel, info: &StreamInfo) -> Result<ModelObject> {
    if let Some(transform) = &create.transform {
        let hint = "the statistics of TRANSFORM are those of a training set, which tables that end have; compute the features in \
                    the training query";
        return Err(SqlError::unsupported("TRANSFORM of a model that learns for ever", hint).at(transform.at));
    }
    let mut common = Common::of(create, Training::Continuous)?;
    let options = &mut common.others;
    let publish_every = options.take("publish_every").unwrap_or_else(|| String::from("1 hour"));
    let publish_every =
        text_micros("publish_every", &publish_every).map_err(|e| e.at(options.place("publish_every")))?;
    let time = training_time(info)?;
    let features = feature_columns(info, common.label.as_deref());
    let outputs = common.outputs(Training::Continuous, &info.schema, &features, COMMON_OPTIONS)?;
    let (learning, features) = common.learning(Training::Continuous, features)?;
    check_asked(&features, &outputs)?;
    Ok(ModelObject {
        version: 1,
        query: Some(create.query.clone()),
        model_type: common.model_type.to_owned(),
        label: common.label,
        outputs,
        time: Some(time),
        training_set: None,
        features,
        learning,
        transform: None,
        options: common.others.pairs,
        publish_every,
        freshness: common.freshness,
        workers: 1,
    })
}

/// Checks a model against the table of its training set; also says which functions its TRANSFORM calls.
pub(crate) fn plan_fitted(
    create: &CreateModel,
    set: &Arc<Object>,
    version: i64,
    catalog: &Catalog,
) -> Result<(ModelObject, Vec<String>)> {
    let Detail::Source(_, info) = &set.detail else {
        return Err(SqlError::invalid("a training set is a table"));
    };
    let mut common = Common::of(create, Training::Whole)?;
    let workers = workers(&mut common.others)?;
    let split = common.split_column(&info.schema)?;
    let plain = feature_columns(info, common.label.as_deref());
    let plain: Columns = plain.into_iter().filter(|(name, _)| Some(name.as_str()) != split).collect();
    let clause = create.transform.clone().or_else(|| common.all_as_they_are(&plain));
    let (transform, uses) = match &clause {
        Some(clause) => {
            let PlannedTransform { transform, uses } =
                plan_transform(clause, &info.schema, common.label.as_deref(), catalog)?;
            (Some(transform), uses.into_iter().collect())
        }
        None => (None, Vec::new()),
    };
    let features = match &transform {
        Some(transform) => columns_of(&transform.inputs),
        None => plain,
    };
    let learnt = match &transform {
        Some(transform) => columns_of(transform.outputs()?.as_ref()),
        None => features.clone(),
    };
    let outputs = common.outputs(Training::Whole, &info.schema, &learnt, COMMON_OPTIONS_OF_FITTED)?;
    let (learning, features) = match &transform {
        Some(_) => (Vec::new(), features),
        None => common.learning(Training::Whole, features)?,
    };
    check_asked(&features, &outputs)?;
    let model = ModelObject {
        version,
        query: Some(create.query.clone()),
        model_type: common.model_type.to_owned(),
        label: common.label,
        outputs,
        time: None,
        training_set: Some(Arc::clone(set)),
        features,
        learning,
        transform,
        options: common.others.pairs,
        publish_every: 0,
        freshness: common.freshness,
        workers,
    };
    Ok((model, uses))
}

/// The algorithm of a name, which may be in capitals, as BigQuery's are.
fn resolved(name: &str, training: Training) -> std::result::Result<&'static str, PlanError> {
    let name = name.to_lowercase();
    let (other, why) = match training {
        Training::Whole => {
            (Training::Continuous, "it learns from streams: the training query needs an event-time column")
        }
        Training::Continuous => (Training::Whole, "it is fitted to tables that end, and its query has no event time"),
    };
    resolve_model_type(&name, training).map_err(|error| match resolve_model_type(&name, other) {
        Ok(known) => PlanError::given_option("model_type", format!("model_type '{known}' here: {why}")),
        Err(_) => error,
    })
}

/// Whether an error says that there is no such option, so that others are worth naming.
fn is_unknown(option: &str, error: &PlanError) -> bool {
    error.to_string().contains(&format!("has no option '{option}'"))
}

/// Names and types of columns.
fn columns_of(schema: &Schema) -> Vec<(String, DataType)> {
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

/// How many instances fit the model together.
fn workers(options: &mut Options) -> Result<u32> {
    let Some(text) = options.take("workers") else { return Ok(1) };
    match text.parse() {
        Ok(workers) if (1..=FIT_WORKERS_MAX).contains(&workers) => Ok(workers),
        _ => {
            let message = format!("option 'workers' is '{text}', but takes a whole number from 1 to {FIT_WORKERS_MAX}");
            Err(SqlError::invalid(message).at(options.place("workers")))
        }
    }
}

fn freshness(text: Option<&str>) -> Result<ModelFreshness> {
    match text {
        None | Some("consistent") => Ok(ModelFreshness::Consistent),
        Some("latest") => Ok(ModelFreshness::Latest),
        Some(other) => Err(SqlError::invalid(format!(
            "option 'model_freshness' is '{other}', but takes one of consistent, latest"
        ))),
    }
}

fn training_time(info: &StreamInfo) -> Result<String> {
    if info.changelog {
        let hint = "train on a windowed view or on the rows before they were aggregated";
        return Err(SqlError::unsupported("training on updating rows", hint));
    }
    info.time_names().first().map(|name| (*name).to_owned()).ok_or_else(|| {
        SqlError::invalid(
            "the training query has no event-time column: add the column that says when a row, or its label, became known \
             (one that its source declares WATERMARK FOR) to the SELECT; it is not a feature",
        )
    })
}

/// All columns but the label and the event times: the end of a window says nothing of the row.
fn feature_columns(info: &StreamInfo, label: Option<&str>) -> Vec<(String, DataType)> {
    let times = info.time_names();
    let is_feature = |name: &str| Some(name) != label && !times.contains(&name);
    let fields = info.schema.fields().iter().filter(|field| is_feature(field.name()));
    fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

/// Checks the types of features; of models of series some are times, and of models over tables some are lists.
fn check_features(schema: &Schema, model_type: &str, training: Training) -> Result<()> {
    if schema.fields().is_empty() {
        return Err(SqlError::invalid("a model needs at least one feature: a column besides the label and event time"));
    }
    let is_time =
        |data_type: &DataType| matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    let is_read = |data_type: &DataType| {
        kind(data_type).is_some()
            || (reads_times(model_type) && is_time(data_type))
            || (training == Training::Whole && is_feature_list(data_type))
    };
    match schema.fields().iter().find(|field| !is_read(field.data_type())) {
        None => Ok(()),
        Some(field) if is_feature_list(field.data_type()) => Err(SqlError::invalid(format!(
            "the feature '{0}' is {1}, and how many features its elements are is known from the rows of tables that end; take \
             some of them in the training query: {0}[1]",
            field.name(),
            type_name(field.data_type())
        ))),
        Some(field) => Err(SqlError::invalid(format!(
            "the feature '{}' is {}, which no model of type '{model_type}' reads; cast it to DOUBLE or VARCHAR, or take a \
             part of it with EXTRACT",
            field.name(),
            type_name(field.data_type())
        ))),
    }
}

/// Refuses a feature that is called as a column which ML.PREDICT adds to rows: no rows could be asked about.
fn check_asked(features: &[(String, DataType)], outputs: &[Field]) -> Result<()> {
    let added = predicted_fields(outputs.to_vec());
    match features.iter().find(|(name, _)| added.iter().any(|field| field.name() == name)) {
        None => Ok(()),
        Some((name, _)) => Err(SqlError::invalid(format!(
            "the feature '{name}' is called as a column that ML.PREDICT adds to rows, so that the model could not be asked: \
             give it another name with AS"
        ))),
    }
}

/// What a model makes of a type.
pub(super) fn kind(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some("text"),
        DataType::Boolean => Some("a boolean"),
        number if number.is_integer() || number.is_floating() => Some("a number"),
        _ => None,
    }
}

impl QueryPlanner<'_> {
    /// The operator that trains a model, built at its first use.
    pub(crate) fn train_operator(&mut self, object: &Arc<Object>, model: &ModelObject) -> Result<Stream> {
        if let Some(stream) = self.builder.built_stream(object) {
            return Ok(stream);
        }
        let outer = self.builder.begin_object(&object.name);
        let stream = self.build_train_operator(object, model);
        self.builder.begin_object(&outer);
        let stream = stream?;
        self.builder.remember_stream(object, &stream);
        Ok(stream)
    }

    fn build_train_operator(&mut self, object: &Arc<Object>, model: &ModelObject) -> Result<Stream> {
        match (&model.training_set, &model.time) {
            (Some(set), _) => self.build_fit(object, model, set),
            (None, Some(time)) => self.build_train(object, model, time),
            (None, None) => Err(SqlError::in_a_stream("a model from a file")),
        }
    }

    /// The operator that fits a model to the rows of its training set.
    fn build_fit(&mut self, object: &Arc<Object>, model: &ModelObject, set: &Arc<Object>) -> Result<Stream> {
        let input = self.object_stream(set)?;
        let column = |name: &str| column_of(&input, name);
        let node = NodeKind::Fit(FitNode {
            model: object.name.clone(),
            version: model.version,
            model_type: model.model_type.clone(),
            options: model.options.clone(),
            label: model.label.as_deref().map(column).transpose()?,
            features: model.learnt().map(|(name, _)| column(name)).collect::<Result<Vec<_>>>()?,
            transform: model.transform.clone(),
        });
        let info = StreamInfo::untimed(model_version_schema(), true);
        let stream = self.builder.add_operator(node, model.workers, info);
        match model.workers {
            1 => self.builder.connect(&input, &stream, 0),
            _ => self.builder.graph.add_edge(input.node, stream.node, 0, Partitioning::First),
        }
        Ok(stream)
    }

    /// The operator that learns rows in event time.
    fn build_train(&mut self, object: &Arc<Object>, model: &ModelObject, time: &str) -> Result<Stream> {
        let whole = self.catalog.whole();
        let mut planner = QueryPlanner::new(self.builder, &whole);
        let query = model.query.as_ref().ok_or_else(|| SqlError::in_a_stream("a model from a file"))?;
        let plan = planner.plan(query)?;
        let input = planner.lower_to_stream(&plan, "a model's query")?;
        let column = |name: &str| column_of(&input, name);
        let features = model.learnt().map(|(name, _)| column(name)).collect::<Result<Vec<_>>>()?;
        let node = NodeKind::Train(TrainNode {
            model: object.name.clone(),
            model_type: model.model_type.clone(),
            options: model.options.clone(),
            label: model.label.as_deref().map(column).transpose()?,
            time: column(time)?,
            features,
            publish_every: model.publish_every,
        });
        let info = StreamInfo::untimed(model_version_schema(), input.info.bounded);
        let stream = self.builder.add_operator(node, 1, info);
        self.builder.connect(&input, &stream, 0);
        Ok(stream)
    }
}

fn column_of(input: &Stream, name: &str) -> Result<usize> {
    input.schema().index_of(name).map_err(|_| SqlError::invalid(format!("the training query lost column '{name}'")))
}
