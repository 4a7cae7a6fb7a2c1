-- filter
SELECT auction, price * 2 AS twice FROM bids WHERE bidder LIKE 'a%' AND price > 10;
-- having
SELECT bidder, count(*) AS n, sum(price) AS total FROM bids GROUP BY bidder HAVING count(*) > 2;
-- distinct_values
SELECT count(DISTINCT bidder) AS bidders, avg(price) FILTER (WHERE price > 1) AS mean FROM bids;
-- join
SELECT b.auction, a.seller, b.price FROM bids b JOIN auctions a ON b.auction = a.id AND b.ts BETWEEN a.opened AND a.opened + INTERVAL '1 hour' WHERE b.price > 3;
-- self_join
SELECT x.auction AS a, y.auction AS b FROM bids x LEFT JOIN bids y ON x.bidder = y.bidder AND x.ts = y.ts;
-- top
SELECT auction, price FROM bids ORDER BY price DESC NULLS LAST, auction LIMIT 3;
-- first
SELECT auction, price + 1 AS more FROM bids LIMIT 5;
-- union_all
SELECT auction, ts FROM bids UNION ALL SELECT id, opened FROM auctions;
-- union
SELECT auction FROM bids UNION SELECT auction FROM plain;
-- case
SELECT CASE WHEN price > 10 THEN 'dear' WHEN price > 5 THEN 'fair' ELSE 'cheap' END AS kind, CASE bidder WHEN 'x' THEN 1 END AS x, CAST(price AS BIGINT) AS whole, TRY_CAST(bidder AS DOUBLE) AS number FROM bids;
-- texts
SELECT upper(bidder) AS who, substring(bidder, 1, 2) AS two, bidder || '!' AS loud, coalesce(bidder, 'nobody') AS someone, bidder IN ('a', 'b', 'c') AS known FROM bids WHERE bidder NOT LIKE 'x\%%' OR bidder IS NULL;
-- dates
SELECT date_trunc('hour', ts) AS hour, extract(month FROM ts) AS month, ts + INTERVAL '90 seconds' AS later FROM bids WHERE ts >= TIMESTAMP '2024-01-01 00:00:00' AND CAST(ts AS DATE) < DATE '2025-01-01';
-- newest
SELECT auction, bidder, ts FROM (SELECT auction, bidder, ts, row_number() OVER (PARTITION BY auction ORDER BY ts DESC) AS place FROM bids) WHERE place <= 2;
-- running
SELECT auction, ts, sum(price) OVER (PARTITION BY auction ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS last_three, lag(price) OVER (PARTITION BY auction ORDER BY ts) AS before FROM bids;
-- within
SELECT auction FROM bids WHERE auction IN (SELECT id FROM auctions);
-- literals
SELECT 1 AS a, CAST(NULL AS DOUBLE) AS b, CAST(1.50 AS DECIMAL(10, 2)) AS c, DATE '2024-02-29' AS d, true AS e, [1, 2] AS f, TIMESTAMP '2024-01-01 00:00:00' AS g, INTERVAL '1 month 2 days' AS h;
-- rows
SELECT column1 AS a, column2 AS b FROM (VALUES (1, 'x'), (2, NULL)) AS v WHERE column1 > 0;
-- exists
SELECT auction FROM bids b WHERE EXISTS (SELECT 1 FROM auctions a WHERE a.id = b.auction AND a.rating > 2);
-- not_exists
SELECT auction FROM bids b WHERE price > 1 AND NOT EXISTS (SELECT 1 FROM auctions a WHERE a.id = b.auction AND a.seller <> b.bidder);
-- self_exists
SELECT auction FROM bids x WHERE EXISTS (SELECT 1 FROM bids y WHERE y.bidder = x.bidder AND y.ts = x.ts);
-- self_in
SELECT auction FROM bids WHERE auction IN (SELECT auction FROM bids WHERE price > 3);
-- in_with_row
SELECT auction FROM bids b WHERE b.auction IN (SELECT a.id FROM auctions a WHERE a.seller = b.bidder);
-- not_in
SELECT auction FROM bids WHERE auction NOT IN (SELECT id FROM auctions);
-- under_or
SELECT auction FROM bids WHERE price > 3 OR auction IN (SELECT id FROM auctions);
-- value
SELECT auction FROM bids WHERE price > (SELECT avg(price) FROM bids);
-- value_shown
SELECT auction, (SELECT max(rating) FROM auctions) AS best FROM bids;
-- value_with_row
SELECT auction, (SELECT max(rating) FROM auctions a WHERE a.id = b.auction) AS best FROM bids b;
-- any
SELECT auction FROM bids WHERE auction = ANY (SELECT id FROM auctions);
-- structs
SELECT auction, named_struct('a', auction, 'b', bidder) AS s, named_struct('x', 1, 'y', [named_struct('z', 'deep')]) AS t FROM bids;
-- struct_field
SELECT auction, get_field(named_struct('a', auction, 'b', 2), 'a') AS a FROM bids;
-- maps
SELECT map(['a', 'b'], [1, 2]) AS m, map([bidder], [price]) AS n FROM bids;
