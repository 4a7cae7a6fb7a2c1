//! What models are asked by SQL beside plain predictions: by LIME, as an expression in streams, by a threshold, and for the
//! measures of their fits.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type};
use tonic::Code;

use crate::fitted::folder;
use crate::flight_sql::{Served, shown};

/// Models of trips: of two classes by one feature, and by two, one of them a category.
fn served() -> Served {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask(
        "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
         CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late', l2_reg = 0) AS SELECT late, distance FROM trips;
         CREATE MODEL two WITH (model_type = 'logistic_reg', label = 'late', l2_reg = 0) AS
           SELECT late, distance, CAST(zone AS DOUBLE) AS zone FROM trips",
    );
    served
}

#[track_caller]
fn is_so(served: &mut Served, condition: &str, from: &str) {
    let asked = format!("SELECT CASE WHEN {condition} THEN 1 ELSE 0 END AS n FROM {from}");
    assert_eq!(served.number(&asked), 1, "{condition}");
}

/// The numbers of the only row.
fn numbers(served: &mut Served, sql: &str) -> Vec<Option<f64>> {
    let rows = served.ask(sql);
    let value = |column: &arrow::array::ArrayRef| {
        let column = column.as_primitive::<Float64Type>();
        Some(column.value(0)).filter(|_| arrow::array::Array::is_valid(column, 0))
    };
    rows[0].columns().iter().map(value).collect()
}

#[track_caller]
fn are_close(found: &[Option<f64>], expected: &[f64], tolerance: f64) {
    let is_close = |(found, expected): (&Option<f64>, &f64)| found.is_some_and(|of| (of - expected).abs() < tolerance);
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(is_close), "{found:?} {expected:?}");
}

#[test]
fn lime_draws_rows_like_those_of_the_training_set() {
    let mut served = served();
    let asked = |options: &str| {
        format!("ML.EXPLAIN_PREDICT(MODEL two, (SELECT id, distance, zone FROM trips), STRUCT({options})) AS e")
    };
    let lime = asked("'lime' AS method, 2 AS top_k_features");
    for condition in [
        "count(*) = 600 AND max(e.model_version) = 1 AND max(array_length(e.top_feature_attributions)) = 2",
        "max(abs(e.prediction_value - e.probability)) = 0",
        "max(abs(abs(e.baseline_prediction_value + e.top_feature_attributions[1]['attribution'] \
           + e.top_feature_attributions[2]['attribution'] - e.prediction_value) - e.approximation_error)) < 1e-12",
    ] {
        is_so(&mut served, condition, &lime);
    }
    // lime 0.2 of scikit-learn's LogisticRegression(C=inf), row 7 (distance 4.9 in zone 1), num_samples=20000, the mean of 8
    // seeds, whose deviations are 0.007, 0.007 and 0.005: explained is true, which is predicted.
    let of = |name: &str| format!("max(u.a['attribution']) FILTER (WHERE u.a['feature'] = '{name}')");
    let row = format!(
        "SELECT {} AS d, {} AS z, max(u.b) AS b, max(u.p) AS p
         FROM (SELECT unnest(e.top_feature_attributions) AS a, e.baseline_prediction_value AS b, e.prediction_value AS p
               FROM {lime} WHERE e.id = 7) AS u",
        of("distance"),
        of("zone")
    );
    let weights = numbers(&mut served, &row);
    are_close(&weights, &[-0.24390816, -0.01994824, 0.626283, 0.71481576], 0.03);
    let seeded = |seed: u32| row.replace("'lime' AS method", &format!("'lime' AS method, {seed} AS seed"));
    assert_eq!(numbers(&mut served, &seeded(0)), weights, "0 is the seed that is not given");
    assert_ne!(numbers(&mut served, &seeded(1)), weights);
    // What is asked about may change: the training set does not.
    fs::write(served.folder.path("trips.csv"), "id,zone,distance,late\n7,1,4.9,true\n").unwrap();
    assert_eq!(numbers(&mut served, &row), weights);

    served.refused(
        &format!("SELECT * FROM {}", asked("'tree' AS method")),
        Code::InvalidArgument,
        "'shapley' or 'lime'",
    );
    let streamed = format!("SET execution = 'streaming'; SELECT * FROM {lime}");
    served.refused(&streamed, Code::Unimplemented, "ML.EXPLAIN_PREDICT by LIME in a stream");
    served.ask("EXPORT MODEL two TO 'two.model'");
    served.ask("CREATE MODEL other FROM FILE 'two.model'");
    let other = format!("SELECT * FROM {}", lime.replace("two", "other"));
    served.refused(&other, Code::Unimplemented, "ML.EXPLAIN_PREDICT by LIME of a model from a file");
    served.end();
}

