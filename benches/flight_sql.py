"""What Flight SQL costs: rows out, statements a second, rows in, predictions.

usage: flight_sql.py TIDEMILL [ROWS [PLAIN]]     (needs adbc-driver-flightsql, adbc-driver-manager, pyarrow)

Starts `tidemill serve` in a folder of its own, and plain servers that have the same batches in memory: pyarrow's, and
arrow-flight's if PLAIN is benches/plain_flight.rs as built by `cargo build --release --example plain_flight`. Over loopback:
  fetch     a table of ROWS rows (10,000,000) by ADBC (a client in Go) and by pyarrow (C++), each from all, in turns; GB/s
            of Arrow buffers
  select    SELECT 1 by one client (p50, p99), and by 16 at once (statements/s)
  ingest    the same table by adbc_ingest, and by DoPut, each batch acknowledged; GB/s
  predict   DoExchange with 1, 8 and 64 rows a request by one client (p50, p99), and requests/s
"""
import datetime
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pyarrow.flight as flight

BATCH_ROWS = 65_536
CLIENTS = 16
SECONDS = 5
FETCHES = 5


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Plain(flight.FlightServerBase):
    """Serves batches that are in memory, whatever the statement."""

    def __init__(self, location, table):
        super().__init__(location)
        self.table = table

    def get_flight_info(self, context, descriptor):
        if b"CommandStatementQuery" not in descriptor.command:
            raise NotImplementedError("only statements")
        endpoint = flight.FlightEndpoint(b"all", [])
        return flight.FlightInfo(self.table.schema, descriptor, [endpoint], self.table.num_rows, -1)

    def do_get(self, context, ticket):
        return flight.RecordBatchStream(self.table)


def made(rows):
    """Numbers, floats and short texts, about 32 bytes a row."""
    batches = []
    for first in range(0, rows, BATCH_ROWS):
        numbers = range(first, min(first + BATCH_ROWS, rows))
        batches.append(pa.record_batch({
            "id": pa.array(numbers, pa.int64()),
            "price": pa.array([n * 0.5 for n in numbers], pa.float64()),
            "name": pa.array([f"name{n % 1000:04}" for n in numbers]),
        }))
    return pa.Table.from_batches(batches)


def timed(do):
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def rate(name, table, seconds):
    print(f"{name}: {table.nbytes / seconds / 1e9:.2f} GB/s, {table.num_rows / seconds / 1e6:.1f} M rows/s")


def by_adbc(url, query, rows):
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetch_arrow_table().num_rows == rows


def by_pyarrow(url, query, rows):
    field = lambda number, value: bytes([number << 3 | 2, len(value)]) + value
    command = field(1, b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery")
    command += field(2, field(1, query.encode()))
    client = flight.connect(url)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    assert sum(client.do_get(endpoint.ticket).read_all().num_rows for endpoint in info.endpoints) == rows
    client.close()


def bench_fetch(url, table, program):
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        rate("ingest by ADBC", table, timed(lambda: cursor.adbc_ingest("made", table, mode="create")))
        cursor.execute("CREATE SOURCE pushed (id BIGINT, price DOUBLE, name VARCHAR) WITH (connector = 'push')")
    plain = Plain("grpc://127.0.0.1:0", table)
    servers = {"": url, " from pyarrow's server": f"grpc://127.0.0.1:{plain.port}"}
    if program:
        process = subprocess.Popen([program, str(table.num_rows)], stdout=subprocess.PIPE, text=True)
        servers[" from arrow-flight's server"] = f"grpc://127.0.0.1:{int(process.stdout.readline())}"
    for fetch, client in ((by_adbc, "ADBC"), (by_pyarrow, "pyarrow")):
        seconds = {name: [] for name in servers}
        for _ in range(FETCHES):
            for name, server in servers.items():
                fetched = timed(lambda: fetch(server, "SELECT id, price, name FROM made", table.num_rows))
                seconds[name].append(fetched)
        for name in servers:
            rate(f"fetch by {client}{name}", table, statistics.median(seconds[name]))
    plain.shutdown()
    if program:
        process.kill()
        process.wait()

    client = flight.connect(url)

    def put():
        writer, told = client.do_put(flight.FlightDescriptor.for_path("pushed"), table.schema)
        for batch in table.to_batches():
            writer.write_batch(batch)
        writer.done_writing()
        while told.read() is not None:
            pass
        writer.close()

    rate("ingest by DoPut", table, timed(put))
    client.close()


def percentiles(name, seconds):
    seconds.sort()
    p50, p99 = (seconds[int(len(seconds) * share)] * 1e3 for share in (0.5, 0.99))
    print(f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


def bench_select(url):
    def select(cursor):
        cursor.execute("SELECT 1")
        cursor.fetchall()

    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for _ in range(20):
            select(cursor)
        percentiles("SELECT 1, one client", [timed(lambda: select(cursor)) for _ in range(500)])

    counts = []

    def client(until):
        with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            count = 0
            while time.perf_counter() < until:
                select(cursor)
                count += 1
        counts.append(count)

    until = time.perf_counter() + SECONDS
    clients = [threading.Thread(target=client, args=(until,)) for _ in range(CLIENTS)]
    [thread.start() for thread in clients]
    [thread.join() for thread in clients]
    print(f"SELECT 1, {CLIENTS} clients: {sum(counts) / SECONDS:.0f} statements/s")


def bench_predict(url):
    start = datetime.datetime(2024, 1, 1)
    trips = pa.table({
        "distance": [float(n % 10) for n in range(20_000)],
        "zone": [f"z{n % 100}" for n in range(20_000)],
        "late": [n % 10 > 6 for n in range(20_000)],
        "ts": pa.array([start + datetime.timedelta(milliseconds=n) for n in range(20_000)], pa.timestamp("us")),
    })
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SOURCE trips (distance DOUBLE, zone VARCHAR, late BOOLEAN, ts TIMESTAMP NOT NULL, "
                       "WATERMARK FOR ts AS ts) WITH (connector = 'push')")
        cursor.execute("CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late', "
                       "publish_every = '1 second') AS SELECT ts, late, distance, zone FROM trips")
        cursor.adbc_ingest("trips", trips, mode="append")
    client = flight.connect(url)
    columns = pa.schema([("distance", pa.float64()), ("zone", pa.string())])
    for rows in (1, 8, 64):
        batch = pa.record_batch([[float(n % 10) for n in range(rows)], [f"z{n}" for n in range(rows)]], schema=columns)
        while True:
            writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("predict", "late"))
            writer.begin(columns)
            try:
                writer.write_batch(batch)
                reader.read_chunk()
                break
            except pa.ArrowException:
                time.sleep(0.1)

        def ask():
            writer.write_batch(batch)
            assert reader.read_chunk().data.num_rows == rows

        for _ in range(200):
            ask()
        seconds = [timed(ask) for _ in range(5000)]
        print(f"predict {rows} rows a request: {len(seconds) / sum(seconds):.0f} requests/s")
        percentiles(f"predict {rows} rows a request", seconds)
        writer.close()
    client.close()


def main():
    tidemill = os.path.abspath(sys.argv[1])
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
    program = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else None
    table = made(rows)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [tidemill, "serve", "--bind", f"127.0.0.1:{port}", "--http", "127.0.0.1:0", "--data-dir", "meta"]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            while "listens" not in server.stderr.readline():
                pass
            threading.Thread(target=server.stderr.read, daemon=True).start()
            url = f"grpc://127.0.0.1:{port}"
            bench_select(url)
            bench_predict(url)
            bench_fetch(url, table, program)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


if __name__ == "__main__":
    main()
