//! TRANSFORM of CREATE MODEL: what becomes of it, and what it refuses.

use expect_test::{Expect, expect};

use super::{error, execute, explain_after, graph, session};
use crate::Catalog;
use crate::document::PlanDocument;

/// A table with features of all kinds, and a label.
const TRIPS: &str = "
CREATE SOURCE trips (id BIGINT, zone VARCHAR, distance DOUBLE, pace REAL, at_time TIMESTAMP, late BOOLEAN)
  WITH (connector = 'files', path = 'trips', format = 'parquet');";

/// A model of all trips with these features.
fn model(features: &str) -> String {
    let options = "model_type = 'logistic_reg', label = 'late', training_set = 'set'";
    format!("CREATE MODEL m TRANSFORM ({features}) WITH ({options}) AS SELECT * FROM trips")
}

fn check(features: &str, expect: Expect) {
    let preparation = format!("{TRIPS}{};", model(features));
    expect.assert_eq(&explain_after(&preparation, "SELECT id, predicted_late FROM ML.PREDICT(MODEL m, TABLE trips)"));
}

fn check_error(sql: &str, expect: Expect) {
    let mut session = session();
    execute(&mut session, TRIPS).unwrap();
    expect.assert_eq(&error(&mut session, sql));
}

const FEATURES: &str = "ML.STANDARD_SCALER(distance) OVER () AS distance, ML.MIN_MAX_SCALER(pace * 2) OVER () AS pace,
    ML.STANDARD_SCALER(distance) OVER () * id AS product, EXTRACT(HOUR FROM at_time) AS hour, UPPER(zone) AS zone,
    ML.BUCKETIZE(distance, [1, 2.5]) AS bucket, ML.QUANTILE_BUCKETIZE(distance, 4) OVER () AS quarter,
    ml.imputer(zone, 'most_frequent') OVER () AS area, ML_LABEL_ENCODER(zone, 10) OVER () AS \"Number\",
    ML.ROBUST_SCALER(pace, [10, 90], FALSE) OVER () AS robust, late";

