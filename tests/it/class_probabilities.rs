//! The probabilities of all classes, by SQL, and the measures of many classes that need them.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use tonic::Code;

use crate::fitted::folder;
use crate::flight_sql::{Served, shown};

/// Trips in three classes.
const FAR: &str = "SELECT distance, CAST(zone AS DOUBLE) AS zone,
    CASE WHEN distance + 2 * zone + (id % 11) / 3.0 > 10 THEN 'far' WHEN distance + id % 7 > 6 THEN 'mid' ELSE 'near' END AS far
  FROM trips";

#[track_caller]
fn is_so(served: &mut Served, condition: &str, from: &str) {
    let asked = format!("SELECT CASE WHEN {condition} THEN 1 ELSE 0 END AS n FROM {from}");
    assert_eq!(served.number(&asked), 1, "{condition}");
}

#[test]
fn all_classes_have_their_probabilities_and_many_their_measures() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask(&format!(
        "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
         CREATE MODEL m WITH (model_type = 'naive_bayes', label = 'far') AS {FAR};
         CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS SELECT late, distance FROM trips;
         CREATE MODEL whole WITH (model_type = 'linear_reg', label = 'distance') AS SELECT distance, zone FROM trips"
    ));
    let all = format!("ML.PREDICT(MODEL m, ({FAR}), STRUCT(TRUE AS class_probabilities))");
    for condition in [
        "count(*) = 600 AND count(predicted_far_probs) = 600 AND max(model_version) = 1",
        "max(abs(predicted_far_probs[1]['prob'] + predicted_far_probs[2]['prob'] + predicted_far_probs[3]['prob'] - 1)) < 1e-12",
        "count(DISTINCT predicted_far_probs[1]['label']) = 1 AND max(array_length(predicted_far_probs)) = 3",
        "bool_and(CASE predicted_far WHEN predicted_far_probs[1]['label'] THEN predicted_far_probs[1]['prob'] \
           WHEN predicted_far_probs[2]['label'] THEN predicted_far_probs[2]['prob'] \
           ELSE predicted_far_probs[3]['prob'] END = predicted_far_prob)",
    ] {
        is_so(&mut served, condition, &all);
    }
    is_so(
        &mut served,
        "bool_and(predicted_late_probs[2]['label'] AND predicted_late_probs[2]['prob'] = predicted_late_prob)",
        "ML.PREDICT(MODEL late, TABLE trips, STRUCT(TRUE AS class_probabilities))",
    );
    // Without the option there is no such column, so what is written from it before is what it was.
    let plain = shown(&served.ask(&format!("SELECT * FROM ML.PREDICT(MODEL m, ({FAR})) LIMIT 1")));
    assert!(plain.contains("predicted_far_prob ") && !plain.contains("probs"), "{plain}");

    // scikit-learn's GaussianNB, log_loss, roc_auc_score(multi_class='ovr', average='macro') and accuracy_score of the rows.
    let measured = served.ask(&format!("SELECT log_loss, roc_auc, accuracy FROM ML.EVALUATE(MODEL m, ({FAR}))"));
    let values: Vec<f64> =
        measured[0].columns().iter().map(|column| column.as_primitive::<Float64Type>().value(0)).collect();
    for (value, expected) in values.iter().zip([0.5674019532154653, 0.8951902118345124, 0.7366666666666667]) {
        assert!((value - expected).abs() < 1e-9, "{values:?}");
    }
    // A stream has them where it says so: those that run already have other columns.
    let streamed = |options: &str| {
        format!(
            "SET execution = 'streaming'; SELECT log_loss, roc_auc, accuracy FROM ML.EVALUATE(MODEL m, ({FAR}){options})"
        )
    };
    let in_stream = served.ask(&streamed(", STRUCT(TRUE AS class_probabilities)"));
    assert_eq!(in_stream, measured, "the same bits");
    served.refused(&streamed(""), Code::InvalidArgument, "log_loss");
    // Of some rows without one of the classes it is the mean of the others', and what is no class is as unlikely as can be.
    let two = format!("ML.EVALUATE(MODEL m, (SELECT * FROM ({FAR}) AS t WHERE far <> 'mid'))");
    is_so(&mut served, "roc_auc > 0.8 AND roc_auc <= 1 AND log_loss > 0", &two);
    let none = format!("ML.EVALUATE(MODEL m, (SELECT distance, zone, 'gone' AS far FROM ({FAR}) AS t))");
    is_so(&mut served, "roc_auc IS NULL AND abs(log_loss + ln(2.220446049250313e-16)) < 1e-9", &none);

    let refused = |served: &mut Served, sql: &str, code: Code, reason: &str| served.refused(sql, code, reason);
    let of_number = "SELECT * FROM ML.PREDICT(MODEL whole, TABLE trips, STRUCT(TRUE AS class_probabilities))";
    refused(&mut served, of_number, Code::InvalidArgument, "has no probabilities of classes: it tells none apart");
    let option = format!("SELECT * FROM ML.PREDICT(MODEL m, ({FAR}), STRUCT(TRUE AS probabilities))");
    refused(&mut served, &option, Code::Unimplemented, "ML.PREDICT takes class_probabilities");
    let ordered = format!("SELECT * FROM {all} ORDER BY distance, zone");
    let streamed = format!("SET execution = 'streaming'; {ordered}");
    assert_eq!(shown(&served.ask(&streamed)), shown(&served.ask(&ordered)), "a stream says the same");
    served.end();
}
