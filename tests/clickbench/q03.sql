SELECT avg(user_id) AS a FROM hits
