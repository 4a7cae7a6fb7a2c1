SELECT count(*) AS n FROM hits WHERE adv_engine_id <> 0
