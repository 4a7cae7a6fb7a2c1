//! ML.EVALUATE, ML.ROC_CURVE and ML.CONFUSION_MATRIX: the measures of a model's predictions for rows that have the label.
//! They are aggregates of ML.PREDICT, and so planned as such, in streams and in queries as a whole. The measures and their
//! names are BigQuery ML's.
//!
//! Of several classes, `log_loss` and `roc_auc` need the probability of each, which queries as a whole ask for; streams where
//! `STRUCT(TRUE AS class_probabilities)` says so, for those that run already have other columns. ML.EVALUATE of a model alone
//! is what was measured when it was fitted: [`fit_measures`](super::fit_measures).

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Spanned, TableFactor};
use tidemill_plans::algorithm::reads_times;

use super::class_probabilities::CLASS_PROBABILITIES;
use super::source::{column_names, type_name};
use super::struct_options::{StructOption, split_options};
use super::table_function::{model_and_rows, wrong_call};
use super::threshold::THRESHOLD;
use crate::ast::{alias_of, dotted, made_up, normalize, quoted, relation_of, select_of};
use crate::catalog::{Catalog, Detail};
use crate::dialect::TABLE_MARKER;
use crate::error::{Result, SqlError};

/// What models of decisions say first.
const PREDICTED_ACTION: &str = "predicted_action";

/// What predictions are asked as part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A stream, which has the probabilities of all classes where they are asked for.
    InStream,
    /// A query as a whole.
    AtOnce,
}

/// A function that measures predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Evaluate,
    RocCurve,
    ConfusionMatrix,
}

impl Measure {
    fn named(name: &str) -> Option<Self> {
        match name {
            "ml.evaluate" | "ml_evaluate" => Some(Self::Evaluate),
            "ml.roc_curve" | "ml_roc_curve" => Some(Self::RocCurve),
            "ml.confusion_matrix" | "ml_confusion_matrix" => Some(Self::ConfusionMatrix),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Evaluate => "ML.EVALUATE",
            Self::RocCurve => "ML.ROC_CURVE",
            Self::ConfusionMatrix => "ML.CONFUSION_MATRIX",
        }
    }

    /// The options that it takes, for messages.
    fn options(self) -> &'static str {
        match self {
            Self::Evaluate => "threshold, class_probabilities",
            Self::RocCurve => "no options",
            Self::ConfusionMatrix => "threshold",
        }
    }

    /// What it asks of the predictions, as a query of `FROM predictions`.
    fn query(self, labels: &Labels<'_>) -> Result<String> {
        match self {
            Self::Evaluate => Ok(match &labels.groups {
                Some(groups) => measures_of_order(labels, groups),
                None => evaluation(labels),
            }),
            Self::RocCurve => roc_curve(labels),
            Self::ConfusionMatrix => confusion_matrix(labels),
        }
    }
}

/// The columns that say which label a row has, and which one is predicted.
struct Labels<'a> {
    model: &'a Ident,
    catalog: &'a Catalog,
    data_type: &'a DataType,
    label: Ident,
    predicted: Ident,
    probability: Ident,
    /// The column that says which rows a ranker puts in order together.
    groups: Option<Ident>,
    /// The column of the probabilities of all classes, if these are measured.
    probabilities: Option<Ident>,
}

/// Puts a subquery in the place of a call of such a function that has rows.
pub(crate) fn replace_evaluation(factor: &mut TableFactor, catalog: &Catalog, asked: Asked) -> Result<()> {
    let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return Ok(()) };
    let Some(measure) = Measure::named(&dotted(name)) else { return Ok(()) };
    let usage = format!("{}(MODEL m, TABLE t), or a query in place of TABLE t", measure.name());
    let (options, others) = split_options(&args.args, &usage)?;
    let (model, data) = model_and_rows(others.into_iter(), &usage).map_err(|_| wrong_call(&usage).at(name.span()))?;
    let wanted = wants_probabilities(measure, &options)?;
    let mut labels = Labels::of(measure, model, catalog).map_err(|error| error.at(model.span))?;
    labels.check_rows(measure, data).map_err(|error| error.at(data.span()))?;
    let has_own = labels.data_type == &DataType::Boolean || labels.data_type.is_floating();
    if measure != Measure::Evaluate || has_own || !wanted.unwrap_or(asked == Asked::AtOnce) {
        labels.probabilities = None;
    }
    let mut subquery = made_up(&measure.query(&labels).map_err(|error| error.at(model.span))?)?;
    let said = options.iter().filter(|option| option.key() != CLASS_PROBABILITIES).map(ToString::to_string);
    let said = said.chain(labels.probabilities.iter().map(|_| format!("TRUE AS {CLASS_PROBABILITIES}")));
    let said = said.collect::<Vec<_>>().join(", ");
    let option = if said.is_empty() { said } else { format!(", STRUCT({said})") };
    let mut predictions = made_up(&format!("SELECT * FROM ML.PREDICT(MODEL m, TABLE t{option}) AS predict"))?;
    let predict = relation_of(select_of(&mut predictions)?)?;
    if let TableFactor::Table { args: Some(made_up), .. } = predict {
        // In the place of the model and the rows.
        let (_, given) = split_options(&args.args, &usage)?;
        let options = made_up.args.split_off(given.len());
        made_up.args = given.into_iter().cloned().chain(options).collect();
    }
    *innermost(&mut subquery)? = predict.clone();
    let alias = alias.take().unwrap_or_else(|| alias_of("evaluate"));
    *factor = TableFactor::Derived { lateral: false, subquery: Box::new(subquery), alias: Some(alias), sample: None };
    Ok(())
}

