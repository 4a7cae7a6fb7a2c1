"""What clients of Python see of a server: ADBC's DBAPI and pyarrow.flight. The server's address is the argument."""

import datetime
import sys
import threading
import time
import warnings

import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager
import pyarrow
import pyarrow.flight as flight

from refused import refused

ADDRESS = sys.argv[1]

COOKIES = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}


def connect(**options):
    return dbapi.connect(ADDRESS, db_kwargs=options, autocommit=True)


def check_statements(cursor):
    cursor.execute("CREATE SOURCE bids (WATERMARK FOR date_time AS date_time) "
                   "WITH (connector = 'nexmark', table = 'bid', rows_per_second = 2000)")
    assert cursor.fetchall() == [("CREATE SOURCE bids",)]
    # Nothing has to be fetched for a statement to take effect before the next.
    cursor.execute("CREATE VIEW dear AS SELECT auction, price, date_time FROM bids WHERE price > 100")
    cursor.execute("CREATE MATERIALIZED VIEW per_channel AS SELECT channel, count(*) AS n FROM bids GROUP BY channel")
    cursor.execute("SELECT channel, n FROM per_channel ORDER BY n DESC, channel")
    assert [column[0] for column in cursor.description] == ["channel", "n"]
    rows = cursor.fetchall()
    assert len(rows) > 1 and rows[0][1] >= rows[1][1] > 0, rows
    cursor.execute("SELECT 1 AS a, 'x' AS b, CAST(NULL AS DOUBLE) AS c, TIMESTAMP '2024-05-06 07:08:09' AS t")
    assert cursor.fetchone() == (1, "x", None, datetime.datetime(2024, 5, 6, 7, 8, 9))
    assert cursor.fetchone() is None
    table = cursor.execute("SELECT channel, n FROM per_channel").fetch_arrow_table()
    assert table.schema.field("n").type == pyarrow.int64() and table.num_rows == len(rows)
    frame = cursor.execute("SELECT channel, n FROM per_channel").fetch_df()
    assert list(frame.columns) == ["channel", "n"] and len(frame) == len(rows)
    frame = cursor.execute("SELECT channel, n FROM per_channel").fetch_polars()
    assert frame.columns == ["channel", "n"] and frame.height == len(rows)
    schema = cursor.adbc_execute_schema("SELECT auction FROM bids")
    assert schema.names == ["auction"], schema
    cursor.execute("SHOW JOBS")
    assert "per_channel" in [row[2] for row in cursor.fetchall()]


def check_streams(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT channel, count(*) AS n FROM bids GROUP BY channel")
        first = cursor.fetchmany(50)
        assert first[0][0] in ("+I", "-U", "+U"), first[0]
    with connection.cursor() as cursor:
        reader = cursor.execute("SELECT auction, price FROM bids").fetch_record_batch()
        assert reader.read_next_batch().num_rows > 0
        assert reader.read_next_batch().num_rows > 0
        reader.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT auction FROM bids LIMIT 10")
        assert len(cursor.fetchall()) == 10
    with connection.cursor() as cursor:
        cursor.execute("SELECT auction FROM bids")
        cursor.fetchmany(10)
        threading.Timer(0.5, cursor.adbc_cancel).start()

        def read_on():
            while True:
                cursor.fetchmany(1000)

        refused(dbapi.Error, "", read_on)
    wait_for_jobs(connection, ["per_channel"])


def wait_for_jobs(connection, wanted):
    for _ in range(600):
        with connection.cursor() as cursor:
            cursor.execute("SHOW JOBS")
            makes = [row[2] for row in cursor.fetchall()]
        if makes == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(makes)


def check_metadata(connection):
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "Tidemill" and info["vendor_version"], info
    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    [catalog] = objects
    [schema] = catalog["catalog_db_schemas"]
    assert (catalog["catalog_name"], schema["db_schema_name"]) == ("tidemill", "public"), objects
    tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
    types = {name: table["table_type"] for name, table in tables.items()}
    assert types == {"bids": "TABLE", "dear": "VIEW", "per_channel": "MATERIALIZED VIEW"}, types
    columns = [column["column_name"] for column in tables["dear"]["table_columns"]]
    assert columns == ["auction", "price", "date_time"], columns
    only = connection.adbc_get_objects(depth="tables", table_name_filter="per%").read_all().to_pylist()
    assert [table["table_name"] for table in only[0]["catalog_db_schemas"][0]["db_schema_tables"]] == ["per_channel"]
    schema = connection.adbc_get_table_schema("dear")
    assert schema.names == columns and schema.field("price").type == pyarrow.int64(), schema
    refused(dbapi.Error, "", lambda: connection.adbc_get_table_schema("nowhere"))
    assert "MATERIALIZED VIEW" in connection.adbc_get_table_types()
    with connection.cursor() as cursor:
        # As tools write names that they have found.
        cursor.execute('SELECT count(*) FROM "tidemill"."public"."per_channel"')
        assert cursor.fetchone()[0] > 0


def check_parameters(cursor):
    cursor.execute("CREATE VIEW v AS SELECT column1 AS a, column2 AS b "
                   "FROM (VALUES (1, 'x'), (2, 'y'), (3, 'y')) AS rows")
    cursor.execute("SELECT a FROM v WHERE b = ? AND a > ?", ("y", 2))
    assert cursor.fetchall() == [(3,)]
    cursor.execute("SELECT a FROM v WHERE b = ? AND a > ?", ("y", 1))
    assert sorted(cursor.fetchall()) == [(2,), (3,)]
    cursor.execute("SELECT a FROM v WHERE b = $1", ("it's not there",))
    assert cursor.fetchall() == []
    cursor.execute("SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e, ? AS f",
                   (-5, 1.5, True, None, b"\x00\xff", datetime.date(2024, 2, 29)))
    assert cursor.fetchone() == (-5, 1.5, True, None, b"\x00\xff", datetime.date(2024, 2, 29))
    moment = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789)
    cursor.execute("SELECT ? AS t", (moment,))
    assert cursor.fetchone() == (moment,)
    schema = cursor.adbc_prepare("SELECT a FROM v WHERE b = ? AND a > ?")
    assert [field.type for field in schema] == [pyarrow.string(), pyarrow.int64()], schema
    refused(dbapi.ProgrammingError, "has 1 parameters, and 2 values",
            lambda: cursor.execute("SELECT a FROM v WHERE a = ?", (1, 2)))

    cursor.execute("CREATE SINK kept (a BIGINT, b VARCHAR, t TIMESTAMP) "
                   "WITH (connector = 'files', path = 'kept', format = 'csv')")
    cursor.executemany("INSERT INTO kept VALUES (?, ?, ?)",
                       [(1, "one", moment), (2, None, moment), (3, "it's", None)])
    assert cursor.rowcount == 3
    cursor.execute("CREATE SOURCE again (a BIGINT, b VARCHAR, t TIMESTAMP) "
                   "WITH (connector = 'files', path = 'kept', format = 'csv')")
    cursor.execute("SELECT * FROM again ORDER BY a")
    assert cursor.fetchall() == [(1, "one", moment), (2, None, moment), (3, "it's", None)]
    cursor.executemany("INSERT INTO kept SELECT a + ?, b, CAST(NULL AS TIMESTAMP) FROM v WHERE b = ?",
                       [(10, "x"), (20, "y")])
    assert cursor.rowcount == -1


