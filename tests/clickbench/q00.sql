SELECT count(*) AS n FROM hits
