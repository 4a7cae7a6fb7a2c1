//! Each kind of model by SQL, fitted to a table or learning along a stream: what it learns it says of rows.
//!
//! Numbers are compared with the reference libraries' in `engine/ml`; here each model must find what was put into the
//! rows, with the options that only it has.

use crate::command::Folder;
use crate::fitted::{TABLES, folder};
use crate::flight_sql::{Served, shown};

/// The only row that a query over a model comes to.
#[track_caller]
fn asked(folder: &Folder, model: &str, query: &str) -> Vec<f64> {
    let script = format!("{TABLES}CREATE MODEL m WITH ({model}); SELECT {query}");
    let printed = folder.run(&script, &["--format", "csv"]).success().stdout;
    let row = printed.lines().nth(1).unwrap_or_else(|| panic!("no row: {printed}"));
    row.split(',').map(|value| value.parse().unwrap_or_else(|_| panic!("{model}: {printed}"))).collect()
}

/// Trips by how far they go, in three classes.
const FAR: &str =
    "(SELECT distance, zone, CASE WHEN distance < 3 THEN 'near' WHEN distance < 7 THEN 'mid' ELSE 'far' END AS far
                    FROM trips)";

#[test]
fn classifiers_tell_three_classes_apart() {
    let folder = folder();
    for (model, least) in [
        ("model_type = 'linear_svm'", 0.65),
        ("model_type = 'knn_classifier', num_neighbors = 3, weights = 'distance'", 0.99),
        ("model_type = 'naive_bayes'", 0.85),
        ("model_type = 'decision_tree_classifier', max_tree_depth = 3", 0.99),
        ("model_type = 'random_forest_classifier', num_parallel_tree = 20, seed = 1", 0.99),
        ("model_type = 'boosted_tree_classifier', max_iterations = 20", 0.99),
        ("model_type = 'auto_classifier', num_trials = 4", 0.85),
    ] {
        let model = format!("{model}, label = 'far') AS (SELECT * FROM {FAR} AS t");
        let accuracy = asked(&folder, &model, &format!("accuracy FROM ML.EVALUATE(MODEL m, {FAR})"));
        assert!(accuracy[0] >= least, "{model}: {accuracy:?}");
    }
}

#[test]
fn regressors_follow_a_product_of_two_features() {
    let folder = folder();
    let rows = "(SELECT distance, zone, 3 + 2 * distance * zone AS fare FROM trips)";
    for (model, least) in [
        ("model_type = 'linear_reg'", 0.8),
        ("model_type = 'linear_svr', epsilon = 0.5", 0.7),
        ("model_type = 'auto_regressor', num_trials = 4", 0.8),
        ("model_type = 'knn_regressor', num_neighbors = 1", 0.999),
        ("model_type = 'decision_tree_regressor', max_tree_depth = 8", 0.99),
        ("model_type = 'random_forest_regressor', num_parallel_tree = 20, seed = 1", 0.99),
        ("model_type = 'boosted_tree_regressor'", 0.99),
    ] {
        let model = format!("{model}, label = 'fare') AS (SELECT * FROM {rows} AS t");
        let r2 = asked(&folder, &model, &format!("r2_score FROM ML.EVALUATE(MODEL m, {rows})"));
        assert!(r2[0] >= least, "{model}: {r2:?}");
    }
}

