SELECT user_id, search_phrase, count(*) AS n FROM hits
GROUP BY user_id, search_phrase ORDER BY user_id, search_phrase LIMIT 10