def check_errors(cursor):
    refused(dbapi.ProgrammingError, "line 1, column 8", lambda: cursor.execute("SELECT nothing FROM bids"))
    refused(dbapi.ProgrammingError, "no statement starts with", lambda: cursor.execute("SELEKT 1"))
    refused(dbapi.ProgrammingError, "already exists", lambda: cursor.execute("CREATE VIEW dear AS SELECT 1 AS a"))
    refused(dbapi.NotSupportedError, "FETCH is not supported", lambda: cursor.execute("SELECT 1 AS a FETCH FIRST 1 ROW ONLY"))
    refused(dbapi.ProgrammingError, "uses it; drop that first", lambda: cursor.execute("DROP SOURCE bids"))
    cursor.execute("SELECT 1 AS still_there")
    assert cursor.fetchall() == [(1,)]


def check_sessions():
    with connect() as connection, connection.cursor() as cursor:
        refused(dbapi.Error, "with_cookie_middleware", lambda: cursor.execute("SET parallelism = 5"))
    with connect(**COOKIES) as connection, connect(**COOKIES) as other:
        with connection.cursor() as cursor, other.cursor() as others:
            cursor.execute("SET parallelism = 5")
            cursor.execute("SHOW parallelism")
            assert cursor.fetchone()[1] == "5"
            others.execute("SHOW parallelism")
            assert others.fetchone()[1] == "2"
        option = "adbc.flight.sql.session.option.parallelism"
        assert connection.adbc_connection.get_option(option) == "5"
        other.adbc_connection.set_options(**{option: "6"})
        assert other.adbc_connection.get_option(option) == "6"
        assert connection.adbc_current_catalog == "tidemill"
        assert connection.adbc_current_db_schema == "public"


def check_transactions():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with dbapi.connect(ADDRESS) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS a")
            assert cursor.fetchall() == [(1,)]
    assert any("autocommit" in str(warning.message) for warning in caught), caught


def varint_field(number, payload):
    """A protobuf field of bytes, whose length needs no second byte."""
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


def check_flight():
    client = flight.connect(ADDRESS)
    name = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    query = varint_field(1, b"SELECT a, b FROM v WHERE a > 1")
    command = varint_field(1, name) + varint_field(2, query)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    assert info.schema.names == ["a", "b"]
    table = client.do_get(info.endpoints[0].ticket).read_all()
    assert sorted(table.to_pydict()["a"]) == [2, 3]
    assert client.get_schema(flight.FlightDescriptor.for_command(command)).schema.names == ["a", "b"]
    actions = {action.type for action in client.list_actions()}
    assert {"CreatePreparedStatement", "CancelFlightInfo", "SetSessionOptions"} <= actions, actions
    assert client.cancel_flight_info(flight.CancelFlightInfoRequest(info)).status == flight.CancelStatus.CANCELLED \
        if hasattr(flight, "CancelFlightInfoRequest") else True
    client.close()


def main():
    with connect() as connection:
        with connection.cursor() as cursor:
            check_statements(cursor)
        check_streams(connection)
        check_metadata(connection)
        with connection.cursor() as cursor:
            check_parameters(cursor)
            check_errors(cursor)
    check_sessions()
    check_transactions()
    check_flight()
    print("all well with", adbc_driver_manager.__version__)


main()
