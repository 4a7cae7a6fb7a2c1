//! The job that this release is made for: flights of 2013, their delays, and a model of them.

use std::collections::BTreeSet;

use expect_test::expect;
use tidemill_plans::codec;
use tidemill_plans::explain::explain;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::stage::Stages;

use super::graph;
use crate::Session;

const SCRIPT: &str = "
SET parallelism = 2;

CREATE SOURCE departures (
  flight_id BIGINT, carrier VARCHAR, origin VARCHAR, dest VARCHAR, distance DOUBLE,
  sched_dep_ts TIMESTAMP NOT NULL,
  WATERMARK FOR sched_dep_ts AS sched_dep_ts - INTERVAL '1 minute'
) WITH (connector = 'files', path = 'flights.parquet', format = 'parquet');

CREATE SOURCE arrivals (
  flight_id BIGINT, carrier VARCHAR, origin VARCHAR, sched_dep_ts TIMESTAMP, air_time DOUBLE, arr_delay DOUBLE,
  landed_at TIMESTAMP AS (sched_dep_ts + (air_time + arr_delay) * INTERVAL '1 minute'),
  late AS (arr_delay > 15),
  WATERMARK FOR landed_at AS landed_at - INTERVAL '33 hours'
) WITH (connector = 'files', path = 'flights.parquet', format = 'parquet', null_event_time = 'skip');

CREATE SOURCE weather (origin VARCHAR, temp DOUBLE, wind_speed DOUBLE, observed TIMESTAMP,
                       WATERMARK FOR observed AS observed)
  WITH (connector = 'files', path = 'weather.csv', format = 'csv');

CREATE VIEW origin_stats AS
  SELECT origin, avg(arr_delay) AS origin_delay, count(*) AS origin_landings, window_end
  FROM HOP(TABLE arrivals, DESCRIPTOR(landed_at), INTERVAL '15 minutes', INTERVAL '6 hours')
  GROUP BY origin, window_start, window_end;

CREATE VIEW carrier_stats AS
  SELECT carrier, avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) AS carrier_late, window_end
  FROM HOP(TABLE arrivals, DESCRIPTOR(landed_at), INTERVAL '1 hour', INTERVAL '1 day')
  GROUP BY carrier, window_start, window_end;

CREATE VIEW features AS
  SELECT d.flight_id, d.sched_dep_ts, d.carrier, d.origin, d.dest, d.distance,
         extract(hour FROM d.sched_dep_ts) AS hour, extract(month FROM d.sched_dep_ts) AS month,
         w.temp, w.wind_speed, o.origin_delay, o.origin_landings, c.carrier_late
  FROM departures d
  LEFT JOIN weather FOR SYSTEM_TIME AS OF d.sched_dep_ts AS w ON w.origin = d.origin
  LEFT JOIN origin_stats FOR SYSTEM_TIME AS OF d.sched_dep_ts AS o ON o.origin = d.origin
  LEFT JOIN carrier_stats FOR SYSTEM_TIME AS OF d.sched_dep_ts AS c ON c.carrier = d.carrier;

CREATE VIEW labelled AS
  SELECT f.*, a.late, a.landed_at
  FROM features f
  JOIN arrivals a ON a.flight_id = f.flight_id
   AND a.landed_at BETWEEN f.sched_dep_ts AND f.sched_dep_ts + INTERVAL '33 hours';

CREATE MODEL delay WITH (model_type = 'logistic_reg', label = 'late', publish_every = '1 hour', learning_rate = 0.05) AS
  SELECT landed_at, late, carrier, origin, dest, distance, hour, temp, wind_speed, origin_delay, origin_landings,
         carrier_late
  FROM labelled;

CREATE VIEW predictions AS
  SELECT flight_id, sched_dep_ts, month, predicted_late, predicted_late_prob AS p, model_version
  FROM ML.PREDICT(MODEL delay, TABLE features);