#[test]
fn a_stream_asks_models_as_expressions() {
    let mut served = served();
    served.ask("ALTER MODEL late VERSION 1 SET ALIAS champion");
    for query in [
        "SELECT id, ml_predict(MODEL late, distance) AS p FROM trips ORDER BY id",
        "SELECT id, ml_predict(MODEL late@champion, distance) AS c, ml_predict(MODEL late$1, distance + 0) AS v, \
           ml_predict(MODEL two, distance, zone) AS t, ml_predict(MODEL late, distance) AS p FROM trips ORDER BY id",
        "SELECT id, CASE WHEN ml_predict(MODEL late, distance) THEN 'late' ELSE 'in time' END AS p FROM trips ORDER BY id",
        "SELECT t.id, ml_predict(MODEL late, u.distance) AS p FROM trips AS t JOIN trips AS u ON u.id = t.id ORDER BY t.id",
        "SELECT id, distance FROM trips WHERE ml_predict(MODEL late, distance) AND zone = 1 ORDER BY id",
        "SELECT count(*) AS n FROM (SELECT ml_predict(MODEL late, distance) AS p FROM trips) AS t WHERE p",
        // A column that is called as one of the answer's.
        "SELECT id, predicted_late, ml_predict(MODEL late, d) AS p FROM (SELECT id, distance AS d, zone AS predicted_late FROM trips) \
         AS t ORDER BY id",
    ] {
        let streamed = format!("SET execution = 'streaming'; {query}");
        assert_eq!(shown(&served.ask(&streamed)), shown(&served.ask(query)), "{query}");
    }
    let explained = shown(&served.ask(
        "SET execution = 'streaming'; EXPLAIN SELECT ml_predict(MODEL late, distance) AS a, \
         NOT ml_predict(MODEL late, distance) AS b, ml_predict(MODEL two, distance, zone) AS c FROM trips",
    ));
    assert_eq!(explained.matches("Predict:").count() + explained.matches("Predict ").count(), 2, "{explained}");
    for refused in [
        "SELECT zone, bool_or(ml_predict(MODEL late, distance)) AS p FROM trips GROUP BY zone",
        "SELECT t.id FROM trips AS t JOIN trips AS u ON ml_predict(MODEL late, t.distance) = u.late AND t.id = u.id",
    ] {
        let streamed = format!("SET execution = 'streaming'; {refused}");
        served.refused(&streamed, Code::Unimplemented, "write it in the SELECT or the WHERE of a subquery");
    }
    let after = "SET execution = 'streaming'; SELECT ml_predict(MODEL late, d) AS p FROM (SELECT zone, avg(distance) AS d \
                 FROM trips GROUP BY zone) AS t";
    served.refused(after, Code::Unimplemented, "ask the model before the aggregation");
    let few = "SET execution = 'streaming'; SELECT ml_predict(MODEL two, distance) AS p FROM trips";
    served.refused(few, Code::InvalidArgument, "reads distance, zone, in this order");
    for values in ["(VALUES (0.5, 1), (9.5, 2))", "(SELECT * FROM (VALUES (0.5, 1), (9.5, 2)) AS v(distance, zone))"] {
        let query =
            format!("SELECT distance, zone, predicted_late FROM ML.PREDICT(MODEL two, {values}) ORDER BY distance");
        let said = shown(&served.ask(&query));
        assert!(
            said.contains("| 0.5      | 1    | false          |") && said.contains("| 9.5      | 2    | true "),
            "{said}"
        );
        assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {query}"))), said, "{values}");
    }
    let (runtime, client) = (&served.runtime, &mut served.client);
    let asked = "SELECT id FROM trips WHERE ml_predict(MODEL two, $1, $2) = late";
    let prepared = runtime.block_on(client.prepare(asked.to_owned(), None)).unwrap();
    let types: Vec<DataType> =
        prepared.parameter_schema().unwrap().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Float64, DataType::Float64]);
    served.end();
}

