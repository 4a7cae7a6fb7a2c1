-- What a session says about what it knows.
CREATE SOURCE bids (auction BIGINT, bidder VARCHAR, price DOUBLE, ts TIMESTAMP NOT NULL,
                    WATERMARK FOR ts AS ts - INTERVAL '4 seconds')
  WITH (connector = 'files', path = 'bids', format = 'parquet');
CREATE VIEW hot AS
SELECT auction, window_end, count(*) AS n, max(price) AS top
FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2 seconds', INTERVAL '10 seconds')
GROUP BY auction, window_start, window_end;

SHOW CONNECTOR blackhole;
SHOW SOURCES;
SHOW VIEWS;
SHOW SINKS;
DESCRIBE bids;
DESCRIBE hot;
SHOW CREATE VIEW hot;
SET parallelism = 3;
SET dead_letter_path = 'dead.jsonl';
SHOW ALL;
