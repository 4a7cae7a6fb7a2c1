"""Results that workers hand out: a client fetches each part where it is. The coordinator's address is the argument."""

import sys
import time

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow
import pyarrow.flight as flight

from refused import refused

ADDRESS = sys.argv[1]
ROWS = 92_000
QUERY = "SELECT auction, bidder, price FROM bids"
COUNTED = "SELECT count(*) AS n, sum(auction) AS auctions FROM bids"


def command_of(query):
    """A FlightDescriptor of CommandStatementQuery: its type's name and the query, in protobuf."""
    def field(number, data):
        length, size = b"", len(data)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data
    name = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    return flight.FlightDescriptor.for_command(field(1, name) + field(2, field(1, query.encode())))


def asked(query, settings="SET result_endpoints = 'workers'; SET parallelism = 4; "):
    return flight.connect(ADDRESS).get_flight_info(command_of(settings + query))


def fetched(endpoint):
    [location] = endpoint.locations
    return flight.connect(location).do_get(endpoint.ticket).read_all()


def totals(tables):
    table = pyarrow.concat_tables(tables)
    return table.num_rows, sum(table["auction"].to_pylist())


def check_parts(expected):
    info = asked(QUERY)
    assert len(info.endpoints) == 4, info.endpoints
    places = {endpoint.locations[0].uri for endpoint in info.endpoints}
    assert len(places) == 2 and all(place.startswith(b"grpc") for place in places), places
    parts = [fetched(endpoint) for endpoint in info.endpoints]
    assert totals(parts) == expected, totals(parts)
    assert parts[0].schema.equals(info.schema)
    refused((flight.FlightError, pyarrow.ArrowException, KeyError), "nothing to fetch", lambda: fetched(info.endpoints[0]))


def check_one_place():
    """What is ordered, cut, changes, or is known has one part; so has everything where nothing is set."""
    for query in [QUERY + " ORDER BY 1", QUERY + " LIMIT 5", "SELECT auction, count(*) AS n FROM bids GROUP BY 1", "SELECT 1"]:
        info = asked(query)
        assert len(info.endpoints) == 1 and not info.endpoints[0].locations, query
    assert len(asked(QUERY, "").endpoints) == 1


def check_cancel(cursor):
    info = asked("SELECT auction, bidder, price FROM many")
    reader = flight.connect(info.endpoints[0].locations[0]).do_get(info.endpoints[0].ticket)
    assert reader.read_chunk().data.num_rows > 0
    request = flight.CancelFlightInfoRequest(info) if hasattr(flight, "CancelFlightInfoRequest") else None
    if request is not None:
        flight.connect(ADDRESS).cancel_flight_info(request)
    else:
        reader.cancel()
    # The job is over, whoever was to fetch the rest.
    deadline = time.monotonic() + 30
    while True:
        cursor.execute("SHOW JOBS")
        running = [row for row in cursor.fetchall() if "select" in str(row) and "running" in str(row).lower()]
        if not running:
            break
        assert time.monotonic() < deadline, running
        time.sleep(0.1)


def main():
    cookies = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}
    with dbapi.connect(ADDRESS, db_kwargs=cookies, autocommit=True) as connection, connection.cursor() as cursor:
        for name, events in (("bids", 100_000), ("many", 100_000_000)):
            # Rows without event time have the order in which one task reads them.
            cursor.execute(f"CREATE SOURCE {name} (WATERMARK FOR date_time AS date_time) WITH (connector = 'nexmark', "
                           f"table = 'bid', events = {events})")
        cursor.execute(COUNTED)
        expected = cursor.fetchone()
        assert expected[0] == ROWS, expected
        check_parts(expected)
        check_one_place()
        # ADBC finds the parts by itself.
        cursor.execute("SET result_endpoints = 'workers'")
        cursor.execute(QUERY)
        assert totals([cursor.fetch_arrow_table()]) == expected
        check_cancel(cursor)
    print("all parts are there")


main()
