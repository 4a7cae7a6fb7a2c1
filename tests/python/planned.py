"""Plans that PyPI's datafusion makes come to what the same SQL comes to. The server's address is the argument."""

import sys

import adbc_driver_flightsql.dbapi as dbapi
import datafusion
import pyarrow
from datafusion.substrait import Producer, Serde

from refused import refused

ADDRESS = sys.argv[1]

BIDS = """auction,bidder,price,ts
1,ann,10.5,2024-01-01 00:00:00
1,bob,12,2024-01-01 00:10:00
2,ann,3,2024-01-01 01:00:00
2,,7.25,2024-02-01 01:30:00
3,cid,,2024-03-01 02:00:00
1,ann,20,2024-03-01 02:10:00
4,x%y,1,2024-03-01 03:00:00
"""

OBJECTS = [
    """CREATE SOURCE bids (auction BIGINT, bidder VARCHAR, price DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
       WITH (connector = 'files', path = 'bids.csv', format = 'csv', header = true)""",
    """CREATE VIEW items AS SELECT column1 AS id, column2 AS name, CAST(column3 AS DATE) AS since
       FROM (VALUES (1, 'lamp', '2024-01-01'), (2, 'chair', '2023-05-06'), (5, NULL, NULL)) AS rows""",
    """CREATE MATERIALIZED VIEW totals AS
       SELECT bidder, count(*) AS n, sum(price) AS total FROM bids GROUP BY bidder""",
    """CREATE SOURCE made (WATERMARK FOR date_time AS date_time)
       WITH (connector = 'nexmark', table = 'bid', rows_per_second = 2000)""",
    "CREATE MATERIALIZED VIEW per_channel AS SELECT channel, count(*) AS n FROM made GROUP BY channel",
]

QUERIES = [
    "SELECT auction, price * 2 AS twice FROM bids WHERE price > 5 AND bidder LIKE 'a%'",
    "SELECT bidder, count(*) AS n, sum(price) AS total FROM bids GROUP BY bidder HAVING count(*) > 1",
    "SELECT bidder, avg(price) FILTER (WHERE auction < 3) AS mean, count(DISTINCT auction) AS auctions FROM bids "
    "GROUP BY bidder",
    "SELECT b.auction, i.name, b.price FROM bids b JOIN items i ON b.auction = i.id",
    "SELECT i.id, i.name, b.price FROM items i LEFT JOIN bids b ON b.auction = i.id AND b.price > 11",
    "SELECT auction, price, bidder FROM bids ORDER BY price DESC NULLS LAST, auction LIMIT 3",
    "SELECT auction, bidder, ts FROM bids ORDER BY ts, auction",
    "SELECT auction AS k FROM bids UNION ALL SELECT id FROM items",
    "SELECT auction AS k FROM bids UNION SELECT id FROM items",
    "SELECT CASE WHEN price > 10 THEN 'dear' WHEN price > 5 THEN 'fair' ELSE 'cheap' END AS kind, "
    "CASE auction WHEN 1 THEN 'one' END AS word, CAST(price AS BIGINT) AS whole, "
    "TRY_CAST(bidder AS DOUBLE) AS number, price BETWEEN 3 AND 11 AS some FROM bids",
    "SELECT upper(bidder) AS who, substring(bidder, 1, 2) AS two, bidder || '!' AS loud, "
    "coalesce(bidder, 'nobody') AS someone, char_length(bidder) AS long, bidder IN ('ann', 'bob') AS known FROM bids "
    "WHERE bidder NOT LIKE '%\\%%' OR bidder IS NULL",
    "SELECT date_trunc('hour', ts) AS hour, extract(month FROM ts) AS month, ts + INTERVAL '90 seconds' AS later, "
    "CAST(ts AS DATE) AS day FROM bids WHERE ts >= TIMESTAMP '2024-01-01 00:10:00' AND CAST(ts AS DATE) < DATE "
    "'2024-03-01'",
    "SELECT round(price, 1) AS a, log(2, price) AS b, sqrt(price) AS c, abs(-price) AS d, auction % 2 AS e, "
    "-auction AS f, NOT price > 5 AS g, price IS NULL AS h FROM bids",
    "SELECT auction, ts, sum(price) OVER (PARTITION BY auction ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) "
    "AS two, lag(price) OVER (PARTITION BY auction ORDER BY ts) AS before FROM bids",
    "SELECT auction, bidder FROM (SELECT auction, bidder, row_number() OVER (PARTITION BY auction ORDER BY ts DESC) "
    "AS place FROM bids) WHERE place = 1",
    "SELECT auction FROM bids WHERE auction IN (SELECT id FROM items WHERE name IS NOT NULL)",
    "SELECT name FROM items WHERE NOT EXISTS (SELECT 1 FROM bids WHERE bids.auction = items.id)",
    "SELECT since, name FROM items WHERE since < DATE '2024-01-01' OR since IS NULL",
    "SELECT bidder, n, total FROM totals WHERE n > 1 ORDER BY total DESC",
    "SELECT x.bidder, x.n, i.name FROM totals x JOIN items i ON x.n = i.id",
    "SELECT 1 AS a, 'x' AS b, CAST(NULL AS DOUBLE) AS c, CAST(1.5 AS DECIMAL(10, 2)) AS d, DATE '2024-02-29' AS e, "
    "true AS f, [1, 2] AS g",
    "SELECT column1 AS a, column2 AS b FROM (VALUES (1, 'x'), (2, NULL)) AS v WHERE column1 > 0",
]