CREATE VIEW scored AS
  SELECT p.flight_id, p.sched_dep_ts, p.month, p.p, a.late
  FROM predictions p
  JOIN arrivals a ON a.flight_id = p.flight_id
   AND a.landed_at BETWEEN p.sched_dep_ts AND p.sched_dep_ts + INTERVAL '33 hours';

CREATE SINK predictions_out FROM predictions WITH (connector = 'files', path = 'out', format = 'parquet');

SELECT to_char(sched_dep_ts, '%m') AS month, roc_auc(late, p) AS auc, log_loss(late, p) AS log_loss,
       brier_score(late, p) AS brier, count(*) AS flights, avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) AS late_share
FROM scored WHERE p IS NOT NULL GROUP BY to_char(sched_dep_ts, '%m')
UNION ALL
SELECT 'Feb-Dec', roc_auc(late, p), log_loss(late, p), brier_score(late, p), count(*),
       avg(CASE WHEN late THEN 1.0 ELSE 0.0 END)
FROM scored WHERE p IS NOT NULL AND extract(month FROM sched_dep_ts) > 1
ORDER BY 1;
";

fn flights() -> DataflowGraph {
    graph(&mut Session::default(), SCRIPT).unwrap()
}

#[test]
fn the_whole_script_is_one_graph() {
    expect![[r#"
        Sink #36 predictions_out to files [x1]
          Project #21 flight_id, sched_dep_ts, month, predicted_late, predicted_late_prob AS p, model_version [x2] -> rebalance
            Predict #20 delay consistent: carrier, origin, dest, distance, hour, temp, wind_speed, origin_delay, origin_landings, carrier_late [x2] -> forward
              Project #14 flight_id, sched_dep_ts, "d.carrier" AS carrier, origin, dest, distance, date_part('HOUR', sched_dep_ts) AS hour, date_part('MONTH', sched_dep_ts) AS month, temp, wind_speed, origin_delay, origin_landings, carrier_late [x2] -> forward
                TemporalJoin #13 left (carrier) = (carrier), newest window_end as of sched_dep_ts [x2] -> forward
                  Project #12 flight_id, carrier, d.origin, dest, distance, sched_dep_ts, temp, wind_speed, origin_delay, origin_landings [x2] -> hash(carrier)
                    TemporalJoin #11 left (d.origin) = (origin), newest window_end as of sched_dep_ts [x2] -> forward
                      Project #10 flight_id, carrier, d.origin, dest, distance, sched_dep_ts, temp, wind_speed [x2] -> hash(d.origin)
                        TemporalJoin #9 left (origin) = (origin), newest observed as of sched_dep_ts [x2] -> forward
                          Source #8 departures from files watermark(sched_dep_ts AS (sched_dep_ts - INTERVAL '1 MINS')) [x2] -> hash(origin)
                          Source #0 weather from files watermark(observed AS observed) [x2] -> hash(origin)
                      Project #4 origin, "avg(arr_delay)" AS origin_delay, "count(1)" AS origin_landings, window_end [x2] -> hash(origin)
                        WindowAggregate #3 HOP(slide=15min, size=6h) on landed_at by (origin): avg(arr_delay), count(1) [x2] -> forward
                          Project #2 origin, arr_delay, landed_at [x2] -> hash(origin)
                            Source #1 arrivals from files watermark(landed_at AS (landed_at - INTERVAL '33 HOURS')), skips NULL [x2] -> forward
                  Project #7 carrier, "avg(CASE WHEN late THEN 1.0 ELSE 0.0 END)" AS carrier_late, window_end [x2] -> hash(carrier)
                    WindowAggregate #6 HOP(slide=1h, size=1d) on landed_at by (carrier): avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) [x2] -> forward
                      Project #5 carrier, late, landed_at [x2] -> hash(carrier)
                        Source #1 (see above) [x2] -> forward
              Train #19 delay logistic_reg label=late time=landed_at every 1h: carrier, origin, dest, distance, hour, temp, wind_speed, origin_delay, origin_landings, carrier_late [x1] -> broadcast
                Project #18 landed_at, late, carrier, origin, dest, distance, hour, temp, wind_speed, origin_delay, origin_landings, carrier_late [x2] -> rebalance
                  Project #17 "f.flight_id" AS flight_id, sched_dep_ts, carrier, origin, dest, distance, hour, month, temp, wind_speed, origin_delay, origin_landings, carrier_late, late, landed_at [x2] -> forward
                    IntervalJoin #16 (flight_id) = (flight_id), landed_at - sched_dep_ts in [0us, 33h] [x2] -> forward
                      Project #14 (see above) [x2] -> hash(flight_id)
                      Project #15 flight_id, landed_at, late [x2] -> hash(flight_id)
                        Source #1 (see above) [x2] -> forward
        Sink #35 select_1 to result ordered by month [x1]
          Union #34  [x1] -> forward
            Project #29 "to_char(sched_dep_ts, '%m')" AS month, "roc_auc(late, p)" AS auc, "log_loss(late, p)" AS log_loss, "brier_score(late, p)" AS brier, "count(1)" AS flights, "avg(CASE WHEN late THEN 1.0 ELSE 0.0 END)" AS late_share [x2] -> rebalance
              Aggregate #28 by (to_char(sched_dep_ts, '%m')): roc_auc(late, p), log_loss(late, p), brier_score(late, p), count(1), avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) at end [x2] -> forward
                Project #27 to_char(sched_dep_ts, '%m'), late, p [x2] -> hash(to_char(sched_dep_ts, '%m'))
                  Filter #26 p IS NOT NULL [x2] -> forward
                    Project #25 "p.flight_id" AS flight_id, sched_dep_ts, month, p, late [x2] -> forward
                      IntervalJoin #24 (flight_id) = (flight_id), landed_at - sched_dep_ts in [0us, 33h] [x2] -> forward
                        Project #22 flight_id, sched_dep_ts, month, p [x2] -> hash(flight_id)
                          Project #21 (see above) [x2] -> forward
                        Project #23 flight_id, landed_at, late [x2] -> hash(flight_id)
                          Source #1 (see above) [x2] -> forward
            Project #33 'Feb-Dec' AS month, "roc_auc(late, p)" AS auc, "log_loss(late, p)" AS log_loss, "brier_score(late, p)" AS brier, "count(1)" AS flights, "avg(CASE WHEN late THEN 1.0 ELSE 0.0 END)" AS late_share [x1] -> forward
              Aggregate #32 by (): roc_auc(late, p), log_loss(late, p), brier_score(late, p), count(1), avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) at end [x1] -> forward
                Project #31 late, p [x2] -> rebalance
                  Filter #30 (p IS NOT NULL AND (date_part('MONTH', sched_dep_ts) > 1)) [x2] -> forward
                    Project #25 (see above) [x2] -> forward
    "#]].assert_eq(&explain(&flights()));
}

#[test]
fn the_graph_can_be_cut_and_sent() {
    let graph = flights();
    let stages = Stages::of(&graph).unwrap();
    assert!(stages.stages.len() > 5);
    let bytes = codec::encode(&graph).unwrap();
    assert_eq!(codec::decode::<DataflowGraph>(&bytes).unwrap(), graph);
}

#[test]
fn each_source_is_read_once() {
    let graph = flights();
    let sources: Vec<String> =
        graph.nodes.iter().filter(|n| n.kind.ports() == 0).map(|n| format!("{:?}", n.id)).collect();
    assert_eq!(sources.len(), 3);
    let names: BTreeSet<&str> = graph.nodes.iter().map(|node| node.kind.name()).collect();
    assert!(names.contains("Train") && names.contains("Predict"));
    assert_eq!(graph.nodes.iter().filter(|node| node.kind.name() == "Train").count(), 1);
}

#[test]
fn expressions_are_valid_over_their_inputs() {
    super::check_expressions(&flights());
}
