SELECT client_ip, client_ip - 1 AS b, client_ip - 2 AS c, client_ip - 3 AS d, count(*) AS n FROM hits
GROUP BY client_ip, client_ip - 1, client_ip - 2, client_ip - 3 ORDER BY n DESC, client_ip LIMIT 10
