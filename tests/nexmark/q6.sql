-- The average of each seller's last ten closing prices. The winning bid, which Flink's text takes as an
-- ungrouped column, is said here by ROW_NUMBER(); of two auctions that were won at once, the ids decide.
SELECT q.seller, avg(q.price) OVER (
  PARTITION BY q.seller ORDER BY q.bid_time, q.id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW
) AS average
FROM (
  SELECT a.id, a.seller, b.price, b.date_time AS bid_time,
         row_number() OVER (PARTITION BY a.id, a.seller ORDER BY b.price DESC, b.date_time, b.bidder) AS rownum
  FROM auction a, bid b
  WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
) q
WHERE q.rownum <= 1
