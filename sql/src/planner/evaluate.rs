//! ML.EVALUATE, ML.ROC_CURVE and ML.CONFUSION_MATRIX: the measures of a model's predictions for rows that have the label.
//! They are aggregates of ML.PREDICT, and so planned as such, in streams and in queries as a whole. The measures and their
//! names are BigQuery ML's.
//!
//! Of several classes, `log_loss` and `roc_auc` need the probability of each, which queries as a whole have: the latter is
//! the mean of each class's against all others (scikit-learn's `multi_class='ovr'`, `average='macro'`).

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Ident, Query, Spanned, TableFactor};
use tidemill_plans::algorithm::reads_times;

use super::class_probabilities::CLASS_PROBABILITIES;
use super::table_function::{predict_arguments, wrong_call};
use crate::ast::{alias_of, dotted, made_up, quoted, relation_of, select_of};
use crate::catalog::Catalog;
use crate::error::{Result, SqlError};

/// What models of decisions say first.
const PREDICTED_ACTION: &str = "predicted_action";

/// The most classes whose probabilities are measured: each has measures of its own.
const CLASSES_MEASURED_MAX: usize = 100;

/// What predictions are asked as part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A stream, in which the probabilities of all classes are no column.
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
    /// The column of the probabilities of all classes.
    probabilities: Ident,
    /// The classes whose probabilities are measured, each as a literal; none of a BOOLEAN, which has measures of its own,
    /// and of numbers.
    measured: Vec<String>,
}

/// Puts a subquery in the place of a call of such a function.
pub(crate) fn replace_evaluation(factor: &mut TableFactor, catalog: &Catalog, asked: Asked) -> Result<()> {
    let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return Ok(()) };
    let Some(measure) = Measure::named(&dotted(name)) else { return Ok(()) };
    let usage = format!("{}(MODEL m, TABLE t), or a query in place of TABLE t", measure.name());
    let (model, _) = predict_arguments(&args.args, &usage).map_err(|_| wrong_call(&usage).at(name.span()))?;
    let labels = Labels::of(measure, model, catalog, asked).map_err(|error| error.at(model.span))?;
    let mut subquery = made_up(&measure.query(&labels).map_err(|error| error.at(model.span))?)?;
    let option = format!("STRUCT(TRUE AS {CLASS_PROBABILITIES})");
    let mut predictions = made_up(&format!("SELECT * FROM ML.PREDICT(MODEL m, TABLE t, {option}) AS predict"))?;
    let predict = relation_of(select_of(&mut predictions)?)?;
    if let TableFactor::Table { args: Some(made_up), .. } = predict {
        // In the place of the model and the rows; the option stays where it is wanted.
        let options = if labels.measured.is_empty() { Vec::new() } else { made_up.args.split_off(2) };
        made_up.args = args.args.iter().cloned().chain(options).collect();
    }
    *innermost(&mut subquery)? = predict.clone();
    let alias = alias.take().unwrap_or_else(|| alias_of("evaluate"));
    *factor = TableFactor::Derived { lateral: false, subquery: Box::new(subquery), alias: Some(alias), sample: None };
    Ok(())
}

/// What the innermost of the queries reads that stand in each other's FROM.
fn innermost(query: &mut Query) -> Result<&mut TableFactor> {
    match relation_of(select_of(query)?)? {
        TableFactor::Derived { subquery, .. } => innermost(subquery),
        relation => Ok(relation),
    }
}

impl<'a> Labels<'a> {
    fn of(measure: Measure, model: &'a Ident, catalog: &'a Catalog, asked: Asked) -> Result<Self> {
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
        let (label, measured) = (quoted(label), Vec::new());
        // Of models over tables only rankers learn from a column that is no feature.
        let groups = detail.learning.first().map(|(name, _)| quoted(name));
        let mut labels =
            Self { model, catalog, data_type, label, predicted, probability, groups, probabilities, measured };
        let has_own = data_type == &DataType::Boolean || data_type.is_floating();
        if (measure, asked) == (Measure::Evaluate, Asked::AtOnce) && !has_own {
            let literals = labels.classes(measure)?.into_iter().map(|(_, literal)| literal).collect::<Vec<_>>();
            labels.measured = if literals.len() <= CLASSES_MEASURED_MAX { literals } else { Vec::new() };
        }
        Ok(labels)
    }

    /// The probability of a class, from 1.
    fn probability_of(&self, class: usize) -> String {
        format!("{}[{class}]['prob']", self.probabilities)
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
    let Labels { label, probabilities, measured, .. } = labels;
    let measures = measures(labels);
    if measured.is_empty() {
        return format!("SELECT {measures} FROM t");
    }
    let classes = || (1..).zip(measured);
    let own = classes().map(|(class, name)| format!("WHEN {label} = {name} THEN {}", labels.probability_of(class)));
    // A class that the model does not know is as unlikely as can be.
    let own = format!(
        "CASE WHEN {label} IS NULL OR {probabilities} IS NULL THEN NULL {} ELSE 0.0 END",
        own.collect::<Vec<_>>().join(" ")
    );
    let auc = |(class, name): (usize, &String)| {
        format!("roc_auc({label} = {name}, {}) AS auc_{class}", labels.probability_of(class))
    };
    let aucs: Vec<String> = classes().map(auc).collect();
    let each = |of: fn(usize) -> String| (1..=measured.len()).map(of).collect::<Vec<_>>().join(" + ");
    let sum = each(|class| format!("coalesce(auc_{class}, 0.0)"));
    let count = each(|class| format!("CASE WHEN auc_{class} IS NULL THEN 0.0 ELSE 1.0 END"));
    format!(
        "SELECT precision, recall, accuracy, f1_score, log_loss, ({sum}) / nullif({count}, 0.0) AS roc_auc \
         FROM (SELECT {measures}, log_loss(TRUE, {own}) AS log_loss, {} FROM t) AS measured",
        aucs.join(", ")
    )
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
