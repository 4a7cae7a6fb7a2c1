WITH counts AS (
  SELECT auction, count(*) AS num, date_bin(INTERVAL '2 seconds', date_time) - back AS starttime
  FROM bid, (VALUES (INTERVAL '0 seconds'), (INTERVAL '2 seconds'), (INTERVAL '4 seconds'), (INTERVAL '6 seconds'),
                    (INTERVAL '8 seconds')) w (back)
  GROUP BY auction, date_bin(INTERVAL '2 seconds', date_time) - back
)
SELECT c.auction, c.num, c.starttime
FROM counts c
JOIN (SELECT max(num) AS maxn, starttime FROM counts GROUP BY starttime) m
ON c.starttime = m.starttime AND c.num >= m.maxn
