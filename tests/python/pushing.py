"""Rows in: ADBC's bulk ingestion and pyarrow.flight's DoPut. The server's address is the argument."""

import datetime
import decimal
import json
import sys
import time

import adbc_driver_flightsql.dbapi as dbapi
import pandas
import polars
import pyarrow
import pyarrow.flight as flight

from refused import refused

ADDRESS = sys.argv[1]


def one(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchone()[0]


def check_ingestion(cursor):
    moment = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789)
    table = pyarrow.table({
        "Id": pyarrow.array([1, 2, 3], pyarrow.int32()),
        "name": ["one", None, "it's"],
        "price": pyarrow.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.50")], pyarrow.decimal128(10, 2)),
        "at": pyarrow.array([moment, None, moment], pyarrow.timestamp("ns")),
        "day": [datetime.date(2024, 2, 29), None, None],
        "raw": [b"\x00\xff", None, b""],
        "tags": pyarrow.array([["a", "b"], [], None], pyarrow.list_(pyarrow.string())),
    })
    assert cursor.adbc_ingest("kept", table, mode="create") == 3
    cursor.execute('SELECT "Id", name, price, at, day, raw, tags FROM kept ORDER BY "Id"')
    assert cursor.fetchall() == [
        (1, "one", decimal.Decimal("1.25"), moment, datetime.date(2024, 2, 29), b"\x00\xff", ["a", "b"]),
        (2, None, None, None, None, None, []),
        (3, "it's", decimal.Decimal("-3.50"), moment, None, b"", None),
    ]
    refused(dbapi.Error, "already", lambda: cursor.adbc_ingest("kept", table, mode="create"))
    assert cursor.adbc_ingest("kept", table.select(["name", "Id"]), mode="append") == 3
    assert one(cursor, "SELECT count(*) FROM kept") == 6
    assert cursor.adbc_ingest("kept", pandas.DataFrame({"x": [1.5, 2.5]}), mode="replace") == 2
    assert one(cursor, "SELECT sum(x) FROM kept") == 4.0
    assert cursor.adbc_ingest("kept", polars.DataFrame({"x": [3.0]}), mode="create_append") == 1
    assert one(cursor, "SELECT sum(x) FROM kept") == 7.0
    refused(dbapi.Error, "no column 'y'", lambda: cursor.adbc_ingest("kept", pyarrow.table({"y": [1]}), mode="append"))
    refused(dbapi.Error, "nowhere", lambda: cursor.adbc_ingest("nowhere", table, mode="append"))
    refused(dbapi.Error, "temporary", lambda: cursor.adbc_ingest("other", table, mode="create", temporary=True))
    # Batches one by one, as a reader gives them.
    batches = (pyarrow.record_batch({"n": list(range(first, first + 1000))}) for first in range(0, 50_000, 1000))
    schema = pyarrow.schema([("n", pyarrow.int64())])
    reader = pyarrow.RecordBatchReader.from_batches(schema, batches)
    assert cursor.adbc_ingest("many", reader, mode="create") == 50_000
    assert one(cursor, "SELECT count(DISTINCT n) FROM many") == 50_000


def check_streams(connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE SOURCE clicks (page VARCHAR, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) "
                       "WITH (connector = 'push')")
        cursor.execute("CREATE MATERIALIZED VIEW pages AS SELECT page, count(*) AS n FROM clicks GROUP BY page")
    client = flight.connect(ADDRESS)
    schema = pyarrow.schema([("page", pyarrow.string()), ("ts", pyarrow.timestamp("us"))])
    writer, acknowledged = client.do_put(flight.FlightDescriptor.for_path("clicks"), schema)
    pushed = 0
    for second in range(20):
        times = [datetime.datetime(2024, 1, 1, 0, 0, second)] * 2
        writer.write_batch(pyarrow.record_batch([["home", "about"], times], schema=schema))
        pushed += 2
        # On disk before the next one comes.
        assert json.loads(acknowledged.read().to_pybytes())["rows"] == pushed
    writer.done_writing()
    assert acknowledged.read() is None
    writer.close()
    # Who does not listen is not waited for.
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("clicks"), schema)
    for second in range(500):
        writer.write_batch(pyarrow.record_batch([["home"], [datetime.datetime(2024, 1, 2)]], schema=schema))
    writer.close()
    with connection.cursor() as cursor:
        assert cursor.adbc_ingest("clicks", pyarrow.table({"page": ["home"], "ts": [datetime.datetime(2024, 1, 3)]}),
                                  mode="append") == 1
        for _ in range(400):
            cursor.execute("SELECT page, n FROM pages ORDER BY page")
            found = cursor.fetchall()
            if found == [("about", 20), ("home", 521)]:
                break
            time.sleep(0.05)
        assert found == [("about", 20), ("home", 521)], found
        refused(dbapi.Error, "column 'ts' is missing",
                lambda: cursor.adbc_ingest("clicks", pyarrow.table({"page": ["home"]}), mode="append"))
    refused(pyarrow.ArrowException, "the path of the descriptor is its name",
            lambda: put(client, flight.FlightDescriptor.for_path("a", "b"), schema))
    client.close()


def put(client, descriptor, schema):
    writer, _ = client.do_put(descriptor, schema)
    writer.write_batch(pyarrow.record_batch([["home"], [datetime.datetime(2024, 1, 2)]], schema=schema))
    writer.close()


def main():
    with dbapi.connect(ADDRESS, autocommit=True) as connection:
        with connection.cursor() as cursor:
            check_ingestion(cursor)
        check_streams(connection)
    print("all rows are in")


main()
