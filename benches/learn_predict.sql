-- Online learning and prediction alone, for comparison with River: the features of
-- flights_reference.py (weather joined as of the hour), every row predicted and then learnt.

CREATE SOURCE flights (
    carrier VARCHAR, origin VARCHAR, dest VARCHAR, distance BIGINT, arr_delay DOUBLE, sched_dep_ts TIMESTAMP,
    late BOOLEAN AS (arr_delay > 15),
    WATERMARK FOR sched_dep_ts AS sched_dep_ts
) WITH (connector = 'files', path = 'examples/flights/data/flights.parquet', format = 'parquet');

CREATE SOURCE weather (
    origin VARCHAR, time_hour TIMESTAMP, temp DOUBLE, dewp DOUBLE, humid DOUBLE,
    wind_speed DOUBLE, precip DOUBLE, pressure DOUBLE, visib DOUBLE,
    WATERMARK FOR time_hour AS time_hour
) WITH (connector = 'files', path = 'examples/flights/data/weather.parquet', format = 'parquet');

CREATE VIEW features AS
SELECT f.sched_dep_ts, f.late, f.carrier, f.origin, f.dest,
       CAST(EXTRACT(hour FROM f.sched_dep_ts) AS VARCHAR)  AS hour,
       CAST(EXTRACT(month FROM f.sched_dep_ts) AS VARCHAR) AS month,
       CAST(EXTRACT(dow FROM f.sched_dep_ts) AS VARCHAR)   AS weekday,
       f.distance, w.temp, w.dewp, w.humid, w.wind_speed, w.precip, w.pressure, w.visib
FROM flights AS f
LEFT JOIN weather FOR SYSTEM_TIME AS OF f.sched_dep_ts AS w ON w.origin = f.origin
WHERE f.late IS NOT NULL;

CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late', publish_every = '1 hour') AS
SELECT sched_dep_ts, late, carrier, origin, dest, hour, month, weekday, distance,
       temp, dewp, humid, wind_speed, precip, pressure, visib
FROM features;

CREATE SINK nowhere WITH (connector = 'blackhole') AS
SELECT * FROM ML.PREDICT(MODEL late, TABLE features);
