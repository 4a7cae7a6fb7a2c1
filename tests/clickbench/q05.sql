SELECT count(DISTINCT search_phrase) AS n FROM hits
