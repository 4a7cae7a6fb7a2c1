"""Compares answers at any scale with DuckDB's: compare.py FOLDER SCALE TIDEMILL

    pip install duckdb tpchgen-cli
    tpchgen-cli parquet -s 1 --output-dir /tmp/tpch
    python tests/tpch/compare.py /tmp/tpch 1 target/release/tidemill

All 22 queries run in one process, and on one and on two workers. Numbers may be 1e-6 apart, of 1 or of the greater one: an average
is a DOUBLE there and a DECIMAL here.
"""

import contextlib
import csv
import io
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import duckdb

TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]
TOLERANCE = 1e-6
PATIENCE = 600

folder, scale, binary = sys.argv[1], float(sys.argv[2]), sys.argv[3]


def queries():
    for path in sorted(pathlib.Path(__file__).parent.glob("q*.sql")):
        text = path.read_text().rstrip().rstrip(";")
        # Its fraction is that of the scale factor; the file's is that of 0.01.
        yield path.stem, text.replace("0.01", f"{0.0001 / scale:.10f}") if path.stem == "q11" else text


def tables(statement):
    return [statement.format(table=table, path=f"{folder}/{table}.parquet") for table in TABLES]


EXTERNAL = "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{path}'"


def printed(arguments):
    output = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    if output.returncode:
        raise RuntimeError(output.stderr[-500:])
    return list(csv.reader(io.StringIO(output.stdout)))[1:]


@contextlib.contextmanager
def one_process():
    with tempfile.TemporaryDirectory() as data:
        script = pathlib.Path(data) / "query.sql"

        def run(query):
            script.write_text(";\n".join([*tables(EXTERNAL), query]))
            return printed(["run", str(script), "--format", "csv", "--set", "execution=batch"])

        yield run


@contextlib.contextmanager
def workers(count):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        processes = [subprocess.Popen([binary, "coordinator", "--data-dir", data, "--bind", f"127.0.0.1:{port}"])]
        time.sleep(2)
        processes += [
            subprocess.Popen([binary, "worker", "--coordinator", f"127.0.0.1:{port}"]) for _ in range(count)
        ]
        time.sleep(2)

        def run(sql):
            return printed(["sql", "--url", f"grpc://127.0.0.1:{port}", "--format", "csv", "--command", sql])

        try:
            for table in tables(EXTERNAL):
                run(table)
            yield lambda query: run(f"SET batch.engine = 'cluster'; {query}")
        finally:
            for process in reversed(processes):
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def is_same(found, expected):
    try:
        found, expected = float(found), float(expected)
    except ValueError:
        return found == expected
    return abs(found - expected) <= TOLERANCE * max(1.0, abs(expected))


def check(where, name, found, expected):
    if len(found) != len(expected):
        return f"{where}, {name}: {len(found)} rows and not {len(expected)}"
    for row, (own, other) in enumerate(zip(found, expected)):
        if len(own) != len(other) or not all(map(is_same, own, other)):
            return f"{where}, {name}, row {row}: {own} and not {other}"
    return None


def main():
    database = duckdb.connect()
    for view in tables("CREATE VIEW {table} AS SELECT * FROM '{path}'"):
        database.execute(view)
    expected = {}
    for name, query in queries():
        rows = database.execute(query).fetchall()
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        expected[name] = list(csv.reader(io.StringIO(text.getvalue())))
    differences = []
    places = {"one process": one_process(), "one worker": workers(1), "two workers": workers(2)}
    for where, place in places.items():
        with place as run:
            for name, query in queries():
                try:
                    differences.append(check(where, name, run(query), expected[name]))
                except Exception as error:  # The others are to be seen.
                    differences.append(f"{where}, {name}: {error}")
        print(f"{where}: {len(expected)} queries", flush=True)
    differences = [difference for difference in differences if difference]
    print("\n".join(differences) or "no difference")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
