//! ML.GLOBAL_EXPLAIN, ML.FEATURE_INFO and ML.RECOMMEND: queries of the rows that a model was fitted to.

use std::fs;

use tonic::Code;

use crate::fitted::folder;
use crate::flight_sql::{Served, shown};

/// A session with a model of trips.
fn served() -> Served {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask(
        "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
         CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS
           SELECT late, distance, CAST(zone AS VARCHAR) AS zone, nullif(id, 7) AS id FROM trips",
    );
    served
}

#[test]
fn what_moves_predictions_is_told_of_the_training_set() {
    let mut served = served();
    // The tables may change: the training set does not.
    fs::write(served.folder.path("trips.csv"), "id,zone,distance,late\n1,1,1.0,true\n").unwrap();
    let explained = "ML.GLOBAL_EXPLAIN(MODEL late)";
    assert_eq!(served.number(&format!("SELECT count(*) AS n FROM {explained} WHERE attribution > 0")), 3);
    let first = format!("SELECT feature FROM {explained} ORDER BY attribution DESC LIMIT 1");
    assert!(shown(&served.ask(&first)).contains("distance"));
    let mut asked = |sql: &str| served.number(sql);
    assert_eq!(asked(&format!("SELECT count(*) AS n FROM {explained} AS e WHERE e.feature IN ('id', 'zone')")), 2);

    let info =
        "SELECT input, min, max, round(mean, 3) AS mean, median, round(stddev, 3) AS stddev, category_count, null_count
                FROM ML.FEATURE_INFO(MODEL late) ORDER BY input";
    expect_test::expect![[r#"
        +----------+-----+-------+---------+--------+---------+----------------+------------+
        | input    | min | max   | mean    | median | stddev  | category_count | null_count |
        +----------+-----+-------+---------+--------+---------+----------------+------------+
        | distance | 0.0 | 9.9   | 4.95    | 4.95   | 2.889   |                | 0          |
        | id       | 0.0 | 599.0 | 299.988 | 300.0  | 173.081 |                | 1          |
        | zone     |     |       |         |        |         | 3              | 0          |
        +----------+-----+-------+---------+--------+---------+----------------+------------+
    "#]]
    .assert_eq(&format!("{}\n", shown(&served.ask(info))));

    served.refused(
        "SELECT * FROM ML.RECOMMEND(MODEL late)",
        Code::Unimplemented,
        "ML.RECOMMEND of a model of type 'logistic_reg'",
    );
    served.refused("SELECT * FROM ML.FEATURE_INFO(late)", Code::InvalidArgument, "write ML.FEATURE_INFO(MODEL m)");
    served.refused("SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL nobody)", Code::NotFound, "nobody");
    let scalar =
        |arguments: &str| format!("SELECT sum(CASE WHEN ml_predict({arguments}) THEN 1 ELSE 0 END) AS n FROM trips");
    served.refused(&scalar("MODEL nobody, distance"), Code::NotFound, "nobody");
    served.refused(&scalar("MODEL late, distance"), Code::InvalidArgument, "reads distance, zone, id, in this order");
    served.refused(&scalar("late, distance"), Code::InvalidArgument, "write ml_predict(MODEL m, …)");
    let streamed = |sql: &str| format!("SET execution = 'streaming'; {sql}");
    let ordered = format!("SELECT feature FROM {explained} WHERE attribution > 0.4 ORDER BY feature");
    assert_eq!(shown(&served.ask(&streamed(&ordered))), shown(&served.ask(&ordered)), "of a stream, too");
    served.end();
}

#[test]
fn every_user_is_recommended_every_item() {
    let mut served = Served::start();
    // Each of 6 users likes each of 5 items by the product of a number of his and one of its, and has not said so of one.
    let given: String = (0..30)
        .map(|n| (n / 5, n % 5))
        .filter(|(user, item)| user % 5 != *item)
        .map(|(user, item)| format!("u{user},i{item},{}\n", (1 + user) as f64 * (1 + item) as f64 / 4.0))
        .collect();
    fs::write(served.folder.path("stars.csv"), format!("person,thing,stars\n{given}")).unwrap();
    served.ask(
        "CREATE EXTERNAL TABLE stars STORED AS CSV LOCATION 'stars.csv';
         CREATE MODEL likes WITH (model_type = 'matrix_factorization', label = 'stars', user_col = 'person',
           item_col = 'thing', num_factors = 2, l2_reg = 0.001, max_iterations = 50) AS
           SELECT person, thing, stars FROM stars",
    );
    let all = "ML.RECOMMEND(MODEL likes)";
    assert_eq!(served.number(&format!("SELECT count(*) AS n FROM {all}")), 30);
    let hidden = format!(
        "SELECT CASE WHEN max(abs(predicted_stars - 2.25)) < 0.2 THEN 1 ELSE 0 END AS n
         FROM {all} WHERE person = 'u2' AND thing = 'i2'"
    );
    assert_eq!(served.number(&hidden), 1);
    served.end();
}
