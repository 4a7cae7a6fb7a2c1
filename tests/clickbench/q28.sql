SELECT regexp_replace(referer, '^https?://(?:www\.)?([^/]+)/.*$', '\1') AS host, avg(length(referer)) AS l, count(*) AS n,
  min(referer) AS first
FROM hits WHERE referer <> '' GROUP BY host HAVING count(*) > 20 ORDER BY l DESC, host LIMIT 25
