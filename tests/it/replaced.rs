//! CREATE OR REPLACE MODEL: another model of the name, over what the tables have by now.

use std::fs;

use tonic::Code;

use crate::fitted::folder;
use crate::flight_sql::{Served, connect, serve};

/// What a model of the name `late` is made of.
fn made(options: &str, columns: &str) -> String {
    format!(
        "CREATE OR REPLACE MODEL late WITH (model_type = 'logistic_reg', label = 'late'{options}) AS
         SELECT {columns} FROM trips"
    )
}

/// Turns every answer round.
fn turned(rows: &str) -> String {
    rows.lines()
        .map(|row| match row.rsplit_once(',') {
            Some((row, "true")) => format!("{row},false\n"),
            Some((row, "false")) => format!("{row},true\n"),
            _ => format!("{row}\n"),
        })
        .collect()
}

#[test]
fn a_model_is_replaced_by_one_of_the_rows_that_are_there() {
    let mut served = Served::start();
    let files = folder();
    let trips = served.folder.path("trips.csv");
    fs::copy(files.path("trips.csv"), &trips).unwrap();
    let sets = served.folder.path("meta/tables");
    let places = || fs::read_dir(&sets).map_or(0, Iterator::count);
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    served.ask(&made("", "late, distance"));
    let far =
        "SELECT CASE WHEN predicted_late THEN 1 ELSE 0 END AS n FROM ML.PREDICT(MODEL late, (SELECT 9.9 AS distance))";
    assert_eq!(served.number(far), 1);

    fs::write(&trips, turned(&fs::read_to_string(&trips).unwrap())).unwrap();
    served.ask(&made("", "late, distance"));
    assert_eq!(served.number(far), 0, "it is the model of the new rows");
    assert_eq!(places(), 1, "the training set of the one before is gone");
    assert_eq!(served.number("SELECT count(*) AS n FROM tidemill.models"), 1);

    // Other columns: what there was before cannot answer for it.
    served.ask(&made(", l2_reg = 2", "late, distance, id"));
    let both = "SELECT count(*) AS n FROM ML.PREDICT(MODEL late, (SELECT 9.9 AS distance, 1 AS id))";
    assert_eq!(served.number(both), 1);
    served.refused(far, Code::InvalidArgument, "id");

    served.server.signal("TERM");
    drop(served.server.output(crate::command::PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(served.number(both), 1, "after a restart");
    served.ask("DROP MODEL late");
    assert_eq!(places(), 0);
    served.end();
}

#[test]
fn a_model_that_cannot_be_trained_is_not_there_and_the_one_before_is() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    let sets = served.folder.path("meta/tables");
    let places = || fs::read_dir(&sets).map_or(0, Iterator::count);
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    let one_class = |columns: &str| format!("{} WHERE late", made("", columns));
    served.refused(&one_class("late, distance"), Code::InvalidArgument, "have the label true");
    served.refused("DESCRIBE late", Code::NotFound, "late");
    assert_eq!(places(), 0);

    served.ask(&made("", "late, distance"));
    let far = "SELECT CASE WHEN predicted_late THEN model_version ELSE 0 END AS n
               FROM ML.PREDICT(MODEL late, (SELECT 9.9 AS distance))";
    for columns in ["late, distance", "late, distance, id"] {
        served.refused(&one_class(columns), Code::InvalidArgument, "have the label true");
        assert_eq!(served.number(far), 1, "it answers as before");
        assert_eq!(places(), 1);
    }
    served.server.signal("TERM");
    drop(served.server.output(crate::command::PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(served.number(far), 1, "after a restart");
    served.ask(&made("", "late, distance, id"));
    assert_eq!(served.number("SELECT count(*) AS n FROM ML.PREDICT(MODEL late, (SELECT 9.9 AS distance, 1 AS id))"), 1);
    served.end();
}

#[test]
fn what_cannot_be_replaced_stays() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask(
        "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
         CREATE SOURCE ticks (late BOOLEAN, distance DOUBLE) WITH (connector = 'datagen', rows_per_second = 10);",
    );
    served.ask(&made("", "late, distance"));
    let streamed = made("", "late, distance").replace("FROM trips", "FROM ticks");
    served.refused(&streamed, Code::Unimplemented, "DROP MODEL late first");
    served.refused(&made(", optimiser = 'x'", "late, distance"), Code::InvalidArgument, "optimiser");
    served.refused(&made("", "distance"), Code::InvalidArgument, "late");
    served.ask("CREATE VIEW asked AS SELECT * FROM ML.PREDICT(MODEL late, TABLE trips)");
    served.refused(&made("", "late, distance, id"), Code::Unimplemented, "which view 'asked' asks");
    assert_eq!(served.number("SELECT count(*) AS n FROM asked"), 600);
    assert_eq!(fs::read_dir(served.folder.path("meta/tables")).map_or(0, Iterator::count), 1);
    served.ask(&made("", "late, distance"));
    assert_eq!(served.number("SELECT max(model_version) AS n FROM asked"), 2);
    served.ask("DROP VIEW asked");
    served.refused(&made("", "late, distance").replace("MODEL", "SINK"), Code::Unimplemented, "models");
    served.ask(&made("", "late, distance"));
    served.end();
}
