//! The registry for MLflow: its own client does what docs/models.md says.

use std::fs;

use crate::fitted::folder;
use crate::flight_sql::run_python;
use crate::users::{Guarded, PASSWORD};

/// The last of five rows is held out. What is learnt is y = x, which is 5 off there; the mean of the others, 2.5, is 2.5 off.
const MISLEADING: &str = "day,x,y\n1,1,1\n2,2,2\n3,3,3\n4,4,4\n5,5,0\n";

#[test]
fn an_mlflow_client_finds_versions_and_moves_aliases() {
    let guarded = Guarded::start();
    fs::copy(folder().path("trips.csv"), guarded.folder.path("trips.csv")).unwrap();
    fs::write(guarded.folder.path("days.csv"), MISLEADING).unwrap();
    let late = "CREATE OR REPLACE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS
                SELECT late, distance FROM trips";
    let made = format!(
        "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
         CREATE EXTERNAL TABLE days STORED AS CSV LOCATION 'days.csv';
         {late}; {late};
         CREATE MODEL worse WITH (model_type = 'linear_reg', label = 'y', data_split_method = 'seq',
           data_split_col = 'day') AS SELECT day, x, y FROM days;
         CREATE MODEL plain WITH (model_type = 'robust_zscore') AS SELECT distance FROM trips;
         CREATE USER ann PASSWORD 'ann''s'; GRANT PREDICT ON MODEL late TO ann"
    );
    guarded.sql("root", &made).success();
    let http = format!("http://127.0.0.1:{}", guarded.http);
    run_python(&guarded.folder, "tests/python/mlflow_client.py", &[&http, PASSWORD, "ann's"]);
    // The same way as SQL, with the same notes.
    let audit = guarded.sql("root", "SHOW AUDIT").success().stdout;
    for noted in [
        r#"ALTER MODEL ""late"" VERSION 2 SET ALIAS ""the-next"""#,
        r#"ALTER MODEL ""late"" UNSET ALIAS ""the-next"""#,
        r#"DROP MODEL ""late"""#,
    ] {
        assert!(audit.contains(noted), "{audit}");
    }
    guarded.sql("root", "ALTER MODEL worse VERSION 1 SET ALIAS champion FORCE").success();
    let refused = guarded.sql("root", "ALTER MODEL worse VERSION 1 SET ALIAS second").failure();
    assert!(refused.contains("its mse is 25.000000, and the guess's 6.250000"), "{refused}");
    let versions = guarded.sql("root", "SHOW VERSIONS IN MODEL worse").success().stdout;
    assert!(versions.contains("champion") && !versions.contains("second"), "{versions}");
}
