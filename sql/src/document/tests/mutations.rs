//! Documents that somebody has damaged: whatever they say, they are read or refused, and take no longer for it than
//! whole ones.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::tests::{graph as graph_of, session};

/// Statements that have all operators between them.
const STATEMENTS: [&str; 8] = [
    "CREATE SINK a WITH (connector = 'print') AS
       SELECT bidder, window_end, count(*), sum(price) FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 minute')
       GROUP BY bidder, window_start, window_end;
     CREATE SINK b WITH (connector = 'print') AS
       SELECT b.auction, a.seller, b.price FROM bids b JOIN auctions a ON b.auction = a.id
       AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour' WHERE b.price > a.rating;
     CREATE SINK c WITH (connector = 'print') AS
       SELECT b.auction, a.seller, b.ts FROM bids b LEFT JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a ON b.auction = a.id;",
    "CREATE SINK a WITH (connector = 'print') AS
       SELECT bidder, window_end, max(price) FROM SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '1 minute')
       GROUP BY bidder, window_start, window_end;
     CREATE SINK b WITH (connector = 'print') AS SELECT auction, sum(price), count(DISTINCT bidder) FROM bids GROUP BY auction;
     CREATE SINK c WITH (connector = 'print') AS
       SELECT b.bidder, p.at_time FROM bids b JOIN plain p ON b.auction = p.auction;",
    "CREATE MODEL dear WITH (model_type = 'logistic_reg', label = 'dear') AS
       SELECT price > 10 AS dear, bidder, auction, ts FROM bids;
     CREATE SINK a WITH (connector = 'print') AS
       SELECT * FROM ML.PREDICT(MODEL dear, (SELECT bidder, auction, ts FROM bids));",
    "CREATE MODEL odd WITH (model_type = 'half_space_trees', window_rows = 100) AS SELECT price, auction, ts FROM bids;
     CREATE SINK a WITH (connector = 'print') AS
       SELECT * FROM ML.PREDICT(MODEL odd, (SELECT price, auction, ts FROM bids));",
    "CREATE SINK a WITH (connector = 'print') AS
       SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS place FROM bids)
       WHERE place <= 3;
     CREATE SINK b WITH (connector = 'print') AS
       SELECT auction, ts, sum(price) OVER (PARTITION BY auction ORDER BY ts) AS sum FROM bids;
     CREATE SINK c WITH (connector = 'print') AS SELECT auction, ts FROM bids UNION ALL SELECT id, opened FROM auctions;",
    "CREATE SOURCE last (k BIGINT NOT NULL, tags VARCHAR[], PRIMARY KEY (k) NOT ENFORCED)
       WITH (connector = 'files', path = 'last', format = 'upsert-json');
     CREATE SINK a WITH (connector = 'print') AS SELECT k, tag FROM last, UNNEST(last.tags) AS t(tag);",
    "CREATE SINK a WITH (connector = 'print') AS
       SELECT * FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 second', INTERVAL '3 seconds') WHERE price > 1;",
    "CREATE MODEL dear TRANSFORM (ML.STANDARD_SCALER(auction) OVER () AS auction, \"Odd\" + 1 AS odd, dear)
       WITH (model_type = 'linear_reg', label = 'dear', training_set = 'set') AS
       SELECT auction, \"Odd\", 0.5 * auction AS dear FROM plain;
     CREATE SINK a WITH (connector = 'print') AS SELECT * FROM ML.PREDICT(MODEL dear, TABLE plain);",
];

/// What comes in the place of something else.
const VALUES: [&str; 22] = [
    "null",
    "true",
    "-1",
    "0",
    "1e300",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
    "\"\"",
    "\"ts\"",
    "\"1; DROP\"",
    "\"count(*) OVER ()\"",
    "\"sum(price)\"",
    "\"files\"",
    "\"hash\"",
    "[]",
    "{}",
    "[\"auction\", \"auction\"]",
    "{\"encoded\": \"AAECAwQFBgcICQ==\"}",
    "{\"hash\": [\"auction\"]}",
    "{\"tumble\": {\"size\": 9223372036854775807}}",
    "\"((((((((((((((((((((((((((((((((price))))))))))))))))))))))))))))))))\"",
];

fn documents() -> Vec<Value> {
    let json = |sql: &&str| {
        let graph = graph_of(&mut session(), sql).unwrap();
        serde_json::from_str(&PlanDocument::of_graph(&graph).unwrap().to_json()).unwrap()
    };
    STATEMENTS.iter().map(json).collect()
}

/// The parts of a document, outermost first.
fn parts<'a>(value: &'a mut Value, wanted: &mut usize) -> Option<&'a mut Value> {
    if *wanted == 0 {
        return Some(value);
    }
    *wanted -= 1;
    match value {
        Value::Array(elements) => elements.iter_mut().find_map(|element| parts(element, wanted)),
        Value::Object(members) => members.values_mut().find_map(|member| parts(member, wanted)),
        _ => None,
    }
}

/// One change: of the part of this number, to the value or the part of this number.
fn mutate(document: &mut Value, (place, kind, by): (usize, u8, usize)) {
    let other = parts(&mut document.clone(), &mut by.clone()).cloned();
    let Some(part) = parts(document, &mut place.clone()) else { return };
    match (kind, part) {
        (0, part) => *part = serde_json::from_str(VALUES[by % VALUES.len()]).unwrap(),
        (1, part) => *part = other.unwrap_or(Value::Null),
        (2, Value::Array(elements)) if !elements.is_empty() => drop(elements.remove(by % elements.len())),
        (2, Value::Object(members)) if !members.is_empty() => {
            let name = members.keys().nth(by % members.len()).cloned().unwrap();
            members.remove(&name);
        }
        (3, Value::Array(elements)) if !elements.is_empty() => elements.push(elements[by % elements.len()].clone()),
        _ => {}
    }
}

#[test]
fn all_operators_are_there() {
    let documents = documents().iter().map(Value::to_string).collect::<String>();
    for operator in [
        "source",
        "normalize",
        "project",
        "filter",
        "window_assign",
        "window_aggregate",
        "session_window",
        "aggregate",
        "join",
        "interval_join",
        "temporal_join",
        "top_n",
        "over_window",
        "train",
        "predict",
        "union",
        "unnest",
        "sink",
    ] {
        assert!(documents.contains(&format!("{{\"{operator}\":")), "{operator}");
    }
}

#[test]
fn damaged_documents_are_read_or_refused() {
    let documents = documents();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(600));
    let changes = (0..documents.len(), vec((0usize..400, 0u8..4, 0usize..400), 1..4));
    let outcome = runner.run(&changes, |(document, changes)| {
        let mut document = documents[document].clone();
        changes.into_iter().for_each(|change| mutate(&mut document, change));
        if let Ok(document) = PlanDocument::from_json(&document.to_string())
            && let Ok((graph, _)) = document.to_graph(&Settings::default())
        {
            // What is read is a graph like any other.
            check_round_trip(&graph);
        }
        Ok(())
    });
    outcome.unwrap();
}
