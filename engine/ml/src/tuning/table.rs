//! The trials of a search as a table: SQL's ML.TRIAL_INFO. Its columns are BigQuery ML's.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{Field, Fields, Schema};

use super::Trial;
use crate::error::{MlError, Result};

/// A row for each trial: `trial_id`; `hyperparameters`, a struct with a field for each option that was searched, which is a
/// number where all its values are; `hparam_tuning_evaluation_metrics`, a struct with the measure that trials were compared
/// by; `training_loss`, `eval_loss`, `status`, `error_message` and `is_optimal`.
///
/// # Errors
/// `BuildTable`.
pub fn trial_table(trials: &[Trial]) -> Result<RecordBatch> {
    let loss =
        |of: fn(&Trial) -> Option<f64>| -> ArrayRef { Arc::new(trials.iter().map(of).collect::<Float64Array>()) };
    let columns: [(&str, ArrayRef); 8] = [
        ("trial_id", Arc::new(Int64Array::from_iter_values(trials.iter().map(|trial| trial.number as i64)))),
        ("hyperparameters", hyperparameters(trials)?),
        ("hparam_tuning_evaluation_metrics", metrics(trials)?),
        ("training_loss", loss(|trial| trial.training_loss)),
        ("eval_loss", loss(|trial| trial.evaluation_loss)),
        ("status", Arc::new(StringArray::from_iter_values(trials.iter().map(|trial| trial.status.name())))),
        ("error_message", Arc::new(StringArray::from_iter(trials.iter().map(|trial| trial.error.as_deref())))),
        ("is_optimal", Arc::new(trials.iter().map(|trial| Some(trial.is_optimal)).collect::<BooleanArray>())),
    ];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(schema, columns).map_err(|source| MlError::BuildTable { source })
}

/// What was searched; an option that a trial does not have is NULL.
fn hyperparameters(trials: &[Trial]) -> Result<ArrayRef> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in trials.iter().flat_map(|trial| &trial.parameters) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let columns: Vec<(&str, ArrayRef)> = names.into_iter().map(|name| (name, values(trials, name))).collect();
    record(columns, trials.len())
}

fn values(trials: &[Trial], name: &str) -> ArrayRef {
    let value = |trial: &Trial| trial.parameters.iter().find(|(of, _)| of == name).map(|(_, value)| value.clone());
    let texts: Vec<Option<String>> = trials.iter().map(value).collect();
    let numbers: Option<Vec<Option<f64>>> = texts
        .iter()
        .map(|text| text.as_ref().map(|text| text.parse().ok()).map_or(Some(None), |found| found.map(Some)))
        .collect();
    match numbers {
        Some(numbers) => Arc::new(Float64Array::from(numbers)),
        None => Arc::new(StringArray::from(texts)),
    }
}

fn metrics(trials: &[Trial]) -> Result<ArrayRef> {
    let name = trials.first().map_or("", |trial| trial.objective.as_str());
    let values: ArrayRef = Arc::new(trials.iter().map(|trial| trial.value).collect::<Float64Array>());
    record(vec![(name, values)], trials.len())
}

fn record(columns: Vec<(&str, ArrayRef)>, rows: usize) -> Result<ArrayRef> {
    let fields: Fields =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let record = StructArray::try_new_with_length(fields, columns, None, rows);
    Ok(Arc::new(record.map_err(|source| MlError::BuildTable { source })?))
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use expect_test::expect;

    use super::super::TrialStatus;
    use super::*;

    #[test]
    fn options_are_numbers_where_all_values_are() {
        let trial = |number, parameters: &[(&str, &str)], value, error: Option<&str>| Trial {
            number,
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            objective: String::from("roc_auc"),
            value,
            status: if error.is_some() { TrialStatus::Failed } else { TrialStatus::Succeeded },
            is_optimal: number == 1,
            training_loss: value.map(|value| value / 2.0),
            evaluation_loss: None,
            error: error.map(str::to_owned),
        };
        let trials = [
            trial(1, &[("model_type", "logistic_reg"), ("l2_reg", "0.5")], Some(0.75), None),
            trial(2, &[("model_type", "naive_bayes")], None, Some("no")),
        ];
        expect![[r#"
            +----------+-----------------------------------------+----------------------------------+---------------+-----------+-----------+---------------+------------+
            | trial_id | hyperparameters                         | hparam_tuning_evaluation_metrics | training_loss | eval_loss | status    | error_message | is_optimal |
            +----------+-----------------------------------------+----------------------------------+---------------+-----------+-----------+---------------+------------+
            | 1        | {model_type: logistic_reg, l2_reg: 0.5} | {roc_auc: 0.75}                  | 0.375         |           | SUCCEEDED |               | true       |
            | 2        | {model_type: naive_bayes, l2_reg: }     | {roc_auc: }                      |               |           | FAILED    | no            | false      |
            +----------+-----------------------------------------+----------------------------------+---------------+-----------+-----------+---------------+------------+"#]].assert_eq(&pretty_format_batches(&[trial_table(&trials).unwrap()]).unwrap().to_string());
        assert_eq!(trial_table(&[]).unwrap().num_rows(), 0);
    }
}
