-- Everybody's last bid for each auction. Of two bids at one time the higher one counts, then the text decides.
SELECT auction, bidder, price, channel, url, date_time, extra
FROM (
  SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, price DESC, extra) AS rank_number
  FROM bid
)
WHERE rank_number <= 1
