//! Models of rules: an expression has a name, versions and measures, and is asked as any model is.

use std::fs;

use tonic::Code;

use crate::fitted::folder;
use crate::flight_sql::{Served, shown};

#[test]
fn a_rule_has_versions_and_is_asked_as_models_are() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    let rule = |threshold: i64| {
        format!(
            "CREATE OR REPLACE MODEL late WITH (model_type = 'rules', label = 'late') AS
             SELECT trips.distance + 2 * zone > {threshold} AS far, late FROM trips WHERE id < 500"
        )
    };
    served.ask(&rule(6));
    served.ask(&rule(60));
    // What plain SQL says of the same rows.
    let right = "SELECT count(*) FILTER (WHERE (distance + 2 * zone > 6) = late) AS n FROM trips";
    let judged = "SELECT CAST(round(accuracy * 600) AS BIGINT) AS n FROM ML.EVALUATE(MODEL late$1, TABLE trips)";
    assert_eq!(served.number(judged), served.number(right));
    let told_apart = "SELECT count(*) AS n FROM ML.PREDICT(MODEL late$1, TABLE trips)
                      WHERE predicted_late = (distance + 2 * zone > 6) AND predicted_late_prob BETWEEN 0.01 AND 0.99";
    assert_eq!(served.number(told_apart), 600);
    // 60 is further than any goes: the rule says nothing that a guess does not.
    served.refused("ALTER MODEL late VERSION 2 SET ALIAS champion", Code::InvalidArgument, "no better than a guess");
    served.ask("ALTER MODEL late VERSION 1 SET ALIAS champion");
    let versions = shown(&served.ask("SHOW VERSIONS IN MODEL late"));
    assert!(versions.contains("champion") && versions.contains("baseline_log_loss"), "{versions}");
    assert!(shown(&served.ask("SHOW MODELS")).contains("late"));
    let made = shown(&served.ask("SHOW CREATE late"));
    assert!(made.contains("TRANSFORM"), "{made}");
    let asked = "SELECT count(*) FILTER (WHERE predicted_late) AS n FROM ML.PREDICT(MODEL late@champion, TABLE trips)";
    let whole = served.number(asked);
    assert_eq!(whole, served.number("SELECT count(*) AS n FROM trips WHERE distance + 2 * zone > 6"));
    assert_eq!(served.number(&format!("SET execution = 'streaming'; {asked}")), whole, "in a stream");
    served.end();
}

#[test]
fn a_rule_without_a_label_says_what_it_says() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    served.ask(
        "CREATE MODEL fares WITH (model_type = 'rules') AS
         SELECT CASE WHEN zone = 0 THEN 'near' WHEN distance > 5 THEN 'far' END AS fare FROM trips",
    );
    let far = "SELECT count(*) AS n FROM ML.PREDICT(MODEL fares, TABLE trips) WHERE predicted_fare = 'far'";
    assert_eq!(served.number(far), served.number("SELECT count(*) AS n FROM trips WHERE zone <> 0 AND distance > 5"));
    let none = "SELECT count(*) AS n FROM ML.PREDICT(MODEL fares, TABLE trips) WHERE predicted_fare IS NULL";
    assert_eq!(served.number(none), served.number("SELECT count(*) AS n FROM trips WHERE zone <> 0 AND distance <= 5"));
    let several = "CREATE MODEL two WITH (model_type = 'rules') AS SELECT zone, distance FROM trips";
    served.refused(several, Code::InvalidArgument, "a model of rules says one thing");
    served.end();
}
