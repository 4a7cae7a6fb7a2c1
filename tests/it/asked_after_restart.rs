//! Views, sinks and jobs that are made of what models know and say, in the coordinator behind the one that made them.

use std::fs;

use tonic::Code;

use crate::command::{Folder, PATIENCE};
use crate::fitted::folder;
use crate::flight_sql::{Served, connect, serve, shown};

const OBJECTS: &str = "
    CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
    CREATE SOURCE asked (distance DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'push');
    CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS SELECT late, distance FROM trips;
    CREATE MODEL near WITH (model_type = 'kmeans', num_clusters = 2) AS SELECT distance FROM trips";

const ASKING: [&str; 5] = [
    "CREATE VIEW w AS SELECT * FROM ML.WEIGHTS(MODEL late)",
    "CREATE VIEW c AS SELECT * FROM ML.CENTROIDS(MODEL near)",
    "CREATE VIEW f AS SELECT * FROM ML.PREDICT(MODEL imported, (SELECT 1.0 AS distance))",
    "CREATE MATERIALIZED VIEW v AS SELECT distance, predicted_late FROM ML.PREDICT(MODEL late$1, TABLE asked)",
    "CREATE SINK k WITH (connector = 'files', path = 'k', format = 'csv') AS
       SELECT distance, predicted_late FROM ML.PREDICT(MODEL imported, TABLE asked)",
];

/// A server with models, one of them of a file, and objects that are made of what they say.
fn asking() -> Served {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask(OBJECTS);
    let path = served.folder.path("late.model").display().to_string();
    served.ask(&format!("EXPORT MODEL late TO '{path}'"));
    served.ask(&format!("CREATE MODEL imported FROM FILE '{path}'"));
    for statement in ASKING {
        served.ask(statement);
    }
    served
}

/// The same with the next server; what is done between the two.
fn restarted(mut served: Served, between: impl FnOnce(&Folder)) -> Served {
    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    between(&served.folder);
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    served
}

#[test]
fn what_is_made_of_models_is_there_again() {
    let mut served = asking();
    let known = |served: &mut Served| {
        let all = ["SHOW VIEWS", "SHOW SINKS", "SELECT * FROM w", "SELECT * FROM c", "SELECT * FROM f"];
        all.map(|sql| shown(&served.ask(sql)))
    };
    let before = known(&mut served);
    let mut served = restarted(served, |_| {});
    assert_eq!(known(&mut served), before);
    served.ask("INSERT INTO asked VALUES (9.9, '2024-01-01 00:00:01'), (0.1, '2024-01-01 00:00:02')");
    served.wait_for_jobs(&["v", "k"]);
    served.ask("SELECT count(*) AS n FROM v");
    served.ask("DROP MATERIALIZED VIEW v; DROP SINK k");
    served.wait_for_jobs(&[]);
    served.end();
}

#[test]
fn what_cannot_be_restored_is_there_to_be_dropped() {
    let mut served = restarted(asking(), |folder| fs::remove_dir_all(folder.path("meta/models")).unwrap());
    let views = shown(&served.ask("SHOW VIEWS"));
    for name in ["w", "c", "f", "v"] {
        assert!(views.contains(&format!("| {name} ")), "{views}");
    }
    for why in ["'v' could not be restored, drop it and create it anew", "model 'late': it has no version 1"] {
        served.refused("SELECT * FROM v", Code::InvalidArgument, why);
    }
    served.refused("SELECT * FROM w", Code::InvalidArgument, "'w' could not be restored");
    served.refused("DESCRIBE w", Code::InvalidArgument, "'w' could not be restored");
    served.refused(ASKING[0], Code::AlreadyExists, "it is a view");
    // Their jobs go on until they are dropped.
    served.wait_for_jobs(&["v", "k"]);
    served.ask("DROP MATERIALIZED VIEW v; DROP SINK k; DROP VIEW w");
    served.wait_for_jobs(&[]);
    assert!(!shown(&served.ask("SHOW VIEWS")).contains("| w "));
    served.end();
}
