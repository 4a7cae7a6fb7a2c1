//! ML.PREDICT and its like in a stream: a Predict operator over rows and the versions of a model.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::Ident;
use tidemill_plans::algorithm::reads_times;
use tidemill_plans::catalog::{ModelWeights, SERVED_BYTES_MAX, UNTIMED};
use tidemill_plans::connector::{MODEL_CONNECTOR, MODEL_ENDS, MODEL_OPTION};
use tidemill_plans::error::chain;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::model_reference::{ModelReference, WantedVersion};
use tidemill_plans::node::{ModelFreshness, NodeKind, PredictNode, Published, model_version_schema, version_rows};
use tidemill_plans::prediction::{Question, TrainedModel};
use tidemill_plans::transform::can_read;

use super::model::kind;
use super::stream::Stream;
use crate::ast::normalize;
use crate::catalog::{ModelObject, Object, StreamInfo};
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;
use crate::planner::asked_model::answer_fields;
use crate::planner::source::type_name;
use crate::planner::training_rows::background_set;

impl QueryPlanner<'_> {
    /// The input's rows with what the model says of them behind; or only that, if it is asked for their features.
    pub(crate) fn answered_stream(&mut self, model: &Ident, input: Stream, question: Question) -> Result<Stream> {
        self.answered_rows(model, AskedRows::by_name(input), question)
    }

    /// The same of rows that say which of their columns the model reads.
    pub(super) fn answered_rows(&mut self, model: &Ident, rows: AskedRows, question: Question) -> Result<Stream> {
        let input = &rows.stream;
        let (object, detail) = self.catalog.model_of(model)?;
        refuse_series(detail, question)?;
        if matches!(question, Question::LocalExplanation { .. }) {
            background_set(model, self.catalog)?;
            return Err(SqlError::in_a_stream("ML.EXPLAIN_PREDICT by LIME"));
        }
        if input.info.changelog {
            let hint = "ask the model before the aggregation";
            return Err(SqlError::unsupported("a model's answers about updating rows", hint));
        }
        let Asked { versions, features, added, freshness } = match self.origin(model, detail)? {
            Origin::Plan => self.kept_version(model, &rows, question)?,
            Origin::Served => self.served_versions(model, (object, detail), &rows, question)?,
            Origin::Learnt => self.learnt_versions(model, (object, detail), &rows, question)?,
        };
        self.note_use(&object.name);
        let time = input.info.times.first().copied();
        let info = match question.is_of_a_version() {
            // Rows are held by this column, so the output's watermark speaks of it alone.
            true => {
                let schema = with_answers(input, added)?;
                StreamInfo { schema, ..input.info.with_times(Vec::from_iter(time)) }
            }
            false => StreamInfo { schema: Arc::new(Schema::new(added)), ..input.info.with_times(Vec::new()) },
        };
        let (model, label) = (object.name.clone(), detail.label.clone().unwrap_or_default());
        let node = NodeKind::Predict(PredictNode { model, label, features, time, freshness, question });
        let stream = self.builder.add_chained(input, node, info);
        self.builder.graph.add_edge(versions.node, stream.node, 1, Partitioning::Broadcast);
        Ok(stream)
    }

    /// Where the versions come from that answer for a name.
    fn origin(&self, model: &Ident, detail: &ModelObject) -> Result<Origin> {
        let name = normalize(model);
        let reference = ModelReference::parse(&name).map_err(SqlError::invalid)?;
        Ok(match reference.version {
            _ if detail.query.is_none() => Origin::Plan,
            WantedVersion::Number(_) => Origin::Plan,
            WantedVersion::Alias(_) => Origin::Served,
            WantedVersion::Newest if detail.training_set.is_some() && self.catalog.serves(&name) => Origin::Served,
            WantedVersion::Newest => Origin::Learnt,
        })
    }

    /// The versions that a name means while the stream runs. Those of a plain name take and say what the model's statement
    /// promises, and may be still to come.
    fn served_versions(
        &mut self,
        model: &Ident,
        (object, detail): (&Arc<Object>, &ModelObject),
        rows: &AskedRows,
        question: Question,
    ) -> Result<Asked> {
        let name = normalize(model);
        let promised = || {
            let features = match_features(&object.name, detail, rows)?;
            Ok::<_, SqlError>((features, answer_fields(self.catalog, model, detail, question)?))
        };
        let (features, added) = match self.catalog.trained_model(model, "an alias in a stream") {
            _ if ModelReference::is_plain(&name) => promised()?,
            Ok(trained) => of_version(model, &trained, rows, question)?,
            Err(_) if self.catalog.plans_again => promised()?,
            Err(error) => return Err(error),
        };
        let outer = self.builder.begin_object(&object.name);
        let versions = self.versions_source(&name, rows.stream.info.bounded);
        self.builder.begin_object(&outer);
        Ok(Asked { versions, features, added, freshness: ModelFreshness::Live })
    }

    /// The source of what a name means: the first version alone for a stream that ends, so that its answers do not depend
    /// on how long it takes. All that ask alike in a job have the same.
    fn versions_source(&mut self, name: &str, ends: bool) -> Stream {
        // Nobody waits for what seldom comes.
        let mut options = vec![(MODEL_OPTION, name), ("idle_timeout", "1ms")];
        options.extend(ends.then_some((MODEL_ENDS, "true")));
        let options: Vec<_> = options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let schema = model_version_schema();
        let info = StreamInfo::untimed(Arc::clone(&schema), ends);
        match self.builder.source_like(MODEL_CONNECTOR, &options) {
            Some(node) => Stream { node, parallelism: 1, info },
            None => Stream { info, ..self.builder.add_whole_source(name, MODEL_CONNECTOR, options, 1, &schema) },
        }
    }

    /// The versions of a model as it learns them.
    fn learnt_versions(
        &mut self,
        model: &Ident,
        (object, detail): (&Arc<Object>, &ModelObject),
        rows: &AskedRows,
        question: Question,
    ) -> Result<Asked> {
        let features = match_features(&object.name, detail, rows)?;
        let added = answer_fields(self.catalog, model, detail, question)?;
        let input = &rows.stream;
        if input.info.times.is_empty() && detail.time.is_some() {
            // Rows of a table are answered by the version that is there.
            let is_served = self.catalog.trained.is_some();
            if is_served && input.info.bounded && self.catalog.kept_version(&object.name).is_none() {
                self.catalog.trained_model(model, "ML.PREDICT of rows without event time")?;
            }
            return Err(SqlError::invalid(
                "ML.PREDICT needs an event-time column in its input: it says which version of the model answers",
            ));
        }
        Ok(Asked { versions: self.train_operator(object, detail)?, features, added, freshness: detail.freshness })
    }

    /// The one version that a query names by its number, or that a file had: it answers rows of all times, and is part of the
    /// plan.
    fn kept_version(&mut self, model: &Ident, rows: &AskedRows, question: Question) -> Result<Asked> {
        let trained = self.catalog.trained_model(model, "ML.PREDICT of a model that no query trains")?;
        let ModelWeights { version, state, .. } = trained.weights();
        if state.is_empty() {
            let hint = "name the model alone, and its versions come as it learns them";
            return Err(SqlError::unsupported(format!("a version of more than {SERVED_BYTES_MAX} bytes"), hint));
        }
        let (features, added) = of_version(model, &trained, rows, question)?;
        // Nobody looks at the rows learnt who answers.
        let version = Published { version: *version, learnt_to: UNTIMED, rows_learnt: 0, state };
        let versions = version_rows(&[version])?;
        Ok(Asked {
            versions: self.values_stream(&normalize(model), &versions)?,
            features,
            added,
            // There is but one version, and no row is to be answered before it is there.
            freshness: ModelFreshness::Consistent,
        })
    }
}