def planner(connection, names):
    """A planner that knows the server's tables, and has no rows of them."""
    context = datafusion.SessionContext()
    for name in names:
        schema = connection.adbc_get_table_schema(name)
        context.from_arrow(pyarrow.Table.from_batches([], schema), name=name)
    return context


def forms(context, query):
    """The plans of a query: as it was parsed, and optimised. Of the former, none refers to an outer query."""
    if "EXISTS" not in query:
        yield Producer.to_substrait_plan(context.sql(query).logical_plan(), context).encode()
    yield Serde.serialize_bytes(query, context)


def executed(cursor, plan, prepared=False):
    """The rows of a plan."""
    statement = cursor.adbc_statement
    statement.set_substrait_plan(plan)
    if prepared:
        statement.prepare()
    stream, _ = statement.execute_query()
    return pyarrow.RecordBatchReader.from_stream(stream).read_all()


def shown(table, query):
    rows = [tuple(row.values()) for row in table.to_pylist()]
    # An order in parentheses is one of windows.
    return rows if " ORDER BY " in query.rsplit(")", 1)[-1] else sorted(rows, key=repr)


def check_queries(connection, context):
    for query in QUERIES:
        with connection.cursor() as cursor:
            wanted = cursor.execute(query).fetch_arrow_table()
        for place, plan in enumerate(forms(context, query)):
            with connection.cursor() as cursor:
                table = executed(cursor, plan, prepared=place == 0)
            assert table.schema.names == wanted.schema.names, (query, table.schema, wanted.schema)
            assert table.schema.types == wanted.schema.types, (query, table.schema, wanted.schema)
            assert shown(table, query) == shown(wanted, query), (query, place, shown(table, query), shown(wanted, query))


def check_running(connection, context):
    """A view while it runs, and a stream without an end."""
    [parsed, optimised] = forms(context, "SELECT channel, n FROM per_channel ORDER BY n DESC LIMIT 2")
    with connection.cursor() as cursor:
        assert executed(cursor, parsed).num_rows == 2
        assert executed(cursor, optimised, prepared=True).num_rows == 2
    [plan, _] = forms(context, "SELECT auction, price FROM made WHERE price > 10")
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_substrait_plan(plan)
        stream, _ = cursor.adbc_statement.execute_query()
        reader = pyarrow.RecordBatchReader.from_stream(stream)
        assert reader.read_next_batch().num_rows > 0
        reader.close()


def check_refused(connection, context):
    with connection.cursor() as cursor:
        for query, reason in [
            ("SELECT auction FROM bids OFFSET 3", "root.fetch: OFFSET is not supported"),
            ("SELECT auction FROM bids INTERSECT SELECT id FROM items", ""),
            ("SELECT bidder, auction, count(*) FROM bids GROUP BY CUBE (bidder, auction)", "root.project.input.aggregate"),
            ("SELECT price FROM made ORDER BY price", "ORDER BY is over all rows"),
        ]:
            plan = next(forms(context, query))
            refused(dbapi.Error, reason, lambda: executed(cursor, plan))
        refused(dbapi.Error, "no plan in Substrait", lambda: executed(cursor, b"SELECT 1"))
        other = datafusion.SessionContext()
        other.from_arrow(pyarrow.table({"auction": ["x"]}), name="bids")
        other.from_arrow(pyarrow.table({"a": [1]}), name="nowhere")
        for query, reason in [
            ("SELECT auction FROM bids", "the column 'auction' of 'bids' is BIGINT, and the plan takes it for VARCHAR"),
            ("SELECT a FROM nowhere", "there is no source or view 'nowhere'"),
        ]:
            plan = next(forms(other, query))
            refused(dbapi.Error, reason, lambda: executed(cursor, plan))


def main():
    with open("bids.csv", "w") as file:
        file.write(BIDS)
    with dbapi.connect(ADDRESS, autocommit=True) as connection:
        with connection.cursor() as cursor:
            for statement in OBJECTS:
                cursor.execute(statement)
        context = planner(connection, ["bids", "items", "totals", "made", "per_channel"])
        check_queries(connection, context)
        check_running(connection, context)
        check_refused(connection, context)
    print("all well with", datafusion.__version__)


main()
