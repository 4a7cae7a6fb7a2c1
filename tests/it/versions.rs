//! Versions of models over tables: which one answers, and what their aliases are.

use std::fs;

use tonic::Code;

use crate::command::PATIENCE;
use crate::fitted::folder;
use crate::flight_sql::{Served, connect, serve, shown};

/// A model of the name `late` whose answer for a far trip is this.
fn made(says: bool) -> String {
    let label = if says { "late" } else { "NOT late" };
    format!(
        "CREATE OR REPLACE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS
         SELECT {label} AS late, distance FROM trips"
    )
}

/// Which version says what of a far trip: its number, below zero if it says no.
fn asked(served: &mut Served, model: &str) -> i64 {
    served.number(&question(model))
}

fn question(model: &str) -> String {
    format!(
        "SELECT CASE WHEN predicted_late THEN model_version ELSE -model_version END AS n
         FROM ML.PREDICT(MODEL {model}, (SELECT 9.9 AS distance))"
    )
}

#[test]
fn each_version_answers_by_its_number_and_by_its_alias() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    for says in [true, false, true] {
        served.ask(&made(says));
    }
    let told = shown(&served.ask("ALTER MODEL late VERSION 2 SET ALIAS champion"));
    assert!(told.contains("ALTER MODEL late"), "{told}");
    served.ask("ALTER MODEL late VERSION 3 SET ALIAS = challenger");
    let names = ["late", "late$1", "late$2", "late@champion", "late@challenger"];
    assert_eq!(names.map(|name| asked(&mut served, name)), [3, 1, -2, -2, 3]);
    let versions = shown(&served.ask("SHOW VERSIONS IN MODEL late"));
    let rows: Vec<&str> = versions.lines().collect();
    assert!(rows.iter().any(|row| row.contains("| 2       |           | champion   | false")), "{versions}");
    assert!(rows.iter().any(|row| row.contains("| 3       |           | challenger | true")), "{versions}");
    assert!(
        rows.iter().filter(|row| row.contains("| 600         |") && row.contains("roc_auc 0.")).count() == 3,
        "{versions}"
    );
    // Two versions in one query.
    let both =
        "SELECT a.model_version * 10 + b.model_version AS n FROM ML.PREDICT(MODEL late@champion, TABLE trips) AS a
                JOIN ML.PREDICT(MODEL late@challenger, TABLE trips) AS b ON b.id = a.id WHERE a.id = 7";
    assert_eq!(served.number(both), 23);
    let differ = "SELECT count(*) AS n FROM trips
                  WHERE ml_predict(MODEL late@champion, distance) <> ml_predict(MODEL late, distance)";
    assert_eq!(served.number(differ), 600, "they have learnt the contrary of each other");
    // Other functions, and other columns than the newest version has.
    let weights = "SELECT count(*) AS n FROM ML.WEIGHTS(MODEL late$2)";
    assert!(served.number(weights) > 0);
    let judged =
        "SELECT CASE WHEN roc_auc < 0.5 THEN 1 ELSE 0 END AS n FROM ML.EVALUATE(MODEL late@champion, TABLE trips)";
    assert_eq!(served.number(judged), 1, "it has learnt the contrary");
    served.ask(&made(true).replace("distance FROM", "distance, id FROM"));
    assert_eq!(asked(&mut served, "late@champion"), -2);
    served.refused("SELECT * FROM ML.PREDICT(MODEL late, (SELECT 9.9 AS distance))", Code::InvalidArgument, "id");

    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(["late$1", "late@champion"].map(|name| asked(&mut served, name)), [1, -2], "after a restart");
    served.ask("ALTER MODEL late VERSION 3 SET ALIAS champion");
    assert_eq!(asked(&mut served, "late@champion"), 3);
    served.ask("ALTER MODEL late UNSET ALIAS champion");
    let what = |name: &str| format!("SELECT * FROM ML.PREDICT(MODEL {name}, (SELECT 9.9 AS distance))");
    for (name, code, reason) in [
        ("late@champion", Code::InvalidArgument, "it has no alias 'champion'; there are: challenger"),
        ("late$7", Code::InvalidArgument, "it has no version 7 that can be asked; there are: 1, 2, 3, 4"),
        ("late$x", Code::InvalidArgument, "a version is a number"),
        ("nobody$1", Code::NotFound, "nobody"),
    ] {
        served.refused(&what(name), code, reason);
    }
    let streamed =
        ["late$1", "late$2"].map(|name| served.number(&format!("SET execution = 'streaming'; {}", question(name))));
    assert_eq!(streamed, [1, -2], "in a stream");
    served.refused("SELECT * FROM ML.FEATURE_INFO(MODEL late$1)", Code::Unimplemented, "of a version");
    served.refused("ALTER MODEL late VERSION 9 SET ALIAS champion", Code::InvalidArgument, "no version 9");
    served.refused("ALTER MODEL nobody VERSION 1 SET ALIAS a", Code::NotFound, "nobody");
    served.refused(&made(true).replace("MODEL late", "MODEL a$b"), Code::InvalidArgument, "has no $ and no @");
    served.ask("DROP MODEL late");
    served.ask(&made(false));
    assert_eq!(asked(&mut served, "late"), -1, "its numbers begin anew");
    served.refused(&what("late$2"), Code::InvalidArgument, "there are: 1");
    served.end();
}
