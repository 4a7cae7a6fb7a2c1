SELECT region_id, sum(adv_engine_id) AS s, count(*) AS n, avg(resolution_width) AS w, count(DISTINCT user_id) AS u
FROM hits GROUP BY region_id ORDER BY n DESC, region_id LIMIT 10
