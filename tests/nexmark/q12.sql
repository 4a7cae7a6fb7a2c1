-- How many bids somebody makes in ten seconds of the reader's clock. Which window a bid is in is another one in
-- each run; what the windows of a bidder add up to is not, and is asked for here.
SELECT bidder, sum(bid_count) AS bid_count
FROM (
  SELECT bidder, count(*) AS bid_count, window_start, window_end
  FROM TUMBLE(TABLE bid_by_clock, DESCRIPTOR(pt), INTERVAL '10 seconds')
  GROUP BY bidder, window_start, window_end
)
GROUP BY bidder