/// Whether the probabilities of all classes are measured, if the options say so. What they are, ML.PREDICT looks at.
fn wants_probabilities(measure: Measure, options: &[StructOption<'_>]) -> Result<Option<bool>> {
    let mut wanted = None;
    for option in options {
        match (measure, option.key().as_str()) {
            (Measure::Evaluate, CLASS_PROBABILITIES) => wanted = Some(option.boolean()?),
            (Measure::Evaluate | Measure::ConfusionMatrix, THRESHOLD) => {}
            _ => return Err(option.unknown(measure.name(), measure.options())),
        }
    }
    Ok(wanted)
}

/// What the innermost of the queries reads that stand in each other's FROM.
fn innermost(query: &mut Query) -> Result<&mut TableFactor> {
    match relation_of(select_of(query)?)? {
        TableFactor::Derived { subquery, .. } => innermost(subquery),
        relation => Ok(relation),
    }
}

impl<'a> Labels<'a> {
    fn of(measure: Measure, model: &'a Ident, catalog: &'a Catalog) -> Result<Self> {
        let (_, detail) = catalog.model_of(model)?;
        if detail.outputs.iter().any(|field| field.name() == PREDICTED_ACTION) {
            let hint = "snips(reward, propensity, action = predicted_action) of ML.PREDICT, ips and doubly_robust say what its \
                        decisions would have brought";
            let what = format!("{} of a model of type '{}'", measure.name(), detail.model_type);
            return Err(SqlError::unsupported(what, hint));
        }
        let (Some(label), Some(predicted)) = (&detail.label, detail.predicted()) else {
            let hint = match reads_times(&detail.model_type) {
                true => "ML.SERIES_INFO(MODEL m) says how well it fits each series",
                false => "it measures what models with a label predict; ask ML.PREDICT for what this one says",
            };
            let what = format!("{} of a model of type '{}'", measure.name(), detail.model_type);
            return Err(SqlError::unsupported(what, hint));
        };
        let [probability, probabilities] = ["prob", "probs"].map(|of| quoted(&format!("predicted_{label}_{of}")));
        let (data_type, predicted) = (predicted.data_type(), quoted(predicted.name()));
        let (label, probabilities) = (quoted(label), Some(probabilities));
        // Of models over tables only rankers learn from a column that is no feature.
        let groups = detail.learning.first().map(|(name, _)| quoted(name));
        Ok(Self { model, catalog, data_type, label, predicted, probability, groups, probabilities })
    }

    /// Checks that rows which are an object's have the label, as what it is predicted as. Of a query's DataFusion says what is
    /// wrong.
    fn check_rows(&self, measure: Measure, data: &Expr) -> Result<()> {
        let table = match data {
            Expr::Prefixed { prefix, value } if prefix.value == TABLE_MARKER => return self.check_rows(measure, value),
            Expr::Identifier(table) => normalize(table),
            _ => return Ok(()),
        };
        let object = self.catalog.find(&table).map(|object| &object.detail);
        let Some(Detail::Source(_, info) | Detail::View(_, info)) = object else { return Ok(()) };
        let (function, label) = (measure.name(), &self.label.value);
        let Ok(field) = info.schema.field_with_name(label) else {
            let names = column_names(&info.schema);
            return Err(SqlError::invalid(format!(
                "{function} compares predictions with the label '{label}', and '{table}' has no such column; there are: {names}"
            )));
        };
        let is_like = match self.data_type {
            DataType::Boolean => field.data_type() == &DataType::Boolean,
            number if number.is_floating() => field.data_type().is_numeric(),
            _ => !field.data_type().is_nested(),
        };
        if is_like {
            return Ok(());
        }
        let (own, wanted) = (type_name(field.data_type()), type_name(self.data_type));
        Err(SqlError::invalid(format!(
            "{function} compares predictions with the label '{label}', which is {wanted} to the model, and in '{table}' it is {own}"
        )))
    }

    /// The classes, and each of them as a literal.
    fn classes(&self, measure: Measure) -> Result<Vec<(String, String)>> {
        let names = match self.data_type {
            DataType::Boolean => vec![String::from("false"), String::from("true")],
            number if number.is_floating() => {
                let hint = "a number has no classes; ML.EVALUATE measures how far predictions are from it";
                return Err(SqlError::unsupported("ML.CONFUSION_MATRIX of a model of numbers", hint));
            }
            _ => self.catalog.trained_model(self.model, measure.name())?.class_names(),
        };
        let is_text = self.data_type == &DataType::Utf8;
        let literal = |name: &str| if is_text { format!("'{}'", name.replace('\'', "''")) } else { name.to_owned() };
        Ok(names.into_iter().map(|name| (name.clone(), literal(&name))).collect())
    }
}

/// For each label how often each class was predicted: a row for a label, a column for a class.
fn confusion_matrix(labels: &Labels<'_>) -> Result<String> {
    let Labels { label, predicted, .. } = labels;
    let count = |(name, literal): &(String, String)| {
        format!("count(*) FILTER (WHERE {predicted} = {literal}) AS {}", quoted(name))
    };
    let columns: Vec<String> = labels.classes(Measure::ConfusionMatrix)?.iter().map(count).collect();
    let columns = columns.join(", ");
    Ok(format!("SELECT {label} AS expected_label, {columns} FROM t WHERE {label} IS NOT NULL GROUP BY {label}"))
}

/// For each probability that was predicted: how the rows are told apart if it is the least that counts as true.
fn roc_curve(labels: &Labels<'_>) -> Result<String> {
    if labels.data_type != &DataType::Boolean {
        let hint = "it is of two classes, and a label that is a BOOLEAN";
        return Err(SqlError::unsupported("ML.ROC_CURVE of this model", hint));
    }
    let Labels { label, probability, .. } = labels;
    Ok(format!(
        "SELECT threshold, CAST(tp AS DOUBLE) / nullif(positives, 0) AS recall, \
           CAST(fp AS DOUBLE) / nullif(negatives, 0) AS false_positive_rate, tp AS true_positives, \
           fp AS false_positives, negatives - fp AS true_negatives, positives - tp AS false_negatives \
         FROM (SELECT threshold, sum(of_true) OVER (ORDER BY threshold DESC) AS tp, \
                 sum(of_false) OVER (ORDER BY threshold DESC) AS fp, \
                 sum(of_true) OVER () AS positives, sum(of_false) OVER () AS negatives \
               FROM (SELECT {probability} AS threshold, count(*) FILTER (WHERE {label}) AS of_true, \
                       count(*) FILTER (WHERE NOT {label}) AS of_false \
                     FROM t WHERE {label} IS NOT NULL AND {probability} IS NOT NULL \
                     GROUP BY {probability}) AS counted) AS summed"
    ))
}

/// How well the rows of each group are in order, on average.
fn measures_of_order(labels: &Labels<'_>, groups: &Ident) -> String {
    let Labels { label, predicted, .. } = labels;
    let ndcg = |rest: &str| format!("ndcg({label}, {predicted}{rest})");
    format!(
        "SELECT avg(of_all) AS ndcg, avg(of_10) AS ndcg_at_10, count(*) AS groups \
         FROM (SELECT {} AS of_all, {} AS of_10 FROM t WHERE {label} IS NOT NULL GROUP BY {groups}) AS grouped",
        ndcg(""),
        ndcg(", 10")
    )
}

/// The row of ML.EVALUATE.
fn evaluation(labels: &Labels<'_>) -> String {
    let (label, measures) = (&labels.label, measures(labels));
    let of_all = labels
        .probabilities
        .as_ref()
        .map(|of| format!(", class_log_loss({label}, {of}) AS log_loss, class_roc_auc({label}, {of}) AS roc_auc"));
    format!("SELECT {measures}{} FROM t", of_all.unwrap_or_default())
}

/// The measures of rows with their predictions.
fn measures(labels: &Labels<'_>) -> String {
    let Labels { label, predicted, probability, .. } = labels;
    let of_classes = format!(
        "precision({label}, {predicted}) AS precision, recall({label}, {predicted}) AS recall, \
         accuracy({label}, {predicted}) AS accuracy, f1({label}, {predicted}) AS f1_score"
    );
    match labels.data_type {
        DataType::Boolean => format!(
            "{of_classes}, log_loss({label}, {probability}) AS log_loss, roc_auc({label}, {probability}) AS roc_auc"
        ),
        number if number.is_floating() => format!(
            "mae({label}, {predicted}) AS mean_absolute_error, mse({label}, {predicted}) AS mean_squared_error, \
             CASE WHEN min({label}) > -1 AND min({predicted}) > -1 \
               THEN avg(power(ln(1 + {label}) - ln(1 + {predicted}), 2)) END AS mean_squared_log_error, \
             median(abs({label} - {predicted})) AS median_absolute_error, r2({label}, {predicted}) AS r2_score, \
             1 - var_pop({label} - {predicted}) / nullif(var_pop({label}), 0) AS explained_variance"
        ),
        _ => of_classes,
    }
}
