-- The ten highest bids of each auction. Of two at one price the earlier one counts, then the text decides.
SELECT *
FROM (
  SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, extra) AS rank_number
  FROM bid
)
WHERE rank_number <= 10
