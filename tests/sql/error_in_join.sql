-- Two streams joined by neither equal keys nor bounds: the message says what to add.
CREATE SOURCE bids (auction BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
  WITH (connector = 'files', path = 'bids', format = 'parquet');
CREATE SOURCE auctions (id BIGINT, opened TIMESTAMP, WATERMARK FOR opened AS opened)
  WITH (connector = 'files', path = 'auctions', format = 'csv');
SHOW SOURCES;
SELECT b.ts
FROM bids AS b
JOIN auctions AS a ON a.opened > b.ts;
