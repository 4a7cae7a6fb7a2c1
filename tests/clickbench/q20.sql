SELECT count(*) AS n FROM hits WHERE url LIKE '%google%'
