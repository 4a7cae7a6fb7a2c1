SELECT search_phrase, min(url) AS url, min(title) AS title, count(*) AS n, count(DISTINCT user_id) AS u FROM hits
WHERE title LIKE '%Google%' AND url NOT LIKE '%.google.%' AND search_phrase <> ''
GROUP BY search_phrase ORDER BY n DESC, search_phrase LIMIT 10