/// Rows that a model is asked about.
pub(super) struct AskedRows {
    stream: Stream,
    /// The columns among which are those that the model reads, by the names that it knows them by.
    readable: SchemaRef,
    /// Where these columns are in the stream; they are all of its columns if it is empty.
    places: Vec<usize>,
}

impl AskedRows {
    /// The model's columns are found by their names.
    pub(super) fn by_name(stream: Stream) -> Self {
        Self { readable: Arc::clone(stream.schema()), stream, places: Vec::new() }
    }

    /// The model reads columns of these indexes by these names.
    pub(super) fn of(stream: Stream, reads: Vec<(String, usize)>) -> Self {
        let schema = stream.schema();
        let field = |(name, index): &(String, usize)| schema.field(*index).clone().with_name(name);
        let readable = Arc::new(Schema::new(reads.iter().map(field).collect::<Vec<_>>()));
        Self { readable, stream, places: reads.into_iter().map(|(_, index)| index).collect() }
    }

    /// The index in the stream of a column of those that can be read.
    fn place(&self, index: usize) -> usize {
        self.places.get(index).copied().unwrap_or(index)
    }
}

/// Where versions of a model come from in a stream.
enum Origin {
    /// There is one, in the plan.
    Plan,
    /// From what is served, while the job runs.
    Served,
    /// From the operator of the job that learns them.
    Learnt,
}