#[test]
fn features_are_made_of_the_columns_of_the_query() {
    check(
        FEATURES,
        expect![[r#"
        Sink #5 select_1 to result [x1]
          Project #4 id, predicted_late [x1] -> forward
            Predict #3 m consistent: id, zone, distance, pace, at_time [x1] -> forward
              Source #0 trips from files [x1] -> forward
              Fit #2 m logistic_reg label=late: ML.STANDARD_SCALER(distance) OVER () AS distance, ML.MIN_MAX_SCALER(pace * 2) OVER () AS pace, (ML.STANDARD_SCALER(distance) OVER () * CAST(id AS DOUBLE)) AS product, date_part('HOUR', at_time) AS hour, upper("zone") AS zone, ml_bucketize(distance, [1.0, 2.5]) AS bucket, ML.QUANTILE_BUCKETIZE(distance, 4) OVER () AS quarter, ML.IMPUTER(zone, 'most_frequent') OVER () AS area, ML.LABEL_ENCODER(zone, 10, 1) OVER () AS Number, ML.ROBUST_SCALER(pace, [10, 90], false, true) OVER () AS robust [x1] -> broadcast
                Source #1 m_training_set from files [x1] -> forward
    "#]],
    );
    check(
        "* EXCEPT (zone, at_time), UPPER(zone) AS zone",
        expect![[r#"
        Sink #5 select_1 to result [x1]
          Project #4 id, predicted_late [x1] -> forward
            Predict #3 m consistent: id, zone, distance, pace [x1] -> forward
              Source #0 trips from files [x1] -> forward
              Fit #2 m logistic_reg label=late: id, distance, pace, upper("zone") AS zone [x1] -> broadcast
                Source #1 m_training_set from files [x1] -> forward
    "#]],
    );
    check(
        "ML.POLYNOMIAL_EXPAND(STRUCT(distance, id), 2) AS p, ML.FEATURE_CROSS(STRUCT(zone, zone)) AS c, late,
         ML.HASH_BUCKETIZE(zone, 7) AS h",
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 id, predicted_late [x1] -> forward
                Predict #3 m consistent: id, zone, distance [x1] -> forward
                  Source #0 trips from files [x1] -> forward
                  Fit #2 m logistic_reg label=late: distance AS p_distance, CAST(id AS DOUBLE) AS p_id, (distance * distance) AS p_distance_distance, (distance * CAST(id AS DOUBLE)) AS p_distance_id, (CAST(id AS DOUBLE) * CAST(id AS DOUBLE)) AS p_id_id, (("zone" || '_') || "zone") AS c_zone_zone, ml_hash_bucketize("zone", 7) AS h [x1] -> broadcast
                    Source #1 m_training_set from files [x1] -> forward
        "#]],
    );
}

#[test]
fn what_is_written_down_of_it_means_the_same() {
    let mut session = session();
    execute(&mut session, TRIPS).unwrap();
    let sql = format!(
        "{}; CREATE SINK out WITH (connector = 'print') AS SELECT predicted_late FROM ML.PREDICT(MODEL m, TABLE trips)",
        model(FEATURES)
    );
    let graph = graph(&mut session, &sql).unwrap();
    let document = PlanDocument::of_graph(&graph).unwrap();
    let json = document.to_json();
    for part in ["ML.IMPUTER(x, 'most_frequent') OVER ()", "ML.ROBUST_SCALER(x, [10, 90], false, true) OVER ()"] {
        assert!(json.contains(part), "{json}");
    }
    let (again, _) = PlanDocument::from_json(&json).unwrap().to_graph(&session.settings).unwrap();
    assert_eq!(again, graph);
    let (restored, left_out) = Catalog::restored(&session.catalog.entries(), None);
    assert!(left_out.is_empty(), "{left_out:?}");
    assert_eq!(restored.entries(), session.catalog.entries());
}

#[test]
fn a_label_is_in_it_as_it_is() {
    check_error(
        &model("distance, zone"),
        expect![[r#"
        line 1, column 16: the label 'late' is not in TRANSFORM, which leaves out what it does not name; add it
    "#]],
    );
    check_error(
        &model("distance, NOT late AS late"),
        expect![[r#"
        line 1, column 41: a label that TRANSFORM computes is not supported; compute it in the training query, and name it alone here
    "#]],
    );
    check_error(
        &model("distance, late AND id > 3 AS l, late"),
        expect![[r#"
        line 1, column 16: a feature is made of the label 'late', which nobody knows yet when the model is asked
    "#]],
    );
    check_error(
        &model("distance, late, *"),
        expect![[r#"
        line 1, column 43: the feature 'distance' is there twice; * EXCEPT (distance) leaves the query's column out
    "#]],
    );
    check_error(
        &model("late"),
        expect![[r#"
        line 1, column 16: TRANSFORM makes no feature: it needs a column besides the label
    "#]],
    );
}

#[test]
fn functions_and_their_arguments() {
    check_error(
        &model("ML.TEXT_VECTOR(zone) OVER () AS z, late"),
        expect![[r#"
            line 1, column 27: the function ML.TEXT_VECTOR is not supported; TRANSFORM has ML.STANDARD_SCALER, ML.MIN_MAX_SCALER, ML.MAX_ABS_SCALER, ML.ROBUST_SCALER, ML.IMPUTER, ML.QUANTILE_BUCKETIZE, ML.LABEL_ENCODER, ML.ONE_HOT_ENCODER, ML.QUANTILE_SCALER, ML.TARGET_ENCODER, ML.BAG_OF_WORDS, ML.TF_IDF, ML.BUCKETIZE, ML.HASH_BUCKETIZE, ML.NGRAMS, ML.NORMALIZER, ML.POLYNOMIAL_EXPAND and ML.FEATURE_CROSS
        "#]],
    );
    check_error(
        &model("ML.STANDARD_SCALER(distance) AS d, late"),
        expect![[r#"
        line 1, column 27: ML.STANDARD_SCALER goes by all rows of the training query: write OVER () behind it
    "#]],
    );
    check_error(
        &model("ML.STANDARD_SCALER(distance) OVER (PARTITION BY zone) AS d, late"),
        expect![[r#"
        line 1, column 27: ML.STANDARD_SCALER over a part of the rows is not supported; write ML.STANDARD_SCALER(…) OVER (): it goes by all rows of the training query
    "#]],
    );
    check_error(
        &model("ML.STANDARD_SCALER(zone) OVER () AS d, late"),
        expect![[r#"
        line 1, column 46: ML.STANDARD_SCALER reads numbers, and zone is VARCHAR
    "#]],
    );
    check_error(
        &model("ML.LABEL_ENCODER(id) OVER () AS d, late"),
        expect![[r#"
        line 1, column 44: ML.LABEL_ENCODER encodes VARCHAR; CAST(… AS VARCHAR) makes categories of other values, and id is BIGINT
    "#]],
    );
    check_error(
        &model("ML.TF_IDF(zone) OVER () AS z, late"),
        expect![[r#"
            line 1, column 37: ML.TF_IDF reads lists of VARCHAR, such as TEXT_ANALYZE makes of a text, and zone is VARCHAR
        "#]],
    );
    check_error(
        &model("ML.TF_IDF(TEXT_ANALYZE(zone), 100, 1, 'mine') OVER () AS z, late"),
        expect![[r#"
            line 1, column 27: ML.TF_IDF takes a list of VARCHAR, how many words are told apart, in how many rows one has to be, and whose formula, 'bigquery' or 'scikit_learn': ML.TF_IDF(words, 1000, 2, 'scikit_learn') OVER ()
        "#]],
    );
    check_error(
        &model("ML.NORMALIZER(zone) AS z, late"),
        expect![[r#"
            line 1, column 27: Function 'ml_normalizer' user-defined coercion failed with: Error during planning: ML.NORMALIZER takes a list of numbers, and which norm they are divided by: ML.NORMALIZER(x, 2); 1 is the sum of magnitudes, CAST('inf' AS DOUBLE) the largest, 0 how many are not 0
        "#]],
    );
    check_error(
        &model("ML.IMPUTER(zone, 'mean') OVER () AS d, late"),
        expect![[r#"
        line 1, column 38: the mean and the median are of numbers: ML.IMPUTER(c, 'most_frequent'), and zone is VARCHAR
    "#]],
    );
    check_error(
        &model("ML.IMPUTER(distance, 'mode') OVER () AS d, late"),
        expect![[r#"
        line 1, column 27: the strategy of ML.IMPUTER is 'mean', 'median' or 'most_frequent', and not mode
    "#]],
    );
    check_error(
        &model("ML.QUANTILE_BUCKETIZE(distance, id) OVER () AS d, late"),
        expect![[r#"
        line 1, column 59: ML.QUANTILE_BUCKETIZE takes constants behind its first argument, and not id
    "#]],
    );
    check_error(
        &model("ML.STANDARD_SCALER(1 + ML.IMPUTER(distance, 'mean') OVER ()) OVER () AS d, late"),
        expect![[r#"
            line 1, column 50: ML.IMPUTER within ML.STANDARD_SCALER is not supported; compute the inner one in the training query, such as avg(x) OVER ()
        "#]],
    );
    check_error(
        &model("avg(distance) OVER () AS d, late"),
        expect![[r#"
            line 1, column 27: avg(distance) ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING in TRANSFORM is not supported; of all rows TRANSFORM has ML.STANDARD_SCALER, ML.MIN_MAX_SCALER, ML.MAX_ABS_SCALER, ML.ROBUST_SCALER, ML.IMPUTER, ML.QUANTILE_BUCKETIZE, ML.LABEL_ENCODER, ML.ONE_HOT_ENCODER, ML.QUANTILE_SCALER, ML.TARGET_ENCODER, ML.BAG_OF_WORDS, ML.TF_IDF; others go into the training query
        "#]],
    );
    check_error(
        &model("(SELECT max(id) FROM trips) AS d, late"),
        expect![[r#"
        line 1, column 28: a subquery in an expression is not supported; join its table instead
    "#]],
    );
    check_error(
        &model("ML.BUCKETIZE(distance, [2, 1]) AS d, late"),
        expect![[r#"
        line 1, column 1: the points of ML.BUCKETIZE are numbers in ascending order, none of them twice
    "#]],
    );
    check_error(
        &model("ML.BUCKETIZE(zone, [2, 1]) AS d, late"),
        expect![[r#"
        line 1, column 27: Function 'ml_bucketize' user-defined coercion failed with: Error during planning: ML.BUCKETIZE takes a number and the points between its buckets, ML.BUCKETIZE(x, [1, 2.5]), and TRUE behind them to have NULL outside of the first and the last point
    "#]],
    );
    check_error(
        &model("random() AS d, late"),
        expect![[r#"
        line 1, column 27: random() is not supported; it gives another answer each time a row is replayed; use a column of the row, such as its event time
    "#]],
    );
    check_error(
        &model("ML.POLYNOMIAL_EXPAND(distance, 2) AS d, late"),
        expect![[r#"
        line 1, column 27: ML.POLYNOMIAL_EXPAND takes 1 to 10 columns of numbers, and how many of them are multiplied at most, 1 to 4: ML.POLYNOMIAL_EXPAND(STRUCT(a, b), 2)
    "#]],
    );
    check_error(
        &model("ML.POLYNOMIAL_EXPAND(STRUCT(distance, id), 9) AS d, late"),
        expect![[r#"
        line 1, column 27: ML.POLYNOMIAL_EXPAND takes 1 to 10 columns of numbers, and how many of them are multiplied at most, 1 to 4: ML.POLYNOMIAL_EXPAND(STRUCT(a, b), 2)
    "#]],
    );
    check_error(
        &model("ML.POLYNOMIAL_EXPAND(STRUCT(zone)) AS d, late"),
        expect![[r#"
        line 1, column 27: Cannot coerce arithmetic expression Utf8 * Float64 to valid types
    "#]],
    );
    check_error(
        &model("ML.FEATURE_CROSS(STRUCT(zone)) AS d, late"),
        expect![[r#"
        line 1, column 27: ML.FEATURE_CROSS takes 2 to 10 columns of texts, and how many of them are put together at most, 2 to 4 and no more than there are: ML.FEATURE_CROSS(STRUCT(a, b), 2)
    "#]],
    );
    check_error(
        &model("ML.HASH_BUCKETIZE(zone, 1.5) AS d, late"),
        expect![[r#"
        line 1, column 27: Function 'ml_hash_bucketize' user-defined coercion failed with: Error during planning: ML.HASH_BUCKETIZE takes a text and how many buckets there are: ML.HASH_BUCKETIZE(c, 100)
    "#]],
    );
    check_error(
        &model("distance, late); SELECT * FROM ML.TRANSFORM(MODEL m, TABLE trips)"),
        expect![[r#"
        line 1, column 42: expected WITH or OPTIONS (…), found ;
    "#]],
    );
}

/// The features of lists, of words and by the label.
const LISTS: &str = "ML.TF_IDF(ML.NGRAMS(TEXT_ANALYZE(zone), [1, 2]), 100, 2, 'scikit_learn') OVER () AS words,
    ML.BAG_OF_WORDS(TEXT_ANALYZE(zone)) OVER () AS bag, TEXT_ANALYZE(zone) AS plain, ML.NORMALIZER([distance, pace], 1) AS both,
    ML.TARGET_ENCODER(zone) OVER () AS zone, ML.TARGET_ENCODER(zone, 2.5, 3) OVER () + id AS other,
    ML.QUANTILE_SCALER(distance, 10) OVER () AS distance, late";

#[test]
fn lists_are_features() {
    check(
        LISTS,
        expect![[r#"
            Sink #5 select_1 to result [x1]
              Project #4 id, predicted_late [x1] -> forward
                Predict #3 m consistent: id, zone, distance, pace [x1] -> forward
                  Source #0 trips from files [x1] -> forward
                  Fit #2 m logistic_reg label=late: ML.TF_IDF(ML.NGRAMS(TEXT_ANALYZE(zone), [1, 2]), 100, 2, 'scikit_learn') OVER () AS words, ML.BAG_OF_WORDS(TEXT_ANALYZE(zone), 32000, 1) OVER () AS bag, text_analyze("zone") AS plain, ml_normalizer([distance, CAST(pace AS DOUBLE)], 1.0) AS both, ML.TARGET_ENCODER(zone, 'auto', 5) OVER () AS zone, (ML.TARGET_ENCODER(zone, 2.5, 3) OVER () + CAST(id AS DOUBLE)) AS other, ML.QUANTILE_SCALER(distance, 10) OVER () AS distance [x1] -> broadcast
                    Source #1 m_training_set from files [x1] -> forward
        "#]],
    );
    let mut session = session();
    execute(&mut session, TRIPS).unwrap();
    let sql = format!(
        "{}; CREATE SINK out WITH (connector = 'print') AS SELECT predicted_late FROM ML.PREDICT(MODEL m, TABLE trips)",
        model(LISTS)
    );
    let graph = graph(&mut session, &sql).unwrap();
    let document = PlanDocument::of_graph(&graph).unwrap();
    let (again, _) = PlanDocument::from_json(&document.to_json()).unwrap().to_graph(&session.settings).unwrap();
    assert_eq!(again, graph);
}

#[test]
fn a_model_of_lists_has_the_transform_that_leaves_columns_as_they_are() {
    let lists = "CREATE SOURCE lists (x DOUBLE[], n BIGINT, words VARCHAR[], day DATE, y BOOLEAN)
                 WITH (connector = 'files', path = 'lists', format = 'parquet');";
    let model = |options: &str, columns: &str| {
        format!("{lists} CREATE MODEL l WITH ({options}, training_set = 'set') AS SELECT {columns} FROM lists;")
    };
    let preparation =
        model("model_type = 'logistic_reg', label = 'y', data_split_method = 'seq', data_split_col = 'day'", "*");
    let predict = "SELECT predicted_y FROM ML.PREDICT(MODEL l, TABLE lists)";
    expect![[r#"
        Sink #5 select_1 to result [x1]
          Project #4 predicted_y [x1] -> forward
            Predict #3 l consistent: x, n, words [x1] -> forward
              Source #0 lists from files [x1] -> forward
              Fit #2 l logistic_reg label=y: x, n, words [x1] -> broadcast
                Source #1 l_training_set from files [x1] -> forward
    "#]]
    .assert_eq(&explain_after(&preparation, predict));
    let refused = |options: &str, columns: &str, expect: Expect| {
        expect.assert_eq(&error(&mut session(), &model(options, columns)));
    };
    refused(
        "model_type = 'pca'",
        "x",
        expect![[r#"
            line 2, column 102: what a model of type pca says has as many columns as there are features, and those of lists are known from the rows alone: the option num_principal_components says how many columns there are to be; options of every such model are model_type, label, model_freshness, training_set, workers
        "#]],
    );
    refused(
        "model_type = 'pca'",
        "[y] AS z",
        expect![[r#"
            line 2, column 82: the feature 'z' is BOOLEAN[], which no model of type 'pca' reads; cast it to DOUBLE or VARCHAR, or take a part of it with EXTRACT
        "#]],
    );
}

#[test]
fn names() {
    check_error(
        &model("nosuch, late"),
        expect![[r#"
        line 1, column 27: No field named nosuch.
        Valid fields are id, zone, distance, pace, at_time, late
    "#]],
    );
    check_error(
        &model("distance + 1, late"),
        expect![[r#"
        line 1, column 27: a feature of TRANSFORM needs a name: distance + 1 AS name
    "#]],
    );
    check_error(
        &model("id + 1 AS distance, *"),
        expect![[r#"
        line 1, column 47: the feature 'distance' is there twice; * EXCEPT (distance) leaves the query's column out
    "#]],
    );
    check_error(
        &model("* EXCEPT (nosuch)"),
        expect![[r#"
        line 1, column 37: the training query has no column 'nosuch'; there are: id, zone, distance, pace, at_time, late
    "#]],
    );
    check_error(
        &model("at_time, late"),
        expect![[r#"
        line 1, column 1: the feature 'at_time' is TIMESTAMP, which no model of type 'logistic_reg' reads; cast it to DOUBLE or VARCHAR, or take a part of it with EXTRACT
    "#]],
    );
    check_error(
        &model("1 AS one, late"),
        expect![[r#"
        line 1, column 16: TRANSFORM reads no column of the training query
    "#]],
    );
    check_error(
        &model(""),
        expect![[r#"
        line 1, column 27: expected an expression, found )
    "#]],
    );
}

#[test]
fn a_model_that_learns_for_ever_has_none() {
    check_error(
        "CREATE MODEL m TRANSFORM (ML.STANDARD_SCALER(auction) OVER () AS a, dear) WITH (model_type = 'logistic_reg', label = 'dear')
         AS SELECT auction, ts, price > 10 AS dear FROM bids",
        expect![[r#"
            line 1, column 16: TRANSFORM of a model that learns for ever is not supported; the statistics of TRANSFORM are those of a training set, which tables that end have; compute the features in the training query
        "#]],
    );
}

#[test]
fn rows_to_predict_have_the_columns_of_the_query() {
    let predict = |features: &str, rows: &str| {
        format!("{}; SELECT * FROM ML.PREDICT(MODEL m, (SELECT {rows} FROM trips))", model(features))
    };
    let features = "ML.STANDARD_SCALER(distance) OVER () AS d, EXTRACT(HOUR FROM at_time) AS hour, id, late";
    check_error(
        &predict(features, "distance AS d, id, at_time"),
        expect![[r#"
        line 1, column 244: model 'm' was trained with the feature 'distance', which the input of ML.PREDICT does not have
    "#]],
    );
    check_error(
        &predict(features, "distance, at_time, id + 0.5 AS id"),
        expect![[r#"
        line 1, column 244: model 'm' was trained with the feature 'id' as BIGINT, but in the input of ML.PREDICT it is DOUBLE
    "#]],
    );
    check_error(
        &predict(features, "distance, zone AS at_time, id"),
        expect![[r#"
        line 1, column 244: model 'm' was trained with the feature 'at_time' as TIMESTAMP, but in the input of ML.PREDICT it is VARCHAR
    "#]],
    );
}
