SELECT sum(adv_engine_id) AS s, count(*) AS n, avg(resolution_width) AS w FROM hits
