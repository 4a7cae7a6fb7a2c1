//! Models of decisions: they learn from actions that were taken which one is best, and what a policy would have brought is
//! estimated from what was logged of another.

use std::fs;

use tonic::Code;

use crate::flight_sql::{Served, shown};

/// What was shown to whom, by the toss of a coin, and what it brought: red is for the north, blue for the south. 20 rows a
/// second.
fn logged(rows: u64) -> String {
    let row = |n: u64| {
        let (city, shown) = (["north", "south"][(n % 2) as usize], ["red", "blue"][(n / 2 % 2) as usize]);
        let gain = u8::from((city == "north") == (shown == "red"));
        format!("{n},{city},{},{shown},0.5,{gain},{}\n", n % 7, time(n))
    };
    format!("id,city,hour,shown,propensity,gain,ts\n{}", (0..rows).map(row).collect::<String>())
}

/// Steps from a to b to an end that brings 1; whoever stays, stays for nothing.
fn steps(rows: u64) -> String {
    let row = |n: u64| {
        let (cell, act) = (["a", "b"][(n % 2) as usize], ["go", "stay"][(n / 2 % 2) as usize]);
        let (next, done) = match (cell, act) {
            ("a", "go") => ("b", false),
            ("b", "go") => ("end", true),
            (cell, _) => (cell, false),
        };
        format!("{cell},{next},{act},{done},{},{}\n", u8::from(done), time(n))
    };
    format!("cell,next_cell,act,done,gain,ts\n{}", (0..rows).map(row).collect::<String>())
}

fn time(n: u64) -> String {
    let (millis, second) = (n % 20 * 50, n / 20);
    format!("2024-01-01 00:{:02}:{:02}.{millis:03}", second / 60, second % 60)
}

const SOURCES: &str = "
    CREATE SOURCE logged (id BIGINT, city VARCHAR, hour DOUBLE, shown VARCHAR, propensity DOUBLE, gain DOUBLE, ts TIMESTAMP,
                          WATERMARK FOR ts AS ts) WITH (connector = 'files', path = 'logged.csv', format = 'csv');
    CREATE SOURCE steps (cell VARCHAR, next_cell VARCHAR, act VARCHAR, done BOOLEAN, gain DOUBLE, ts TIMESTAMP,
                         WATERMARK FOR ts AS ts) WITH (connector = 'files', path = 'steps.csv', format = 'csv')";

const MODELS: &str = "
    CREATE MODEL ads WITH (model_type = 'contextual_bandit', label = 'gain', action_column = 'shown', publish_every = '1 second')
      AS SELECT ts, city, hour, shown, gain FROM logged;
    CREATE MODEL walk WITH (model_type = 'q_learning', label = 'gain', action_column = 'act', terminal_column = 'done',
                            discount = 0.5, learn_rate = 0.5, publish_every = '1 second')
      AS SELECT ts, cell, next_cell, act, done, gain FROM steps";

fn served() -> Served {
    let mut served = Served::start();
    fs::write(served.folder.path("logged.csv"), logged(2000)).unwrap();
    fs::write(served.folder.path("steps.csv"), steps(1000)).unwrap();
    for statement in SOURCES.split(';').chain(MODELS.split(';')) {
        served.ask(statement);
    }
    served.wait_for_jobs(&[]);
    served
}

#[test]
fn the_best_action_is_learnt_and_what_that_brings_is_estimated() {
    let mut served = served();
    let asked = "(SELECT column1 AS city, 3.0 AS hour FROM (VALUES ('north'), ('south')) AS t)";
    let best = format!(
        "SELECT count(*) AS n FROM ML.PREDICT(MODEL ads, {asked}) WHERE action_probability = 1 AND predicted_gain > 0.9
         AND predicted_action = CASE city WHEN 'north' THEN 'red' ELSE 'blue' END"
    );
    assert_eq!(
        served.number(&best),
        2,
        "{}",
        shown(&served.ask(&format!("SELECT * FROM ML.PREDICT(MODEL ads, {asked})")))
    );

    // Each row is answered by what was known before it. A policy that is always right gains 1 a row, chance one half.
    let estimated = |estimate: &str| {
        format!(
            "SELECT CASE WHEN abs({estimate} - 1) < 0.05 AND abs(avg(gain) - 0.5) < 0.01 THEN 1 ELSE 0 END AS n
             FROM ML.PREDICT(MODEL ads, (SELECT * FROM logged WHERE id >= 500)) AS p"
        )
    };
    for estimate in [
        "ips(gain, propensity, shown = predicted_action)",
        "snips(gain, propensity, shown = predicted_action)",
        "doubly_robust(gain, propensity, shown = predicted_action, predicted_gain)",
    ] {
        assert_eq!(served.number(&estimated(estimate)), 1, "{estimate}");
    }

    let described = shown(&served.ask("DESCRIBE ads"));
    let is_there = |row: &[&str]| described.lines().any(|line| row.iter().all(|part| line.contains(part)));
    assert!(is_there(&["shown", "learning"]) && is_there(&["city", "feature"]), "{described}");
    assert!(is_there(&["gain", "DOUBLE", "label"]), "{described}");
    let weights = "SELECT count(*) AS n FROM ML.WEIGHTS(MODEL ads)";
    assert!(served.number(weights) > 0);
    served.refused(
        "SELECT * FROM ML.EVALUATE(MODEL ads, TABLE logged)",
        Code::Unimplemented,
        "snips(reward, propensity, action = predicted_action)",
    );
    served.end();
}

#[test]
fn what_a_step_is_worth_later_is_learnt() {
    let mut served = served();
    let asked = "(SELECT column1 AS cell FROM (VALUES ('a'), ('b'), ('nowhere')) AS t)";
    let worth = format!(
        "SELECT count(*) AS n FROM ML.PREDICT(MODEL walk, {asked}) WHERE predicted_action = 'go'
         AND abs(predicted_gain - CASE cell WHEN 'a' THEN 0.5 ELSE 1 END) < 1e-6"
    );
    let said = format!("SELECT * FROM ML.PREDICT(MODEL walk, {asked})");
    assert_eq!(served.number(&worth), 2, "{}", shown(&served.ask(&said)));
    let unknown = format!("SELECT count(*) AS n FROM ML.PREDICT(MODEL walk, {asked}) WHERE predicted_action IS NULL");
    assert_eq!(served.number(&unknown), 1);
    for (options, columns, reason) in [
        ("model_type = 'q_learning', label = 'gain', action_column = 'act'", "ts, cell, act, gain", "'cell' has none"),
        ("model_type = 'contextual_bandit', label = 'gain', action_column = 'none'", "ts, cell, act, gain", "none"),
        ("model_type = 'contextual_bandit', label = 'cell', action_column = 'act'", "ts, cell, act, gain", "cell"),
    ] {
        let wrong = format!("CREATE MODEL wrong WITH ({options}) AS SELECT {columns} FROM steps");
        served.refused(&wrong, Code::InvalidArgument, reason);
    }
    served.end();
}