#[test]
fn a_threshold_says_from_when_on_true_is_predicted() {
    let mut served = served();
    // scikit-learn's precision_score, recall_score, accuracy_score, f1_score and confusion_matrix of LogisticRegression's
    // probabilities from 0.7 on.
    let (measures, matrix) =
        ([0.9042553191489362, 0.7611940298507462, 0.8216666666666667, 0.826580226904376], [238, 27, 80, 255]);
    let measured = "SELECT precision, recall, accuracy, f1_score FROM ML.EVALUATE(MODEL late, TABLE trips, STRUCT(0.7 AS threshold))";
    let counted = "SELECT sum(\"false\") FILTER (WHERE NOT expected_label) AS tn, sum(\"true\") FILTER (WHERE NOT expected_label) AS fp, \
                   sum(\"false\") FILTER (WHERE expected_label) AS fn, sum(\"true\") FILTER (WHERE expected_label) AS tp \
                   FROM ML.CONFUSION_MATRIX(MODEL late, TABLE trips, STRUCT(0.7 AS threshold))";
    for how in ["batch", "streaming"] {
        are_close(&numbers(&mut served, &format!("SET execution = '{how}'; {measured}")), &measures, 1e-12);
        let counts = served.ask(&format!("SET execution = '{how}'; {counted}"));
        let counts: Vec<i64> = counts[0]
            .columns()
            .iter()
            .map(|column| column.as_primitive::<arrow::datatypes::Int64Type>().value(0))
            .collect();
        assert_eq!(counts, matrix, "{how}");
    }
    let predicted = "ML.PREDICT(MODEL late, TABLE trips, STRUCT(0.7 AS threshold, TRUE AS class_probabilities)) AS p";
    is_so(
        &mut served,
        "bool_and(predicted_late = (predicted_late_prob >= 0.7)) AND count(p.predicted_late_probs) = 600",
        predicted,
    );
    // At least, not above.
    let all = "ML.PREDICT(MODEL late, TABLE trips, STRUCT(0 AS threshold))";
    is_so(&mut served, "bool_and(predicted_late)", all);
    for (options, reason) in [
        ("1.5 AS threshold", "threshold is a number from 0 to 1, not 1.5"),
        ("TRUE AS threshold", "threshold is a number from 0 to 1, not true"),
    ] {
        let sql = format!("SELECT * FROM ML.PREDICT(MODEL late, TABLE trips, STRUCT({options}))");
        served.refused(&sql, Code::InvalidArgument, reason);
    }
    let curve = "SELECT * FROM ML.ROC_CURVE(MODEL late, TABLE trips, STRUCT(0.5 AS threshold))";
    served.refused(curve, Code::Unimplemented, "ML.ROC_CURVE takes no options");
    served.ask(
        "CREATE MODEL far WITH (model_type = 'linear_reg', label = 'distance') AS SELECT distance, zone FROM trips",
    );
    let number = "SELECT * FROM ML.EVALUATE(MODEL far, TABLE trips, STRUCT(0.5 AS threshold))";
    served.refused(number, Code::Unimplemented, "it is of two classes, and of a label that is a BOOLEAN");
    served.end();
}