#[test]
fn a_ranker_puts_the_rows_of_each_group_in_order() {
    let folder = folder();
    // In each zone the far ones are wanted, whatever far is there.
    let rows = "(SELECT id, zone, distance + 100 * zone AS place, CAST(distance / 2 AS BIGINT) AS wanted FROM trips)";
    let model = format!(
        "model_type = 'boosted_tree_ranker', group_column = 'zone', max_iterations = 30, label = 'wanted') AS
         (SELECT zone, place, wanted FROM {rows} AS t"
    );
    let order = "min(r) AS r FROM (SELECT zone, corr(predicted_wanted, CAST(wanted AS DOUBLE)) AS r
                 FROM ML.PREDICT(MODEL m, (SELECT zone, place, wanted FROM";
    let correlation = asked(&folder, &model, &format!("{order} {rows})) GROUP BY zone)"));
    // The first 30 places of a group are what is learnt.
    assert!(correlation[0] > 0.7, "{correlation:?}");
}

#[test]
fn ratings_that_nobody_gave_follow_from_those_of_others() {
    let folder = Folder::with(&[("zones.csv", "zone,name,rain\n")]);
    // Each of 30 users likes each of 20 items by the product of a number of his and one of its.
    let rating = |user: u64, item: u64| (1 + user % 5) as f64 * (1 + item % 4) as f64 / 4.0;
    let pairs = (0..600).map(|n| (n / 20, n % 20));
    let given: String = pairs
        .filter(|(user, item)| (user * 7 + item * 3) % 10 != 0)
        .map(|(user, item)| format!("u{user},i{item},{}\n", rating(user, item)))
        .collect();
    folder.write("trips.csv", format!("person,thing,stars\n{given}"));
    let model = "model_type = 'matrix_factorization', label = 'stars', user_col = 'person', item_col = 'thing',
                 num_factors = 2, l2_reg = 0.001, max_iterations = 50) AS (SELECT person, thing, stars FROM trips";
    let hidden = "(SELECT 'u10' AS person, 'i0' AS thing, 0.25 AS stars UNION ALL SELECT 'u4', 'i4', 1.25)";
    let error =
        asked(&folder, model, &format!("max(abs(predicted_stars - stars)) AS e FROM ML.PREDICT(MODEL m, {hidden})"));
    assert!(error[0] < 0.1, "{error:?}");
}

#[test]
fn a_value_far_from_the_median_is_an_anomaly_and_named() {
    let folder = folder();
    let rows = "(SELECT distance, CASE WHEN id = 77 THEN 500.0 ELSE CAST(zone AS DOUBLE) END AS zone FROM trips)";
    let model = format!("model_type = 'robust_zscore') AS (SELECT * FROM {rows} AS t");
    let found = asked(
        &folder,
        &model,
        &format!(
            "count(*) FILTER (WHERE is_anomaly) AS n, count(*) FILTER (WHERE is_anomaly AND anomalous_feature = 'zone') AS z
             FROM ML.PREDICT(MODEL m, {rows})"
        ),
    );
    assert_eq!(found, [1.0, 1.0]);
}

#[test]
fn models_without_a_label_say_what_they_find() {
    let folder = folder();
    let asked = |options: &str, query: &str| {
        let model =
            format!("CREATE MODEL m WITH ({options}) AS SELECT distance, CAST(zone AS DOUBLE) AS zone FROM trips;");
        let script = format!("{TABLES}{model}{query}");
        folder.run(&script, &["--format", "csv"]).success().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let trips = "ML.PREDICT(MODEL m, (SELECT id, distance, CAST(zone AS DOUBLE) AS zone FROM trips))";
    // Each zone has as many trips, and is far from the others.
    let groups = asked(
        "model_type = 'kmeans', num_clusters = 3, standardize_features = false, distance_type = 'euclidean'",
        &format!("SELECT centroid_id, count(*) AS n FROM {trips} GROUP BY centroid_id ORDER BY centroid_id"),
    );
    let sizes = groups[1..].iter().map(|row| row.split(',').nth(1).unwrap().parse::<u64>().unwrap());
    assert_eq!((groups[0].as_str(), groups.len(), sizes.sum()), ("centroid_id,n", 4, 600), "{groups:?}");
    let dense = asked(
        "model_type = 'dbscan', eps = 0.6, standardize_features = false",
        &format!("SELECT count(DISTINCT cluster_id) AS n, count(*) FILTER (WHERE is_noise) AS noise FROM {trips}"),
    );
    assert_eq!(dense, ["n,noise", "3,0"]);
    let mixed = asked(
        "model_type = 'gaussian_mixture', num_clusters = 3",
        &format!("SELECT count(DISTINCT cluster_id) AS n, bool_and(log_density > -10) AS a FROM {trips}"),
    );
    assert_eq!(mixed, ["n,a", "3,true"]);
    let lists = asked(
        "model_type = 'kmeans', num_clusters = 3, kmeans_algorithm = 'mini_batch', batch_size = 100",
        &format!("SELECT max(cardinality(nearest_centroids_distance)) AS n FROM {trips}"),
    );
    assert_eq!(lists, ["n", "3"]);
    let lines = asked(
        "model_type = 'pca', num_principal_components = 1",
        &format!(
            "SELECT abs(avg(principal_component_1)) < 1e-9 AS is_centred, count(principal_component_1) AS n FROM {trips}"
        ),
    );
    assert_eq!(lines, ["is_centred,n", "true,600"]);
    let odd = asked(
        "model_type = 'isolation_forest', contamination = 0.1",
        &format!("SELECT count(*) FILTER (WHERE is_anomaly) AS n, min(anomaly_score) > 0 AS a FROM {trips}"),
    );
    let count: u64 = odd[1].split(',').next().unwrap().parse().unwrap();
    assert!((30..=90).contains(&count) && odd[1].ends_with(",true"), "{odd:?}");

    let refused = |options: &str, query: &str| {
        let script = format!("{TABLES}CREATE MODEL m WITH ({options}) AS SELECT distance, zone FROM trips; {query}");
        folder.run(&script, &[]).failure()
    };
    let text = refused("model_type = 'kmeans', label = 'zone'", "");
    assert!(text.contains("a model of type kmeans learns no label"), "{text}");
    let text = refused("model_type = 'logistic_reg'", "");
    assert!(text.contains("a model needs the option 'label'"), "{text}");
    let text = refused("model_type = 'kmeans', num_clusters = 3", "SELECT * FROM ML.EVALUATE(MODEL m, TABLE trips)");
    assert!(text.contains("ML.EVALUATE of a model of type 'kmeans'") && text.contains("ask ML.PREDICT"), "{text}");
    let text = refused("model_type = 'kmeans', num_clusters = 700", "");
    assert!(text.contains("600"), "{text}");
}

#[test]
fn what_models_know_are_tables() {
    let mut served = Served::start();
    let files = folder();
    std::fs::copy(files.path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    let features = "SELECT distance, CAST(zone AS DOUBLE) AS zone FROM trips";
    for (name, options, rows) in [
        ("groups", "model_type = 'kmeans', num_clusters = 3", features),
        ("lines", "model_type = 'pca', num_principal_components = 2", features),
        ("trees", "model_type = 'boosted_tree_classifier', label = 'late'", "SELECT late, distance, zone FROM trips"),
        ("woods", "model_type = 'random_forest_classifier', label = 'late'", "SELECT late, distance, zone FROM trips"),
        ("plane", "model_type = 'linear_svm', label = 'late'", "SELECT late, distance, zone FROM trips"),
    ] {
        served.ask(&format!("CREATE MODEL {name} WITH ({options}) AS {rows}"));
    }
    let centres = served.number("SELECT count(*) AS n FROM ML.CENTROIDS(MODEL groups)");
    assert_eq!(centres, 6, "three clusters of two features");
    // Directions have the length 1, and all of the variance is explained by as many as there are features.
    let lengths = "SELECT CAST(round(1000 * min(l)) AS BIGINT) AS n FROM (
        SELECT sum(power(numerical_value, 2)) AS l FROM ML.PRINCIPAL_COMPONENTS(MODEL lines) GROUP BY principal_component_id)";
    let told = shown(&served.ask("SELECT * FROM ML.PRINCIPAL_COMPONENTS(MODEL lines)"));
    assert_eq!(served.number(lengths), 1000, "{told}");
    let explained = "SELECT CAST(round(1000 * sum(explained_variance_ratio)) AS BIGINT) AS n
        FROM ML.PRINCIPAL_COMPONENT_INFO(MODEL lines)";
    assert_eq!(served.number(explained), 1000);
    for name in ["trees", "woods"] {
        let ranked = format!("SELECT feature FROM ML.FEATURE_IMPORTANCE(MODEL {name}) ORDER BY importance_weight DESC");
        let used = shown(&served.ask(&ranked));
        let (distance, zone) = (used.find("distance").unwrap(), used.find("zone").unwrap());
        assert!(distance < zone, "{used}");
    }
    let rising =
        "SELECT count(*) AS n FROM ML.WEIGHTS(MODEL plane) WHERE processed_input <> '__INTERCEPT__' AND weight > 0";
    assert_eq!(served.number(rising), 2);
    served.end();
}

/// Trips of a stream, 20 a second. The fare is linear in the distance and the zone; the class is not.
fn stream() -> (Folder, String) {
    let trip = |n: u64| {
        let (zone, distance) = (n * n % 7 % 3, (n * 37 % 101) as f64 / 10.0);
        let fare = 3.0 + 2.0 * distance + if zone == 1 { 8.0 } else { 0.0 };
        let pace = if distance < 4.0 { "short" } else { ["long", "slow"][usize::from(zone == 1)] };
        let (millis, second) = (n % 20 * 50, n / 20);
        format!(
            "{n},z{zone},{distance},{fare},{pace},2024-01-01 00:{:02}:{:02}.{millis:03}\n",
            second / 60,
            second % 60
        )
    };
    let trips: String = (0..3000).map(trip).collect();
    let folder = Folder::with(&[("trips.csv", &format!("id,zone,distance,fare,pace,ts\n{trips}"))]);
    let source =
        "CREATE SOURCE trips (id BIGINT, zone VARCHAR, distance DOUBLE, fare DOUBLE, pace VARCHAR, ts TIMESTAMP,
                                       WATERMARK FOR ts AS ts)
                    WITH (connector = 'files', path = 'trips.csv', format = 'csv');";
    (folder, source.to_owned())
}

#[test]
fn models_learn_numbers_and_classes_along_a_stream() {
    let (folder, source) = stream();
    // What is said of a row is said by what was learnt a second before it. The first thousand rows are for learning.
    let late = "ML.EVALUATE(MODEL m, (SELECT * FROM trips WHERE id >= 1000))";
    for (model, label, measure) in [
        ("model_type = 'linear_reg', optimizer = 'sgd', learning_rate = 0.05", "fare", "r2_score"),
        ("model_type = 'linear_reg', optimizer = 'adam', learning_rate = 0.01, loss = 'huber'", "fare", "r2_score"),
        ("model_type = 'hoeffding_tree_classifier'", "pace", "accuracy"),
        ("model_type = 'hoeffding_adaptive_tree_classifier'", "pace", "accuracy"),
        ("model_type = 'adaptive_random_forest_classifier', seed = 1", "pace", "accuracy"),
        ("model_type = 'hoeffding_tree_regressor'", "fare", "r2_score"),
    ] {
        let script = format!(
            "{source}
             CREATE MODEL m WITH ({model}, label = '{label}', publish_every = '1 second') AS
               SELECT ts, zone, distance, {label} FROM trips;
             SELECT {measure} FROM {late};"
        );
        let measured = |parallelism: &str| {
            let printed = folder.run(&script, &["--format", "csv", "--parallelism", parallelism]).success().stdout;
            let number = printed.lines().nth(1).and_then(|row| row.parse::<f64>().ok());
            number.unwrap_or_else(|| panic!("{model}: {printed}"))
        };
        let alone = measured("1");
        assert!(alone > 0.95, "{model}: {alone}");
        // One task learns all rows, in their order, however many predict; those add up in some order.
        assert!((measured("2") - alone).abs() < 1e-9, "{model}");
    }
    // What is known of a version says how many rows it has learnt; an AUC only where there are two classes.
    let learns = format!(
        "{source} CREATE MODEL m WITH (model_type = 'hoeffding_tree_classifier', label = 'pace') AS
           SELECT ts, zone, distance, pace FROM trips;"
    );
    folder.run(&learns, &["--data-dir", "data"]).success();
    let known = folder.run("SHOW MODELS", &["--data-dir", "data", "--format", "csv"]).success().stdout;
    let row = known.lines().nth(1).unwrap_or_default();
    assert!(row.starts_with("m,,") && row.contains(",3000,") && !row.contains("auc"), "{known}");
}

#[test]
fn what_a_stream_cannot_teach_is_said_before_it_begins() {
    let (folder, source) = stream();
    for (options, message) in [
        ("model_type = 'linear_reg', label = 'pace'", "label column 'pace' has the unsupported type"),
        ("model_type = 'hoeffding_tree_classifier', label = 'fare'", "label column 'fare' has the unsupported type"),
        ("model_type = 'linear_reg', label = 'fare', huber_delta = 2", "loss = 'huber' beside it"),
        ("model_type = 'hoeffding_tree_classifier', label = 'pace', max_depth = 3", "has no option 'max_depth'"),
    ] {
        let script = format!("{source} CREATE MODEL m WITH ({options}) AS SELECT ts, zone, fare, pace FROM trips;");
        let told = folder.run(&script, &[]).failure();
        assert!(told.contains(message), "{options}: {told}");
    }
}
