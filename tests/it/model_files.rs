//! Models that go to files and come from files: our own, and other libraries'.

use std::fs;

use tonic::Code;

use crate::command::PATIENCE;
use crate::fitted::folder;
use crate::flight_sql::{Served, connect, serve, shown};

/// A regression tree of LightGBM's: far trips cost 20, others 5; missing distances are far.
pub(crate) const LIGHTGBM: &str = "tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=0
objective=regression
feature_names=distance
feature_infos=[0:10]

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=1
threshold=5.5
decision_type=8
left_child=-1
right_child=-2
leaf_value=5 20
leaf_weight=10 10
leaf_count=10 10
internal_value=12
internal_weight=20
internal_count=20
is_linear=0
shrinkage=1


end of trees
";

fn predicted(served: &mut Served, model: &str) -> String {
    shown(&served.ask(&prediction(model)))
}

fn prediction(model: &str) -> String {
    format!("SELECT id, predicted_late, predicted_late_prob FROM ML.PREDICT(MODEL {model}, TABLE trips) ORDER BY id")
}

#[test]
fn a_model_is_the_same_behind_a_file() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    let file = |served: &Served, name: &str| served.folder.path(name).display().to_string();
    served.ask(
        "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
         CREATE MODEL late TRANSFORM (ML.STANDARD_SCALER(distance) OVER () AS scaled, zone, late)
           WITH (model_type = 'boosted_tree_classifier', label = 'late', max_iterations = 10) AS SELECT late, distance, zone FROM trips;
         CREATE MODEL near WITH (model_type = 'kmeans', num_clusters = 2) AS SELECT distance FROM trips",
    );
    let before = predicted(&mut served, "late");
    let path = file(&served, "late.model");
    let told = shown(&served.ask(&format!("EXPORT MODEL late TO '{path}'")));
    assert!(told.contains("EXPORT MODEL late"), "{told}");
    served.ask(&format!("EXPORT MODEL near TO '{}'", file(&served, "near.model")));
    let centroids = shown(&served.ask("SELECT * FROM ML.CENTROIDS(MODEL near) ORDER BY 1, 2"));
    served.ask("DROP MODEL late; DROP MODEL near");
    served.ask(&format!(
        "CREATE MODEL again FROM FILE '{path}'; CREATE MODEL near FROM FILE '{}'",
        file(&served, "near.model")
    ));
    assert_eq!(predicted(&mut served, "again"), before);
    let described = shown(&served.ask("DESCRIBE again"));
    assert!(described.contains("distance") && described.contains("label"), "{described}");
    let auc = "SELECT CASE WHEN roc_auc > 0.8 THEN 1 ELSE 0 END AS n FROM ML.EVALUATE(MODEL again, TABLE trips)";
    assert_eq!(served.number(auc), 1);

    // From here on the file is not needed.
    fs::remove_file(&path).unwrap();
    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(predicted(&mut served, "again"), before, "after a restart");
    assert_eq!(shown(&served.ask("SELECT * FROM ML.CENTROIDS(MODEL near) ORDER BY 1, 2")), centroids);

    served.refused(&format!("CREATE MODEL gone FROM FILE '{path}'"), Code::InvalidArgument, "cannot read the model");
    let mut bytes = fs::read(served.folder.path("near.model")).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(served.folder.path("broken.model"), bytes).unwrap();
    let broken = format!("CREATE MODEL broken FROM FILE '{}'", file(&served, "broken.model"));
    served.refused(&broken, Code::InvalidArgument, "its checksum is wrong");
    served.refused(&format!("EXPORT MODEL again$7 TO '{path}'"), Code::InvalidArgument, "no version 7");
    let lightgbm = format!("EXPORT MODEL again TO '{path}' WITH (format = 'lightgbm_text')");
    served.refused(&lightgbm, Code::InvalidArgument, "its TRANSFORM is no part of LightGBM's models");
    served.refused("EXPORT MODEL again TO '/nowhere/at/all'", Code::InvalidArgument, "cannot write the model");
    let of_file = "of a model from a file is not supported";
    served.refused("SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL again)", Code::Unimplemented, of_file);
    let replaced = "CREATE OR REPLACE MODEL again WITH (model_type = 'logistic_reg', label = 'late') AS SELECT late, distance FROM trips";
    served.refused(replaced, Code::Unimplemented, of_file);
    let streamed = format!("SET execution = 'streaming'; {}", prediction("again"));
    assert_eq!(shown(&served.ask(&streamed)), before, "in a stream");
    served.end();
}

#[test]
fn models_of_other_libraries_answer() {
    let mut served = Served::start();
    fs::write(served.folder.path("fare.txt"), LIGHTGBM).unwrap();
    let path = served.folder.path("fare.txt").display().to_string();
    served.refused(
        &format!("CREATE MODEL fare FROM FILE '{path}'"),
        Code::InvalidArgument,
        "the option label is missing",
    );
    served.ask(&format!("CREATE MODEL fare FROM FILE '{path}' WITH (label = 'fare')"));
    let asked = "SELECT CAST(sum(predicted_fare * weight) AS BIGINT) AS n FROM ML.PREDICT(MODEL fare,
                   (SELECT column1 AS distance, column2 AS weight FROM (VALUES (5.5, 1), (5.6, 100), (CAST(NULL AS DOUBLE), 10000))))";
    assert_eq!(served.number(asked), 5 + 2000 + 200_000);
    let back = served.folder.path("back.txt").display().to_string();
    served.ask(&format!("EXPORT MODEL fare TO '{back}' WITH (format = 'lightgbm_text'); DROP MODEL fare"));
    served.ask(&format!("CREATE MODEL fare FROM FILE '{back}' WITH (label = 'fare')"));
    assert_eq!(served.number(asked), 5 + 2000 + 200_000);
    let wrong = |name: &str, text: &str, options: &str| {
        fs::write(served.folder.path(name), text).unwrap();
        format!("CREATE MODEL wrong FROM FILE '{}' WITH ({options})", served.folder.path(name).display())
    };
    let (cut, other) = (&LIGHTGBM[..300], "a,b\n1,2\n");
    for (sql, reason) in [
        (wrong("cut.txt", cut, "label = 'fare'"), "cut.txt"),
        (wrong("other.csv", other, "label = 'fare'"), "its format is not known"),
        (wrong("fare.txt", LIGHTGBM, "label = 'fare', format = 'onnx'"), "format is one of: tidemill, "),
        (wrong("fare.txt", LIGHTGBM, "label = 'fare', shape = 'x'"), "unknown option 'shape'"),
    ] {
        served.refused(&sql, Code::InvalidArgument, reason);
    }
    served.end();
}
