//! Training and prediction.

use arrow::datatypes::{DataType, Schema};
use tidemill_plans::algorithm::{check_model, resolve_model_type};
use tidemill_plans::node::{ModelFreshness, NodeKind, PredictNode, TrainNode, model_version_schema, predicted_fields};

use super::rows::positive;
use super::{Built, Inputs, Spread, fields_of, info_of};
use crate::catalog::StreamInfo;
use crate::document::columns::Places;
use crate::document::operator::{FreshnessDocument, PredictDocument, TrainDocument};
use crate::problem::{Problem, Read, Within};

pub(super) fn train(train: &TrainDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("training")?;
    let input = inputs.info(0);
    let label = Places(input).of(&train.label).within("label")?;
    if *input.schema.field(label).data_type() != DataType::Boolean {
        let message = format!("it is {}, and a label is a BOOLEAN", input.schema.field(label).data_type());
        return Err(Problem::new(message)).within("label");
    }
    let time = Places(input).of_time(&train.time).within("time")?;
    let features = Places(input).of_all(&train.features).within("features")?;
    let model_type = resolve_model_type(&train.model_type)?.to_owned();
    let options: Vec<(String, String)> = train.options.clone().into_iter().collect();
    let columns = features.iter().map(|feature| input.schema.field(*feature).clone());
    check_model(&model_type, &options, &Schema::new(columns.collect::<Vec<_>>()))?;
    let publish_every = positive(train.publish_every).within("publish_every")?;
    let info = info_of(fields_of(&model_version_schema()), input);
    let model = train.model.clone();
    let kind = NodeKind::Train(TrainNode { model, model_type, options, label, time, features, publish_every });
    // One task trains, so that weights do not depend on how many there are.
    Ok(Built { kind, info, spread: Spread::Single })
}

pub(super) fn predict(predict: &PredictDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("prediction")?;
    let input = inputs.info(0);
    if inputs.info(1).schema != model_version_schema() {
        return Err(Problem::new("what comes on port 1 are not the versions of a model: it is read from a train node"));
    }
    let features = Places(input).of_all(&predict.features).within("features")?;
    let time = Places(input).of_time(&predict.time).within("time")?;
    let fields = fields_of(&input.schema).into_iter().chain(predicted_fields(&predict.label)).collect();
    let is_window_time = input.window_times.contains(&time);
    let info = StreamInfo {
        times: vec![time],
        window_times: Vec::from_iter(is_window_time.then_some(time)),
        ..info_of(fields, input)
    };
    let kind = NodeKind::Predict(PredictNode {
        model: predict.model.clone(),
        label: predict.label.clone(),
        features,
        time,
        freshness: match predict.freshness {
            FreshnessDocument::Consistent => ModelFreshness::Consistent,
            FreshnessDocument::Latest => ModelFreshness::Latest,
        },
    });
    Ok(Built { kind, info, spread: Spread::Model })
}
