//! Training and prediction.

use arrow::datatypes::{DataType, Field, Schema};
use tidemill_plans::PlanError;
use tidemill_plans::algorithm::{
    Training, class_probability_outputs, explained_outputs, label_outputs, needs_label, outputs, resolve_model_type,
    takes_label,
};
use tidemill_plans::node::{
    FitNode, ModelFreshness, NodeKind, PredictNode, TrainNode, model_version_schema, predicted_fields,
};
use tidemill_plans::prediction::{Probability, Question};

use super::rows::positive;
use super::{Built, Inputs, Spread, fields_of, info_of};
use crate::catalog::StreamInfo;
use crate::document::columns::{Places, read_type, schema_of};
use crate::document::operator::{FitDocument, FreshnessDocument, PredictDocument, QuestionDocument, TrainDocument};
use crate::problem::{Problem, Read, Within, wrong};

pub(super) fn train(train: &TrainDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("training")?;
    let input = inputs.info(0);
    let label = train.label.as_ref().map(|label| Places(input).of(label)).transpose().within("label")?;
    let time = Places(input).of_time(&train.time).within("time")?;
    let features = Places(input).of_all(&train.features).within("features")?;
    let model_type = resolve_model_type(&train.model_type, Training::Continuous)?.to_owned();
    let options: Vec<(String, String)> = train.options.clone().into_iter().collect();
    let learnt = input.schema.project(&features).map_err(wrong)?;
    check(&model_type, Training::Continuous, label, &learnt, &options, input)?;
    let publish_every = positive(train.publish_every).within("publish_every")?;
    let info = info_of(fields_of(&model_version_schema()), input);
    let model = train.model.clone();
    let kind = NodeKind::Train(TrainNode { model, model_type, options, label, time, features, publish_every });
    // One task trains, so that weights do not depend on how many there are.
    Ok(Built { kind, info, spread: Spread::Single })
}

pub(super) fn fit(fit: &FitDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("training")?;
    let input = inputs.info(0);
    if !input.bounded {
        return Err(Problem::new(
            "its input has no end, and a model is fitted once all rows have come; train learns as they come",
        ));
    }
    let label = fit.label.as_ref().map(|label| Places(input).of(label)).transpose().within("label")?;
    let features = Places(input).of_all(&fit.features).within("features")?;
    let model_type = resolve_model_type(&fit.model_type, Training::Whole)?.to_owned();
    let options: Vec<(String, String)> = fit.options.clone().into_iter().collect();
    let columns = input.schema.project(&features).map_err(wrong)?;
    let transform = fit.transform.as_ref().map(|transform| transform.read(&columns)).transpose().within("transform")?;
    let learnt = match &transform {
        Some(transform) => transform.outputs()?.as_ref().clone(),
        None => columns,
    };
    check(&model_type, Training::Whole, label, &learnt, &options, input)?;
    let info = StreamInfo { times: Vec::new(), ..info_of(fields_of(&model_version_schema()), input) };
    let kind = NodeKind::Fit(FitNode {
        model: fit.model.clone(),
        version: fit.version,
        model_type,
        options,
        label,
        features,
        transform,
    });
    Ok(Built { kind, info, spread: Spread::Team })
}

/// Checks that a model can be trained with these columns of the input.
fn check(
    model_type: &str,
    training: Training,
    label: Option<usize>,
    features: &Schema,
    options: &[(String, String)],
    input: &StreamInfo,
) -> Read<()> {
    let is_possible =
        if label.is_some() { takes_label(model_type, training)? } else { !needs_label(model_type, training)? };
    if !is_possible {
        let words = if label.is_some() { "learns no label" } else { "needs the column of its label" };
        return Err(Problem::new(format!("a model of type {model_type} {words}"))).within("label");
    }
    let label = label.map(|label| input.schema.field(label));
    match outputs(model_type, training, options, features, label) {
        Err(PlanError::GivenOption { option, message }) if option == "label" => {
            Err(Problem::new(message)).within("label")
        }
        Err(error) => Err(Problem::from(error)),
        Ok(_) => Ok(()),
    }
}

pub(super) fn predict(predict: &PredictDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("prediction")?;
    let input = inputs.info(0);
    if inputs.info(1).schema != model_version_schema() {
        return Err(Problem::new("what comes on port 1 are not the versions of a model: it is read from a train node"));
    }
    let features = Places(input).of_all(&predict.features).within("features")?;
    let time = predict.time.as_ref().map(|time| Places(input).of_time(time).within("time")).transpose()?;
    let question = predict.question.question();
    let info = match question.is_of_a_version() {
        true => StreamInfo {
            times: Vec::from_iter(time),
            window_times: Vec::from_iter(time.filter(|time| input.window_times.contains(time))),
            ..info_of(fields_of(&input.schema).into_iter().chain(predicted_fields(said(predict)?)).collect(), input)
        },
        false => StreamInfo {
            times: Vec::new(),
            window_times: Vec::new(),
            ..info_of(fields_of(&schema_of(&predict.outputs).within("outputs")?), input)
        },
    };
    let kind = NodeKind::Predict(PredictNode {
        model: predict.model.clone(),
        label: predict.label.clone().unwrap_or_default(),
        features,
        time,
        freshness: match predict.freshness {
            FreshnessDocument::Consistent => ModelFreshness::Consistent,
            FreshnessDocument::Latest => ModelFreshness::Latest,
            FreshnessDocument::Live => ModelFreshness::Live,
        },
        question,
    });
    Ok(Built { kind, info, spread: Spread::Model })
}

/// What the model says of a row.
fn said(predict: &PredictDocument) -> Read<Vec<Field>> {
    let Some(label) = &predict.label else { return Ok(fields_of(&schema_of(&predict.outputs).within("outputs")?)) };
    let label_type = predict.label_type.as_deref().map(read_type).transpose().within("label_type")?;
    let label_type = label_type.unwrap_or(DataType::Boolean);
    Ok(match predict.question {
        QuestionDocument::Explanation { .. } | QuestionDocument::LocalExplanation { .. } => {
            explained_outputs(label, &label_type)
        }
        QuestionDocument::ClassProbabilities => class_probability_outputs(label, &label_type),
        _ => label_outputs(label, &label_type),
    })
}

impl QuestionDocument {
    /// The question as documents have it.
    pub(in crate::document) fn of(question: Question) -> Self {
        match question {
            Question::Prediction => Self::Prediction,
            Question::Explanation { top_k_features } => Self::Explanation { top_k_features },
            Question::LocalExplanation { top_k_features, seed } => Self::LocalExplanation { top_k_features, seed },
            Question::Features => Self::Features,
            Question::Anomaly { threshold } => Self::Anomaly { threshold: threshold.map(f64::from) },
            Question::ClassProbabilities => Self::ClassProbabilities,
        }
    }

    fn question(self) -> Question {
        match self {
            Self::Prediction => Question::Prediction,
            Self::Explanation { top_k_features } => Question::Explanation { top_k_features },
            Self::LocalExplanation { top_k_features, seed } => Question::LocalExplanation { top_k_features, seed },
            Self::Features => Question::Features,
            Self::Anomaly { threshold } => Question::Anomaly { threshold: threshold.map(Probability::from) },
            Self::ClassProbabilities => Question::ClassProbabilities,
        }
    }
}
