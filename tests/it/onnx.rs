//! Models as ONNX files: ONNX Runtime says of rows what ML.PREDICT says.

use std::fs;

use tonic::Code;

use crate::flight_sql::{Served, run_python};

/// Numbers and texts that may be missing, and labels that follow from them: a flag, one of three texts, a whole number, and a
/// number.
fn trips() -> String {
    let trip = |n: u64| {
        let distance = (n * 37 % 101) as f64 / 10.0;
        let city = ["north", "east", "south", "west", ""][(n * n % 7 % 5) as usize];
        let is_rainy = n.is_multiple_of(3);
        let cost = distance * 2.0 + if city == "east" { 9.0 } else { 0.0 } + (n % 5) as f64 / 2.0;
        let kind = ["slow", "plain", "fast"][(cost / 11.0) as usize % 3];
        let distance = if n % 11 == 3 { String::new() } else { distance.to_string() };
        format!("{n},{distance},{},{city},{is_rainy},{},{kind},{},{cost}\n", n % 13, cost > 14.0, cost as u64 / 8)
    };
    (0..500).map(trip).collect()
}

/// What each model is called, its type and options, and what its label is made of.
const MODELS: [(&str, &str, &str); 10] = [
    ("two_classes", "'logistic_reg'", "late"),
    ("many_classes", "'logistic_reg', standardize_features = 'false'", "kind"),
    ("whole_numbers", "'logistic_reg'", "grade"),
    ("line", "'linear_reg'", "cost"),
    ("tube", "'linear_svr'", "cost"),
    ("boosted_flag", "'boosted_tree_classifier', max_iterations = 20", "late"),
    ("boosted_texts", "'boosted_tree_classifier', max_iterations = 10", "kind"),
    ("boosted_numbers", "'boosted_tree_regressor', max_iterations = 20", "cost"),
    ("forest", "'random_forest_classifier', num_parallel_tree = 7", "kind"),
    ("tree", "'decision_tree_regressor'", "cost"),
];

#[test]
fn onnx_runtime_says_what_ml_predict_says() {
    let mut served = Served::start();
    fs::write(
        served.folder.path("trips.csv"),
        format!("id,distance,stops,city,rainy,is_late,kind,grade,cost\n{}", trips()),
    )
    .unwrap();
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    let here = |served: &Served, name: String| served.folder.path(&name).display().to_string();
    for (name, options, label) in MODELS {
        let label = if label == "late" { "is_late" } else { label };
        let features = "distance, stops, city, rainy";
        served.ask(&format!(
            "CREATE MODEL {name} WITH (model_type = {options}, label = 'late') AS SELECT {features}, {label} AS late FROM trips"
        ));
        let probabilities = if options.contains("classifier") || options.contains("logistic") {
            ", STRUCT(TRUE AS class_probabilities)"
        } else {
            ""
        };
        // Cities that no row had, too.
        let rows =
            "(SELECT distance, stops, CASE WHEN id % 17 = 0 THEN 'nowhere' ELSE city END AS city, rainy FROM trips)";
        let (onnx, parquet) = (here(&served, format!("{name}.onnx")), here(&served, format!("{name}.parquet")));
        served.ask(&format!(
            "EXPORT MODEL {name} TO '{onnx}' WITH (format = 'onnx');
             COPY (SELECT * FROM ML.PREDICT(MODEL {name}, {rows}{probabilities})) TO '{parquet}' STORED AS PARQUET"
        ));
    }
    run_python(&served.folder, "tests/python/onnx_files.py", &MODELS.map(|(name, _, _)| name));

    let path = here(&served, "no.onnx".to_owned());
    let refused = format!(
        "CREATE MODEL near WITH (model_type = 'kmeans', num_clusters = 2) AS SELECT distance FROM trips;
         EXPORT MODEL near TO '{path}' WITH (format = 'onnx')"
    );
    served.refused(&refused, Code::InvalidArgument, "a kmeans model cannot be exported so");
    let transformed = format!(
        "CREATE MODEL scaled TRANSFORM (ML.STANDARD_SCALER(stops) OVER () AS stops, cost)
           WITH (model_type = 'linear_reg', label = 'cost') AS SELECT stops, cost FROM trips;
         EXPORT MODEL scaled TO '{path}' WITH (format = 'onnx')"
    );
    served.refused(&transformed, Code::InvalidArgument, "its TRANSFORM is no part of these ONNX models");
}
