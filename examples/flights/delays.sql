-- Which of today's flights out of New York will arrive late? Asked for every flight of 2013 at the
-- moment it is scheduled to leave, and answered by a model that has learnt only from the flights
-- that had landed by then.
--
--   cargo run --release -- run examples/flights/delays.sql

-- 1. Sources. A departure is known at its scheduled time. How late it arrives is known when it lands:
--    the same file gives a second stream, with another event time. No flight lands before its
--    scheduled departure, so the file's order says how far that stream has come.

CREATE SOURCE departures (
    carrier VARCHAR, flight BIGINT, tailnum VARCHAR, origin VARCHAR, dest VARCHAR,
    distance BIGINT, sched_dep_ts TIMESTAMP,
    WATERMARK FOR sched_dep_ts AS sched_dep_ts
) WITH (connector = 'files', path = 'examples/flights/data/flights.parquet', format = 'parquet');

CREATE SOURCE arrivals (
    carrier VARCHAR, flight BIGINT, tailnum VARCHAR, origin VARCHAR, dest VARCHAR, sched_dep_ts TIMESTAMP,
    dep_delay DOUBLE, air_time DOUBLE, arr_delay DOUBLE,
    late BOOLEAN AS (arr_delay > 15),
    landed_at TIMESTAMP AS (sched_dep_ts + (dep_delay + air_time) * INTERVAL '1 minute'),
    WATERMARK FOR landed_at AS sched_dep_ts
) WITH (connector = 'files', path = 'examples/flights/data/flights.parquet', format = 'parquet',
        null_event_time = 'skip');           -- cancelled flights never arrive and never teach

CREATE SOURCE weather (
    origin VARCHAR, time_hour TIMESTAMP, temp DOUBLE, dewp DOUBLE, humid DOUBLE,
    wind_speed DOUBLE, precip DOUBLE, pressure DOUBLE, visib DOUBLE,
    WATERMARK FOR time_hour AS time_hour
) WITH (connector = 'files', path = 'examples/flights/data/weather.parquet', format = 'parquet');

-- 2. What has landed in the last hours, every 15 minutes: by airport, by airline, by destination.

CREATE VIEW origin_delays AS
SELECT origin, window_end, avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) AS late_share, avg(arr_delay) AS mean_delay
FROM HOP(TABLE arrivals, DESCRIPTOR(landed_at), INTERVAL '15 minutes', INTERVAL '1 hour')
GROUP BY origin, window_start, window_end;

CREATE VIEW carrier_delays AS
SELECT carrier, window_end, avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) AS late_share, avg(arr_delay) AS mean_delay
FROM HOP(TABLE arrivals, DESCRIPTOR(landed_at), INTERVAL '15 minutes', INTERVAL '2 hours')
GROUP BY carrier, window_start, window_end;

CREATE VIEW dest_delays AS
SELECT dest, window_end, avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) AS late_share
FROM HOP(TABLE arrivals, DESCRIPTOR(landed_at), INTERVAL '15 minutes', INTERVAL '3 hours')
GROUP BY dest, window_start, window_end;

-- 3. Features: all that is known of a flight when it is scheduled to leave. FOR SYSTEM_TIME AS OF takes
--    the newest row of the other side at or before that time. Text is a category, a number a quantity.

CREATE VIEW features AS
SELECT d.flight, d.sched_dep_ts, d.carrier, d.origin, d.dest,
       CAST(EXTRACT(hour FROM d.sched_dep_ts) AS VARCHAR)  AS hour,
       CAST(EXTRACT(month FROM d.sched_dep_ts) AS VARCHAR) AS month,
       CAST(EXTRACT(dow FROM d.sched_dep_ts) AS VARCHAR)   AS weekday,
       d.distance, w.temp, w.dewp, w.humid, w.wind_speed, w.precip, w.pressure, w.visib,
       o.late_share AS origin_late,  o.mean_delay AS origin_delay,
       c.late_share AS carrier_late, c.mean_delay AS carrier_delay,
       t.late_share AS dest_late,
       CASE WHEN i.landed_at >= d.sched_dep_ts - INTERVAL '6 hours' THEN i.arr_delay END AS inbound_delay
FROM departures AS d
LEFT JOIN weather        FOR SYSTEM_TIME AS OF d.sched_dep_ts AS w ON w.origin = d.origin
LEFT JOIN origin_delays  FOR SYSTEM_TIME AS OF d.sched_dep_ts AS o ON o.origin = d.origin
LEFT JOIN carrier_delays FOR SYSTEM_TIME AS OF d.sched_dep_ts AS c ON c.carrier = d.carrier
LEFT JOIN dest_delays    FOR SYSTEM_TIME AS OF d.sched_dep_ts AS t ON t.dest = d.dest
LEFT JOIN arrivals       FOR SYSTEM_TIME AS OF d.sched_dep_ts AS i ON i.tailnum = d.tailnum;  -- the same plane

-- 4. The model learns for ever: each flight when it lands, a new version every hour of event time.

CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late', publish_every = '1 hour', clip = 2) AS
SELECT a.landed_at, a.late,
       f.carrier, f.origin, f.dest, f.hour, f.month, f.weekday, f.distance,
       f.temp, f.dewp, f.humid, f.wind_speed, f.precip, f.pressure, f.visib,
       f.origin_late, f.origin_delay, f.carrier_late, f.carrier_delay, f.dest_late, f.inbound_delay
FROM features AS f
JOIN arrivals AS a ON a.carrier = f.carrier AND a.flight = f.flight AND a.origin = f.origin
                  AND a.sched_dep_ts = f.sched_dep_ts
                  AND a.landed_at BETWEEN f.sched_dep_ts AND f.sched_dep_ts + INTERVAL '2 days';

-- 5. A prediction for every departure, by the newest version that had learnt only from its past.

CREATE VIEW predictions AS
SELECT carrier, flight, origin, dest, sched_dep_ts,
       predicted_late_prob AS p_late, model_version, model_event_time AS learnt_to
FROM ML.PREDICT(MODEL late, TABLE features);

CREATE SINK predicted FROM predictions
WITH (connector = 'files', path = 'out/flights/predictions', format = 'parquet');

-- 6. How good were they? Each prediction meets its label when the flight lands.

CREATE VIEW scored AS
SELECT EXTRACT(month FROM p.sched_dep_ts) AS month, p.p_late, a.late, a.landed_at
FROM predictions AS p
JOIN arrivals AS a ON a.carrier = p.carrier AND a.flight = p.flight AND a.origin = p.origin
                  AND a.sched_dep_ts = p.sched_dep_ts
                  AND a.landed_at BETWEEN p.sched_dep_ts AND p.sched_dep_ts + INTERVAL '2 days';

SELECT '2013-' || lpad(CAST(month AS VARCHAR), 2, '0') AS month, count(*) AS flights,
       avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) AS late_share,
       roc_auc(late, p_late) AS auc, log_loss(late, p_late) AS log_loss, brier_score(late, p_late) AS brier
FROM scored
GROUP BY month
UNION ALL
SELECT 'Feb-Dec', count(*), avg(CASE WHEN late THEN 1.0 ELSE 0.0 END),
       roc_auc(late, p_late), log_loss(late, p_late), brier_score(late, p_late)
FROM scored
WHERE month >= 2
ORDER BY month;
