"""TPC-H on worker processes, beside Ballista's and Spark: cluster_times.py SYSTEM FOLDER [SCALE] [ROUNDS] [TIDEMILL]

SYSTEM is one of
  tidemill   a coordinator and two workers of one thread each (TIDEMILL is the binary); pip install adbc-driver-flightsql
             adbc-driver-manager pyarrow
  ballista   a scheduler and an executor of two tasks, a process for each of them (two executors of the Python package do not fit
             on one machine: their second port is fixed); pip install ballista datafusion
  spark      local[2], adaptive execution as it comes; pip install pyspark, and a Java 17

FOLDER has a Parquet file for each table (tpchgen-cli parquet). The total of the best of ROUNDS, without q15, in milliseconds.
A query that fails is told and counts in no total: look for `failed`.
"""

import contextlib
import multiprocessing
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]
QUERIES = pathlib.Path(__file__).parents[2] / "tests" / "tpch"
PATIENCE = 60


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def connects(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_for(port):
    for _ in range(PATIENCE * 10):
        if connects(port):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nobody listens on port {port}")


@contextlib.contextmanager
def tidemill(folder, binary):
    """Yields what runs a query and takes all of its rows."""
    import adbc_driver_flightsql.dbapi as dbapi

    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        processes = [subprocess.Popen([binary, "coordinator", "--data-dir", data, "--bind", f"127.0.0.1:{port}"])]
        wait_for(port)
        for _ in range(2):
            processes.append(subprocess.Popen([binary, "worker", "--coordinator", f"127.0.0.1:{port}"]))
        time.sleep(3)
        with dbapi.connect(f"grpc://127.0.0.1:{port}", autocommit=True) as connection, connection.cursor() as cursor:
            for table in TABLES:
                path = f"{folder}/{table}.parquet"
                cursor.execute(f"CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{path}'")
                cursor.fetchall()

            def run(query):
                cursor.execute("SET batch.engine = 'cluster'; " + query)
                return cursor.fetch_arrow_table().num_rows

            yield run
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def ballista_scheduler(port):
    from ballista import BallistaScheduler

    scheduler = BallistaScheduler(bind_host="127.0.0.1", bind_port=port)
    scheduler.start()
    scheduler.wait_for_termination()


def ballista_executor(port, scheduler_port):
    from ballista import BallistaExecutor

    executor = BallistaExecutor(
        bind_host="127.0.0.1",
        bind_port=port,
        scheduler_host="127.0.0.1",
        scheduler_port=scheduler_port,
        concurrent_tasks=2,
    )
    executor.start()
    executor.wait_for_termination()


@contextlib.contextmanager
def ballista(folder, _):
    from ballista import BallistaSessionContext

    spawned = multiprocessing.get_context("fork")
    port = free_port()
    processes = [spawned.Process(target=ballista_scheduler, args=(port,), daemon=True)]
    processes[0].start()
    wait_for(port)
    processes.append(spawned.Process(target=ballista_executor, args=(free_port(), port), daemon=True))
    processes[-1].start()
    time.sleep(3)
    partitions = {"datafusion.execution.target_partitions": "2"}
    session = BallistaSessionContext(f"df://127.0.0.1:{port}", cluster_config=partitions)
    for table in TABLES:
        session.register_parquet(table, f"{folder}/{table}.parquet")
    yield lambda query: sum(batch.num_rows for batch in session.sql(query).collect())
    for process in reversed(processes):
        process.kill()


@contextlib.contextmanager
def spark(folder, _):
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "12g")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    for table in TABLES:
        session.read.parquet(f"{folder}/{table}.parquet").createOrReplaceTempView(table)
    yield lambda query: len(session.sql(query).collect())
    session.stop()


def main():
    system, folder, scale, rounds, binary = (sys.argv[1:] + ["1", "3", ""][len(sys.argv) - 3 :])[:5]
    total = 0.0
    with {"tidemill": tidemill, "ballista": ballista, "spark": spark}[system](folder, binary) as run:
        for path in sorted(QUERIES.glob("q*.sql")):
            query = path.read_text().rstrip().rstrip(";")
            if path.stem == "q15":
                continue
            if path.stem == "q11":
                query = query.replace("0.01", f"{0.0001 / float(scale):.10f}")
            best, rows = float("inf"), 0
            try:
                for _ in range(int(rounds)):
                    started = time.perf_counter()
                    rows = run(query)
                    best = min(best, time.perf_counter() - started)
            except Exception as error:  # Whatever a peer fails with, the others are to be seen.
                print(f"{path.stem:<6} failed: {str(error)[:200]}", flush=True)
                continue
            print(f"{path.stem:<6}{best * 1000:>12.1f}{rows:>10} rows", flush=True)
            total += best
    print(f"{'total':<6}{total * 1000:>12.1f}   without q15")


if __name__ == "__main__":
    main()