/// The columns of a stream that a version reads, and those of what it says of them.
fn of_version(
    model: &Ident,
    trained: &TrainedModel,
    rows: &AskedRows,
    question: Question,
) -> Result<(Vec<usize>, Vec<Field>)> {
    let answer = trained.answer(question, &RecordBatch::new_empty(Arc::clone(&rows.readable)));
    let answer = answer.map_err(|error| SqlError::invalid(format!("model '{model}': {}", chain(&error))))?;
    let place = |name: &String| Ok(rows.place(rows.readable.index_of(name)?));
    let features = trained.reads().iter().map(place).collect::<Result<_>>()?;
    Ok((features, answer.schema().fields().iter().map(|field| field.as_ref().clone()).collect()))
}

/// Who answers about a stream's rows.
struct Asked {
    versions: Stream,
    /// The columns of the stream that are features.
    features: Vec<usize>,
    /// The columns of an answer.
    added: Vec<Field>,
    freshness: ModelFreshness,
}

/// Models of series say nothing of rows, but whether they are anomalies.
fn refuse_series(model: &ModelObject, question: Question) -> Result<()> {
    if !reads_times(&model.model_type) || matches!(question, Question::Anomaly { .. }) {
        return Ok(());
    }
    let hint = "ML.FORECAST(MODEL m) says what comes after the series that it was fitted to";
    Err(SqlError::unsupported(format!("ML.PREDICT of a model of type {}", model.model_type), hint))
}

/// Finds the model's features among the input's columns by name.
fn match_features(name: &str, model: &ModelObject, rows: &AskedRows) -> Result<Vec<usize>> {
    let mut features = Vec::new();
    for (feature, data_type) in &model.features {
        let Some((index, field)) = rows.readable.column_with_name(feature) else {
            return Err(SqlError::invalid(format!(
                "model '{name}' was trained with the feature '{feature}', which the input of ML.PREDICT does not have"
            )));
        };
        let is_like = match &model.transform {
            Some(_) => can_read(field.data_type(), data_type),
            None => kind(field.data_type()) == kind(data_type),
        };
        if !is_like {
            return Err(SqlError::invalid(format!(
                "model '{name}' was trained with the feature '{feature}' as {}, but in the input of ML.PREDICT it is {}",
                type_name(data_type),
                type_name(field.data_type())
            )));
        }
        features.push(rows.place(index));
    }
    Ok(features)
}

fn with_answers(input: &Stream, new: Vec<Field>) -> Result<Arc<Schema>> {
    if let Some(taken) = new.iter().find(|field| input.schema().column_with_name(field.name()).is_some()) {
        return Err(SqlError::invalid(format!(
            "the input of ML.PREDICT has a column '{}' already; give it another name",
            taken.name()
        )));
    }
    let own = input.schema().fields().iter().map(|field| field.as_ref().clone());
    Ok(Arc::new(Schema::new(own.chain(new).collect::<Vec<_>>())))
}
