SELECT count(DISTINCT user_id) AS n FROM hits
