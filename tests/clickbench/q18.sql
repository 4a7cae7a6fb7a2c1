SELECT user_id, extract(minute FROM event_time) AS m, search_phrase, count(*) AS n FROM hits
GROUP BY user_id, m, search_phrase ORDER BY n DESC, user_id, m, search_phrase LIMIT 10