#[test]
fn a_model_alone_is_evaluated_by_what_its_fit_measured() {
    let mut served = served();
    served.ask(
        "CREATE MODEL far WITH (model_type = 'linear_reg', label = 'distance') AS SELECT distance, zone FROM trips",
    );
    let columns = "accuracy, log_loss, roc_auc";
    let by_rows = numbers(&mut served, &format!("SELECT {columns} FROM ML.EVALUATE(MODEL late, TABLE trips)"));
    let by_fit = format!("SELECT {columns} FROM ML.EVALUATE(MODEL late)");
    for how in ["batch", "streaming"] {
        // The rows learnt are all that there are: scikit-learn's accuracy_score, log_loss and roc_auc_score of them.
        let found = numbers(&mut served, &format!("SET execution = '{how}'; {by_fit}"));
        are_close(&found, &[0.8383333333333334, 0.346327441653643, 0.9250183047029007], 1e-6);
        are_close(&found, &by_rows.iter().map(|value| value.unwrap()).collect::<Vec<_>>(), 1e-9);
    }
    let names = |served: &mut Served, sql: &str| {
        let rows = served.ask(sql);
        rows[0].schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    for model in ["late", "far"] {
        let with_rows = names(&mut served, &format!("SELECT * FROM ML.EVALUATE(MODEL {model}, TABLE trips)"));
        assert_eq!(names(&mut served, &format!("SELECT * FROM ML.EVALUATE(MODEL {model})")), with_rows, "{model}");
    }
    let held = "CREATE OR REPLACE MODEL far WITH (model_type = 'linear_reg', label = 'distance', data_split_method = 'seq', \
                data_split_col = 'id') AS SELECT distance, zone, id FROM trips";
    served.ask(held);
    served.ask("CREATE VIEW last AS SELECT distance, zone FROM trips WHERE id >= 480");
    let columns = "r2_score, mean_absolute_error, mean_squared_error";
    let by_rows = numbers(&mut served, &format!("SELECT {columns} FROM ML.EVALUATE(MODEL far, TABLE last)"));
    let by_fit = numbers(&mut served, &format!("SELECT {columns} FROM ML.EVALUATE(MODEL far)"));
    are_close(&by_fit, &by_rows.iter().map(|value| value.unwrap()).collect::<Vec<_>>(), 1e-9);
    served.ask("CREATE VIEW bare AS SELECT distance FROM trips; CREATE VIEW texts AS SELECT distance, 'yes' AS late FROM trips");
    let bare = "the label 'late', and 'bare' has no such column; there are: distance";
    for (table, reason) in [("bare", bare), ("texts", "which is BOOLEAN to the model, and in 'texts' it is")] {
        for function in ["ML.EVALUATE", "ML.CONFUSION_MATRIX"] {
            let sql = format!("SELECT * FROM {function}(MODEL late, TABLE {table})");
            served.refused(&sql, Code::InvalidArgument, reason);
        }
    }
    served.refused(
        "SELECT * FROM ML.EVALUATE(MODEL far$1)",
        Code::Unimplemented,
        "ML.EVALUATE without rows of a version",
    );
    served.refused("SELECT * FROM ML.EVALUATE(MODEL nobody)", Code::NotFound, "nobody");
    served.ask("CREATE MODEL parts WITH (model_type = 'kmeans') AS SELECT distance, zone FROM trips");
    served.refused("SELECT * FROM ML.EVALUATE(MODEL parts)", Code::Unimplemented, "SHOW VERSIONS IN MODEL m");
    // And which there are, by their names.
    let models = shown(&served.ask("SHOW MODELS LIKE '%a%'"));
    assert!(models.contains("late") && models.contains("far") && models.contains("parts"), "{models}");
    let models = shown(&served.ask("SHOW MODELS LIKE 'l%'"));
    assert!(models.contains("late") && !models.contains("far"), "{models}");
    served.end();
}
