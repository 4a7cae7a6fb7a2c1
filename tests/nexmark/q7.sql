-- The highest bids of each window.
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM bid b
JOIN (
  SELECT max(price) AS maxprice, window_end AS date_time
  FROM TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10 seconds')
  GROUP BY window_start, window_end
) m
ON b.price = m.maxprice
WHERE b.date_time BETWEEN m.date_time - INTERVAL '10 seconds' AND m.date_time
