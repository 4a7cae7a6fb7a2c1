-- A model, what it reads, and the graph that trains it and predicts with it.
CREATE SOURCE bids (auction BIGINT, bidder VARCHAR, price DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts)
  WITH (connector = 'files', path = 'bids', format = 'parquet');
CREATE VIEW labelled AS SELECT ts, bidder, auction, price > 100 AS high FROM bids;

EXPLAIN CREATE MODEL expensive WITH (model_type = 'logistic_reg', label = 'high', publish_every = '10 minutes') AS
SELECT * FROM labelled;
EXPLAIN SELECT bidder, count(*) AS n FROM bids WHERE price > 3 GROUP BY bidder ORDER BY n DESC LIMIT 3;
